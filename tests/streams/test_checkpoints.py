"""Checkpoints: what was written whole is what is read, whatever else lies around."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pytest

from streams.checkpoints import CheckpointSet, CheckpointStore, Origin, PartitionCopy, Position
from streams.errors import CheckpointError, ClusterError

ORIGIN = Origin("cluster-a", {"payments.transactions.v1": "topic-a"}, "digest-a")


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"file://{tmp_path}/checkpoints" if request.param == "file" else f"memory://{uuid.uuid4().hex}"


def copy_of(partition: int, offset: int, label_offset: int = 0) -> PartitionCopy:
    arrays = {"numbers": np.arange(offset), "names.texts": np.array([b"a", b"bc"]), "empty": np.zeros((0, 3))}
    return PartitionCopy(partition, Position(offset, label_offset), 1000 + offset, {"fraud.decisions.v1/0": 7}, arrays)


def write(
    store: CheckpointStore, generation: int, *copies: PartitionCopy, also: dict[int, Position] | None = None
) -> int:
    positions = {copy.partition: copy.position for copy in copies} | (also or {})
    shared = {"total": np.array([sum(position.next_offset for position in positions.values())])}
    # Names of shared entities sort by generation, then by time.
    return store.write(CheckpointSet(generation, int(shared["total"][0]), copies, positions, shared))


def objects(url: str) -> list[str]:
    files, root = fsspec.core.url_to_fs(url)
    return sorted(str(path) for path in files.find(root))


def damage(url: str, choose: Callable[[str], bool]) -> None:
    files, _ = fsspec.core.url_to_fs(url)
    for path in objects(url):
        if choose(path):
            data = bytearray(files.cat_file(path))
            data[-1] ^= 1
            files.pipe_file(path, bytes(data))


def test_what_was_written_is_read(url: str) -> None:
    """Arrays, positions and output positions come back to the bit, by another process's eyes."""
    write(CheckpointStore(url, ORIGIN), 1, copy_of(0, 10), copy_of(3, 5, 2))
    found = CheckpointStore(url, ORIGIN).load([0, 3, 4])
    assert found.partitions.keys() == {0, 3}
    assert found.shared_covers == {0, 3}
    assert found.shared is not None
    assert found.shared["total"].tolist() == [15]
    restored = found.partitions[3]
    assert restored.manifest.position == Position(5, 2)
    assert restored.manifest.output_positions == {"fraud.decisions.v1/0": 7}
    for name, array in copy_of(3, 5, 2).arrays.items():
        np.testing.assert_array_equal(restored.arrays[name], array)
        assert restored.arrays[name].dtype == array.dtype


def test_nothing_there_is_no_error(url: str) -> None:
    """The first start finds an empty folder, or none."""
    found = CheckpointStore(url, ORIGIN).load([0, 1])
    assert not found.partitions
    assert found.shared is None


@pytest.mark.parametrize("part", ["000.npy", "manifest.json"])
def test_a_damaged_partition_falls_back_with_its_shared_entities(url: str, part: str) -> None:
    """A flipped bit in the newest checkpoint costs the newest checkpoint, and no more; the set stays consistent."""
    store = CheckpointStore(url, ORIGIN)
    write(store, 1, copy_of(0, 10), copy_of(1, 10))
    write(store, 1, copy_of(0, 20), copy_of(1, 20))
    damage(url, lambda path: "/0/" in path and f"{20:019d}" in path and path.endswith(part))
    found = store.load([0, 1])
    assert [found.partitions[p].manifest.position.next_offset for p in (0, 1)] == [10, 10]
    assert found.shared is not None
    assert found.shared["total"].tolist() == [20]


def test_a_set_without_its_shared_entities_does_not_count(url: str) -> None:
    """A crash between the partitions and the shared entities leaves the set before."""
    store = CheckpointStore(url, ORIGIN)
    write(store, 1, copy_of(0, 10))
    write(store, 1, copy_of(0, 20))
    files, root = fsspec.core.url_to_fs(url)
    newest = max(files.ls(f"{root}/shared", detail=False))
    files.rm_file(f"{newest}/manifest.json")
    found = store.load([0])
    assert found.partitions[0].manifest.position.next_offset == 10
    assert found.shared_covers == {0}


def test_a_worker_that_lost_its_partition_cannot_win(url: str) -> None:
    """The higher generation counts, even where the older one went further."""
    store = CheckpointStore(url, ORIGIN)
    write(store, 2, copy_of(0, 10))
    write(store, 1, copy_of(0, 99))
    assert store.load([0]).partitions[0].manifest.position.next_offset == 10


def test_partitions_of_two_workers_are_taken_together(url: str) -> None:
    """Taking over from another worker takes its partition's own latest checkpoint; whose history is shared is told."""
    store = CheckpointStore(url, ORIGIN)
    write(store, 1, copy_of(0, 10), copy_of(1, 10))
    write(store, 1, copy_of(2, 30))
    found = store.load([0, 1, 2])
    assert found.partitions.keys() == {0, 1, 2}
    assert found.shared_covers == {0, 1}


def test_unchanged_partitions_are_not_written_again(url: str) -> None:
    """A set may name the position of a partition that was written before."""
    store = CheckpointStore(url, ORIGIN)
    write(store, 1, copy_of(0, 10), copy_of(1, 10))
    for offset in (20, 30, 40):
        write(store, 1, copy_of(0, offset), also={1: Position(10, 0)})
    found = store.load([0, 1])
    assert found.shared_covers == {0, 1}
    assert [found.partitions[p].manifest.position.next_offset for p in (0, 1)] == [40, 10]


def test_only_the_last_ones_are_kept(url: str) -> None:
    """However long a worker runs, the folder does not grow."""
    store = CheckpointStore(url, ORIGIN, kept=2)
    for offset in range(1, 8):
        write(store, 1, copy_of(0, offset))
    manifests = [path for path in objects(url) if path.endswith("manifest.json")]
    assert len(manifests) == 4


def test_another_cluster_is_refused_or_passed_over(url: str) -> None:
    """Offsets of another cluster are never used: real mode refuses, the embedded one starts clean."""
    write(CheckpointStore(url, ORIGIN), 1, copy_of(0, 10))
    other = Origin("cluster-b", {}, "digest-a")
    with pytest.raises(ClusterError, match="cluster-a"):
        CheckpointStore(url, other).load([0])
    assert not CheckpointStore(url, other, pass_over_foreign=True).load([0]).partitions


def test_a_topic_made_anew_is_refused(url: str) -> None:
    """The same name with another id counts from zero again."""
    write(CheckpointStore(url, ORIGIN), 1, copy_of(0, 10))
    with pytest.raises(ClusterError):
        CheckpointStore(url, Origin("cluster-a", {"payments.transactions.v1": "topic-b"}, "digest-a")).load([0])


def test_another_shape_of_state_is_refused(url: str) -> None:
    """State of other entities or windows is not loaded."""
    write(CheckpointStore(url, ORIGIN), 1, copy_of(0, 10))
    with pytest.raises(CheckpointError, match="other entities"):
        CheckpointStore(url, Origin("cluster-a", ORIGIN.topic_ids, "digest-b")).load([0])
