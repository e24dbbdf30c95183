"""Shared entities across workers: whoever owned what when, and however often rows come, all end in the same state."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.digest import entity_lines
from detector.engine import assess_batch
from detector.errors import SharedRowsError
from detector.labels import apply_labels, build_label_batch, mature
from detector.layout import OF_LABELS, OF_MATURED, OF_TRANSACTIONS, SOURCE_POSITION
from detector.policy import Policy
from detector.saved import StateChanges
from detector.sources import (
    Applied,
    SharedRows,
    apply_shared_rows,
    close_gap,
    is_ahead,
    known_to,
    raise_to,
    will_be_replayed,
)
from detector.state import EngineState
from detector.transactions import build_batch
from detector.vocabulary import Label
from tests.columns import columns_of
from tests.detector.event_streams import DAY_MS, START_MS, STEPS, Event, build_events, random_steps
from tests.detector.saving import Arrays, copied, image_of, taken
from tests.detector.test_features_against_naive import CONFIG, KEY, label, model, new_state, payment, shipped
from tests.naive_shared import NaiveShared

PARTITIONS, WORKERS = 4, 3
# Nothing is refused: what is refused does not mature, and what is depends on how fresh shared entities were.
POLICY = Policy.from_mapping(
    shipped("policy.toml")
    | {
        "rules": [],
        "thresholds": {"step_up": 1.0, "freeze": 1.0, "review": 1.0, "anomaly_review_share": 0.0},
    }
)


def take(state: EngineState, events: Sequence[Event], first: int) -> SharedRows:
    """Let the owner take consecutive events of one kind and partition; returns the rows."""
    values, partition = [event.value for event in events], events[0].partition
    offset = np.arange(first, first + len(values), dtype=np.int64)
    if events[0].is_label:
        columns = {name: [value[name] for value in values] for name in values[0] if name != "source"}
        columns["label"] = [Label.by_wire()[text] for text in columns["label"]]
        return apply_labels(state, build_label_batch(columns, key=KEY, partition=partition, offset=offset)).shared
    batch = build_batch(columns_of(values), key=KEY, partition=partition, offset=offset)
    return assess_batch(state, batch, model(), POLICY).shared


Saved = tuple[str, Arrays, list[Arrays]]


def saved_of(changes: StateChanges) -> Saved:
    """What a checkpoint of a state would hold now."""
    return changes.layout, copied(dict(changes.base_arrays())), [taken(changes)]


@dataclass
class Log:
    """One source partition: its records and labels in an order that keeps labels behind their payments."""

    events: list[Event]
    rows: list[bytes] = field(default_factory=list)
    checkpoint: tuple[int, Saved | None] = (0, None)
    owner: int = 0
    at: int = 0

    def offset(self, at: int) -> int:
        """The offset, in its own log, of the event at this place."""
        return sum(event.is_label == self.events[at].is_label for event in self.events[:at])

    def batch(self, most: int) -> list[Event]:
        """The next events of one kind."""
        alike = self.events[self.at : self.at + most]
        stop = next((n for n, event in enumerate(alike) if event.is_label != alike[0].is_label), len(alike))
        return alike[:stop]


def started() -> EngineState:
    """A worker that owns nothing yet."""
    state = new_state(0)
    state.follow(range(PARTITIONS))
    return state


@dataclass
class World:
    """Three workers that take partitions from each other at any moment, crash, and read each other's rows."""

    rng: random.Random
    logs: list[Log]
    matures: bool
    workers: list[EngineState] = field(default_factory=list)
    shared: list[Saved] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start all workers with nothing; the first owns everything."""
        self.workers = [started() for _ in range(WORKERS)]
        for number in range(PARTITIONS):
            self.workers[0].open_partition(number)

    def owner(self, number: int) -> EngineState:
        return self.workers[self.logs[number].owner]

    def publish(self, rows: SharedRows) -> None:
        """Publish rows in pieces, now and then twice."""
        for piece in rows.cut(self.rng.choice((1, 3, 1_000))):
            self.logs[rows.partition].rows += [piece.to_bytes()] * self.rng.choice((1, 1, 1, 2))

    def work(self, number: int, most: int) -> None:
        """Let the owner of a partition take some of its log."""
        log, state = self.logs[number], self.owner(number)
        batch = log.batch(most)
        if batch:
            rows = take(state, batch, log.offset(log.at))
            log.at += len(batch)
            self.publish(rows)
        if self.matures:
            matured = mature(state, number, state.partition(number).watermark_ms)
            if len(matured.shared):
                self.publish(matured.shared)

    def read(self, worker: int, number: int, most: int) -> None:
        """Let a worker read some rows of a partition, from where it stands."""
        state, log = self.workers[worker], self.logs[number]
        at = known_to(state.shared, number, SOURCE_POSITION)
        for data in log.rows[at : at + most]:
            assert apply_shared_rows(state, SharedRows.from_bytes(data)).missed == 0
        with state.change_shared():
            raise_to(state.shared, number, SOURCE_POSITION, min(at + most, len(log.rows)))

    def checkpoint(self, worker: int) -> None:
        """Save what a worker holds: of its own partitions all rows are in their topics."""
        state = self.workers[worker]
        for number in state.partitions:
            with state.change_shared():
                raise_to(state.shared, number, SOURCE_POSITION, len(self.logs[number].rows))
            self.logs[number].checkpoint = self.logs[number].at, saved_of(state.changes(number))
        self.shared.append(saved_of(state.shared_changes))

    def move(self, number: int, worker: int) -> None:
        """Give a partition to a worker: its latest checkpoint, rows to their end, then its own log."""
        log = self.logs[number]
        self.owner(number).drop_partition(number)
        log.owner = worker
        log.at, saved = log.checkpoint
        state = self.workers[worker]
        if saved is None:
            state.open_partition(number)
        else:
            state.restore(number, image_of(*saved))
        self.read(worker, number, 10**9)
        assert close_gap(state, number) == 0

    def kill(self, worker: int) -> None:
        """Lose a worker's memory; it starts again from anybody's shared entities, and others take its partitions."""
        lost = sorted(self.workers[worker].partitions)
        self.workers[worker] = started()
        if self.shared:
            self.workers[worker].restore_shared(image_of(*self.rng.choice(self.shared)))
        for number in lost:
            self.move(number, self.rng.randrange(WORKERS))

    def step(self) -> None:
        """Something happens."""
        number, worker = self.rng.randrange(PARTITIONS), self.rng.randrange(WORKERS)
        chance = self.rng.random()
        if chance < 0.5:
            self.work(number, self.rng.choice((1, 2, 9)))
        elif chance < 0.8:
            self.read(worker, number, self.rng.choice((1, 5)))
        elif chance < 0.88:
            self.checkpoint(worker)
        elif chance < 0.96:
            if worker != self.logs[number].owner and self.rng.random() < 0.5:
                self.checkpoint(self.logs[number].owner)
            self.move(number, worker)
        else:
            self.kill(worker)

    def drain(self) -> None:
        """Take every log, and read all rows, to their ends."""
        for number, log in enumerate(self.logs):
            while log.at < len(log.events):
                self.work(number, 5)
            self.work(number, 5)
        for worker in range(WORKERS):
            for number in range(PARTITIONS):
                self.read(worker, number, 10**9)


def alone(events: Sequence[Event], *, matures: bool) -> EngineState:
    """One worker that has owned everything from the beginning."""
    state, offsets = new_state(PARTITIONS), dict.fromkeys(((p, k) for p in range(PARTITIONS) for k in (0, 1)), 0)
    for event in events:
        take(state, [event], offsets[event.partition, event.is_label])
        offsets[event.partition, event.is_label] += 1
    while matures and any(len(mature(state, p, state.partition(p).watermark_ms).examples) for p in range(PARTITIONS)):
        pass
    return state


def check_all_end_alike(events: Sequence[Event], seed: int, steps: int, *, matures: bool) -> None:
    """Let three workers take the logs in any way, and compare each with one alone."""
    logs = [Log([event for event in events if event.partition == number]) for number in range(PARTITIONS)]
    world = World(random.Random(seed), logs, matures)
    for _ in range(steps):
        world.step()
    world.drain()
    expected = alone(events, matures=matures).shared_digest()
    assert [state.shared_digest() for state in world.workers] == [expected] * WORKERS


@given(steps=st.lists(STEPS, min_size=2, max_size=40), seed=st.integers(0, 999))
@settings(max_examples=40)
def test_all_workers_end_with_what_one_alone_would_have(steps: list[Any], seed: int) -> None:
    """Whoever owned what when, wherever batches were cut, whatever crashed and was published twice."""
    check_all_end_alike(build_events(steps, PARTITIONS), seed, 60, matures=False)


@pytest.mark.parametrize("seed", range(6))
def test_all_workers_end_alike_where_silence_makes_payments_genuine(seed: int) -> None:
    """The same on long streams, maturing whenever it happens: identities that come again after days are left out."""
    steps = [
        replace(step, what="payment" if step.what == "repetition" else step.what) for step in random_steps(seed, 240)
    ]
    check_all_end_alike(build_events(steps, PARTITIONS), seed, 300, matures=True)


def test_the_kernel_applies_rows_as_its_twin_does() -> None:
    """Counts, outcomes and what is skipped are those of the slow twin, whatever pieces come how often."""
    events = build_events(random_steps(11, 400), PARTITIONS)
    rng, naive, state, owner = random.Random(5), NaiveShared(), started(), new_state(PARTITIONS)
    offsets = dict.fromkeys(((p, k) for p in range(PARTITIONS) for k in (False, True)), 0)
    for event in events:
        place = event.partition, event.is_label
        rows = take(owner, [event], offsets[place])
        offsets[place] += 1
        for piece in [rows] * rng.choice((1, 1, 2)):
            assert apply_shared_rows(state, SharedRows.from_bytes(piece.to_bytes())).rows == naive.apply(piece)
    visible_from_ms = state.limits().slowest_watermark_ms - CONFIG.lateness_ms
    lines = sorted((line[2], line[1], *line[3:]) for line in entity_lines(state.shared, visible_from_ms))
    assert lines == sorted(naive.lines(visible_from_ms))
    assert lines == sorted((line[2], line[1], *line[3:]) for line in entity_lines(owner.shared, visible_from_ms))


def test_what_was_applied_before_a_takeover_is_seen_and_not_added() -> None:
    """A payment whose row came before its owner: the same features as it had, and counts do not move."""
    events = [payment(number, START_MS + number * 60_000, mcc="5411", device_id="dev") for number in range(30)]
    before, after = new_state(1), new_state(1)
    take(before, events[:-1], 0)
    after.restore(0, image_of(*saved_of(before.changes(0))))
    batch = build_batch(columns_of([events[-1].value]), key=KEY, offset=np.array([29], dtype=np.int64))
    first = assess_batch(before, batch, model(), POLICY)
    after.restore_shared(image_of(*saved_of(before.shared_changes)))
    again = assess_batch(after, batch, model(), POLICY)
    assert again.features.tobytes() == first.features.tobytes()
    assert after.shared_digest() == before.shared_digest()
    np.testing.assert_array_equal(again.shared.words, first.shared.words)


def test_a_label_after_a_crash_corrects_what_silence_had_made_genuine() -> None:
    """The former owner let a payment mature and told of it, and crashed before its checkpoint: it counts once."""
    later = START_MS + 20 * DAY_MS
    events = [payment(0, START_MS), payment(1, later)]
    owner, other = new_state(1), started()
    apply_shared_rows(other, take(owner, events, 0))
    saved = saved_of(owner.changes(0))
    apply_shared_rows(other, mature(owner, 0, later).shared)
    other.restore(0, image_of(*saved))
    for state in (owner, other):
        take(state, [label(0, later)], 0)
    other.follow(())
    assert other.shared_digest() == owner.shared_digest()
    assert known_to(other.shared, 0, OF_MATURED) == 1
    assert not len(mature(other, 0, later).examples)


def test_nothing_matures_before_labels_have_caught_up() -> None:
    """What others know of a partition's labels its new owner must know before silence means anything."""
    later = START_MS + 20 * DAY_MS
    owner, other = new_state(1), started()
    apply_shared_rows(other, take(owner, [payment(0, START_MS), payment(1, later)], 0))
    saved = saved_of(owner.changes(0))
    apply_shared_rows(other, take(owner, [label(0, later)], 0))
    other.restore(0, image_of(*saved))
    assert is_ahead(other, 0)
    assert not len(mature(other, 0, later).examples)
    take(other, [label(0, later)], 0)
    assert not is_ahead(other, 0)
    other.follow(())
    assert other.shared_digest() == owner.shared_digest()


def test_a_gap_is_counted_and_closed() -> None:
    """Rows that nobody has any more are missed by offset, and what follows is applied."""
    events = [payment(number, START_MS + number) for number in range(10)]
    owner, other = new_state(1), started()
    take(owner, events[:4], 0)
    saved = saved_of(owner.changes(0))
    rows = take(owner, events[4:], 4)
    assert apply_shared_rows(other, rows) == Applied(rows=6, missed=4)
    assert apply_shared_rows(other, rows) == Applied(rows=0, missed=0)
    new = started()
    new.restore(0, image_of(*saved))
    assert not will_be_replayed(new, rows)
    assert close_gap(new, 0) == 4
    assert close_gap(new, 0) == 0
    fresh = started()
    fresh.open_partition(0)
    assert will_be_replayed(fresh, rows)
    assert known_to(new.shared, 0, OF_TRANSACTIONS) == 4
    assert known_to(new.shared, 0, OF_LABELS) == 0


def test_rows_that_are_none_are_refused() -> None:
    """Bytes of somebody else, of another version, or cut short are told from rows, and change nothing."""
    rows = take(new_state(1), [payment(number, START_MS + number) for number in range(3)], 0)
    data = rows.to_bytes()
    again = SharedRows.from_bytes(data)
    assert (again.partition, again.source, again.first, again.next) == (0, int(OF_TRANSACTIONS), 0, 3)
    np.testing.assert_array_equal(again.words, rows.words)
    for broken in (b"", b"{}", data[:-8], data + bytes(8), bytes(8) + data[8:], data[:8] + b"\xff" * 8 + data[16:]):
        with pytest.raises(SharedRowsError):
            SharedRows.from_bytes(broken)
