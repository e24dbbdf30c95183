"""Payments on disk: labels meet them as if they had stayed in memory, samples stand for all, a crash loses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from detector.catalogue import DAY_MS, HOUR_MS
from detector.engine import assess_batch
from detector.examples import Examples
from detector.kept import levels_of, segments_of
from detector.labels import LabelResult, apply_labels, build_label_batch, mature
from detector.layout import DECIDED, FORCED_EVICTIONS, PAYMENTS, PROGRESS, SCORE_BITS
from detector.memory import table_rows
from detector.policy import Policy
from detector.state import EngineState, StateConfig
from detector.transactions import TransactionBatch, build_batch
from detector.vocabulary import Action, Label
from tests.columns import columns_of
from tests.detector.event_streams import START_MS
from tests.detector.memory_segments import MemorySegments
from tests.detector.saving import whole
from tests.detector.test_engine import RATES
from tests.detector.test_features_against_naive import CONFIG, KEY, model, shipped

pytestmark = pytest.mark.compiled
# Everything fits: a ring of 64 payments, and a disk for all that come within the retention.
SMALL = replace(CONFIG, payments=64, kept=8_192, retention_ms=90 * DAY_MS, events=65_536, entities=8_192)
LARGE = replace(SMALL, payments=8_192)
# A disk for one payment in some.
SCARCE = replace(SMALL, kept=256)


def _policy() -> Policy:
    """A policy that has people look at some payments."""
    never = {"step_up": 1.0, "freeze": 1.0, "anomaly_review_share": 0.0, "review": 0.9}
    changed = {"rules": [], "random_review_share": 0.02, "thresholds": never}
    return Policy.from_mapping(shipped("policy.toml") | changed)


POLICY = _policy()


def payments(count: int, apart_ms: int = HOUR_MS, first: int = 0) -> TransactionBatch:
    records = [
        {
            "transaction_id": f"t{number}", "card_token": f"card{number % 23}", "currency": "EUR",
            "amount_minor": 100 + 7_919 * number % 5_000, "event_time_ms": START_MS + number * apart_ms,
            "merchant_id": f"mer{number % 7}", "terminal_id": f"trm{number % 5}" if number % 3 else None,
            "device_id": f"dev{number % 11}", "mcc": 5411 + number % 3,
        }
        for number in range(first, first + count)
    ]  # fmt: skip
    return build_batch(columns_of(records), key=KEY, offset=np.arange(first, first + count))


def new_state(config: StateConfig, segments: MemorySegments | None = None) -> EngineState:
    state = EngineState(config, RATES, segments)
    state.open_partition(0)
    return state


def label(state: EngineState, rows: list[int], labels: list[int], at_ms: int) -> LabelResult:
    first = state.partition(0).label_next_offset
    columns: dict[str, Any] = {
        "transaction_id": [f"t{row}" for row in rows], "card_token": [f"card{row % 23}" for row in rows],
        "label": labels, "label_time_ms": [at_ms] * len(rows), "source": [0] * len(rows),
        "labelled_by": ["ann"] * len(rows),
    }  # fmt: skip
    return apply_labels(state, build_label_batch(columns, key=KEY, offset=np.arange(first, first + len(rows))))


def bits(examples: Examples) -> list[bytes]:
    """Examples as they are, a row each, to be compared in any order."""
    columns = [getattr(examples, name) for name in Examples.__slots__]
    return sorted(
        b"".join(np.ascontiguousarray(column[row]).tobytes() for column in columns) for row in range(len(examples))
    )


@dataclass
class Story:
    """Payments hour by hour; every so often labels of earlier ones, at any age, repeated and corrected."""

    count: int = 1_600
    every: int = 50
    seed: int = 1

    def steps(self) -> Iterator[tuple[TransactionBatch, list[int], list[int], int]]:
        rng, everything = np.random.default_rng(self.seed), payments(self.count)
        for start in range(0, self.count, self.every):
            stop = start + self.every
            rows = rng.integers(0, stop + 3, 12).tolist()
            yield everything[start:stop], rows, rng.integers(0, 2, 12).tolist(), START_MS + stop * HOUR_MS

    def play(self, state: EngineState, first: int = 0, last: int = 10**9) -> list[Any]:
        """Take steps from `first` to before `last`; what labels became."""
        told: list[Any] = []
        for number, (batch, rows, labels, now_ms) in enumerate(self.steps()):
            if first <= number < last:
                assess_batch(state, batch, model(), POLICY)
                result = label(state, rows, labels, now_ms)
                told.append((result.outcome.tolist(), bits(result.examples)))
        return told


def test_labels_meet_payments_on_disk_as_if_they_were_in_memory() -> None:
    """Where the disk has room for all, every label's outcome, example and count is that of a memory without end."""
    disk = MemorySegments()
    small, large = new_state(SMALL, disk), new_state(LARGE)
    assert Story().play(small) == Story().play(large)
    assert len(segments_of(small.partition(0))) > 5
    assert small.digest() == large.digest()
    now_ms = START_MS + 200 * DAY_MS
    matured: list[list[bytes]] = []
    for state in (small, large):
        found: list[bytes] = []
        while len(examples := mature(state, 0, now_ms).examples):
            found += bits(examples)
        matured.append(sorted(found))
    # What has gathered and is not on disk yet matures when it is.
    assert set(matured[0]) <= set(matured[1])
    assert len(matured[0]) > 0.85 * len(matured[1])


def test_a_crash_loses_nothing_and_doubles_nothing() -> None:
    """From any checkpoint, with whatever segments were written after it, all goes on as if nothing had happened."""
    disk, story = MemorySegments(), Story(count=1_000)
    state = new_state(SMALL, disk)
    for stop in (3, 8, 15):
        story.play(state, state.partition(0).next_offset // story.every, stop)
        # Each is taken over whole by the state that is restored from it.
        saved = [(whole(state.changes(0)), whole(state.shared_changes)) for _ in range(2)]
        crashed = story.play(state, stop)
        restored = EngineState(SMALL, RATES, disk)
        restored.restore(0, saved[0][0])
        restored.restore_shared(saved[0][1])
        assert story.play(restored, stop) == crashed
        assert restored.digest() == state.digest()
        assert [segment.name for segment in segments_of(restored.partition(0))] == [
            segment.name for segment in segments_of(state.partition(0))
        ]
        state = EngineState(SMALL, RATES, disk)
        state.restore(0, saved[1][0])
        state.restore_shared(saved[1][1])


def test_what_is_kept_does_not_depend_on_where_the_log_was_cut() -> None:
    """One long batch or many short ones: the same segments, by name and so by content."""
    whole, disks = payments(1_200), [MemorySegments(), MemorySegments()]
    for disk, size in zip(disks, (1_200, 7), strict=True):
        state = new_state(SCARCE, disk)
        for start in range(0, len(whole), size):
            assess_batch(state, whole[start : start + size], model(), POLICY)
    assert disks[0].stored.keys() == disks[1].stored.keys()
    assert len(disks[0].stored) > 3


def test_a_sample_stands_for_all() -> None:
    """Where the disk is scarce, suspicious payments are all kept, and the weights of others make up for the rest."""
    state = new_state(SCARCE, MemorySegments())
    count = 12_000
    whole = payments(count, apart_ms=HOUR_MS // 4)
    action = np.concatenate(
        [assess_batch(state, whole[start : start + 500], model(), POLICY).action for start in range(0, count, 500)]
    )
    alive = segments_of(state.partition(0))
    assert sum(segment.rows for segment in alive) <= SCARCE.kept
    weight: dict[int, float] = {}
    while len(examples := mature(state, 0, START_MS + 1_000 * DAY_MS).examples):
        for row in range(len(examples)):
            weight[int(examples.label_time_ms[row])] = float(examples.weight[row])
    rows = np.array([(time_ms - SCARCE.maturity_ms - START_MS) * 4 // HOUR_MS for time_ms in sorted(weight)])
    weights = np.array([weight[time_ms] for time_ms in sorted(weight)])
    on_disk = rows < count - 64
    kept = rows[on_disk]
    assert len(kept) < 0.2 * (kept.max() - kept.min())
    assert (weights[on_disk] > 1).any()
    suspicious = np.flatnonzero(action != Action.ALLOW)
    suspicious = suspicious[(suspicious >= kept.min()) & (suspicious <= kept.max())]
    assert set(suspicious.tolist()) <= set(kept.tolist())
    assert set(weights[on_disk][np.isin(kept, suspicious)].tolist()) == {1.0}
    assert weights[on_disk].sum() == pytest.approx(kept.max() - kept.min(), rel=0.25)


def test_the_more_it_scored_the_likelier_a_payment_is_kept() -> None:
    """Over many payments what is kept, weighted, is as many as came at every score; high scores are kept more often."""
    state = new_state(replace(LARGE, kept=64))
    assess_batch(state, payments(6_000, apart_ms=60_000), model(), POLICY)
    ring = table_rows(state.partition(0).memory, int(PAYMENTS))
    rows, rng = np.arange(1, 6_001), np.random.default_rng(2)
    scores: NDArray[np.float64] = 2.0 ** rng.uniform(-14, -1, len(rows))
    changed = ring.copy()
    changed[rows, SCORE_BITS], changed[rows, DECIDED] = scores.view(np.int64), 0
    levels = levels_of(changed, rows, replace(LARGE, kept=30_000))
    for low, high in ((-14, -10), (-10, -5), (-5, -1)):
        band = (scores >= 2.0**low) & (scores < 2.0**high)
        weights = 2.0 ** levels[band & (levels >= 0)]
        assert weights.sum() == pytest.approx(band.sum(), rel=0.35)
    share = [float((levels[(scores >= low)] >= 0).mean()) for low in (0.0, 0.01, 0.25)]
    assert share[0] < share[1] < share[2]


def test_weighted_counts_are_corrected_exactly() -> None:
    """A payment that stands for many counts so often in its histories, and a correction takes exactly that back."""
    states = [new_state(SCARCE, disk) for disk in (MemorySegments(), MemorySegments())]
    for state in states:
        assess_batch(state, payments(2_000, apart_ms=HOUR_MS // 4), model(), POLICY)
    now_ms = START_MS + 30 * DAY_MS
    rows = list(range(1_900))
    first = label(states[0], rows, [1] * len(rows), now_ms)
    assert first.examples.weight.max() > 1
    assert 0 < len(first.examples) < len(rows)
    label(states[0], rows, [0] * len(rows), now_ms)
    label(states[1], rows, [0] * len(rows), now_ms)
    assert states[0].digest() == states[1].digest()
    assert label(states[0], rows, [0] * len(rows), now_ms).counts["repeated"] == len(first.examples)


def test_a_lost_segment_costs_its_payments_only() -> None:
    """Labels of payments that the disk has lost are unknown, and counted so; all others are as ever."""
    disk = MemorySegments()
    state = new_state(SMALL, disk)
    assess_batch(state, payments(1_500), model(), POLICY)
    lost = segments_of(state.partition(0))[2]
    gone = disk.stored.pop((0, lost.name))
    rows = list(range(1_500))
    counts = label(state, rows, [0] * len(rows), START_MS + 63 * DAY_MS).counts
    assert (counts["unknown"], counts["applied"]) == (len(gone["time_ms"]), 1_500 - len(gone["time_ms"]))
    assert lost.name not in [segment.name for segment in segments_of(state.partition(0))]
    assert counts["applied"] == label(state, rows, [0] * len(rows), START_MS + 63 * DAY_MS).counts["repeated"]


def test_a_full_disk_stops_nothing() -> None:
    """Payments that the disk does not take are given up, counted, and unknown; answers are as ever."""
    disk = MemorySegments()
    state, other = new_state(SMALL, disk), new_state(SMALL, MemorySegments())
    whole = payments(1_200)
    answers = []
    for each in (state, other):
        disk.is_full = False
        first = assess_batch(each, whole[:600], model(), POLICY)
        disk.is_full = True
        last = assess_batch(each, whole[600:], model(), POLICY)
        answers.append(first.features.tobytes() + last.features.tobytes() + last.score.tobytes())
    assert answers[0] == answers[1]
    written = sum(segment.rows for segment in segments_of(state.partition(0)))
    assert 0 < written < 600
    lost = int(table_rows(state.partition(0).memory, int(PROGRESS))[1, FORCED_EVICTIONS])
    rows = list(range(1_200))
    counts = label(state, rows, [0] * len(rows), START_MS + 51 * DAY_MS).counts
    assert (counts["unknown"], counts["applied"]) == (lost, 1_200 - lost)


@pytest.mark.parametrize("failing", ["detector.engine.explain", "detector.kept.empty_kept"])
def test_an_error_takes_back_what_was_let_go(failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever raises in a batch that let payments go to disk, they are in memory again, and the next try is alike."""
    disk = MemorySegments()
    state, other = new_state(SMALL, disk), new_state(SMALL, MemorySegments())
    whole = payments(700)

    def fail(*_: object) -> None:
        message = "failpoint"
        raise RuntimeError(message)

    for each in (state, other):
        assess_batch(each, whole[:40], model(), POLICY)
    before, shipped_policy = state.digest(), Policy.from_mapping(shipped("policy.toml"))
    with monkeypatch.context() as patched:
        patched.setattr(failing, fail)
        with pytest.raises(RuntimeError, match="failpoint"):
            assess_batch(state, whole[40:], model(), shipped_policy)
    assert (state.digest(), state.partition(0).next_offset) == (before, 40)
    assert segments_of(state.partition(0)) == []
    for each in (state, other):
        assess_batch(each, whole[40:], model(), POLICY)
    assert state.digest() == other.digest()
    names = [[segment.name for segment in segments_of(each.partition(0))] for each in (state, other)]
    assert names[0] == names[1]
    rows = list(range(700))
    told = [bits(label(each, rows, [1] * 700, START_MS + 31 * DAY_MS).examples) for each in (state, other)]
    assert told[0] == told[1]


def test_old_segments_are_forgotten() -> None:
    """Nothing is asked of payments beyond the retention: they leave the list of segments, and their labels memory."""
    state = new_state(replace(SMALL, retention_ms=20 * DAY_MS), MemorySegments())
    assess_batch(state, payments(1_500), model(), POLICY)
    oldest = segments_of(state.partition(0))[0]
    assert oldest.number > 1
    assert oldest.last_ms > START_MS + 1_500 * HOUR_MS - 21 * DAY_MS
    counts = label(state, [5], [int(Label.FRAUD)], START_MS + 1_500 * HOUR_MS).counts
    assert counts["unknown"] == 1
