"""Checkpoints: state beside the offset it stands for, written so that a crash at any step does no harm.

The protocol, by numbers (DESIGN, decision 3):

    1. At a batch boundary: copy the arrays; while later batches go on, wait until every output so far is acknowledged.
    2. In a background thread: write each array of each partition as an object of its own, then its manifest.
    3. Write the arrays of the shared entities, then their manifest, which names the positions of all partitions.
    4. Commit the offsets to Kafka.
    5. Remove what is older than the last ones.

    crash after   what is left                                     what a restart does
    1             nothing new                                      starts from the checkpoint before, replays
    2             partitions without shared entities, or a part    takes the last set that fits together, replays
    3             a whole set, an older committed offset           starts from the set: its offset counts, not Kafka's
    4, 5          one checkpoint too many                          removes it after the next one

Nothing is overwritten: a folder is named after the group's generation and the offsets it stands for, so a worker that
lost its partition without knowing can write, but never win: readers take the highest generation first. A folder without
a manifest, or with an array whose digest is wrong, does not exist for readers.
"""

from __future__ import annotations

import hashlib
import io
import logging
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import fsspec
import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.errors import CheckpointError, ClusterError

FORMAT = 1
_MANIFEST = "manifest.json"
_SHARED = "shared"
_DIGEST_BYTES = 16

Arrays = Mapping[str, NDArray[np.generic]]
logger = logging.getLogger(__name__)


class Position(msgspec.Struct, frozen=True, order=True):
    """How far a source partition has been applied: the next offsets of its transactions and labels."""

    next_offset: int
    label_next_offset: int


class StoredArray(msgspec.Struct, frozen=True):
    """One array of a checkpoint, as an object of its own."""

    name: str
    file: str
    size_bytes: int
    digest: str


class Origin(msgspec.Struct, frozen=True):
    """What a checkpoint belongs to: elsewhere its offsets or its arrays mean something else.

    Attributes:
        cluster_id: Kafka's id of the cluster.
        topic_ids: Kafka's ids of the source topics, by name, where the broker tells them: a topic made anew under the
            same name counts its offsets anew.
        config_digest: of the configuration that shapes state.
    """

    cluster_id: str
    topic_ids: dict[str, str]
    config_digest: str


class PartitionManifest(msgspec.Struct, frozen=True):
    """What a partition's checkpoint says of itself.

    Attributes:
        output_positions: per output ("topic/partition"), an offset behind which everything answered later stands.
        created_ms: UTC epoch milliseconds.
    """

    format: int
    origin: Origin
    partition: int
    generation: int
    position: Position
    watermark_ms: int
    output_positions: dict[str, int]
    created_ms: int
    arrays: list[StoredArray]


class SharedManifest(msgspec.Struct, frozen=True):
    """What the checkpoint of a worker's shared entities says of itself: which positions it contains."""

    format: int
    origin: Origin
    generation: int
    positions: dict[str, Position]
    created_ms: int
    arrays: list[StoredArray]


Manifest = TypeVar("Manifest", PartitionManifest, SharedManifest)


@dataclass(frozen=True, slots=True)
class PartitionCopy:
    """A partition as it stood at a batch boundary."""

    partition: int
    position: Position
    watermark_ms: int
    output_positions: Mapping[str, int]
    arrays: Arrays


@dataclass(frozen=True, slots=True)
class CheckpointSet:
    """All partitions of a worker, and its shared entities, at one batch boundary.

    Attributes:
        changed: partitions whose position differs from the checkpoint written last; only they are written.
        positions: of all partitions, the unchanged ones included.
    """

    generation: int
    created_ms: int
    changed: tuple[PartitionCopy, ...]
    positions: Mapping[int, Position]
    shared: Arrays


@dataclass(frozen=True, slots=True)
class Restored:
    """A partition's checkpoint, read back and verified."""

    manifest: PartitionManifest
    arrays: Arrays


@dataclass(frozen=True, slots=True)
class RestoredSet:
    """What a worker starts from.

    Attributes:
        partitions: those that have a checkpoint.
        shared: arrays of the shared entities; None where no checkpoint has any.
        shared_covers: partitions whose history the shared entities contain.
    """

    partitions: Mapping[int, Restored]
    shared: Arrays | None
    shared_covers: frozenset[int]


class CheckpointStore:
    """Reads and writes checkpoints under one folder. All methods block; call them from a thread."""

    def __init__(self, url: str, origin: Origin, *, kept: int = 2, pass_over_foreign: bool = False) -> None:
        """Work under `url` (any fsspec URL).

        Args:
            url: the folder.
            origin: what checkpoints must belong to.
            kept: how many checkpoints of a partition are kept.
            pass_over_foreign: take checkpoints of another origin for nonexistent instead of refusing to start.
        """
        self._files, root = fsspec.core.url_to_fs(url)
        self._root = root.rstrip("/")
        self._origin = origin
        self._kept = kept
        self._pass_over_foreign = pass_over_foreign

    def write(self, copies: CheckpointSet) -> int:
        """Write a set, manifests last, and remove what is older than the last ones; returns the bytes written.

        Raises:
            CheckpointError: the store did not take it; what was written before stays valid.
        """
        try:
            written = sum(self._write_partition(copies, copy) for copy in copies.changed)
            name = f"{copies.generation:010d}-{copies.created_ms:015d}-{uuid.uuid4().hex[:8]}"
            folder = f"{self._root}/{_SHARED}/{name}"
            arrays, size = self._write_arrays(folder, copies.shared)
            positions = {str(partition): position for partition, position in copies.positions.items()}
            manifest = SharedManifest(FORMAT, self._origin, copies.generation, positions, copies.created_ms, arrays)
            self._write_object(f"{folder}/{_MANIFEST}", msgspec.json.encode(manifest))
            self._prune(copies.positions)
        except OSError as error:
            message = f"cannot write a checkpoint: {error}"
            raise CheckpointError(message) from error
        return written + size

    def _write_partition(self, copies: CheckpointSet, copy: PartitionCopy) -> int:
        """Write one partition; its manifest last."""
        folder = f"{self._root}/{copy.partition}/{_folder_name(copies.generation, copy.position)}"
        arrays, size = self._write_arrays(folder, copy.arrays)
        manifest = PartitionManifest(
            FORMAT, self._origin, copy.partition, copies.generation, copy.position, copy.watermark_ms,
            dict(copy.output_positions), copies.created_ms, arrays,
        )  # fmt: skip
        self._write_object(f"{folder}/{_MANIFEST}", msgspec.json.encode(manifest))
        return size

    def _write_arrays(self, folder: str, arrays: Arrays) -> tuple[list[StoredArray], int]:
        """Write arrays as objects of their own; returns their entries and the bytes written."""
        stored: list[StoredArray] = []
        for number, (name, array) in enumerate(arrays.items()):
            # As np.save writes it, without its copy of the whole.
            header = io.BytesIO()
            np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
            parts = (header.getbuffer(), np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
            file = f"{number:03d}.npy"
            self._write_object(f"{folder}/{file}", *parts)
            stored.append(StoredArray(name, file, sum(part.nbytes for part in parts), _digest(*parts)))
        return stored, sum(entry.size_bytes for entry in stored)

    def _write_object(self, path: str, *parts: bytes | memoryview) -> None:
        """Write one object whole."""
        self._files.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        with self._files.open(path, "wb") as stream:
            for part in parts:
                stream.write(part)

    def load(self, partitions: Iterable[int]) -> RestoredSet:
        """Read what fits together best: shared entities that contain as many of the partitions as possible.

        A partition that no such set contains is read from its own latest checkpoint.

        Raises:
            ClusterError: checkpoints belong to another cluster.
            CheckpointError: they belong to another configuration of state, or the store does not answer.
        """
        wanted = sorted(partitions)
        try:
            self._files.invalidate_cache()
            manifests = {partition: self._partition_manifests(partition) for partition in wanted}
            for folder, shared in self._shared_manifests(manifests):
                restored = self._load_set(folder, shared, manifests)
                if restored is not None:
                    return restored
            latest = {partition: self._latest(manifests[partition], None) for partition in wanted}
        except OSError as error:
            message = f"cannot read checkpoints: {error}"
            raise CheckpointError(message) from error
        return RestoredSet({p: found for p, found in latest.items() if found is not None}, None, frozenset())

    def _load_set(
        self, folder: str, shared: SharedManifest, manifests: Mapping[int, list[PartitionManifest]]
    ) -> RestoredSet | None:
        """Read the set around one checkpoint of shared entities; None where a part of it is damaged."""
        arrays = self._read_arrays(f"{self._root}/{_SHARED}/{folder}", shared.arrays)
        if arrays is None:
            return None
        restored: dict[int, Restored] = {}
        covered: set[int] = set()
        for partition, available in manifests.items():
            position = shared.positions.get(str(partition))
            contained = position is not None and any(manifest.position == position for manifest in available)
            found = self._latest(available, position if contained else None)
            if found is None:
                if contained:
                    return None
                continue
            restored[partition] = found
            if contained:
                covered.add(partition)
        return RestoredSet(restored, arrays, frozenset(covered))

    def _latest(self, available: list[PartitionManifest], position: Position | None) -> Restored | None:
        """Read the highest valid checkpoint, or that at `position`; a damaged one is passed over."""
        for manifest in available:
            if position is not None and manifest.position != position:
                continue
            folder = f"{self._root}/{manifest.partition}/{_folder_name(manifest.generation, manifest.position)}"
            arrays = self._read_arrays(folder, manifest.arrays)
            if arrays is not None:
                return Restored(manifest, arrays)
        return None

    def _partition_manifests(self, partition: int) -> list[PartitionManifest]:
        """Manifests of a partition, the highest (generation, position) first."""
        found = [self._read_manifest(f"{partition}/{name}", PartitionManifest) for name in self._names(str(partition))]
        ours = [manifest for manifest in found if manifest is not None and self._belongs(manifest.origin)]
        return sorted(ours, key=lambda manifest: (manifest.generation, manifest.position), reverse=True)

    def _shared_manifests(self, manifests: Mapping[int, list[PartitionManifest]]) -> list[tuple[str, SharedManifest]]:
        """Folders of shared entities, those that contain most partitions first, the newest first among equals."""
        positions = {str(p): {manifest.position for manifest in available} for p, available in manifests.items()}

        def rank(found: tuple[str, SharedManifest]) -> tuple[int, int, int]:
            manifest = found[1]
            contained = sum(manifest.positions.get(p) in available for p, available in positions.items())
            return contained, manifest.generation, manifest.created_ms

        found = [(name, self._read_manifest(f"{_SHARED}/{name}", SharedManifest)) for name in self._names(_SHARED)]
        ours = [(name, manifest) for name, manifest in found if manifest is not None and self._belongs(manifest.origin)]
        return sorted((entry for entry in ours if rank(entry)[0]), key=rank, reverse=True)

    def _belongs(self, origin: Origin) -> bool:
        """Whether a checkpoint is of this cluster and configuration."""
        ids = {topic: origin.topic_ids.get(topic, known) for topic, known in self._origin.topic_ids.items()}
        same_cluster = origin.cluster_id == self._origin.cluster_id and ids == self._origin.topic_ids
        if same_cluster and origin.config_digest == self._origin.config_digest:
            return True
        if self._pass_over_foreign:
            return False
        if not same_cluster:
            message = (
                f"checkpoints under {self._root} belong to cluster {origin.cluster_id} or to topics made anew since; "
                "name another checkpoint folder to start without them"
            )
            raise ClusterError(message)
        message = (
            f"checkpoints under {self._root} were made with other entities, aggregates or windows; "
            "name another checkpoint folder to start without them"
        )
        raise CheckpointError(message)

    def _names(self, folder: str) -> list[str]:
        """Names inside a folder; none where it does not exist."""
        path = f"{self._root}/{folder}"
        if not self._files.isdir(path):
            return []
        return [str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in self._files.ls(path, detail=False)]

    def _read_manifest(self, folder: str, kind: type[Manifest]) -> Manifest | None:
        """Read a manifest; None where there is none, or none that we can read."""
        path = f"{self._root}/{folder}/{_MANIFEST}"
        try:
            with self._files.open(path, "rb") as stream:
                manifest = msgspec.json.decode(stream.read(), type=kind)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError:
            logger.warning("checkpoint %s has a damaged manifest and is passed over", folder)
            return None
        return manifest if manifest.format == FORMAT else None

    def _read_arrays(self, folder: str, stored: list[StoredArray]) -> dict[str, NDArray[np.generic]] | None:
        """Read and verify arrays; None where one is missing or damaged."""
        arrays: dict[str, NDArray[np.generic]] = {}
        for entry in stored:
            try:
                with self._files.open(f"{folder}/{entry.file}", "rb") as stream:
                    data = stream.read()
            except FileNotFoundError:
                logger.warning("checkpoint %s lacks %s and is passed over", folder, entry.file)
                return None
            if len(data) != entry.size_bytes or _digest(data) != entry.digest:
                logger.warning("checkpoint %s has a damaged %s and is passed over", folder, entry.file)
                return None
            arrays[entry.name] = np.load(io.BytesIO(data), allow_pickle=False)
        return arrays

    def _prune(self, positions: Mapping[int, Position]) -> None:
        """Remove a partition's older checkpoints, and shared entities that no longer fit any."""
        for partition in positions:
            manifests = self._partition_manifests(partition)
            keep = {_folder_name(manifest.generation, manifest.position) for manifest in manifests[: self._kept]}
            newest = max(keep, default="")
            # What is newer than the newest and has no manifest may be in the making by another worker.
            for name in self._names(str(partition)):
                if name not in keep and name < newest:
                    self._remove(f"{partition}/{name}")
        for name in self._names(_SHARED):
            manifest = self._read_manifest(f"{_SHARED}/{name}", SharedManifest)
            if manifest is not None and not self._fits(manifest):
                self._remove(f"{_SHARED}/{name}")

    def _fits(self, shared: SharedManifest) -> bool:
        """Whether every partition of shared entities still has the checkpoint that goes with them."""
        return all(
            any(name.endswith(_position_name(position)) for name in self._names(partition))
            for partition, position in shared.positions.items()
        )

    def _remove(self, folder: str) -> None:
        """Remove a folder; that another worker was faster is no error."""
        try:
            self._files.rm(f"{self._root}/{folder}", recursive=True)
        except FileNotFoundError:
            logger.debug("checkpoint %s was removed already", folder)


def _position_name(position: Position) -> str:
    """The part of a folder's name that says what it stands for."""
    return f"{position.next_offset:019d}-{position.label_next_offset:019d}"


def _folder_name(generation: int, position: Position) -> str:
    """A folder's name; names sort as checkpoints do."""
    return f"{generation:010d}-{_position_name(position)}"


def _digest(*parts: bytes | memoryview) -> str:
    """Digest of an object."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
