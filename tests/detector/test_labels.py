"""Labels: what they count for, what they change, and that what comes late, twice or wrongly does no harm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from detector.assessments import Assessments
from detector.catalogue import DAY_MS
from detector.engine import adopt_decision, assess_batch
from detector.errors import StaleOffsetError
from detector.labels import LabelResult, apply_labels, build_label_batch, mature
from detector.policy import Policy
from detector.state import EngineState
from detector.transactions import TransactionBatch, build_batch
from detector.vocabulary import Action, CardStatus, Flag, Label, LabelSource
from tests.columns import columns_of
from tests.detector.event_streams import START_MS
from tests.detector.saving import whole
from tests.detector.test_features_against_naive import CONFIG, KEY, model, new_state, shipped

_SHARE = 0.25
_HOUR_MS = 3_600_000
_FRAUD, _GENUINE = int(Label.FRAUD), int(Label.GENUINE)


def _policy(share: float, version: str = "p-1") -> Policy:
    """A policy that alerts nothing but what chance has chosen."""
    never = {"step_up": 1.0, "review": 1.0, "freeze": 1.0, "anomaly_review_share": 0.0}
    changed = {"version": version, "rules": [], "random_review_share": share, "thresholds": never}
    return Policy.from_mapping(shipped("policy.toml") | changed)


def _payments(count: int, first: int = 0, apart_ms: int = 60_000) -> TransactionBatch:
    records = [
        {
            "transaction_id": f"t{number}", "card_token": f"card{number % 9}", "amount_minor": 100 + number % 50,
            "event_time_ms": START_MS + number * apart_ms, "currency": "EUR", "merchant_id": f"mer{number % 7}",
            "terminal_id": f"trm{number % 5}", "device_id": f"dev{number % 3}", "mcc": 5411 + number % 2,
        }
        for number in range(first, first + count)
    ]  # fmt: skip
    return build_batch(columns_of(records), key=KEY, offset=np.arange(first, first + count))


def _label(
    state: EngineState,
    rows: Sequence[int],
    label: Label | Sequence[int],
    source: LabelSource = LabelSource.AGENT,
    at_ms: int = START_MS + DAY_MS,
    **columns: Any,
) -> LabelResult:
    """Let somebody say something of payments."""
    count, first = len(rows), state.partition(0).label_next_offset
    given: dict[str, Any] = {
        "transaction_id": [f"t{row}" for row in rows], "card_token": [f"card{row % 9}" for row in rows],
        "label": [int(label)] * count if isinstance(label, Label) else list(label),
        "source": [int(source)] * count, "label_time_ms": [at_ms] * count,
    }  # fmt: skip
    batch = build_label_batch(given | columns, key=KEY, offset=np.arange(first, first + count))
    return apply_labels(state, batch)


def _drawn(assessed: Assessments) -> list[int]:
    """Rows that chance has chosen."""
    return np.flatnonzero(assessed.flags & int(Flag.RANDOM_REVIEW)).tolist()


@pytest.fixture
def reviewed() -> tuple[EngineState, list[int], list[int]]:
    """A state that has seen payments, those of them that chance had reviewed, and those that it had not."""
    state = new_state(1)
    assessed = assess_batch(state, _payments(200), model(), _policy(_SHARE))
    drawn = _drawn(assessed)
    return state, drawn, [row for row in range(200) if row not in drawn]


def test_a_fraud_that_chance_found_stands_for_those_it_did_not(
    reviewed: tuple[EngineState, list[int], list[int]],
) -> None:
    """Its propensity is the share that was reviewed; what is genuine would have become known in any case."""
    state, drawn, _ = reviewed
    assert 20 < len(drawn) < 80
    labels = [_FRAUD if place % 2 else _GENUINE for place in range(len(drawn))]
    examples = _label(state, drawn, labels).examples
    assert examples.label.tolist() == labels
    assert examples.propensity.tolist() == [_SHARE if label == _FRAUD else 1.0 for label in labels]
    assert set(examples.weight.tolist()) == {1.0}


@pytest.mark.parametrize("source", [source for source in LabelSource if source != LabelSource.AGENT])
def test_what_others_report_by_themselves_counts_once(
    source: LabelSource, reviewed: tuple[EngineState, list[int], list[int]]
) -> None:
    """A chargeback comes whether anybody drew the payment or not; and what was not drawn was not found by chance."""
    state, drawn, others = reviewed
    assert set(_label(state, drawn, Label.FRAUD, source).examples.propensity.tolist()) == {1.0}
    assert set(_label(state, others, Label.FRAUD).examples.propensity.tolist()) == {1.0}


def test_what_was_alerted_counts_once() -> None:
    """Agents look at every alert, so a fraud among them stands for itself."""
    state = new_state(1)
    state.directives.set_card_state("card3", CardStatus.FROZEN, START_MS)
    assessed = assess_batch(state, _payments(90), model(), _policy(1.0))
    declined = np.flatnonzero(assessed.action == Action.DECLINE).tolist()
    assert len(declined) == 10
    assert set(_label(state, declined, Label.FRAUD).examples.propensity.tolist()) == {1.0}


def test_the_share_that_counts_is_that_of_the_decision() -> None:
    """A policy that changes later, and a checkpoint between, change nothing of what a label stands for."""
    state = new_state(1)
    drawn = _drawn(assess_batch(state, _payments(200), model(), _policy(_SHARE)))
    assess_batch(state, _payments(50, first=200), model(), _policy(0.5, "p-2"))
    restored = EngineState(CONFIG, state.rates)
    restored.restore(0, whole(state.partition(0).changes))
    restored.restore_shared(whole(state.shared_changes))
    for each in (state, restored):
        assert set(_label(each, drawn, Label.FRAUD).examples.propensity.tolist()) == {_SHARE}


def test_a_decision_that_stands_says_whether_chance_had_chosen() -> None:
    """After recovery the decision that was given counts, not the one made again."""
    state = new_state(1)
    assessed = assess_batch(state, _payments(200), model(), _policy(_SHARE))
    drawn = _drawn(assessed)
    adopted = int(assessed.payment_row[drawn[0]])
    adopt_decision(state, 0, adopted, (int(Action.REVIEW), 0, 0.9, 0.5), ["amount_unusual"])
    assert _label(state, drawn[:2], Label.FRAUD).examples.propensity.tolist() == [1.0, _SHARE]


def test_silence_does_not_undo_what_a_review_has_found(reviewed: tuple[EngineState, list[int], list[int]]) -> None:
    """At the configured age only what has no label becomes genuine, and it stands for itself."""
    state, drawn, others = reviewed
    _label(state, drawn, Label.FRAUD)
    silent = mature(state, 0, START_MS + CONFIG.maturity_ms + DAY_MS).examples
    assert len(silent) == len(others)
    assert set(silent.label.tolist()) == {_GENUINE}
    assert set(silent.propensity.tolist()) == set(silent.weight.tolist()) == {1.0}
    assert (silent.sources[:, 0] == 0).all()


def test_of_what_was_refused_nobody_complains() -> None:
    """The silence about a payment that never happened is no evidence: it does not become genuine."""
    state = new_state(1)
    state.directives.set_card_state("card3", CardStatus.FROZEN, START_MS)
    assessed = assess_batch(state, _payments(90), model(), _policy(0.0))
    assert int((assessed.action == Action.DECLINE).sum()) == 10
    assert len(mature(state, 0, START_MS + CONFIG.maturity_ms + DAY_MS).examples) == 80


def _told(*labels: Label) -> tuple[str, bytes, list[int]]:
    """A state after labels of ten payments, then more payments: its digest, their features, what was learned."""
    state = new_state(1)
    assess_batch(state, _payments(100), model(), _policy(0.0))
    learned: list[int] = []
    for hours, label in enumerate(labels):
        result = _label(state, range(20, 30), label, at_ms=START_MS + DAY_MS + hours * _HOUR_MS)
        learned += result.examples.label.tolist()
    after = assess_batch(state, _payments(60, first=100), model(), _policy(0.0))
    return state.digest(), after.features.tobytes(), learned


@pytest.mark.parametrize("last", [Label.FRAUD, Label.GENUINE])
def test_a_correction_fixes_the_counts_exactly_and_is_learned_anew(last: Label) -> None:
    """After any corrections state and features are those of the last label alone; each correction is an example."""
    other = Label.GENUINE if last is Label.FRAUD else Label.FRAUD
    digest, features, learned = _told(other, last, last, other, last)
    alone = _told(last)
    assert (digest, features) == alone[:2]
    assert learned == [int(label) for label in (other, last, other, last) for _ in range(10)]


def test_a_fraud_that_was_taken_for_genuine_counts_as_if_it_had_been_known() -> None:
    """What matured is corrected exactly by a label that comes later."""
    config = replace(CONFIG, maturity_ms=1)
    states = [new_state(1), new_state(1)]
    batch = _payments(100)
    for state in states:
        state.config = config
        assess_batch(state, batch, model(), _policy(0.0))
    assert len(mature(states[0], 0, START_MS + DAY_MS).examples) == 100
    result = _label(states[0], range(20, 30), Label.FRAUD, LabelSource.CHARGEBACK)
    assert result.counts["corrected"] == len(result.examples) == 10
    _label(states[1], range(20, 30), Label.FRAUD, LabelSource.CHARGEBACK)
    mature(states[1], 0, START_MS + DAY_MS)
    assert states[0].digest() == states[1].digest()


def test_labels_that_are_late_double_or_unknown_are_counted_and_harmless() -> None:
    """Each is counted under its name; state is as without it and nothing is learned."""
    state = new_state(1)
    state.config = replace(CONFIG, retention_ms=30 * DAY_MS)
    assess_batch(state, _payments(100), model(), _policy(0.0))
    _label(state, [5], Label.FRAUD)
    digest = state.digest()
    late = _label(state, [6], Label.FRAUD, at_ms=START_MS + 31 * DAY_MS)
    double = _label(state, [5, 5], Label.FRAUD)
    unknown = _label(state, [5_000], Label.FRAUD)
    for result, name in ((late, "late"), (double, "repeated"), (unknown, "unknown")):
        assert result.counts == dict.fromkeys(result.counts, 0) | {name: len(result.outcome)}
        assert len(result.examples) == 0
    assert state.digest() == digest
    assert state.partition(0).label_next_offset == 5


def test_a_label_is_applied_once() -> None:
    """A batch of labels below the next offset is refused and changes nothing."""
    state = new_state(1)
    assess_batch(state, _payments(10), model(), _policy(0.0))
    _label(state, [1, 2], Label.FRAUD)
    digest = state.digest()
    again = build_label_batch(
        {"transaction_id": ["t3"], "card_token": ["card3"], "label": [1], "label_time_ms": [START_MS]},
        key=KEY, offset=np.array([1]),
    )  # fmt: skip
    with pytest.raises(StaleOffsetError, match="label offset 1"):
        apply_labels(state, again)
    assert state.digest() == digest


def test_a_labeller_is_known_by_name() -> None:
    """The same name is the same source, another another, and nobody is nobody: caps hold per labeller."""
    state = new_state(1)
    assess_batch(state, _payments(10), model(), _policy(0.0))
    labelled = _label(state, range(4), Label.FRAUD, labelled_by=["ann", "bob", "ann", None]).examples
    ann, bob, again, nobody = labelled.sources[:, 0].tolist()
    assert ann == again != bob
    assert nobody == 0
