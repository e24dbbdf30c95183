"""The engine's state: tables per source partition, tables of shared entities, and how both are saved and restored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields

import numpy as np

from detector.arena import ENTRIES_PER_UNIT
from detector.buckets import LEVEL_WORDS
from detector.catalogue import CATALOGUE, DAY_MS, SHARED_WINDOWS_MS, WINDOWS_MS, catalogue_digest
from detector.changes import Room
from detector.digest import Line, card_lines, digest_of, entity_lines
from detector.directives import Directives
from detector.errors import ConfigurationError, StateError
from detector.features import VALUE_COUNT, plan
from detector.layout import (
    BIN_WORDS,
    BLOCK,
    CARD_INDEX,
    CARD_WORDS,
    CARDS,
    ENTITIES,
    ENTITY_INDEX,
    ENTITY_WORDS,
    GENERATION,
    KEPT,
    KEPT_INDEX,
    LABEL_NEXT_OFFSET,
    LAST_TIME,
    LATE_LABEL,
    LATE_LABEL_INDEX,
    LATE_LABEL_WORDS,
    LATE_LABELS,
    LEVELS,
    MATURED_TO,
    MOST_PARTITIONS,
    NEXT_OFFSET,
    OUTCOMES,
    PAYMENT_INDEX,
    PAYMENT_STATE,
    PAYMENT_WORDS,
    PAYMENTS,
    PROGRESS,
    PROGRESS_WORDS,
    SEGMENT_WORDS,
    SHARED_WINDOW_COUNT,
    SOURCE_STARTED,
    SOURCE_WATERMARK,
    SOURCE_WORDS,
    SOURCES,
    STARTED,
    WATERMARK,
    Limits,
    Scratch,
)
from detector.lookahead import AHEAD_SHAPE
from detector.memory import Memory, TableSpec, begin, reserve, roll_back, table_rows
from detector.names import Names
from detector.rates import RateTable
from detector.saved import Index, Shape, StateChanges, StateImage, Texts
from detector.segments import Segments
from detector.tokens import KEY_BYTES

FORMAT = 8
# A batch of 16,384 records saves about 150 words a record; more where blocks grow. Committed only as used.
_JOURNAL_WORDS = 1 << 26
# A segment is written at once: 15 MB.
_LARGEST_SEGMENT, _LEAST_SEGMENTS, _MOST_SEGMENTS = 1 << 16, 16, 1024
_LEAST_LATE_LABELS, _KEPT_A_LATE_LABEL = 1 << 16, 16


@dataclass(frozen=True, slots=True)
class StateConfig:
    """What shapes state. Capacities are rows per partition (shared ones per worker); memory is committed as used.

    Attributes:
        fingerprint_key: the installation's secret, 16 bytes.
        cards, events, payments: of a partition: cards, payments that cards remember for their windows (a block is
            filled to two thirds on average), and payments that wait for their labels.
        entities, buckets: of the worker: terminals, merchants and devices, and their non-empty buckets of time.
        lateness_ms: an event further behind its partition's watermark is scored at this distance from it.
        identity_memory_ms: how long a transaction seen again is a duplicate, and a reversal finds its payment.
        kept: payments of a partition on disk that wait for a label after they left memory, where there is a disk.
        retention_ms: how long payments wait for a label.
        maturity_ms: the age at which an unlabelled payment counts as genuine.
        unlabelled_one_in: one in this many payments is handed to the models that need no label.
    """

    fingerprint_key: bytes
    cards: int = 250_000
    events: int = 16_000_000
    payments: int = 1_000_000
    entities: int = 300_000
    buckets: int = 16_000_000
    kept: int = 5_000_000
    lateness_ms: int = 2 * DAY_MS
    identity_memory_ms: int = 2 * DAY_MS
    retention_ms: int = 120 * DAY_MS
    maturity_ms: int = 14 * DAY_MS
    unlabelled_one_in: int = 8

    def __post_init__(self) -> None:
        """Refuse what could not work.

        Raises:
            ConfigurationError: a capacity too small, a key of the wrong length, or a time that is not positive.
        """
        if len(self.fingerprint_key) != KEY_BYTES:
            message = f"fingerprint_key must have {KEY_BYTES} bytes, not {len(self.fingerprint_key)}"
            raise ConfigurationError(message)
        for field in fields(self):
            value = getattr(self, field.name)
            least = 1 if field.name.endswith("_ms") or field.name == "unlabelled_one_in" else 64
            if isinstance(value, int) and value < least:
                message = f"{field.name} must be at least {least}, not {value}"
                raise ConfigurationError(message)
        if self.identity_memory_ms > min(self.retention_ms, WINDOWS_MS[-1]):
            message = "identity_memory_ms must not exceed retention_ms or the longest window of 30 days"
            raise ConfigurationError(message)

    @property
    def segment_rows(self) -> int:
        """Payments of a segment on disk."""
        return min(_LARGEST_SEGMENT, max(64, self.kept // _LEAST_SEGMENTS))

    @property
    def late_labels(self) -> int:
        """Labels of payments on disk that are remembered."""
        return max(_LEAST_LATE_LABELS, self.kept // _KEPT_A_LATE_LABEL)

    def digest(self) -> str:
        """Hex digest of what a checkpoint must agree with; capacities may grow and are not part of it."""
        key = hashlib.sha256(self.fingerprint_key).hexdigest()[:16]
        times = (self.lateness_ms, self.identity_memory_ms, self.retention_ms)
        text = f"{FORMAT}|{catalogue_digest()}|{key}|{times}|{WINDOWS_MS}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class PartitionState:
    """Everything that belongs to one source partition."""

    def __init__(self, memory: Memory, shape: Shape, room: Room, texts: Texts | None = None) -> None:
        """Wrap a memory, new or, with its texts, restored."""
        kept = Texts(Names(), []) if texts is None else texts
        self.memory = memory
        self.names = kept.names
        self.reason_codes = kept.codes
        self.changes = StateChanges(memory, shape, room, kept)

    def _progress(self, word: int) -> int:
        """A word of the single progress row."""
        return int(table_rows(self.memory, PROGRESS)[1, word])

    @property
    def next_offset(self) -> int:
        """The first transaction offset that has not been applied."""
        return self._progress(NEXT_OFFSET)

    @property
    def label_next_offset(self) -> int:
        """The first label offset that has not been applied."""
        return self._progress(LABEL_NEXT_OFFSET)

    @property
    def matured_to(self) -> int:
        """The offset behind the last payment of the ring that was asked whether nobody has complained of it."""
        return self._progress(MATURED_TO)

    @property
    def watermark_ms(self) -> int:
        """The largest event time seen, 0 before the first record."""
        return self._progress(WATERMARK)

    @property
    def started(self) -> bool:
        """Whether any record has been seen."""
        return bool(self._progress(STARTED))


def _partition_specs(config: StateConfig) -> tuple[TableSpec, ...]:
    """The tables of a partition, in the order of their ids in `layout`."""
    return (
        TableSpec("progress", 1, PROGRESS_WORDS),
        TableSpec("cards", config.cards, CARD_WORDS),
        TableSpec("card_index", config.cards, 1, is_index=True),
        TableSpec("payments", config.payments, PAYMENT_WORDS, is_ring=True),
        TableSpec("payment_index", config.payments, 1, is_index=True),
        TableSpec("bins", config.payments, BIN_WORDS),
        TableSpec("kept", config.segment_rows, PAYMENT_WORDS),
        TableSpec("kept_index", config.segment_rows, 1, is_index=True),
        TableSpec("kept_bins", config.segment_rows, BIN_WORDS),
        TableSpec("segments", _MOST_SEGMENTS, SEGMENT_WORDS),
        TableSpec("late_labels", config.late_labels, LATE_LABEL_WORDS),
        TableSpec("late_label_index", config.late_labels, 1, is_index=True),
    )


def _shared_specs(config: StateConfig) -> tuple[TableSpec, ...]:
    """The tables of shared entities, in the order of their ids in `layout`."""
    return (
        TableSpec("entities", config.entities, ENTITY_WORDS),
        TableSpec("entity_index", config.entities, 1, is_index=True),
        TableSpec("sources", MOST_PARTITIONS, SOURCE_WORDS),
    )


_PARTITION_INDEXES = (
    Index(int(CARD_INDEX), int(CARDS), int(GENERATION)),
    Index(int(PAYMENT_INDEX), int(PAYMENTS), int(PAYMENT_STATE)),
    Index(int(KEPT_INDEX), int(KEPT), int(PAYMENT_STATE)),
    Index(int(LATE_LABEL_INDEX), int(LATE_LABELS), int(LATE_LABEL)),
)
_SHARED_INDEXES = (Index(int(ENTITY_INDEX), int(ENTITIES), int(LAST_TIME)),)
_ENTITY_BLOCKS = (int(OUTCOMES), *range(LEVELS, LEVELS + LEVEL_WORDS * SHARED_WINDOW_COUNT, LEVEL_WORDS))


def _partition_shape(config: StateConfig) -> Shape:
    """What the memory of a partition is made of."""
    return Shape(_partition_specs(config), _PARTITION_INDEXES, (int(CARDS), (int(BLOCK),)))


def _shared_shape(config: StateConfig) -> Shape:
    """What the memory of shared entities is made of."""
    return Shape(_shared_specs(config), _SHARED_INDEXES, (int(ENTITIES), _ENTITY_BLOCKS))


def _units(entries: int) -> int:
    """Units of an arena for so many entries."""
    return -(-entries // ENTRIES_PER_UNIT)


def _reserve_partition(config: StateConfig) -> Memory:
    """Room for a partition."""
    return reserve(_partition_specs(config), _JOURNAL_WORDS, _units(config.events))


def _reserve_shared(config: StateConfig) -> Memory:
    """Room for shared entities."""
    return reserve(_shared_specs(config), _JOURNAL_WORDS, _units(config.buckets))


@contextmanager
def _all_or_nothing(*memories: Memory) -> Iterator[None]:
    """Take back what was changed in these memories where anything raises."""
    saved = [begin(memory) for memory in memories]
    try:
        with np.errstate(over="ignore"):
            yield
    except BaseException:
        for memory, before in zip(memories, saved, strict=True):
            roll_back(memory, before)
        raise


class EngineState:
    """State of a worker: its partitions, the shared entities, directives and rates."""

    def __init__(self, config: StateConfig, rates: RateTable, segments: Segments | None = None) -> None:
        """Reserve the shared tables; partitions are opened as they are assigned.

        Args:
            config: what shapes it.
            rates: to the reference currency.
            segments: the disk that payments go to when memory has no more room for them; None for none.
        """
        self.config = config
        self.segments = segments
        self.rates = rates
        self.directives = Directives()
        self.partitions: dict[int, PartitionState] = {}
        self._room = Room()
        # Rows of the table of sources: the partitions whose rows other workers bring.
        self._followed = np.zeros(0, dtype=np.int64)
        self.empty_shared()
        self.plan = plan(CATALOGUE)
        self.scratch = Scratch(
            np.zeros(VALUE_COUNT, dtype=np.float64),
            np.zeros(AHEAD_SHAPE, dtype=np.int64),
            np.zeros((len(SHARED_WINDOWS_MS), 3), dtype=np.int64),
        )

    def follow(self, partitions: Iterable[int]) -> None:
        """Say that other workers bring rows of these partitions: shared entities let go of nothing before them."""
        self._followed = np.array(sorted(partitions), dtype=np.int64) + 1

    def open_partition(self, partition: int) -> PartitionState:
        """The partition's state, empty if it was not open.

        Raises:
            StateError: there is no such partition.
        """
        if not 0 <= partition < MOST_PARTITIONS:
            message = f"partition {partition}: a source may have {MOST_PARTITIONS} partitions"
            raise StateError(message)
        if partition not in self.partitions:
            memory = _reserve_partition(self.config)
            self.partitions[partition] = PartitionState(memory, _partition_shape(self.config), self._room)
        return self.partitions[partition]

    def partition(self, partition: int) -> PartitionState:
        """The state of an open partition.

        Raises:
            StateError: the partition is not open.
        """
        try:
            return self.partitions[partition]
        except KeyError:
            message = f"partition {partition} is not open"
            raise StateError(message) from None

    def drop_partition(self, partition: int) -> None:
        """Forget a partition that another worker owns now; its share in shared entities stays."""
        self.partitions.pop(partition, None)

    def limits(self) -> Limits:
        """The bounds for a batch that starts now.

        A partition that has seen nothing yet may start anywhere in the past, so it holds back what shared entities let
        go of: whichever partition is read first, the state is the same in the end. So does one of another worker.
        """
        slowest_ms = min((state.watermark_ms if state.started else 0 for state in self.partitions.values()), default=0)
        if len(self._followed):
            others = table_rows(self.shared, int(SOURCES))[self._followed]
            theirs_ms = int(np.where(others[:, SOURCE_STARTED] != 0, others[:, SOURCE_WATERMARK], 0).min())
            slowest_ms = min(slowest_ms, theirs_ms) if self.partitions else theirs_ms
        config = self.config
        return Limits(config.lateness_ms, config.identity_memory_ms, config.retention_ms, slowest_ms)

    def change(self, partition: PartitionState) -> AbstractContextManager[None]:
        """All or nothing: whatever raises inside leaves the partition and the shared entities as they were."""
        return _all_or_nothing(partition.memory, self.shared)

    def change_shared(self) -> AbstractContextManager[None]:
        """All or nothing for a change of the shared entities alone."""
        return _all_or_nothing(self.shared)

    def shared_digest(self) -> str:
        """The canonical digest of shared entities: once all logs are drained it is the same on every worker."""
        return digest_of(self._shared_lines())

    def digest(self) -> str:
        """The canonical digest of feature state: equal digests give equal features for ever; see `detector.digest`."""
        lines, lateness_ms = self._shared_lines(), self.config.lateness_ms
        for state in self.partitions.values():
            lines += card_lines(state.memory, state.watermark_ms, lateness_ms)
        return digest_of(lines)

    def _shared_lines(self) -> list[Line]:
        """What the shared entities hold that counts, canonically."""
        return list(entity_lines(self.shared, self.limits().slowest_watermark_ms - self.config.lateness_ms))

    def changes(self, partition: int) -> StateChanges:
        """What has changed in an open partition, for a checkpoint.

        Raises:
            StateError: the partition is not open.
        """
        return self.partition(partition).changes

    def restore(self, partition: int, image: StateImage) -> PartitionState:
        """Open a partition with saved state.

        Raises:
            StateError: it is not complete, or does not fit the configured capacities.
        """
        shape = _partition_shape(self.config)
        memory = image.memory(_reserve_partition(self.config), shape)
        state = PartitionState(memory, shape, self._room, Texts(image.names, image.codes))
        self.partitions[partition] = state
        return state

    def restore_shared(self, image: StateImage) -> None:
        """Take over saved shared entities.

        Raises:
            StateError: they are not complete, or do not fit the configured capacities.
        """
        shape = _shared_shape(self.config)
        self._watch_shared(image.memory(_reserve_shared(self.config), shape))

    def empty_shared(self) -> None:
        """Forget all shared entities."""
        self._watch_shared(_reserve_shared(self.config))

    def _watch_shared(self, memory: Memory) -> None:
        """Use a memory for the shared entities."""
        self.shared = memory
        self.shared_changes = StateChanges(memory, _shared_shape(self.config), self._room)
