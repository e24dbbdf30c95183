"""The engine: a batch of transactions in, an assessment of each out.

`assess_batch` is deterministic, gives the same bits however the log is cut into batches, and changes state only if it
succeeds: whatever raises inside leaves state as it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.assessments import AlertEvidence, Assessments, join_assessments
from detector.catalogue import ANOMALIES, ANOMALY, DAY_MS, FEATURE_INDEX, catalogue_digest
from detector.examples import Examples
from detector.jit import kernel
from detector.kept import block_of, make_room
from detector.layout import Observed
from detector.models.version import ModelVersion
from detector.observe import check_offsets, kernel_columns, observe
from detector.policy import Policy, PolicyInputs
from detector.reasons import Evidence, PolicyResult, explain
from detector.recent import (
    Answers,
    adopt_answer,
    last_events,
    store_decisions,
    store_reasons,
    stored_decisions,
    stored_reasons,
)
from detector.shadows import shadows_of
from detector.state import EngineState, PartitionState
from detector.tokens import IDENTITY_SEPARATOR
from detector.transactions import TransactionBatch
from detector.vocabulary import SCORE_UNITS, Action, Flag, Kind, Label

_ALERT_ID_BYTES = 12
_UNIT = 2.0**-53
_REVERSAL, _OUTCOME = int(Kind.REVERSAL), int(Kind.OUTCOME)
_CATALOGUE_DIGEST = catalogue_digest()
_NEW_MERCHANT = FEATURE_INDEX["card_merchant_is_new"]
_AMOUNT, _ANOMALY = FEATURE_INDEX["amount"], FEATURE_INDEX[ANOMALY]
_ANOMALY_EDGES = np.array(ANOMALIES, dtype=np.float32)


def alert_id_of(card_token: str, transaction_id: str) -> str:
    """The alert's id: the same for a transaction in every process and at every replay."""
    identity = f"{card_token}{IDENTITY_SEPARATOR}{transaction_id}".encode()
    return "al-" + hashlib.blake2b(identity, digest_size=_ALERT_ID_BYTES).hexdigest()


@kernel
def _settle_scores(kind: NDArray[np.int64], duplicate: NDArray[np.int64], scores: NDArray[np.float64]) -> None:
    """Round scores to the decimals in which they are told; 0 for records that are no payment of their own."""
    for row in range(kind.shape[0]):
        if duplicate[row] == 1 or kind[row] == _REVERSAL or kind[row] == _OUTCOME:
            scores[row] = 0.0
        else:
            scores[row] = np.rint(scores[row] * SCORE_UNITS) / SCORE_UNITS


def _random_unit(batch: TransactionBatch) -> NDArray[np.float64]:
    """A number in [0, 1) for each transaction that only its identity decides."""
    return (batch.identity[:, 1] >> np.uint64(11)).astype(np.float64) * _UNIT


def _policy_inputs(
    state: EngineState,
    batch: TransactionBatch,
    observed: Observed,
    amount_reference: NDArray[np.int64],
    scores: tuple[NDArray[np.float64], NDArray[np.float64]],
    model: ModelVersion,
) -> PolicyInputs:
    """What the policy decides on."""
    return PolicyInputs(
        score=scores[0],
        anomaly=scores[1],
        features=observed.features,
        amount_minor=batch.amount_minor,
        currency=batch.currency,
        amount_reference=amount_reference,
        kind=batch.kind,
        channel=batch.channel,
        entry_mode=batch.entry_mode,
        mcc=batch.mcc,
        country_code=batch.country_code,
        merchant=batch.merchant,
        card=batch.card,
        terminal=batch.terminal,
        device=batch.device,
        fingerprint_key=state.config.fingerprint_key,
        card_status=state.directives.card_statuses(batch.card, state.config.fingerprint_key),
        cold_start=model.is_cold,
        random_unit=_random_unit(batch),
        damped=state.directives.damped_reasons(batch, observed.effective_time_ms, state.config.fingerprint_key),
        exempt=state.directives.exempt(batch, observed.effective_time_ms, state.config.fingerprint_key),
        model=model,
    )


def _note_names(partition: PartitionState, batch: TransactionBatch, features: NDArray[np.float32]) -> None:
    """Keep the text of merchants that a card meets for the first time."""
    rows = np.flatnonzero(features[:, _NEW_MERCHANT] == 1.0)
    words = batch.merchant[rows, 0].view(np.int64)
    for row, word in zip(rows.tolist(), words.tolist(), strict=True):
        if word not in partition.names.texts:
            partition.names.note(word, str(batch.merchant_id[row]))


def _flags(observed: Observed, degraded: NDArray[np.bool_], result: PolicyResult) -> NDArray[np.int64]:
    """All flags of a batch but `duplicate`."""
    late = np.where(observed.late == 1, int(Flag.LATE), 0)
    return result.flags | late | np.where(degraded, int(Flag.DEGRADED), 0)


def _unlabelled_sample(
    state: EngineState, batch: TransactionBatch, observed: Observed, bins: NDArray[np.uint8]
) -> Examples:
    """One in so many payments, chosen by identity alone, for the models that need no label."""
    chosen = np.flatnonzero(batch.identity[:, 0] % np.uint64(state.config.unlabelled_one_in) == 0)
    kind = batch.kind[chosen]
    chosen = chosen[(kind != _REVERSAL) & (kind != _OUTCOME) & (observed.duplicate[chosen] == 0)]
    count = len(chosen)
    return Examples.of_nobody(
        bins[chosen],
        np.full(count, int(Label.UNLABELLED), dtype=np.int64),
        np.ones(count),
        observed.effective_time_ms[chosen],
    )


def _answer_duplicates(
    partition: PartitionState, observed: Observed, policy: Policy, columns: tuple[NDArray[Any], ...]
) -> None:
    """Answer duplicates with what their first was told; `columns` stand in the order of `stored_decisions`."""
    repeated = np.nonzero(observed.duplicate == 1)[0]
    if not len(repeated):
        return
    stored = stored_decisions(partition, observed.payment_row[repeated], policy.version)
    for column, values in zip(columns, stored, strict=True):
        column[repeated] = np.ascontiguousarray(values).view(column.dtype)
    columns[1][repeated] |= int(Flag.DUPLICATE)


def _alert_evidence(
    partition: PartitionState, batch: TransactionBatch, row: int, payment_row: int, evidence: Sequence[Evidence]
) -> AlertEvidence:
    """What an alert shows of one row; one that was decided before shows the reasons it was decided for."""
    # What spoke against is evidence, and no reason.
    reasons = [item.code for item in evidence if item.contribution >= 0.0] or stored_reasons(partition, payment_row)
    return AlertEvidence(
        alert_id=alert_id_of(batch.card_token[row] or "", batch.transaction_id[row] or ""),
        reasons=reasons,
        evidence=evidence,
        events=last_events(partition, payment_row),
        names=partition.names.texts,
    )


def _explain(
    partition: PartitionState,
    batch: TransactionBatch,
    observed: Observed,
    bins: NDArray[np.uint8],
    model: ModelVersion,
    result: PolicyResult,
    action: NDArray[np.int64],
) -> dict[int, AlertEvidence]:
    """Evidence of every row that is not ALLOW; the reasons of new ones are kept beside their payments."""
    not_allowed = np.flatnonzero(action != Action.ALLOW)
    shown: dict[int, AlertEvidence] = {}
    if not len(not_allowed):
        return shown
    repeated = observed.duplicate[not_allowed] == 1
    rows = not_allowed[~repeated]
    explained = explain(rows, observed.features, bins, model, result) if len(rows) else {}
    for row in rows.tolist():
        payment_row = int(observed.payment_row[row])
        shown[row] = _alert_evidence(partition, batch, row, payment_row, explained[row])
        store_reasons(partition, payment_row, list(shown[row].reasons))
    for row in not_allowed[repeated].tolist():
        shown[row] = _alert_evidence(partition, batch, row, int(observed.payment_row[row]), ())
    return shown


def _pieces(batch: TransactionBatch, block: int) -> list[slice]:
    """Cut a batch where its clock moves on by more than a day, and where a block of offsets begins.

    An alert shows the card's last payments, which are read after the walk. Within a day of the watermark no payment
    that an alert of the piece can show is forgotten. Live batches span seconds: they are one piece, seldom two.
    """
    if not len(batch):
        return [slice(0, 0)]
    blocks = batch.offset // block
    if blocks[0] == blocks[-1] and int(batch.event_time_ms.max()) - int(batch.event_time_ms[0]) <= DAY_MS:
        return [slice(0, len(batch))]
    clock = np.maximum.accumulate(batch.event_time_ms)
    pieces, start = [], 0
    while start < len(batch):
        stop = int(np.searchsorted(clock, clock[start] + DAY_MS, side="right"))
        stop = min(stop, int(np.searchsorted(blocks, blocks[start], side="right")))
        pieces.append(slice(start, stop))
        start = stop
    return pieces


def _settled(batch: TransactionBatch, observed: Observed, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores as they are told; they are changed in place."""
    _settle_scores(batch.kind, observed.duplicate, scores)
    return scores


def _anomaly_bins(anomaly: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Bins of anomaly scores as they are told: of nothing else, so that an answer given earlier has the same."""
    return np.searchsorted(_ANOMALY_EDGES, anomaly.astype(np.float32), side="right").astype(np.uint8)


def _tell_anomaly(features: NDArray[np.float32], bins: NDArray[np.uint8], anomaly: NDArray[np.float64]) -> None:
    """Let the trees' answer be a feature of payments, for the model with labels to weigh with the others."""
    is_payment = ~np.isnan(features[:, _AMOUNT])
    features[is_payment, _ANOMALY] = anomaly[is_payment]
    bins[is_payment, _ANOMALY] = _anomaly_bins(anomaly[is_payment])


def _assess_piece(
    state: EngineState,
    partition: PartitionState,
    batch: TransactionBatch,
    model: ModelVersion,
    policies: tuple[Policy, Policy | None],
) -> Assessments:
    """Assess records within `EngineState.change`."""
    policy, tried = policies
    if len(batch):
        make_room(state, batch.partition, int(batch.offset[0]))
    amount_reference, rate_missing = state.rates.convert(batch.amount_minor, batch.currency)
    observed, shared = observe(state, batch.partition, kernel_columns(batch, amount_reference))
    bins = model.binner.bins(observed.features)
    anomaly = _settled(batch, observed, model.anomalies(bins))
    _tell_anomaly(observed.features, bins, anomaly)
    score = _settled(batch, observed, model.probabilities(bins))
    inputs = _policy_inputs(state, batch, observed, amount_reference, (score, anomaly), model)
    result = policy.decide(inputs)
    others = [_settled(batch, observed, challenger.probabilities(bins)) for challenger in model.challengers]
    shadows = tuple(shadows_of(inputs, others, policy, tried))
    flags = _flags(observed, rate_missing, result)
    answers = (result.action, flags, score, anomaly, result.expected_loss_minor, result.rule_hits)
    kept, share = Answers(*answers, bins), policy.random_review_share
    store_decisions(partition, observed.payment_row, observed.duplicate, kept, policy.version, share)
    _answer_duplicates(partition, observed, policy, answers)
    _note_names(partition, batch, observed.features)
    return Assessments(
        batch=batch,
        action=result.action,
        score=score,
        anomaly=anomaly,
        flags=flags,
        expected_loss_minor=result.expected_loss_minor,
        rule_hits=result.rule_hits,
        effective_time_ms=observed.effective_time_ms,
        duplicate=observed.duplicate == 1,
        payment_row=observed.payment_row,
        features=observed.features,
        evidence=_explain(partition, batch, observed, bins, model, result, result.action),
        unlabelled=_unlabelled_sample(state, batch, observed, bins),
        shared=shared,
        rule_reasons=result.rule_reasons,
        shadows=shadows,
    )


def assess_batch(
    state: EngineState, batch: TransactionBatch, model: ModelVersion, policy: Policy, tried: Policy | None = None
) -> Assessments:
    """Assess a batch and take it into the state.

    Args:
        state: of the worker; the batch's partition must be open.
        batch: records of one partition, offsets above everything applied before.
        model: the version to score with.
        policy: what turns scores into actions.
        tried: a policy that decides beside it and does not act.

    Raises:
        StaleOffsetError: the batch starts below the partition's next offset.
        StateError: the partition is not open.
        ModelError: the model was made for another catalogue.
    """
    partition = state.partition(batch.partition)
    check_offsets(partition, batch)
    model.require_catalogue(_CATALOGUE_DIGEST)
    with state.change(partition):
        pieces = [
            _assess_piece(state, partition, batch[rows], model, (policy, tried))
            for rows in _pieces(batch, block_of(state.config))
        ]
    return pieces[0] if len(pieces) == 1 else join_assessments(batch, pieces)


def adopt_decision(
    state: EngineState,
    partition: int,
    payment_row: int,
    decision: tuple[int, int, float, float],
    reasons: list[str],
) -> None:
    """On recovery: put the decision that was already given in place of the one just made again.

    Args:
        state: of the worker.
        partition: the source partition.
        payment_row: of the assessment made again.
        decision: action, flags, score and anomaly as first given.
        reasons: its reason codes.
    """
    owner = state.partition(partition)
    action, flags, score, anomaly = decision
    own_bin = int(_ANOMALY), int(_anomaly_bins(np.array([anomaly]))[0])
    adopt_answer(owner, payment_row, (action, flags, score, anomaly), own_bin)
    store_reasons(owner, payment_row, reasons)
