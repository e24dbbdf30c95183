"""Decisions and alerts as the contract writes them.

Nearly every decision is ALLOW: its JSON is put together from the columns as text. Every other one is a dictionary with
all its evidence and CloudEvents headers, and its alert is a copy of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from detector.transactions import TransactionBatch
from detector.vocabulary import FLAG_NAMES, Action, Flag
from streams.events import Outgoing, cloud_event
from streams.topics import ALERTS, DECISIONS, TRANSACTIONS

DECISION_TYPE = "cardwatch.decision.v1"
SCORING_FAILED = "scoring_failed"
_SOURCE = "/cardwatch/score"
_ACTION_WIRE = {int(action): action.wire for action in Action}
_encoder = msgspec.json.Encoder()


class EvidenceLike(Protocol):
    """Evidence of one reason, as the engine gives it."""

    code: str
    text_key: str
    observed: Any
    usual: Any
    contribution: float


class AlertEvidenceLike(Protocol):
    """What an alert shows, as the engine gives it."""

    alert_id: str
    reasons: Sequence[str]
    evidence: Sequence[EvidenceLike]
    last_payments: Sequence[Mapping[str, Any]]


class AssessmentsLike(Protocol):
    """The engine's answer to a batch: a column per field, one row a record."""

    action: NDArray[np.int64]
    score: NDArray[np.float64]
    anomaly: NDArray[np.float64]
    flags: NDArray[np.int64]
    expected_loss_minor: NDArray[np.int64]
    rule_hits: NDArray[np.int64]
    evidence: Mapping[int, AlertEvidenceLike]

    def reason_codes(self, row: int) -> list[str]:
        """Reason codes of a row, strongest first."""
        ...


@dataclass(frozen=True, slots=True)
class Versions:
    """What a decision was made with.

    Attributes:
        rule_ids: rule names by their bit in `rule_hits`.
    """

    model: str
    policy: str
    rates: str
    rule_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EncodedDecision:
    """One decision ready for Kafka.

    Attributes:
        row: its row in the batch.
        decision: the record of `fraud.decisions.v1`.
        alert: its copy for `fraud.alerts.v1`, None for ALLOW.
    """

    row: int
    decision: Outgoing
    alert: Outgoing | None


class NotFiniteError(ValueError):
    """A score that JSON cannot carry."""


def _flag_texts(flags: int) -> list[str]:
    """Wire names of a bit mask."""
    return [name for bit, name in FLAG_NAMES if flags & bit]


def _rule_ids(hits: int, versions: Versions) -> list[str]:
    """Names of the rules that hit."""
    return [rule for bit, rule in enumerate(versions.rule_ids) if hits >> bit & 1]


def _json_texts(texts: Sequence[str]) -> Sequence[str]:
    """Texts as they stand between quotes in JSON; the codec has refused control characters."""
    joined = "".join(texts)
    if '"' not in joined and "\\" not in joined:
        return texts
    return [_encoder.encode(text)[1:-1].decode() for text in texts]


def encode_plain(batch: TransactionBatch, assessed: AssessmentsLike, versions: Versions) -> list[bytes | None]:
    """Encode the ALLOW decisions of a batch; None for every other row.

    Raises:
        NotFiniteError: a score is not a number.
    """
    if not (np.isfinite(assessed.score).all() and np.isfinite(assessed.anomaly).all()):
        message = "scores must be finite"
        raise NotFiniteError(message)
    made_with = (
        f'"model_version":{_quoted(versions.model)},"policy_version":{_quoted(versions.policy)},'
        f'"rates_version":{_quoted(versions.rates)},"flags":'
    )
    source = f'"source":{{"topic":"{TRANSACTIONS}","partition":{batch.partition},"offset":'
    flags = {mask: _encoder.encode(_flag_texts(mask)).decode() for mask in set(assessed.flags.tolist())}
    rules = {hits: _encoder.encode(_rule_ids(hits, versions)).decode() for hits in set(assessed.rule_hits.tolist())}
    reasons = ["[]"] * len(batch)
    for row in np.nonzero(assessed.rule_hits != 0)[0].tolist():
        reasons[row] = _encoder.encode(assessed.reason_codes(row)).decode()
    return [
        f'{{"transaction_id":"{transaction}","card_token":"{card}","event_time_ms":{time_ms},"action":"ALLOW",'
        f'"score":{score},"anomaly":{anomaly},"reasons":{reason},"rules":{rules[hits]},'
        f'"expected_loss_minor":{loss},{made_with}{flags[mask]},{source}{offset}}}}}'.encode()
        if action == 0
        else None
        for transaction, card, time_ms, score, anomaly, reason, hits, loss, mask, offset, action in zip(
            _json_texts(batch.transaction_id),
            _json_texts(batch.card_token),
            batch.event_time_ms.tolist(),
            assessed.score.tolist(),
            assessed.anomaly.tolist(),
            reasons,
            assessed.rule_hits.tolist(),
            assessed.expected_loss_minor.tolist(),
            assessed.flags.tolist(),
            batch.offset.tolist(),
            assessed.action.tolist(),
            strict=True,
        )
    ]


def _quoted(text: str) -> str:
    """A text as a JSON string."""
    return _encoder.encode(text).decode()


def encode_full(
    batch: TransactionBatch,
    assessed: AssessmentsLike,
    versions: Versions,
    row: int,
    now_ms: int,
    traceparent: bytes | None,
) -> EncodedDecision:
    """Encode one decision with everything the contract has for it; an alert beside it unless it is ALLOW."""
    action = int(assessed.action[row])
    fields: dict[str, Any] = {
        **_common_fields(batch, row, _ACTION_WIRE[action], versions),
        "score": float(assessed.score[row]),
        "anomaly": float(assessed.anomaly[row]),
        "reasons": list(assessed.reason_codes(row))[:4],
        "rules": _rule_ids(int(assessed.rule_hits[row]), versions),
        "expected_loss_minor": int(assessed.expected_loss_minor[row]),
        "flags": _flag_texts(int(assessed.flags[row])),
    }
    event_id = f"{TRANSACTIONS}/{batch.partition}/{int(batch.offset[row])}"
    if action != Action.ALLOW:
        shown = assessed.evidence[row]
        event_id = shown.alert_id
        fields |= {
            "alert_id": shown.alert_id,
            "evidence": [
                {
                    "code": item.code,
                    "text_key": item.text_key,
                    "observed": item.observed,
                    "usual": item.usual,
                    "contribution": item.contribution,
                }
                for item in shown.evidence
            ],
            "last_payments": list(shown.last_payments),
            "amount_minor": int(batch.amount_minor[row]),
            "currency": batch.currency[row],
            "merchant_id": batch.merchant_id[row],
            "country": batch.country_code[row],
        }
    headers = cloud_event(event_id, DECISION_TYPE, _SOURCE, now_ms, traceparent)
    key, value = batch.card_token[row].encode(), _encoder.encode(fields)
    decision = Outgoing(DECISIONS, batch.partition, key, value, headers)
    alert = None if action == Action.ALLOW else decision._replace(topic=ALERTS)
    return EncodedDecision(row, decision, alert)


def _common_fields(batch: TransactionBatch, row: int, action: str, versions: Versions) -> dict[str, Any]:
    """What every decision has, whatever the engine said."""
    return {
        "transaction_id": batch.transaction_id[row],
        "card_token": batch.card_token[row],
        "event_time_ms": int(batch.event_time_ms[row]),
        "action": action,
        "model_version": versions.model,
        "policy_version": versions.policy,
        "rates_version": versions.rates,
        "source": {"topic": TRANSACTIONS, "partition": batch.partition, "offset": int(batch.offset[row])},
    }


def encode_fallback(
    batch: TransactionBatch, row: int, versions: Versions, now_ms: int, traceparent: bytes | None
) -> EncodedDecision:
    """Encode the decision on a record that our own code failed on: ALLOW, flagged `degraded`, with no score.

    A payment is not refused because of a bug of ours; the flag, the dead letter and the metric say that nobody looked.
    """
    fields = _common_fields(batch, row, Action.ALLOW.wire, versions) | {
        "score": 0.0,
        "anomaly": 0.0,
        "reasons": [SCORING_FAILED],
        "rules": [],
        "expected_loss_minor": 0,
        "flags": _flag_texts(Flag.DEGRADED),
    }
    event_id = f"{TRANSACTIONS}/{batch.partition}/{int(batch.offset[row])}"
    headers = cloud_event(event_id, DECISION_TYPE, _SOURCE, now_ms, traceparent)
    decision = Outgoing(DECISIONS, batch.partition, batch.card_token[row].encode(), _encoder.encode(fields), headers)
    return EncodedDecision(row, decision, None)
