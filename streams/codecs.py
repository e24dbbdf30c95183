"""From raw records to columns: the whole fetch in one pass, each bad record put aside with its reason.

Transactions go through `streams.scanning`, which makes columns of what it understands. Whatever it leaves, and every
label, is decoded here one by one: decoding checks types, lengths and ranges in C. What remains is checked by columns:
distinct values against the words we know, arrays against bounds. Only a batch that holds a bad record is looked at row
by row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from detector.vocabulary import Channel, EntryMode, Kind, Label, LabelSource, StepUp, WireEnum
from streams.card_numbers import CardNumberCheck
from streams.currencies import MINOR_UNITS
from streams.record_table import joined, offsets_of, selected, timestamps_of, traceparents_of, values_of
from streams.records import RawRecord
from streams.rejections import UNREADABLE, Reason, Rejected, diagnose
from streams.scanning import columns_of, scan, with_rows
from streams.wire import LabelRecord, LenientLabelRecord, LenientTransactionRecord, TransactionRecord

_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")
_COUNTRY = re.compile(r"[A-Z]{2}|")
_MCC = re.compile(r"\d{4}|", re.ASCII)
_RESPONSE_CODE = re.compile(r"[0-9A-Z]{2}|")
_REFERRING = frozenset({Kind.REVERSAL.wire, Kind.OUTCOME.wire})
_PLACES = (("latitude", 90.0), ("longitude", 180.0), ("home_latitude", 90.0), ("home_longitude", 180.0))

# A list or an array; what it holds is known to the one who asks for it.
Column = Any
Struct = TypeVar("Struct", bound=msgspec.Struct)


def _words(vocabulary: type[WireEnum], left_out: WireEnum, *, optional: bool = False) -> dict[str | None, int]:
    """Wire names to codes; where optional, null, the empty string and a missing field are 0, "not given"."""
    words: dict[str | None, int] = {None: 0, "": 0} if optional else {}
    return words | {member.wire: int(member) for member in vocabulary if member is not left_out}


_KINDS = Kind.by_wire()
_CHANNELS = _words(Channel, Channel.NONE, optional=True)
_ENTRY_MODES = _words(EntryMode, EntryMode.NONE, optional=True)
_STEP_UPS = _words(StepUp, StepUp.NONE, optional=True)
_LABELS = _words(Label, Label.UNLABELLED)
_SOURCES = _words(LabelSource, LabelSource.MATURITY)


def _matching(column: Column, pattern: re.Pattern[str]) -> set[str | None]:
    """The distinct values of a column that match in full, or are missing."""
    return {value for value in set(column) if value is None or pattern.fullmatch(value)}


@dataclass(frozen=True, slots=True)
class Decoded:
    """What became of one fetch.

    Attributes:
        records: those that were taken, in offset order; the columns' rows.
        columns: as `detector.transactions.build_batch` or `build_label_batch` takes them; optional ones may be left out
            where no record gives them.
        offset: int64, of the records taken.
        timestamp_ms: int64, Kafka's timestamp of the records taken.
        rejected: those put aside.
        unknown_fields: how many records had fields that we do not know.
        traceparents: the trace context of rows that have one.
        rows: int64, places of the records taken among those given.
    """

    records: Sequence[RawRecord]
    columns: Mapping[str, Column]
    offset: NDArray[np.int64]
    timestamp_ms: NDArray[np.int64]
    rejected: list[Rejected]
    unknown_fields: int
    traceparents: Mapping[int, bytes]
    rows: NDArray[np.int64]


@dataclass(slots=True)
class _Table:
    """Columns under check, with the reasons found so far: the first reason of a row stands."""

    records: Sequence[RawRecord]
    columns: dict[str, Column]
    timestamp_ms: NDArray[np.int64]
    places: NDArray[np.int64]
    bad: dict[int, tuple[Reason, str]] = field(default_factory=dict)

    def refuse(self, rows: Iterable[int], reason: Reason, detail: str) -> None:
        """Put rows aside."""
        for row in rows:
            self.bad.setdefault(int(row), (reason, detail))

    def translate(self, name: str, words: Mapping[Any, int], reason: Reason = Reason.UNKNOWN_VALUE) -> None:
        """Replace a column of wire names by codes, refusing names that are not among `words`."""
        column = self.columns[name]
        unknown = set(column).difference(words)
        if unknown:
            self.refuse((row for row, value in enumerate(column) if value in unknown), reason, name)
            self.columns[name] = [words.get(value, 0) for value in column]
        else:
            self.columns[name] = list(map(words.__getitem__, column))

    def expect(self, name: str, known: Collection[Any], reason: Reason) -> None:
        """Refuse rows whose value is not among `known`."""
        column = self.columns[name]
        unknown = set(column).difference(known)
        if unknown:
            self.refuse((row for row, value in enumerate(column) if value in unknown), reason, name)

    def match(self, name: str, pattern: re.Pattern[str], reason: Reason) -> None:
        """Refuse rows whose text does not match in full."""
        self.expect(name, _matching(self.columns[name], pattern), reason)

    def expect_no_control_characters(self, name: str) -> None:
        """Refuse ids with control characters: they end up in logs, and one of them parts identities."""
        column = self.columns[name]
        if not "".join(column).isprintable():
            rows = (row for row, value in enumerate(column) if _CONTROL_CHARACTER.search(value))
            self.refuse(rows, Reason.CONTROL_CHARACTER, name)

    def expect_not_future(self, name: str, bound_ms: int) -> None:
        """Refuse what claims to be later than its record's timestamp plus a bound."""
        claimed = np.array(self.columns[name], dtype=np.int64)
        self.columns[name] = claimed
        late = np.nonzero(claimed > self.timestamp_ms + bound_ms)[0]
        self.refuse(late.tolist(), Reason.DATED_IN_FUTURE, name)


class _Codec(Generic[Struct]):
    """Decodes one kind of record."""

    def __init__(self, strict: type[Struct], lenient: type[Struct], check: CardNumberCheck) -> None:
        self._decode = msgspec.json.Decoder(strict).decode
        self._decode_lenient = msgspec.json.Decoder(lenient).decode
        self._names = strict.__struct_fields__
        self._check = check

    def decode(self, records: Sequence[RawRecord], now_ms: int, checks: Callable[[_Table], None]) -> Decoded:
        """Decode a fetch; records without a timestamp count as written at `now_ms`."""
        rejected: list[Rejected] = []
        taken: Sequence[RawRecord] = records
        unknown_fields = 0
        places = np.arange(len(records))
        try:
            decode = self._decode
            structs = [decode(record.value) for record in records]  # type: ignore[arg-type] # None raises TypeError
        except (*UNREADABLE, TypeError):
            places, structs, rejected, unknown_fields = self._decode_singly(records)
            taken = selected(records, places)
        rows = list(zip(*map(msgspec.structs.astuple, structs), strict=True)) or [()] * len(self._names)
        columns = dict(zip(self._names, rows, strict=True))
        table = _Table(taken, columns, timestamps_of(taken, now_ms), places)
        if structs:
            table.refuse(
                self._check.suspicious_rows(table.columns["card_token"]), Reason.CARD_NUMBER_IN_CLEAR, "card_token"
            )
            checks(table)
        return _finish(table, rejected, unknown_fields)

    def _decode_singly(
        self, records: Sequence[RawRecord]
    ) -> tuple[NDArray[np.int64], list[Struct], list[Rejected], int]:
        """Decode a fetch in which some record does not decode strictly; the places of those that do come first."""
        taken: list[int] = []
        structs: list[Struct] = []
        rejected: list[Rejected] = []
        unknown_fields = 0
        for place, record in enumerate(records):
            value = record.value or b""
            try:
                struct = self._decode(value)
            except UNREADABLE:
                try:
                    struct = self._decode_lenient(value)
                except UNREADABLE as error:
                    rejected.append(diagnose(record, error, self._check))
                    continue
                unknown_fields += 1
            taken.append(place)
            structs.append(struct)
        return np.array(taken, dtype=np.int64), structs, rejected, unknown_fields


def _finish(table: _Table, rejected: list[Rejected], unknown_fields: int) -> Decoded:
    """Part good rows from bad ones."""
    records, columns, timestamps, places = table.records, table.columns, table.timestamp_ms, table.places
    if table.bad:
        rejected += [Rejected(records[row], reason, detail) for row, (reason, detail) in table.bad.items()]
        rejected.sort(key=lambda item: item.record.offset)
        good = np.array([row for row in range(len(records)) if row not in table.bad], dtype=np.int64)
        records = selected(records, good)
        timestamps, places = timestamps[good], places[good]
        columns = {name: [column[row] for row in good] for name, column in columns.items()}
    return Decoded(
        records, columns, offsets_of(records), timestamps, rejected, unknown_fields, traceparents_of(records), places
    )


class TransactionCodec:
    """Decodes `payments.transactions.v1`."""

    def __init__(self, check: CardNumberCheck, future_bound_ms: int) -> None:
        """Refuse card numbers by `check`, and what lies more than `future_bound_ms` after its timestamp."""
        self._codec = _Codec(TransactionRecord, LenientTransactionRecord, check)
        self._future_bound_ms = future_bound_ms

    def decode(self, records: Sequence[RawRecord], now_ms: int) -> Decoded:
        """Decode one fetch of one partition; `now_ms` stands in for a record's missing timestamp."""
        timestamps = timestamps_of(records, now_ms)
        scanned = scan(values_of(records), timestamps + self._future_bound_ms)
        clean = scanned.found.clean
        if clean.all():
            offsets, traces = offsets_of(records), traceparents_of(records)
            return Decoded(records, columns_of(scanned), offsets, timestamps, [], 0, traces, np.arange(len(records)))
        left = np.flatnonzero(~clean)
        decoded = self.decode_singly(selected(records, left), now_ms)
        rows = left[decoded.rows]
        taken = np.sort(np.concatenate([np.flatnonzero(clean), rows]))
        kept = selected(records, taken)
        columns = columns_of(with_rows(scanned, rows, decoded.columns), taken)
        return Decoded(
            kept, columns, offsets_of(kept), timestamps[taken], decoded.rejected, decoded.unknown_fields,
            traceparents_of(kept), taken,
        )  # fmt: skip

    @staticmethod
    def warm_up() -> None:
        """Compile the scanner."""
        scan(joined([b"{}"]), np.zeros(1, dtype=np.int64))

    def decode_singly(self, records: Sequence[RawRecord], now_ms: int) -> Decoded:
        """The same without the scanner; the columns are Python's lists, for the most part."""
        return self._codec.decode(records, now_ms, self._check)

    def _check(self, table: _Table) -> None:
        """Check the columns, and turn words into codes."""
        table.expect_no_control_characters("transaction_id")
        table.expect_no_control_characters("card_token")
        columns = table.columns
        kinds = columns["kind"]
        if not _REFERRING.isdisjoint(kinds):
            pairs = zip(kinds, columns["refers_to"], strict=True)
            lost = [row for row, (kind, to) in enumerate(pairs) if kind in _REFERRING and to is None]
            table.refuse(lost, Reason.MISSING_REFERENCE, "refers_to")
        if any(columns["refers_to"]):
            references = enumerate(columns["refers_to"])
            controls = [row for row, reference in references if reference and _CONTROL_CHARACTER.search(reference)]
            table.refuse(controls, Reason.CONTROL_CHARACTER, "refers_to")
        table.translate("kind", _KINDS)
        table.translate("channel", _CHANNELS)
        table.translate("entry_mode", _ENTRY_MODES)
        table.translate("step_up", _STEP_UPS)
        table.expect("currency", MINOR_UNITS.keys(), Reason.UNKNOWN_CURRENCY)
        table.match("country", _COUNTRY, Reason.BAD_COUNTRY)
        table.match("ip_country", _COUNTRY, Reason.BAD_COUNTRY)
        table.match("response_code", _RESPONSE_CODE, Reason.UNKNOWN_VALUE)
        table.translate(
            "mcc", {value: int(value) if value else 0 for value in _matching(columns["mcc"], _MCC)}, Reason.BAD_MCC
        )
        for name, bound in _PLACES:
            degrees = np.array(columns[name], dtype=np.float64)
            columns[name] = degrees
            outside = np.nonzero(np.abs(degrees) > bound)[0]
            table.refuse(outside.tolist(), Reason.BAD_COORDINATES, name)
        table.expect_not_future("event_time_ms", self._future_bound_ms)


class LabelCodec:
    """Decodes `fraud.labels.v1`."""

    def __init__(self, check: CardNumberCheck, future_bound_ms: int) -> None:
        """Refuse card numbers by `check`, and what lies more than `future_bound_ms` after its timestamp."""
        self._codec = _Codec(LabelRecord, LenientLabelRecord, check)
        self._future_bound_ms = future_bound_ms

    def decode(self, records: Sequence[RawRecord], now_ms: int) -> Decoded:
        """Decode one fetch of one partition; `now_ms` stands in for a record's missing timestamp."""
        return self._codec.decode(records, now_ms, self._check)

    def _check(self, table: _Table) -> None:
        """Check the columns, and turn words into codes."""
        table.expect_no_control_characters("transaction_id")
        table.expect_no_control_characters("card_token")
        table.translate("label", _LABELS)
        table.translate("source", _SOURCES)
        table.expect_not_future("label_time_ms", self._future_bound_ms)
