"""Checkpoints: state beside the offset it stands for, written so that a crash at any step does no harm.

The protocol, by numbers (DESIGN, decision 3; docs/guarantees.md has what each crash leaves):

    1. At a batch boundary: copy what changed; while later batches go on, wait until all outputs are acknowledged.
    2. In a background thread: write the changes of each partition as one object, then its manifest.
    3. Write the changes of the shared entities, then their manifest, which names the positions of all partitions.
    4. Commit the offsets to Kafka.
    5. Where that was accepted, remove what no checkpoint needs any more.

A state is a base and the changes behind it (`streams.chains`). A base is written by a thread of its own while the
stream goes on, and counts from the first changes on that were taken after it was read to its end.

Nothing is overwritten: a folder is named after the group's generation and the offsets it stands for, so a worker that
lost its partition without knowing can write, but never win: readers take the highest generation first. It removes
nothing either, for its commit is refused. A folder without a manifest, or with an object whose digest is wrong, does
not exist for readers. A consumer group that was deleted begins its generations anew; its checkpoints are told from
those before by an epoch.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import fsspec
import msgspec
from numpy import generic
from numpy.typing import NDArray

from streams.chains import ChainState
from streams.checkpoint_format import (
    FORMAT,
    MANIFEST,
    SHARED,
    Chain,
    FormatOnly,
    Origin,
    PartitionManifest,
    Position,
    SharedManifest,
    StoredObject,
    base_name,
    folder_name,
    generation_name,
    generation_of,
    is_base,
    position_name,
)
from streams.checkpoint_objects import DamagedError, Room, read_object, write_object
from streams.checkpoint_sets import CheckpointSet, PartitionCopy, Restored, RestoredSet, StateCopy, contained_in
from streams.errors import CheckpointError, ClusterError

_CHANGES, _BASE = "changes.bin", "base.bin"
logger = logging.getLogger(__name__)

Manifest = TypeVar("Manifest", PartitionManifest, SharedManifest)
NewRoom = Callable[[str], Room]


class CheckpointStore:
    """Reads and writes checkpoints under one folder. All methods block; call them from a thread."""

    def __init__(
        self,
        url: str,
        origin: Origin,
        *,
        kept: int = 2,
        pass_over_foreign: bool = False,
        any_shared: bool = False,
        on_damaged: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Work under `url` (any fsspec URL).

        Args:
            url: the folder.
            origin: what checkpoints must belong to.
            kept: how many bases of a state are kept, with all changes since the oldest.
            pass_over_foreign: take checkpoints of another origin for nonexistent instead of refusing to start.
            any_shared: shared entities may have other positions: workers tell each other what they lack.
            on_damaged: told the path of what is not what was written.
        """
        self._files, root = fsspec.core.url_to_fs(url)
        self._root = root.rstrip("/")
        self._origin = origin
        self._kept = kept
        self._pass_over_foreign = pass_over_foreign
        self._any_shared = any_shared
        self._on_damaged = on_damaged
        self._damaged: set[str] = set()
        self._epoch = 0
        self._chains: dict[int | None, ChainState] = {}
        self._shared_seen: dict[str, SharedManifest | None] = {}

    # -- writing

    def open_chain(self, subject: int | None, layout: str, chain: Chain | None) -> ChainState:
        """Say what the next checkpoints of a partition, or of the shared entities (None), are built on.

        Args:
            subject: the partition.
            layout: of its memory.
            chain: what it was restored from; with another layout, and for shared entities, a base comes first.
        """
        home = f"{SHARED}/{uuid.uuid4().hex[:12]}" if subject is None else str(subject)
        if chain is not None and chain.layout == layout and subject is not None:
            self._chains[subject] = ChainState.of(home, chain)
        else:
            self._chains[subject] = ChainState(home, layout)
        return self._chains[subject]

    def chain(self, subject: int | None) -> ChainState:
        """The chain of a state that was opened."""
        return self._chains[subject]

    def write_base(
        self, chain: ChainState, folder: str, arrays: Iterable[tuple[str, NDArray[generic]]]
    ) -> StoredObject:
        """Write a base; no manifest names it yet.

        Args:
            chain: of the state.
            folder: that of the next checkpoint, as `next_folder` says.
            arrays: everything, perhaps changing while it is read.

        Raises:
            CheckpointError: the store did not take it.
        """
        try:
            return self._write_object(chain, f"{base_name(folder, uuid.uuid4().hex[:8])}/{_BASE}", arrays)
        except OSError as error:
            message = f"cannot write a base: {error}"
            raise CheckpointError(message) from error

    def next_folder(self, subject: int | None, generation: int, position: Position, created_ms: int) -> str:
        """The folder that a checkpoint at this position gets."""
        if subject is None:
            return f"{generation_name(self._epoch, generation)}-{created_ms:015d}-{uuid.uuid4().hex[:8]}"
        return folder_name(self._epoch, generation, position)

    def write(self, copies: CheckpointSet) -> int:
        """Write a set, manifests last; returns the bytes written.

        Raises:
            CheckpointError: the store did not take it; what was written before stays valid, and `copies.written` says
                whose changes are safe.
        """
        try:
            size = sum(self._write_partition(copies, copy) for copy in copies.changed)
            return size + self._write_shared(copies)
        except OSError as error:
            message = f"cannot write a checkpoint: {error}"
            raise CheckpointError(message) from error

    def _write_partition(self, copies: CheckpointSet, copy: PartitionCopy) -> int:
        """Write one partition; its manifest last."""
        folder = self.next_folder(copy.partition, copies.generation, copy.position, copies.created_ms)
        size = self._write_changes(copies, copy.partition, folder, copy.state)
        manifest = PartitionManifest(
            FORMAT, self._origin, copy.partition, self._epoch, copies.generation, copy.position, copy.watermark_ms,
            dict(copy.output_positions), copies.created_ms, copy.state.chain.chain(),
        )  # fmt: skip
        self._write_manifest(copy.state.chain, folder, manifest)
        return size

    def _write_shared(self, copies: CheckpointSet) -> int:
        """Write the shared entities; their manifest makes the set whole."""
        folder = self.next_folder(None, copies.generation, Position(0, 0), copies.created_ms)
        size = self._write_changes(copies, None, folder, copies.shared)
        positions = {str(partition): position for partition, position in copies.positions.items()}
        manifest = SharedManifest(
            FORMAT, self._origin, self._epoch, copies.generation, positions, copies.created_ms,
            copies.shared.chain.chain(),
        )  # fmt: skip
        self._write_manifest(copies.shared.chain, folder, manifest)
        return size

    def _write_changes(self, copies: CheckpointSet, subject: int | None, folder: str, state: StateCopy) -> int:
        """Write the changes of one state as an object, and add it to the chain."""
        stored = self._write_object(state.chain, f"{folder}/{_CHANGES}", state.arrays().items())
        state.chain.add(stored, state.base, self._kept)
        copies.written.add(subject)
        return stored.size_bytes

    def _write_object(
        self, chain: ChainState, path: str, arrays: Iterable[tuple[str, NDArray[generic]]]
    ) -> StoredObject:
        """Write one object whole."""
        target = f"{self._root}/{chain.home}/{path}"
        self._files.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
        with self._files.open(target, "wb") as stream:
            return write_object(stream, path, arrays)

    def _write_manifest(self, chain: ChainState, folder: str, manifest: PartitionManifest | SharedManifest) -> None:
        """Write what makes a checkpoint exist."""
        with self._files.open(f"{self._root}/{chain.home}/{folder}/{MANIFEST}", "wb") as stream:
            stream.write(msgspec.json.encode(manifest))

    # -- reading

    def load(
        self, partitions: Iterable[int], generation: int, new_room: NewRoom, *, with_shared: bool = True
    ) -> RestoredSet:
        """Read what fits together best: shared entities that contain as many of the partitions as possible.

        A partition that no such set contains is read from its own latest checkpoint. Where there is no set, or any will
        do, the newest shared entities count; they know what they contain.

        Args:
            partitions: wanted.
            generation: of the group, now.
            new_room: makes room to read a state of some layout into.
            with_shared: the shared entities are wanted; only where any will do it may be otherwise.

        Raises:
            ClusterError: checkpoints belong to another cluster, to topics made anew, or to another consumer group.
            CheckpointError: they belong to another shape of state, have another format, or the store does not answer.
        """
        try:
            self._files.invalidate_cache()
            found = {partition: self._checkpoints(str(partition)) for partition in sorted(partitions)}
            self._check_formats(found)
            epoch = self._epoch_of([name for names in found.values() for name in names], generation)
            self._shared_seen.clear()
            for path, shared in () if self._any_shared else self._shared_manifests(found):
                restored = self._load_set(path, shared, found, new_room, epoch)
                if restored is not None:
                    return restored
            latest, shared_room = self._load_apart(found, new_room, with_shared=with_shared)
        except OSError as error:
            message = f"cannot read checkpoints: {error}"
            raise CheckpointError(message) from error
        return RestoredSet({p: kept for p, kept in latest.items() if kept is not None}, shared_room, frozenset(), epoch)

    def _check_formats(self, found: Mapping[int, list[str]]) -> None:
        """Refuse checkpoints of another format before anything of them is taken for something else."""
        for partition, names in found.items():
            if names:
                self._read_manifest(f"{partition}/{names[0]}", PartitionManifest)

    def _see_all(self) -> None:
        """Read all manifests of shared entities."""
        for _ in self._shared_manifests({}):
            pass

    def _in_sets(self, partition: int, names: list[str]) -> list[str]:
        """Of a partition's checkpoints those that some set names: of the others the set was never whole."""
        self._see_all()
        seen = (shared.positions.get(str(partition)) for shared in self._shared_seen.values() if shared is not None)
        named = {position_name(position) for position in seen if position is not None}
        return [name for name in names if name.endswith(tuple(named))]

    def _load_apart(
        self, found: Mapping[int, list[str]], new_room: NewRoom, *, with_shared: bool
    ) -> tuple[dict[int, Restored | None], Room | None]:
        """Read each partition's latest checkpoint, and the newest of shared entities."""
        wanted = found if self._any_shared else {number: self._in_sets(number, found[number]) for number in found}
        if with_shared:
            self._see_all()
        with ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 2)) as threads:
            shared = threads.submit(self._newest_shared, new_room)
            reads = {number: threads.submit(self._latest, number, names, new_room) for number, names in wanted.items()}
            return {number: read.result() for number, read in reads.items()}, shared.result()

    def _newest_shared(self, new_room: NewRoom) -> Room | None:
        """Read the newest whole checkpoint of shared entities, whoever wrote it."""
        for path in sorted(self._shared_seen, key=lambda path: path.rsplit("/", 1)[1], reverse=True):
            seen = self._shared_seen[path]
            room = None if seen is None else self._read_chain(path.rsplit("/", 1)[0], seen.chain, new_room)
            if room is not None:
                return room
        return None

    def _epoch_of(self, names: list[str], generation: int) -> int:
        """The epoch of checkpoints; a new one where one of them has a generation that the group has not reached."""
        epoch, highest = max((generation_of(name) for name in names), default=(0, 0))
        if highest > generation:
            logger.warning(
                "consumer group %s is in generation %d, its checkpoints in %d: it was deleted and made anew",
                self._origin.group, generation, highest,
            )  # fmt: skip
            epoch += 1
        return epoch

    def go_on_from(self, restored_epoch: int) -> None:
        """Write in this epoch from now on. Reading alone changes nothing: its generation may be over by now."""
        self._epoch = max(self._epoch, restored_epoch)

    def _load_set(
        self, path: str, shared: SharedManifest, found: Mapping[int, list[str]], new_room: NewRoom, epoch: int
    ) -> RestoredSet | None:
        """Read the set around one checkpoint of shared entities; None where a part of it is damaged."""
        contained = contained_in(shared, found)
        with ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 2)) as threads:
            state = threads.submit(self._read_chain, path, shared.chain, new_room)
            reads = {
                partition: threads.submit(
                    self._latest, partition, contained.get(partition) or self._in_sets(partition, names), new_room
                )
                for partition, names in found.items()
            }
            room = state.result()
            restored = {partition: read.result() for partition, read in reads.items()}
        if room is None or any(restored[partition] is None for partition in contained):
            return None
        kept = {partition: each for partition, each in restored.items() if each is not None}
        return RestoredSet(kept, room, frozenset(contained), epoch)

    def _latest(self, partition: int, names: list[str], new_room: NewRoom) -> Restored | None:
        """Read the first of these checkpoints that is whole."""
        for name in names:
            manifest = self._read_manifest(f"{partition}/{name}", PartitionManifest)
            if manifest is not None and self._belongs(manifest.origin):
                room = self._read_chain(str(partition), manifest.chain, new_room)
                if room is not None:
                    return Restored(manifest, room)
        return None

    def _read_chain(self, folder: str, chain: Chain, new_room: NewRoom) -> Room | None:
        """Put a state together: the newest base that is whole, and the changes behind it; None where one is damaged."""
        for base in chain.bases:
            changes = chain.changes[base.skips :]
            if self._is_damaged(folder, base.object, *changes):
                continue
            room = new_room(chain.layout)
            if all(self._read_object(folder, each, room) for each in (base.object, *changes)):
                return room
        return None

    def _is_damaged(self, folder: str, *objects: StoredObject) -> bool:
        """Whether one of these is known to be damaged."""
        return any(f"{folder}/{stored.path}" in self._damaged for stored in objects)

    def _read_object(self, folder: str, stored: StoredObject, room: Room) -> bool:
        """Read and verify an object; False where it is missing or damaged."""
        path = f"{folder}/{stored.path}"
        try:
            with self._files.open(f"{self._root}/{path}", "rb") as stream:
                read_object(stream, stored, room)
        except FileNotFoundError:
            self._note_damage(path, "is missing")
        except DamagedError as error:
            self._note_damage(path, str(error))
        else:
            return True
        return False

    def _note_damage(self, path: str, what: str) -> None:
        """Count an object or manifest that is not what was written, and pass it over."""
        logger.warning("checkpoint: %s %s and is passed over", path, what)
        self._damaged.add(path)
        self._on_damaged(path)

    def _checkpoints(self, folder: str) -> list[str]:
        """Names of checkpoints in a folder, the highest first; bases are none, nor is what others have put there."""
        names = (name for name in self._names(folder) if not is_base(name) and generation_of(name) > (-1, -1))
        return sorted(names, reverse=True)

    def _shared_manifests(self, found: Mapping[int, list[str]]) -> Iterator[tuple[str, SharedManifest]]:
        """Checkpoints of shared entities and where they are: those that contain most partitions, the newest first."""
        wanted = sum(bool(names) for names in found.values())
        folders = [f"{SHARED}/{owner}" for owner in self._names(SHARED)]
        places = [(name, folder) for folder in folders for name in self._checkpoints(folder)]
        fewer: list[tuple[int, str, str, SharedManifest]] = []
        for name, folder in sorted(places, reverse=True):
            manifest = self._shared_manifest(f"{folder}/{name}")
            if manifest is None:
                continue
            count = len(contained_in(manifest, found))
            if count and count == wanted:
                yield folder, manifest
            elif count:
                fewer.append((count, name, folder, manifest))
        for _, _, folder, manifest in sorted(fewer, key=lambda entry: entry[:3], reverse=True):
            yield folder, manifest

    def _shared_manifest(self, path: str) -> SharedManifest | None:
        """A manifest of shared entities of ours, read once."""
        if path not in self._shared_seen:
            found = self._read_manifest(path, SharedManifest)
            self._shared_seen[path] = found if found is not None and self._belongs(found.origin) else None
        return self._shared_seen[path]

    def _belongs(self, origin: Origin) -> bool:
        """Whether a checkpoint is of this cluster, group and configuration."""
        ids = {topic: origin.topic_ids.get(topic, known) for topic, known in self._origin.topic_ids.items()}
        same_cluster = origin.cluster_id == self._origin.cluster_id and ids == self._origin.topic_ids
        same_group, same_shape = origin.group == self._origin.group, origin.config_digest == self._origin.config_digest
        if same_cluster and same_group and same_shape:
            return True
        if self._pass_over_foreign:
            return False
        if not same_cluster:
            message = (
                f"checkpoints under {self._root} belong to cluster {origin.cluster_id} or to topics made anew since; "
                "name another checkpoint folder to start without them"
            )
            raise ClusterError(message)
        if not same_group:
            message = (
                f"checkpoints under {self._root} belong to consumer group {origin.group}, not to {self._origin.group}; "
                "name another checkpoint folder, or the prefix of that group"
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
        """Read a manifest; None where there is none, or a damaged one.

        Raises:
            CheckpointError: it has another format.
        """
        path = f"{folder}/{MANIFEST}"
        if path in self._damaged:
            return None
        try:
            with self._files.open(f"{self._root}/{path}", "rb") as stream:
                data = stream.read()
            known = msgspec.json.decode(data, type=FormatOnly).format
            if known == FORMAT:
                return msgspec.json.decode(data, type=kind)
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._note_damage(path, "is damaged")
            return None
        if self._pass_over_foreign:
            return None
        message = (
            f"checkpoints under {self._root} have format {known}, this version reads {FORMAT}; start it with another "
            "checkpoint folder, and state is built anew from the log, or start the version that wrote them"
        )
        raise CheckpointError(message)

    # -- removing

    def prune(self, partitions: Iterable[int]) -> None:
        """Remove what the checkpoints of these partitions, and the shared entities, do not need any more.

        Only after a commit that the group has accepted: whoever lost a partition must remove nothing of it.

        Raises:
            CheckpointError: the store did not answer.
        """
        try:
            self._files.invalidate_cache()
            own = self._chains[None].home
            for chain in (*(self._chains[partition] for partition in partitions), self._chains[None]):
                self._remove_before(chain.home, chain.oldest_folder())
            newest = max((generation_of(name) for name in self._names(own)), default=(-1, -1))
            for folder in (f"{SHARED}/{owner}" for owner in self._names(SHARED)):
                if folder != own and self._is_left(folder, newest):
                    self._remove(folder)
        except OSError as error:
            message = f"cannot remove old checkpoints: {error}"
            raise CheckpointError(message) from error

    def _remove_before(self, folder: str, oldest: str) -> None:
        """Remove everything whose name comes before `oldest`."""
        for name in self._names(folder):
            if name < oldest:
                self._remove(f"{folder}/{name}")

    def _is_left(self, folder: str, newest: tuple[int, int]) -> bool:
        """Whether shared entities were left behind by their worker, and fit no checkpoint of any partition any more."""
        names = self._names(folder)
        if any(generation_of(name) >= newest for name in names):
            return False
        manifests = (self._read_manifest(f"{folder}/{name}", SharedManifest) for name in names if not is_base(name))
        return not any(manifest is not None and self._fits(manifest) for manifest in manifests)

    def _fits(self, shared: SharedManifest) -> bool:
        """Whether every partition of shared entities still has the checkpoint that goes with them."""
        return all(
            any(name.endswith(position_name(position)) for name in self._names(partition))
            for partition, position in shared.positions.items()
        )

    def _remove(self, folder: str) -> None:
        """Remove a folder; that another worker was faster is no error."""
        try:
            self._files.rm(f"{self._root}/{folder}", recursive=True)
        except FileNotFoundError:
            logger.debug("checkpoint %s was removed already", folder)
