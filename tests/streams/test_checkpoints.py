"""Checkpoints: what was written whole is what is read, whatever else lies around."""

from __future__ import annotations

import uuid
from functools import partial
from pathlib import Path

import fsspec
import pytest

from streams.chains import ReadyBase
from streams.checkpoint_format import Origin, Position
from streams.checkpoint_sets import CheckpointSet, PartitionCopy, RestoredSet, StateCopy
from streams.checkpoints import CheckpointStore
from streams.errors import CheckpointError, ClusterError
from tests.streams.stores import Died, Numbers, cut_after, damage, objects

ORIGIN = Origin("cluster-a", {"payments.transactions.v1": "topic-a"}, "digest-a", "cardwatch-score")


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"file://{tmp_path}/checkpoints" if request.param == "file" else f"memory://{uuid.uuid4().hex}"


class Writer:
    """A worker that checkpoints counts: a partition's state at offset n is the numbers below n, shared is their sum."""

    def __init__(self, url: str, *, generation: int = 1, kept: int = 2, origin: Origin = ORIGIN) -> None:
        self.damaged: list[str] = []
        self.store = CheckpointStore(url, origin, kept=kept, on_damaged=self.damaged.append)
        self.generation = generation
        self.positions: dict[int, Position] = {}
        self._ready: dict[int | None, ReadyBase] = {}
        self._time_ms = 1_000 * generation

    def take_over(self, *partitions: int) -> RestoredSet:
        """Start from what is there."""
        found = self.store.load(partitions, self.generation, Numbers)
        self.store.go_on_from(found.epoch)
        for partition in partitions:
            restored = found.partitions.get(partition)
            self.store.open_chain(partition, Numbers.layout, restored.manifest.chain if restored else None)
            self.positions[partition] = restored.manifest.position if restored else Position(0, 0)
        self.store.open_chain(None, Numbers.layout, None)
        for subject in (*partitions, None):
            if not self.store.chain(subject).bases:
                self.base(subject)
        return found

    def base(self, subject: int | None) -> None:
        """Read a base that the next checkpoint names."""
        chain, total = self.store.chain(subject), sum(position.next_offset for position in self.positions.values())
        position = self.positions.get(subject, Position(0, 0)) if subject is not None else Position(0, 0)
        skips = chain.begin_base()
        folder = self.store.next_folder(subject, self.generation, position, self._time_ms)
        stored = self.store.write_base(chain, folder, Numbers.base(total if subject is None else position.next_offset))
        self._ready[subject] = ReadyBase(stored, skips)

    def write(self, *offsets: int, label_offset: int = 0, prune: bool = True) -> int:
        """Checkpoint every partition, in order, at these offsets; those that have not moved are not written."""
        before = dict(self.positions)
        total = sum(position.next_offset for position in before.values())
        moved = dict(zip(sorted(self.positions), (Position(offset, label_offset) for offset in offsets), strict=True))
        copies = []
        for partition, position in moved.items():
            if position != before[partition]:
                arrays = partial(Numbers.arrays, before[partition].next_offset, position.next_offset)
                state = StateCopy(self.store.chain(partition), arrays, self._ready.pop(partition, None))
                outputs = {"fraud.decisions.v1/0": 7}
                copies.append(PartitionCopy(partition, position, 1000 + position.next_offset, outputs, state))
        self.positions = moved
        now = sum(position.next_offset for position in moved.values())
        shared = StateCopy(self.store.chain(None), partial(Numbers.arrays, total, now), self._ready.pop(None, None))
        self._time_ms += 1
        size = self.store.write(CheckpointSet(self.generation, self._time_ms, tuple(copies), moved, shared))
        if prune:
            self.store.prune(moved)
        return size


def offsets_of(found: RestoredSet) -> dict[int, int]:
    """Where partitions are, after a look whether their states are what belongs there."""
    for restored in found.partitions.values():
        assert isinstance(restored.state, Numbers)
        assert restored.state.numbers == list(range(restored.manifest.position.next_offset))
    if found.shared is not None and found.shared_covers == found.partitions.keys():
        assert isinstance(found.shared, Numbers)
        total = sum(restored.manifest.position.next_offset for restored in found.partitions.values())
        assert found.shared.numbers == list(range(total))
    return {partition: restored.manifest.position.next_offset for partition, restored in found.partitions.items()}


def load(url: str, *partitions: int, generation: int = 9) -> RestoredSet:
    return CheckpointStore(url, ORIGIN).load(partitions, generation, Numbers)


def test_what_was_written_is_read(url: str) -> None:
    """Arrays, positions and output positions come back to the bit, by another process's eyes."""
    writer = Writer(url)
    writer.take_over(0, 3)
    writer.write(10, 5, label_offset=2)
    found = load(url, 0, 3, 4)
    assert offsets_of(found) == {0: 10, 3: 5}
    assert found.shared_covers == {0, 3}
    assert found.partitions[3].manifest.position == Position(5, 2)
    assert found.partitions[3].manifest.output_positions == {"fraud.decisions.v1/0": 7}
    assert found.partitions[3].manifest.watermark_ms == 1005


def test_nothing_there_is_no_error(url: str) -> None:
    """The first start finds an empty folder, or none."""
    found = load(url, 0, 1)
    assert not found.partitions
    assert found.shared is None


def test_changes_add_up_over_lives_and_bases(url: str) -> None:
    """Whatever bases come between, and however often a worker starts again, the newest state is whole."""
    for life in range(1, 5):
        writer = Writer(url, generation=life)
        expected = {} if life == 1 else {0: 60 * (life - 1), 1: 60 * (life - 1)}
        assert offsets_of(writer.take_over(0, 1)) == expected
        for step in range(1, 7):
            if step % 3 == life % 3:
                writer.base(0)
                writer.base(None)
            offset = 60 * (life - 1) + 10 * step
            writer.write(offset, offset)
            assert offsets_of(load(url, 0, 1)) == {0: offset, 1: offset}
    assert not writer.damaged


def test_a_manifest_that_is_no_text_any_more_is_passed_over(url: str) -> None:
    """Whatever a disk makes of a byte: the fault matrix found a worker that could not start any more."""
    writer = Writer(url)
    writer.take_over(0, 1)
    writer.write(10, 10)
    writer.write(20, 20)
    newest = f"{20:019d}"
    assert damage(url, lambda path: newest in path and path.endswith("manifest.json"), place=40, flipped=0xFF) >= 2
    reader = Writer(url, generation=9)
    assert offsets_of(reader.take_over(0, 1)) == {0: 10, 1: 10}


@pytest.mark.parametrize("part", ["changes.bin", "manifest.json"])
def test_a_damaged_partition_falls_back_with_its_shared_entities(url: str, part: str) -> None:
    """A flipped bit in the newest checkpoint costs the newest checkpoint, and no more; it is counted."""
    writer = Writer(url)
    writer.take_over(0, 1)
    writer.write(10, 10)
    writer.write(20, 20)
    assert damage(url, lambda path: "/0/" in path and f"{20:019d}" in path and path.endswith(part)) == 1
    reader = Writer(url, generation=9)
    assert offsets_of(reader.take_over(0, 1)) == {0: 10, 1: 10}
    assert len(reader.damaged) == 1
    reader.write(20, 20)
    assert offsets_of(load(url, 0, 1)) == {0: 20, 1: 20}


@pytest.mark.parametrize("subject", ["0", "shared"])
def test_a_damaged_base_costs_nothing_while_there_is_another(url: str, subject: str) -> None:
    """Two bases are kept, and the changes since the older: with either of them the newest state is put together."""
    writer = Writer(url)
    writer.take_over(0)
    writer.write(10)
    writer.base(0)
    writer.base(None)
    writer.write(20)
    writer.write(30)
    bases = [path for path in objects(url) if path.endswith("base.bin") and f"/{subject}/" in path]
    assert len(bases) == 2
    for number, base in enumerate(bases):
        damage(url, base.__eq__)
        assert offsets_of(load(url, 0)) == {0: 30}
        if number == 0:
            damage(url, base.__eq__)  # the bit is put back


def test_every_single_damage_leaves_a_state_that_fits_together(url: str) -> None:
    """Whichever object is damaged or lost, what is loaded is one of the sets that were written, and never another."""
    writer = Writer(url)
    writer.take_over(0, 1)
    for offset in (10, 20, 30, 40):
        writer.write(offset, offset + 5)
        if offset in {10, 30}:
            writer.base(0)
            writer.base(1)
            writer.base(None)
    files, _ = fsspec.core.url_to_fs(url)
    written = [{0: offset, 1: offset + 5} for offset in (10, 20, 30, 40)]
    for path in objects(url):
        damage(url, path.__eq__)
        assert offsets_of(load(url, 0, 1)) in written
        damage(url, path.__eq__)
        data = files.cat_file(path)
        files.rm_file(path)
        assert offsets_of(load(url, 0, 1)) in written
        files.pipe_file(path, data)
    assert offsets_of(load(url, 0, 1)) == written[-1]


@pytest.mark.parametrize("writes", range(9))
def test_a_crash_between_any_two_writes_leaves_the_set_before_or_the_new_one(url: str, writes: int) -> None:
    """The process dies at the n-th write of a checkpoint with bases: nothing half-written is ever read."""
    writer = Writer(url)
    writer.take_over(0, 1)
    writer.write(10, 10)
    cut_after(writer.store, writes, Died())
    finished = True
    try:
        for subject in (0, 1, None):
            writer.base(subject)
        writer.write(20, 20)
    except Died:
        finished = False
    assert finished == (writes >= 9)
    successor = Writer(url, generation=2)
    assert offsets_of(successor.take_over(0, 1)) == {0: 10, 1: 10}
    successor.write(20, 25)
    assert offsets_of(load(url, 0, 1)) == {0: 20, 1: 25}


def test_a_full_disk_loses_nothing(url: str) -> None:
    """A store that refuses is told as such; what was there stays, and what it did take is not written twice."""
    writer = Writer(url)
    writer.take_over(0, 1)
    writer.write(10, 10)
    files = writer.store._files
    cut_after(writer.store, 2, OSError(28, "No space left on device"))
    with pytest.raises(CheckpointError, match="No space left"):
        writer.write(20, 20)
    writer.store._files = files
    assert offsets_of(load(url, 0, 1)) == {0: 10, 1: 10}


def test_a_set_without_its_shared_entities_does_not_count(url: str) -> None:
    """A crash between the partitions and the shared entities leaves the set before."""
    writer = Writer(url)
    writer.take_over(0)
    writer.write(10)
    writer.write(20)
    files, _ = fsspec.core.url_to_fs(url)
    files.rm_file(max(path for path in objects(url) if "/shared/" in path and path.endswith("manifest.json")))
    found = load(url, 0)
    assert offsets_of(found) == {0: 10}
    assert found.shared_covers == {0}


def test_a_worker_that_lost_its_partition_cannot_win(url: str) -> None:
    """The higher generation counts, even where the older one went further; nothing of it is overwritten."""
    zombie = Writer(url, generation=1)
    zombie.take_over(0)
    zombie.write(10)
    owner = Writer(url, generation=2)
    owner.take_over(0)
    owner.write(20)
    there = {path: fsspec.core.url_to_fs(url)[0].cat_file(path) for path in objects(url)}
    zombie.base(0)
    zombie.write(99, prune=False)
    assert offsets_of(load(url, 0)) == {0: 20}
    assert all(fsspec.core.url_to_fs(url)[0].cat_file(path) == data for path, data in there.items())


def test_a_group_made_anew_begins_an_epoch(url: str) -> None:
    """Generations begin at 1 again when a consumer group was deleted: what is written then wins over all before."""
    before = Writer(url, generation=57)
    before.take_over(0)
    before.write(10)
    anew = Writer(url, generation=1)
    assert offsets_of(anew.take_over(0)) == {0: 10}
    anew.write(20)
    before.write(15, prune=False)
    assert offsets_of(load(url, 0, generation=2)) == {0: 20}


def test_what_was_read_for_a_generation_that_is_over_changes_nothing(url: str) -> None:
    """Who reads late meets its successor's checkpoints, and must not take its group for made anew: it only lost."""
    late = Writer(url, generation=3)
    late.take_over(0)
    late.write(10)
    successor = Writer(url, generation=5)
    successor.take_over(0)
    successor.write(20)
    assert late.store.load([0], 4, Numbers).epoch == 1
    late.write(15, prune=False)
    assert offsets_of(load(url, 0, generation=6)) == {0: 20}


def test_partitions_of_two_workers_are_taken_together(url: str) -> None:
    """Taking over from another worker takes its partition's own latest checkpoint; whose history is shared is told."""
    one, other = Writer(url), Writer(url)
    one.take_over(0, 1)
    other.take_over(2)
    one.write(10, 10)
    other.write(30)
    found = load(url, 0, 1, 2)
    assert offsets_of(found) == {0: 10, 1: 10, 2: 30}
    assert found.shared_covers == {0, 1}


def test_unchanged_partitions_are_not_written_again(url: str) -> None:
    """A set may name the position of a partition that was written before."""
    writer = Writer(url)
    writer.take_over(0, 1)
    writer.write(10, 10)
    for offset in (20, 30, 40):
        writer.write(offset, 10)
    found = load(url, 0, 1)
    assert found.shared_covers == {0, 1}
    assert offsets_of(found) == {0: 40, 1: 10}


def test_only_what_two_bases_need_is_kept(url: str) -> None:
    """However long a worker runs, the folder does not grow; what is left is enough for the newest state."""
    writer, counts = Writer(url, kept=2), []
    writer.take_over(0)
    for offset in range(1, 40):
        if offset % 5 == 0:
            writer.base(0)
            writer.base(None)
        writer.write(offset)
        counts.append(len(objects(url)))
    assert len([path for path in objects(url) if path.endswith("base.bin")]) == 4
    # Within a millisecond names of shared entities sort by chance: a folder more or less may be kept.
    assert max(counts[25:]) <= max(counts[10:25]) + 4
    assert offsets_of(load(url, 0)) == {0: 39}


def test_what_dead_workers_left_of_shared_entities_is_removed(url: str) -> None:
    """Shared entities of lives that ended go when no checkpoint fits them any more, by whoever runs then."""
    for life in range(1, 5):
        writer = Writer(url, generation=life)
        writer.take_over(0)
        for step in range(1, 9):
            if step in {3, 6}:
                writer.base(0)
                writer.base(None)
            writer.write(10 * life + step)
    files, root = fsspec.core.url_to_fs(url)
    assert len(files.ls(f"{root}/shared", detail=False)) == 1


def test_another_cluster_is_refused_or_passed_over(url: str) -> None:
    """Offsets of another cluster are never used: real mode refuses, the embedded one starts clean."""
    writer = Writer(url)
    writer.take_over(0)
    writer.write(10)
    other = Origin("cluster-b", {}, "digest-a", "cardwatch-score")
    with pytest.raises(ClusterError, match="cluster-a"):
        CheckpointStore(url, other).load([0], 9, Numbers)
    assert not CheckpointStore(url, other, pass_over_foreign=True).load([0], 9, Numbers).partitions


@pytest.mark.parametrize(
    ("origin", "error", "says"),
    [
        (Origin("cluster-a", {"payments.transactions.v1": "b"}, "digest-a", "cardwatch-score"), ClusterError, "anew"),
        (Origin("cluster-a", ORIGIN.topic_ids, "digest-a", "another-score"), ClusterError, "group cardwatch-score"),
        (Origin("cluster-a", ORIGIN.topic_ids, "digest-b", "cardwatch-score"), CheckpointError, "other entities"),
    ],
)
def test_a_checkpoint_that_belongs_elsewhere_is_refused(
    url: str, origin: Origin, error: type[Exception], says: str
) -> None:
    """A topic made anew counts from zero, another group counts its own generations, another shape has other words."""
    writer = Writer(url)
    writer.take_over(0)
    writer.write(10)
    with pytest.raises(error, match=says):
        CheckpointStore(url, origin).load([0], 9, Numbers)


def test_another_format_is_refused_with_what_to_do(url: str) -> None:
    """A checkpoint that another version wrote is named as that, and so is the way out; the embedded mode passes it."""
    files, root = fsspec.core.url_to_fs(url)
    for folder in ("0/0000000001-0000000000000000010-0000000000000000000", "shared/0000000001-000000000000005-aa"):
        files.makedirs(f"{root}/{folder}")
        files.pipe_file(f"{root}/{folder}/manifest.json", b'{"format": 1, "arrays": []}')
        files.pipe_file(f"{root}/{folder}/000.npy", b"as it was")
    with pytest.raises(CheckpointError, match=r"have format 1, this version reads 2; start it with another"):
        load(url, 0)
    assert not CheckpointStore(url, ORIGIN, pass_over_foreign=True).load([0], 1, Numbers).partitions


def test_where_workers_tell_each_other_the_newest_shared_entities_count(url: str) -> None:
    """Whoever wrote them, and whatever positions they name: a set that agrees but is older is passed over."""
    first, second = Writer(url), Writer(url)
    first.take_over(0)
    second.take_over(1)
    first.write(10)
    second._time_ms += 500
    second.write(7)
    second.write(20)
    found = CheckpointStore(url, ORIGIN, any_shared=True).load([0], 9, Numbers)
    assert offsets_of(found) == {0: 10}
    assert isinstance(found.shared, Numbers)
    assert found.shared.numbers == list(range(20))
    assert isinstance(load(url, 0).shared, Numbers)
    assert load(url, 0).shared_covers == {0}
