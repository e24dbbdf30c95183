"""ALLOW decisions without headers, a batch at a time: JSON in one buffer, out of which messages are cut.

A kernel writes those with nothing special: no rule that watched, no id that JSON must escape, scores in billionths, as
the engine makes them. The others of them, very few, are written one by one. Both write the fields in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, overload

import msgspec
import numpy as np
from numpy.typing import NDArray

from detector.texts import TextColumn
from detector.transactions import TransactionBatch
from detector.vocabulary import FLAG_NAMES, Action, Flag
from streams.encoding import AssessmentsLike, Versions, flag_texts, rule_ids_of, shadows_told
from streams.kernels.writer import (
    AFTER_LOSS,
    NUMBERS_BYTES,
    SCORE_BYTES,
    Parts,
    Shadows,
    Texts,
    Values,
    Written,
    write_rows,
)
from streams.topics import TRANSACTIONS

_MASKS = 1 << len(FLAG_NAMES)
_encoder = msgspec.json.Encoder()


class _Source(msgspec.Struct, gc=False):
    """Where a transaction came from."""

    topic: str
    partition: int
    offset: int


class _PlainDecision(msgspec.Struct, gc=False):
    """An ALLOW decision; the fields in the order of the contract."""

    transaction_id: str
    card_token: str
    event_time_ms: int
    action: str
    score: float
    anomaly: float
    reasons: list[str]
    rules: list[str]
    expected_loss_minor: int
    model_version: str
    policy_version: str
    rates_version: str
    flags: list[str]
    source: _Source
    shadow: list[dict[str, Any]] | msgspec.UnsetType = msgspec.UNSET


class PlainDecisions(Sequence[bytes | None]):
    """The plain decisions of a batch; None for every row that has none.

    Attributes:
        is_plain: bool, which rows have one.
    """

    def __init__(self, batch: TransactionBatch, written: Written, others: dict[int, bytes]) -> None:
        """Take what the kernel has written, and what was written otherwise."""
        self._data = written.buffer[: int(written.ends.max(initial=0))].tobytes()
        self._cards = batch.card_token
        self._written = written
        self._others = others
        self.is_plain = written.ends > 0
        self.is_plain[list(others)] = True

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.is_plain)

    @overload
    def __getitem__(self, row: int) -> bytes | None: ...

    @overload
    def __getitem__(self, row: slice) -> list[bytes | None]: ...

    def __getitem__(self, row: int | slice) -> bytes | list[bytes | None] | None:
        """The JSON of a row."""
        if isinstance(row, slice):
            return [self[each] for each in range(len(self))[row]]
        if row in self._others:
            return self._others[row]
        return self._data[self._written.starts[row] : self._written.ends[row]] or None

    def messages(self, rows: NDArray[np.int64]) -> list[dict[str, Any]]:
        """Records for the producer, keyed by card.

        Args:
            rows: int64, rows that have a plain decision.
        """
        data, written = self._data, self._written
        columns = (written.card_starts, written.card_ends, written.starts, written.ends)
        places = zip(*(column[rows].tolist() for column in columns), strict=True)
        made = [{"key": data[key:behind], "value": data[start:end]} for key, behind, start, end in places]
        if self._others:
            for index, row in enumerate(rows.tolist()):
                if row in self._others:
                    made[index] = {"key": self._cards.encoded(row), "value": self._others[row]}
        return made


@lru_cache(maxsize=64)
def _parts(versions: Versions, partition: int) -> Parts:
    """What all decisions of a partition share that are made with the same versions."""
    made_with = (
        f',"model_version":{_json(versions.model)},"policy_version":{_json(versions.policy)}'
        f',"rates_version":{_json(versions.rates)}'
    )
    texts = [
        '{"transaction_id":"', '","card_token":"', '","event_time_ms":', ',"action":"ALLOW","score":', ',"anomaly":',
        ',"reasons":[],"rules":[],"expected_loss_minor":', "}}",
        *(
            f'{made_with},"flags":{_json(flag_texts(mask))},"source":{{"topic":{_json(TRANSACTIONS)}'
            f',"partition":{partition},"offset":'
            for mask in range(_MASKS)
        ),
    ]  # fmt: skip
    return _as_parts(texts)


def _as_parts(texts: list[str]) -> Parts:
    """Texts as the kernel takes them."""
    column = TextColumn.from_strings(texts)
    return Parts(np.concatenate([column.buffer, np.zeros(8, dtype=np.uint8)]), column.starts, column.ends)


@lru_cache(maxsize=64)
def _shadow_parts(names: tuple[tuple[str, str], ...]) -> Parts:
    """What all decisions share that tell of the same models and policies that do not act."""
    before = [f'{{"model":{_json(model)},"policy":{_json(policy)},"score":' for model, policy in names]
    first = ['},"shadow":[' + text for text in before[:1]]
    actions = [f',"action":{_json(action.wire)}}}' for action in Action]
    return _as_parts([*first, *(f",{text}" for text in before[1:]), *actions, "]}"])


def _shadows(assessed: AssessmentsLike) -> Shadows:
    """Those that do not act, as the kernel takes them."""
    shadows, count = assessed.shadows, len(assessed.batch)
    room = (len(shadows), count)
    return Shadows(
        _shadow_parts(tuple((shadow.model, shadow.policy) for shadow in shadows)),
        np.array([shadow.score for shadow in shadows], dtype=np.float64).reshape(room),
        np.array([shadow.action for shadow in shadows], dtype=np.int64).reshape(room),
        (assessed.flags & int(Flag.DUPLICATE) == 0) & (len(shadows) > 0),
    )


def _json(value: Any) -> str:
    """A value as JSON."""
    return _encoder.encode(value).decode()


def _texts(column: TextColumn) -> Texts:
    """A column as the kernel takes it."""
    return Texts(column.buffer, column.starts, column.ends)


def _write(assessed: AssessmentsLike, versions: Versions, wanted: NDArray[np.bool_]) -> Written:
    """Let the kernel write what it can."""
    batch = assessed.batch
    parts = _parts(versions, batch.partition)
    lengths = parts.ends - parts.starts
    shared = int(lengths[:AFTER_LOSS].sum() + lengths[AFTER_LOSS:].max()) + NUMBERS_BYTES
    shadows = _shadows(assessed)
    lengths_told = shadows.parts.ends - shadows.parts.starts
    shared += int(lengths_told.sum()) + len(assessed.shadows) * (int(lengths_told.max()) + SCORE_BYTES)
    columns = (batch.transaction_id, batch.card_token)
    room = len(batch) * shared + sum(int((column.ends - column.starts).sum()) for column in columns) + 8
    places = np.zeros((4, len(batch)), dtype=np.int64)
    written = Written(np.empty(room, dtype=np.uint8), *places)
    values = Values(
        _texts(batch.transaction_id), _texts(batch.card_token), batch.event_time_ms, assessed.score, assessed.anomaly,
        assessed.expected_loss_minor, assessed.flags, batch.offset,
    )  # fmt: skip
    # The arithmetic of whole words counts modulo 2^64; only plain Python, without the compiler, warns of it.
    with np.errstate(over="ignore"):
        write_rows(parts, values, shadows, wanted, written)
    return written


def warm_up() -> None:
    """Compile the writer."""
    nothing, numbers = _texts(TextColumn.from_strings([])), np.zeros(0, dtype=np.int64)
    values = Values(nothing, nothing, numbers, np.zeros(0), np.zeros(0), numbers, numbers, numbers)
    written = Written(np.zeros(8, dtype=np.uint8), numbers, numbers, numbers, numbers)
    shadows = Shadows(
        _shadow_parts(()), np.zeros((0, 0)), np.zeros((0, 0), dtype=np.int64), np.zeros(0, dtype=np.bool_)
    )
    write_rows(_parts(Versions("", "", "", ()), 0), values, shadows, np.zeros(0, dtype=np.bool_), written)


def _write_singly(assessed: AssessmentsLike, versions: Versions, row: int) -> bytes:
    """Write one decision that the kernel does not write."""
    batch = assessed.batch
    return _encoder.encode(
        _PlainDecision(
            batch.transaction_id[row] or "", batch.card_token[row] or "", int(batch.event_time_ms[row]),
            Action.ALLOW.wire, float(assessed.score[row]), float(assessed.anomaly[row]), assessed.reason_codes(row),
            rule_ids_of(int(assessed.rule_hits[row]), versions), int(assessed.expected_loss_minor[row]),
            versions.model, versions.policy, versions.rates, flag_texts(int(assessed.flags[row])),
            _Source(TRANSACTIONS, batch.partition, int(batch.offset[row])),
            shadows_told(assessed, row) or msgspec.UNSET,
        )
    )  # fmt: skip


def encode_plain(assessed: AssessmentsLike, versions: Versions) -> PlainDecisions:
    """Encode the ALLOW decisions of a batch, but for those with scores that JSON cannot carry."""
    is_plain = (assessed.action == Action.ALLOW) & np.isfinite(assessed.score) & np.isfinite(assessed.anomaly)
    written = _write(assessed, versions, is_plain & (assessed.rule_hits == 0) & (assessed.flags < _MASKS))
    left = np.flatnonzero(is_plain & (written.ends == 0)).tolist()
    return PlainDecisions(assessed.batch, written, {row: _write_singly(assessed, versions, row) for row in left})
