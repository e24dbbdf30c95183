"""Changes: a base and what changed since make up exactly what is in memory, however it was cut, torn or refused."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.changes import CHUNK_LINES, Changes, Chunk, Room, layout_of
from detector.engine import assess_batch
from detector.errors import StateError
from detector.memory import Memory, TableSpec, allocate, begin, mark, reserve, table_rows
from detector.saved import StateChanges, StateImage
from detector.state import EngineState
from tests.detector.event_streams import STEPS, Event, build_events, random_steps
from tests.detector.saving import EVERYTHING, Arrays, copied, image_of, taken, whole
from tests.detector.test_engine import RATES, new_state, payments
from tests.detector.test_features_against_naive import CONFIG, Run, model, policy
from tests.naive_changes import newest_copies

# Small enough for cards, payments and entities to be evicted on a stream of a few hundred records.
TIGHT = replace(CONFIG, cards=64, events=256, payments=64, entities=64, buckets=1024)


@dataclass
class _Base:
    """A base that is read piece by piece while batches go on, as the thread that writes it does."""

    parts_before: int
    pieces: list[tuple[str, np.ndarray[Any, Any], np.ndarray[Any, Any], int]] = field(default_factory=list)
    arrays: Arrays = field(default_factory=dict)
    parts_at_end: int = 0

    @classmethod
    def begun(cls, changes: StateChanges, parts: int) -> _Base:
        base = cls(parts)
        for name, array in changes.base_arrays():
            base.arrays[name] = np.zeros_like(array)
            step = max(1, -(-len(array) // 3))
            base.pieces += [(name, array, base.arrays[name], start) for start in range(0, len(array), step)]
        return base

    def read(self, rng: random.Random, count: int) -> None:
        for _ in range(min(count, len(self.pieces))):
            _, source, target, start = self.pieces.pop(rng.randrange(len(self.pieces)))
            stop = start + max(1, -(-len(source) // 3))
            target[start:stop] = source[start:stop]


@dataclass
class Keeper:
    """Takes checkpoints of one memory at random moments, with bases between, some of which fail."""

    changes: StateChanges
    rng: random.Random
    parts: list[Arrays] = field(default_factory=list)
    bases: list[_Base] = field(default_factory=list)
    reading: _Base | None = None

    def look(self) -> None:
        """Between two batches: any of what may happen there."""
        if self.reading is not None:
            self.reading.read(self.rng, self.rng.randrange(4))
        elif self.rng.random() < 0.1:
            self.reading = _Base.begun(self.changes, len(self.parts))
        if self.rng.random() < 0.5:
            self.changes.drain(self.rng.choice([1, 8, EVERYTHING]))
        if self.rng.random() < 0.2:
            self.checkpoint()

    def checkpoint(self) -> None:
        while not self.changes.drain(self.rng.choice([1, 64, EVERYTHING])):
            pass
        part = self.changes.take()
        if self.rng.random() < 0.2:
            self.changes.put_back(part)  # the store refused it
            return
        self.parts.append(copied(part.arrays()))
        self.changes.release(part)
        if self.reading is not None and not self.reading.pieces:
            self.reading.parts_at_end = len(self.parts)
            self.bases.append(self.reading)
            self.reading = None

    def end(self) -> None:
        """A last base and a last checkpoint."""
        self.reading = self.reading or _Base.begun(self.changes, len(self.parts))
        self.reading.read(self.rng, len(self.reading.pieces))
        while self.reading is not None:
            self.checkpoint()

    def images(self) -> list[StateImage]:
        """What each base yields together with the changes since it was begun."""
        return [image_of(self.changes.layout, base.arrays, self.parts[base.parts_before :]) for base in self.bases]


def play(state: EngineState, events: Sequence[Event], seed: int) -> list[Keeper]:
    """Take events in batches, some of which fail half-way; checkpoint every memory as it goes."""
    rng = random.Random(seed)
    keepers = [Keeper(owner.changes, rng) for owner in state.partitions.values()]
    keepers.append(Keeper(state.shared_changes, rng))
    run, waiting = Run(state), list(events)
    while waiting:
        stop = next((n for n, event in enumerate(waiting) if _kind(event) != _kind(waiting[0])), len(waiting))
        stop = min(stop, rng.randint(1, 9))
        if rng.random() < 0.15:
            _fail_half_way(run, waiting[:stop])
        run.take(waiting[:stop])
        waiting = waiting[stop:]
        for keeper in keepers:
            keeper.look()
    for keeper in keepers:
        keeper.end()
    return keepers


def _kind(event: Event) -> tuple[int, bool]:
    return event.partition, event.is_label


def _fail_half_way(run: Run, events: Sequence[Event]) -> None:
    """A batch that is rolled back after it has changed everything it changes."""
    offsets = dict(run.offsets)

    def fail() -> None:
        with run.state.change(run.state.partition(events[0].partition)):
            run.take(events)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    run.offsets = offsets
    if not events[0].is_label:
        run.assessed.pop()


def restored(state: EngineState, images: Sequence[StateImage]) -> EngineState:
    other = EngineState(state.config, state.rates)
    for partition, image in zip(state.partitions, images, strict=False):
        other.restore(partition, image)
    other.restore_shared(images[-1])
    return other


def check(state: EngineState, keepers: Sequence[Keeper]) -> None:
    """Every base of every memory, with its changes, is what is in memory: by the digest and word for word."""
    newest = [keeper.images()[-1] for keeper in keepers]
    other = restored(state, newest)
    assert other.digest() == state.digest()
    memories = [*(owner.memory for owner in other.partitions.values()), other.shared]
    for keeper, memory in zip(keepers, memories, strict=True):
        for name, array in keeper.changes.base_arrays():
            if name.startswith("at."):
                start = int(name.removeprefix("at."))
                np.testing.assert_array_equal(memory[start : start + len(array)], array)
    for keeper in keepers:
        for image in keeper.images():
            found = image._image.finish()
            for name, array in keeper.changes.base_arrays():
                if name.startswith("at."):
                    start = int(name.removeprefix("at."))
                    np.testing.assert_array_equal(found[start : start + len(array)], array)
    for partition, owner in state.partitions.items():
        assert other.partition(partition).names.texts == owner.names.texts
        assert other.partition(partition).reason_codes == owner.reason_codes


@given(steps=st.lists(STEPS, min_size=1, max_size=40), partitions=st.integers(1, 2), seed=st.integers(0, 9999))
@settings(max_examples=40, deadline=None)
def test_a_base_and_its_changes_are_what_is_in_memory(steps: list[Any], partitions: int, seed: int) -> None:
    """Any stream, any cuts, batches that fail, bases torn by what goes on meanwhile, writes that are refused."""
    state = EngineState(CONFIG, RATES)
    for partition in range(partitions):
        state.open_partition(partition)
    check(state, play(state, build_events(steps, partitions), seed))


@pytest.mark.parametrize("seed", range(4))
def test_it_holds_where_room_runs_out(seed: int) -> None:
    """The same on streams so long that cards, payments, blocks and entities are forgotten to make room."""
    state = EngineState(TIGHT, RATES)
    state.open_partition(0)
    check(state, play(state, build_events(random_steps(seed, 320)), seed))


def test_what_goes_on_after_a_restore_is_marked_as_well() -> None:
    """A life that began from a checkpoint goes on writing changes on top of it: the chain is never cut."""
    state = EngineState(CONFIG, RATES)
    state.open_partition(0)
    events = build_events(random_steps(7, 200))
    run = Run(state)
    run.take_cut(events[:80], random.Random(1))
    changes = state.partition(0).changes
    base, parts = copied(dict(changes.base_arrays())), [taken(changes)]
    shared_base, shared_parts = copied(dict(state.shared_changes.base_arrays())), [taken(state.shared_changes)]
    for stop in (120, 160, 200):
        other = EngineState(CONFIG, RATES)
        other.restore(0, image_of(changes.layout, base, parts))
        other.restore_shared(image_of(state.shared_changes.layout, shared_base, shared_parts))
        for again in (run, Run(other, dict(run.offsets))):
            again.take_cut(events[stop - 40 : stop], None)
        parts.append(taken(other.partition(0).changes))
        shared_parts.append(taken(other.shared_changes))
    last = EngineState(CONFIG, RATES)
    last.restore(0, image_of(changes.layout, base, parts))
    last.restore_shared(image_of(state.shared_changes.layout, shared_base, shared_parts))
    assert last.digest() == state.digest()


def test_other_capacities_are_moved_into() -> None:
    """State that was saved under smaller capacities opens under larger ones, the same to the digest."""
    state = new_state(TIGHT)
    Run(state).take_cut(build_events(random_steps(3, 60)), None)
    larger = EngineState(CONFIG, RATES)
    larger.restore(0, whole(state.partition(0).changes))
    larger.restore_shared(whole(state.shared_changes))
    assert larger.digest() == state.digest()
    again = whole(larger.partition(0).changes)
    other = EngineState(CONFIG, RATES)
    other.restore(0, again)
    assert other.partition(0).next_offset == state.partition(0).next_offset
    big = new_state()
    Run(big).take_cut(build_events(random_steps(4, 600)), None)
    with pytest.raises(StateError, match="raise its capacity"):
        EngineState(TIGHT, RATES).restore_shared(whole(big.shared_changes))


def test_what_does_not_fit_together_is_refused() -> None:
    """Arrays that are missing, of another type or outside of their memory are named, and nothing is opened."""
    state = new_state()
    Run(state).take_cut(build_events(random_steps(5, 40)), None)
    changes = state.partition(0).changes
    base, part = copied(dict(changes.base_arrays())), taken(changes)
    outside = part["lines.0000"].copy()
    outside[0] = 1 << 60
    broken: list[Arrays] = [
        {name: array for name, array in part.items() if name != "header"},
        {name: array for name, array in part.items() if name != "words.0000"},
        {name: array for name, array in part.items() if name != "names.texts"},
        part | {"lines.0000": part["lines.0000"].astype(np.int32)},
        part | {"lines.0000": outside},
    ]
    for arrays in broken:
        with pytest.raises(StateError):
            EngineState(CONFIG, RATES).restore(0, image_of(changes.layout, base, [arrays]))
    for layout in ("nonsense", f"{len(state.shared)}-0123456789abcdef"):
        with pytest.raises(StateError):
            EngineState(CONFIG, RATES).restore(0, image_of(layout, {}, [part]))
    with pytest.raises(StateError, match="no usable at"):
        image_of(changes.layout, {"at.99999999999": np.zeros(3, dtype=np.int64)}, [])


SPECS = (TableSpec("rows", 300, 5), TableSpec("index", 300, 1, is_index=True))


def _marked(memory: Memory, place: int, length: int) -> list[int]:
    changes = Changes(memory, SPECS, Room())
    mark(memory, place, length)
    changes.drain(EVERYTHING)
    return [int(line) for chunk in changes.take()[0] for line in chunk.lines[: chunk.used]]


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 299 * 8 - 1), length=st.integers(1, 2000))
def test_marks_are_the_lines_of_the_words(place: int, length: int) -> None:
    """A range of words marks exactly the lines it touches, whatever pages it runs over."""
    memory = reserve(SPECS, 1 << 12)
    for _ in range(300):
        begin(memory)
        allocate(memory, 0)
    _marked(memory, 0, 1)
    start = int(table_rows(memory, 0).ctypes.data - memory.ctypes.data) // 8
    length = min(length, 300 * 8 - place)
    expected = range((start + place) // 8, (start + place + length - 1) // 8 + 1)
    assert _marked(memory, start + place, length) == list(expected)


def test_a_drain_takes_no_more_than_it_is_told() -> None:
    """A step stops soon after its bound and says so; the rest is copied by the next ones, nothing twice."""
    state = new_state()
    Run(state).take_cut(build_events(random_steps(6, 200)), None)
    changes = state.partition(0).changes
    steps = 1
    while not changes.drain(64):
        steps += 1
    assert steps > 2
    part = changes.take()
    lines = np.concatenate([chunk.lines[: chunk.used] for chunk in part.chunks])
    assert len(np.unique(lines)) == len(lines)
    assert changes.drain(64)
    assert changes.held_bytes == 0


@given(st.lists(st.lists(st.integers(0, 200), max_size=60), max_size=4))
def test_of_several_copies_of_a_line_the_last_is_written(drained: list[list[int]]) -> None:
    """Whatever was copied again and again, over several chunks: each line once, as it was last, like the slow twin."""
    memory, chunks = reserve(SPECS, 1 << 12), []
    changes = Changes(memory, SPECS, Room())
    copies = itertools.count()
    for lines in drained:
        chunk = Chunk()
        chunk.used = len(lines)
        chunk.lines[: chunk.used] = lines
        chunk.words[: chunk.used] = np.array([next(copies) for _ in lines], dtype=np.int64).reshape(-1, 1)
        chunks.append(chunk)
    wanted = newest_copies(
        (int(chunk.lines[index]), int(chunk.words[index, 0])) for chunk in chunks for index in range(chunk.used)
    )
    arrays = changes.arrays_of(chunks, memory[:8])
    found = [
        (int(line), int(copy))
        for number in range(len(chunks))
        for line, copy in zip(arrays[f"lines.{number:04d}"], arrays[f"words.{number:04d}"][:, 7], strict=True)
    ]
    assert found == wanted


@pytest.mark.compiled
def test_chunks_are_used_again() -> None:
    """What was written gives its room to what comes next: copies do not pile up in memory."""
    state = new_state(replace(CONFIG, cards=20_000, events=400_000, payments=100_000, entities=20_000))
    changes = state.partition(0).changes
    known: set[int] = set()
    part_of = payments(6_000, cards=5_000)
    for batch in range(4):
        fresh = part_of[1500 * batch : 1500 * (batch + 1)]
        assess_batch(state, fresh, model(), policy())
        assert changes.drain(EVERYTHING)
        part = changes.take()
        if batch:
            assert {id(chunk) for chunk in part.chunks} <= known
        known |= {id(chunk) for chunk in part.chunks}
        assert sum(chunk.used for chunk in part.chunks) < CHUNK_LINES * len(part.chunks)
        changes.release(part)


def test_layouts_tell_capacities_apart() -> None:
    """Two memories of the same tables and capacities have one layout; another capacity makes another."""
    state, same, other = new_state(), new_state(), new_state(TIGHT)
    assert layout_of(state.partition(0).memory) == layout_of(same.partition(0).memory)
    assert layout_of(state.partition(0).memory) != layout_of(other.partition(0).memory)
