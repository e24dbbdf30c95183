"""The engine against the slow, obvious twin: equal features on random streams, however the log is cut."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.assessments import Assessments
from detector.catalogue import ANOMALY, CATALOGUE, FEATURE_COUNT, FEATURE_INDEX
from detector.engine import assess_batch
from detector.examples import Examples
from detector.labels import apply_labels, build_label_batch
from detector.models import ModelsConfig, Trainer
from detector.models.version import ModelVersion
from detector.policy import Policy
from detector.rates import RateTable
from detector.state import EngineState, StateConfig
from detector.transactions import build_batch
from detector.vocabulary import Flag, Label
from tests.columns import columns_of
from tests.detector.event_streams import DAY_MS, HOUR_MS, START_MS, STEPS, Event, build_events, random_steps
from tests.naive import NaiveAssessment, NaiveEngine
from tests.naive_payment import CARD_MEMORY_PAYMENTS

KEY = bytes(range(16))
# Large enough for nothing to be evicted for want of room: eviction has tests of its own.
CONFIG = StateConfig(
    fingerprint_key=KEY,
    cards=64,
    events=32_768,
    payments=8_192,
    entities=128,
    buckets=131_072,
    retention_ms=5_000 * DAY_MS,
)
# Rates that floating point holds exactly, so that the oracle may use fractions; ABC has none.
FACTORS = {"EUR": Fraction(1), "USD": Fraction(7, 8), "JPY": Fraction(25, 32)}

_ANOMALY = FEATURE_INDEX[ANOMALY]


def to_reference(amount_minor: int, currency: str) -> int:
    """Amount in the reference currency; as it is where no rate is known."""
    return round(amount_minor * FACTORS.get(currency, Fraction(1)))


def shipped(name: str) -> dict[str, Any]:
    return tomllib.loads((files("configs") / name).read_text("utf-8"))


@cache
def policy() -> Policy:
    return Policy.from_mapping(shipped("policy.toml"))


@cache
def model() -> ModelVersion:
    """A model that has learned something, so that scores and actions differ from payment to payment.

    Its trees have a short window, so that they say something.
    """
    rng = np.random.default_rng(5)
    rows = 600
    features = np.empty((rows, FEATURE_COUNT), dtype=np.float32)
    for column, feature in enumerate(CATALOGUE):
        features[:, column] = rng.choice([0.0, *feature.grid, feature.grid[-1] * 2, np.nan], rows)
    label = np.where(rng.random(rows) < 0.3, -1, rng.random(rows) < 0.5).astype(np.int64)
    mapping = shipped("models.toml")
    mapping["half_space"]["window"] = 64
    trainer = Trainer(ModelsConfig.from_mapping(mapping))
    trainer.learn(Examples.of_nobody(trainer.binner.bins(features), label, np.ones(rows), np.full(rows, START_MS)))
    return trainer.version("m-000001", 0)


def new_state(partitions: int) -> EngineState:
    rates = RateTable("test", "EUR", {name: float(factor) for name, factor in FACTORS.items()})
    state = EngineState(CONFIG, rates)
    for partition in range(partitions):
        state.open_partition(partition)
    return state


def shown(assessments: Assessments, row: int) -> tuple[Any, ...]:
    """What an alert shows to people; nothing where a record raised none."""
    alert = assessments.evidence.get(row)
    return () if alert is None else (alert.alert_id, [*alert.reasons], [*alert.evidence], alert.last_payments)


@dataclass
class Run:
    """The engine taking events in batches: consecutive records of one partition up to a cut or a label."""

    state: EngineState
    offsets: dict[tuple[int, bool], int] = field(default_factory=dict)
    assessed: list[Assessments] = field(default_factory=list)

    def _offsets(self, event: Event, count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Offsets with holes, as compaction and transactions leave them in a log."""
        first = self.offsets.get((event.partition, event.is_label), 0)
        self.offsets[event.partition, event.is_label] = first + 2 * count
        return np.arange(first, first + 2 * count, 2, dtype=np.int64)

    def take(self, events: Sequence[Event]) -> None:
        """Take a batch: records, or labels, of one partition."""
        values, offset = [event.value for event in events], self._offsets(events[0], len(events))
        partition = events[0].partition
        if events[0].is_label:
            columns = {name: [value[name] for value in values] for name in values[0]}
            columns["label"] = [Label.by_wire()[text] for text in columns["label"]]
            columns.pop("source", None)
            apply_labels(self.state, build_label_batch(columns, key=KEY, partition=partition, offset=offset))
        else:
            batch = build_batch(columns_of(values), key=KEY, partition=partition, offset=offset)
            self.assessed.append(assess_batch(self.state, batch, model(), policy()))

    def take_cut(self, events: Sequence[Event], rng: random.Random | None) -> None:
        """Take all events in order, cut where `rng` says: not at all if None, one by one if it always says 0."""
        waiting: list[Event] = []
        for event in events:
            alike = waiting and (waiting[0].partition, waiting[0].is_label) == (event.partition, event.is_label)
            if waiting and (not alike or (rng is not None and rng.random() < 0.3)):
                self.take(waiting)
                waiting = []
            waiting.append(event)
        if waiting:
            self.take(waiting)

    def column(self, name: str) -> np.ndarray[Any, np.dtype[Any]]:
        """A column of all assessments, in the order of the log."""
        return np.concatenate([getattr(part, name) for part in self.assessed])

    def answers(self) -> list[Any]:
        """Everything that was answered, to the bit."""
        names = ("features", "score", "anomaly", "action", "flags", "expected_loss_minor", "rule_hits")
        bits: list[Any] = [self.column(name).tobytes() for name in (*names, "effective_time_ms", "duplicate")]
        told = [(part.reason_codes(row), shown(part, row)) for part in self.assessed for row in range(len(part))]
        unlabelled = [part.unlabelled for part in self.assessed]
        return [*bits, told, b"".join(examples.bins.tobytes() for examples in unlabelled)]


class Always(random.Random):
    """Chance that cuts everywhere."""

    def random(self) -> float:
        return 0.0


def expected_row(naively: NaiveAssessment, anomaly: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """The twin's features, and beside them what the trees say of a payment, of which the twin knows nothing."""
    row = naively.row()
    row[_ANOMALY] = np.nan if naively.features is None else anomaly
    return row


def compare(events: Sequence[Event], partitions: int, rng: random.Random | None) -> None:
    """Let the engine and its twin take the same events, and compare what they say of every record."""
    run = Run(new_state(partitions))
    naive = NaiveEngine(to_reference, CONFIG.lateness_ms, CONFIG.identity_memory_ms)
    run.take_cut(events, rng)
    expected = []
    for event in events:
        if event.is_label:
            naive.label(event.value, event.partition)
        else:
            expected.append((event, naive.observe(event.value, event.partition)))
    if not expected:
        return
    features, flags = run.column("features"), run.column("flags")
    for row, (event, naively) in enumerate(expected):
        assert run.column("duplicate")[row] == naively.duplicate, event
        assert run.column("effective_time_ms")[row] == naively.effective_time_ms, event
        if not naively.duplicate:
            assert bool(flags[row] & Flag.LATE) == naively.late, event
            assert bool(flags[row] & Flag.DEGRADED) == (event.value["currency"] not in FACTORS), event
        ours, theirs = features[row], expected_row(naively, run.column("anomaly")[row])
        unequal = np.flatnonzero(~((ours == theirs) | (np.isnan(ours) & np.isnan(theirs))))
        assert not len(unequal), (event, [(CATALOGUE[i].name, ours[i], theirs[i]) for i in unequal])


@given(steps=st.lists(STEPS, max_size=40), partitions=st.integers(1, 2), seed=st.integers(0, 99))
@settings(max_examples=60)
def test_features_equal_the_naive_ones(steps: list[Any], partitions: int, seed: int) -> None:
    """On any stream every feature, effective time and flag is what the definition says, to the bit of float32.

    Records that are no payment of their own (reversals, outcomes, repetitions) have no features.
    """
    compare(build_events(steps, partitions), partitions, random.Random(seed))


@pytest.mark.parametrize("seed", range(6))
def test_features_equal_the_naive_ones_on_long_streams(seed: int) -> None:
    """The same on streams long enough for windows to fill, empty and be forgotten."""
    partitions = 1 + seed % 2
    compare(build_events(random_steps(seed, 320), partitions), partitions, random.Random(seed))


@given(steps=st.lists(STEPS, min_size=2, max_size=40), partitions=st.integers(1, 2), seed=st.integers(0, 99))
@settings(max_examples=40)
def test_a_result_does_not_depend_on_where_the_log_was_cut(steps: list[Any], partitions: int, seed: int) -> None:
    """Batches as long as can be, one by one, or cut at random: the same bits of every answer, and the same state."""
    events = build_events(steps, partitions)
    runs = [Run(new_state(partitions)) for _ in range(3)]
    for run, rng in zip(runs, (None, Always(), random.Random(seed)), strict=True):
        run.take_cut(events, rng)
    if runs[0].assessed:
        whole = runs[0].answers()
        assert runs[1].answers() == whole
        assert runs[2].answers() == whole
    assert len({run.state.digest() for run in runs}) == 1


@given(steps=st.lists(STEPS, min_size=2, max_size=40), seed=st.integers(0, 99))
@settings(max_examples=40)
def test_shared_entities_do_not_depend_on_the_order_of_partitions(steps: list[Any], seed: int) -> None:
    """Three partitions drained in any interleaving end in the same state: counts in absolute buckets commute."""
    events = build_events(steps, 3)
    logs = [[event for event in events if event.partition == partition] for partition in range(3)]
    orders = [events, [*logs[2], *logs[0], *logs[1]], list(events)]
    rng = random.Random(seed)
    heads = [list(log) for log in logs]
    orders[2] = [rng.choice([head for head in heads if head]).pop(0) for _ in range(len(events))]
    digests = set()
    for order in orders:
        run = Run(new_state(3))
        run.take_cut(order, rng)
        digests.add(run.state.digest())
    assert len(digests) == 1


def payment(number: int, time_ms: int, **fields: Any) -> Event:
    """A plain purchase, with what a scene needs besides."""
    value = {
        "transaction_id": f"t{number}",
        "card_token": "tok_0",
        "event_time_ms": time_ms,
        "amount_minor": 1_000 + number,
        "currency": "EUR",
        "merchant_id": "mer_a",
        "terminal_id": "trm_a",
    }
    return Event(0, is_label=False, value=value | fields)


def test_a_partition_that_starts_in_the_past_finds_what_another_left() -> None:
    """Nothing is forgotten of shared entities while a partition may still begin before it: both orders end alike."""
    early = [
        replace(payment(number, START_MS + number * HOUR_MS, card_token="tok_1"), partition=1) for number in (0, 1)
    ]
    late = [payment(number, START_MS + 33 * DAY_MS + number) for number in (2, 3)]
    digests = set()
    for order in ([*early, *late], [*late, *early]):
        run = Run(new_state(2))
        run.take_cut(order, None)
        digests.add(run.state.digest())
    assert len(digests) == 1


def label(number: int, time_ms: int, word: str = "fraud") -> Event:
    """A label of payment `number`."""
    value = {"transaction_id": f"t{number}", "card_token": "tok_0", "label": word, "label_time_ms": time_ms}
    return Event(0, is_label=True, value=value)


@pytest.mark.parametrize("window_ms", [HOUR_MS, DAY_MS, 7 * DAY_MS, 30 * DAY_MS])
@pytest.mark.parametrize("beyond_ms", [-1, 0, 1])
def test_the_edges_of_windows(window_ms: int, beyond_ms: int) -> None:
    """A payment, and a label, leave a window exactly its length after their time."""
    later = START_MS + window_ms + beyond_ms
    events = [payment(0, START_MS), payment(1, START_MS), label(0, START_MS), payment(2, later), payment(3, later)]
    compare(events, 1, None)


@pytest.mark.parametrize("beyond_ms", [-1, 0, 1])
@pytest.mark.parametrize("then", ["repetition", "reversal", "outcome"])
def test_the_edge_of_the_memory_of_identities(then: str, beyond_ms: int) -> None:
    """A payment is remembered for 48 hours of event time, to the millisecond: repeated, taken back, or told refused."""
    at_ms = START_MS + CONFIG.identity_memory_ms + beyond_ms
    again = {
        "repetition": payment(0, at_ms),
        "reversal": payment(1, at_ms, kind="reversal", refers_to="t0"),
        "outcome": payment(1, at_ms, kind="outcome", refers_to="t0", response_code="05"),
    }[then]
    compare([payment(0, START_MS), again, payment(2, at_ms)], 1, None)


@pytest.mark.compiled
def test_a_card_looks_back_at_its_last_payments_only() -> None:
    """With more payments than a card looks back at, counts and sums stay exact; what it has met before is the last."""
    events = [
        payment(
            number,
            START_MS + number * 1_000,
            merchant_id=f"mer_{number // 20 % 60}",
            amount_minor=1 + 2**33 * (number % 2),
        )
        for number in range(2 * CARD_MEMORY_PAYMENTS)
    ]
    whole, naive = Run(new_state(1)), NaiveEngine(to_reference, CONFIG.lateness_ms, CONFIG.identity_memory_ms)
    whole.take_cut(events, None)
    features = whole.column("features")
    # The twin counts everything anew for each payment it is asked of: some lie around the last one looked back at.
    asked = {1, 700, *range(CARD_MEMORY_PAYMENTS - 1, CARD_MEMORY_PAYMENTS + 2), 1_700, len(events) - 1}
    for row, event in enumerate(events):
        naively = naive.observe(event.value, with_features=row in asked)
        if naively.features is not None:
            np.testing.assert_array_equal(features[row], expected_row(naively, whole.column("anomaly")[row]))


def test_a_label_replaces_the_earlier_one() -> None:
    """A corrected label counts once, at its own time; the same label again counts nothing."""
    hour = HOUR_MS
    labels = [label(0, START_MS + hour), label(0, START_MS + 2 * hour), label(0, START_MS + 3 * hour, "genuine")]
    after = [payment(number, START_MS + number * hour) for number in (1, 2, 3, 4)]
    events = [payment(0, START_MS)]
    for told, paid in zip([*labels, label(0, START_MS + 4 * hour)], after, strict=True):
        events += [told, paid]
    compare(events, 1, None)


def test_a_payment_taken_back_twice_is_taken_back_once() -> None:
    """The second reversal, and an outcome after it, do nothing; its place and clock stay known."""
    place = {"latitude": 52.5, "longitude": 13.4}
    events = [
        payment(0, START_MS, **place),
        payment(1, START_MS + 5_000, kind="reversal", refers_to="t0"),
        payment(2, START_MS + 5_000, kind="reversal", refers_to="t0"),
        payment(3, START_MS + 6_000, kind="outcome", refers_to="t0", response_code="05"),
        payment(4, START_MS + 7_000, latitude=52.6, longitude=13.4),
    ]
    compare(events, 1, None)


def test_an_alert_shows_the_payments_up_to_its_own() -> None:
    """What follows in the same batch is not in an alert's evidence: neither later payments nor what they change."""
    events = [
        payment(0, START_MS),
        payment(1, START_MS + 1, merchant_id="mer_b"),
        payment(2, START_MS + 2, kind="reversal", refers_to="t0"),
        payment(3, START_MS + 3, kind="outcome", refers_to="t1", response_code="05"),
        payment(4, START_MS + 31 * DAY_MS),
        payment(5, START_MS + 31 * DAY_MS),
        payment(6, START_MS + 31 * DAY_MS),
    ]
    whole, single = Run(new_state(1)), Run(new_state(1))
    whole.take_cut(events, None)
    single.take_cut(events, Always())
    alone = [shown(part, 0) for part in single.assessed]
    assert sum(map(bool, alone)) >= 3
    assert [shown(whole.assessed[0], row) for row in range(len(events))] == alone


@pytest.mark.parametrize("later_ms", [HOUR_MS, 31 * DAY_MS, 40 * DAY_MS])
def test_an_alert_shows_no_other_cards_payments(later_ms: int) -> None:
    """What a card forgets within a batch, and another card's history then takes the room of, is in nobody's alert."""
    own = [payment(number, START_MS + number, amount_minor=1_000) for number in range(4)]
    own += [payment(number, START_MS + later_ms, amount_minor=1_000) for number in (4, 5)]
    others = [
        payment(number, START_MS + later_ms + 1, card_token=f"tok_{number}", amount_minor=2_000)
        for number in range(6, 12)
    ]
    whole, single = Run(new_state(1)), Run(new_state(1))
    whole.take_cut([*own, *others], None)
    single.take_cut([*own, *others], Always())
    alerts = [whole.assessed[0].evidence.get(row) for row in range(len(own))]
    amounts = {paid["amount_minor"] for alert in alerts if alert is not None for paid in alert.last_payments}
    assert amounts == {1_000}
    alone = [shown(part, 0) for part in single.assessed]
    assert [shown(whole.assessed[0], row) for row in range(len(alone))] == alone


def test_a_payment_without_a_rate_counts_as_it_is() -> None:
    """A currency without a rate flags `degraded` and drops nothing."""
    compare([payment(0, START_MS, currency="ABC"), payment(1, START_MS + 1, currency="USD")], 1, None)
