"""`SqlHistory`: the read model's tables, written from the topic and asked by people.

Calls block: whoever has an event loop makes them in a thread. Events are taken in together with how far the topic was
read, in one transaction, so that a crash leaves either both or neither, and two who read the same records disturb
nobody: the second finds the position moved and takes nothing in.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import msgspec
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, Select, create_engine, delete, event, func, insert, select, update
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from casework.adapters.sql_history import schema
from casework.adapters.sql_history.figures import statistics
from casework.adapters.sql_history.narrowing import DAY_MS, LARGEST_NUMBER, Narrowed, conditions, narrowed
from casework.adapters.sql_history.words import PostgresWords, SqliteWords, has_words
from casework.cards import SYSTEM_ACTOR
from casework.cases import Case, CaseEvent, CaseEventType, fold
from casework.errors import (
    HistoryConflictError,
    HistoryError,
    HistoryOriginError,
    HistoryUnavailableError,
    IllegalCaseMoveError,
    InvalidCursorError,
)
from casework.history import MOST_UNTOUCHED, HistoryFilters, HistoryPage, Statistics, Taken, Told, terms_of, words_of
from casework.promptness import Done, Promptness

logger = logging.getLogger(__name__)

_LOCK_WAIT_S = 30
_POOL_CONNECTIONS = 5

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Case)


@dataclass(slots=True)
class _Row:
    """A case while events are taken in; `number` is None until it is stored."""

    number: int | None
    case: Case
    first_action_ms: int | None = None
    missed_target: bool = False
    promptness: Promptness = field(default_factory=Promptness)

    def take(self, told: CaseEvent) -> None:
        """Note what one more event says beyond the case itself."""
        if told.actor != SYSTEM_ACTOR and self.first_action_ms is None:
            self.first_action_ms = told.time_ms
        self.missed_target |= told.type is CaseEventType.TARGET_MISSED

    def columns(self) -> dict[str, Any]:
        """As it is stored."""
        case = self.case
        return {
            "case_id": case.case_id,
            "kind": case.kind.value,
            "state": case.state.value,
            "opened_ms": case.opened_ms,
            "first_action_ms": self.first_action_ms,
            "closed_ms": case.closed_ms,
            "closed_by": case.closed_by,
            "disposition": None if case.disposition is None else case.disposition.value,
            "missed_target": int(self.missed_target),
            "unfrozen_ms": self.promptness.unfrozen_ms,
            "untouched_since_ms": self.promptness.untouched_since_ms,
            "frozen_ms": self.promptness.frozen_ms,
            "body": _encoder.encode(case).decode(),
        }


class SqlHistory:
    """The read model behind `casework.history.HistoryWriter` and `casework.history.History`."""

    def __init__(self, url: str) -> None:
        """Connect on first use.

        Args:
            url: SQLAlchemy's, such as `sqlite:////var/lib/cardwatch/history.db` or `postgresql+psycopg://…`.

        Raises:
            HistoryError: it is no address of a SQLite or PostgreSQL database, or its driver is not installed.
        """
        try:
            self._engine = _engine(url)
        except (SQLAlchemyError, ImportError, ValueError) as error:
            message = f"no database of that address ({type(error).__name__})"
            raise HistoryError(message) from error
        self._words = PostgresWords() if self._engine.dialect.name == "postgresql" else SqliteWords()

    def open(self) -> None:
        """Bring the tables up to date.

        Tables that a later version has brought up to date stay as they are: migrations only ever add, so that the
        version before can be put back (docs/runbooks/rollback.md).

        Raises:
            HistoryUnavailableError: the database does not answer.
        """
        with self._begin() as connection:
            config = Config()
            folder = resources.files("casework.adapters.sql_history") / "migrations"
            config.set_main_option("script_location", str(folder).replace("%", "%%"))
            config.attributes["connection"] = connection
            ours = {each.revision for each in ScriptDirectory.from_config(config).walk_revisions()}
            found = MigrationContext.configure(connection).get_current_heads()
            if later := sorted(set(found) - ours):
                logger.warning("the tables are of a later version (%s), and stay as they are", ", ".join(later))
            else:
                command.upgrade(config, "head")

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def ping(self) -> None:
        """Raises HistoryUnavailableError unless the database answers."""
        with self._begin() as connection:
            connection.execute(select(schema.origin).limit(1))

    def clear(self) -> None:
        """Forget everything, to be read anew."""
        with self._begin() as connection:
            for table in (*schema.metadata.tables.values(), self._words.table):
                connection.execute(delete(table))

    def positions(self, origin: str) -> dict[int, int]:
        """See `HistoryWriter`."""
        with self._begin() as connection:
            known = connection.execute(select(schema.origin.c.origin)).scalar()
            if known is None:
                connection.execute(insert(schema.origin).values(origin=origin))
            elif known != origin:
                message = "the history was read from another topic or cluster: run `cardwatch rebuild history`"
                raise HistoryOriginError(message)
            rows = connection.execute(select(schema.positions.c.partition, schema.positions.c.next_offset))
            return dict(iter(rows))

    def apply(self, told: Sequence[Told]) -> Taken:
        """See `HistoryWriter`."""
        with self._begin() as connection:
            self._move(connection, told)
            events = [each.event for each in told if each.event is not None]
            rows = _load(connection, {each.case_id for each in events})
            changed: dict[str, list[CaseEvent]] = {}
            done: list[Done] = []
            for each in events:
                if _took(rows, each, done):
                    changed.setdefault(each.case_id, []).append(each)
            stored = [rows[case_id] for case_id in changed]
            _store(connection, stored)
            _note_days(connection, stored)
            self._index(connection, rows, changed)
        return Taken(sum(map(len, changed.values())), tuple(done))

    def untouched_since_ms(self) -> list[int]:
        """See `HistoryWriter`."""
        since = schema.cases.c.untouched_since_ms
        with self._begin() as connection:
            waiting = select(since).where(since.is_not(None)).order_by(since).limit(MOST_UNTOUCHED)
            return list(connection.execute(waiting).scalars())

    def find(self, filters: HistoryFilters, cursor: str | None, limit: int) -> HistoryPage:
        """See `History`."""
        below = _number_of(cursor)
        with self._begin() as connection:
            queries = self._queries(connection, filters, below, limit + 1)
            numbers = {number for query in queries for number in connection.execute(query).scalars()}
            wanted = sorted(numbers, reverse=True)[: limit + 1]
            bodies = dict(
                iter(
                    connection.execute(
                        select(schema.cases.c.number, schema.cases.c.body).where(schema.cases.c.number.in_(wanted))
                    )
                )
            )
        cases = tuple(_decoder.decode(bodies[number]) for number in wanted[:limit])
        return HistoryPage(cases, str(wanted[limit - 1]) if len(wanted) > limit else None)

    def statistics(self, from_ms: int, before_ms: int) -> Statistics:
        """See `History`."""
        with self._begin() as connection:
            return statistics(connection, from_ms, before_ms)

    def _queries(
        self, connection: Connection, filters: HistoryFilters, below: int, limit: int
    ) -> list[Select[tuple[int]]]:
        """Numbers of the newest cases that pass: one query for each way in which the text may be found."""
        left = narrowed(connection, filters)
        if left.few is not None:
            return self._among(left.few, left, filters.text, below, limit)
        number, terms = schema.cases.c.number, schema.terms
        plain = select(number).where(*left.within(number, below), *conditions(filters))
        if filters.text is None:
            return [plain.order_by(number.desc()).limit(limit)]
        found = plain.join(terms, terms.c.number == number).where(terms.c.term == filters.text)
        found = found.where(*left.within(terms.c.number, below))
        queries = [found.order_by(terms.c.number.desc()).limit(limit)]
        if has_words(filters.text):
            queries.append(self._words.numbers(connection, plain, filters.text, below, left).limit(limit))
        return queries

    def _among(
        self, few: Select[tuple[int]], left: Narrowed, text: str | None, below: int, limit: int
    ) -> list[Select[tuple[int]]]:
        """The same, where the filters leave few cases."""
        if not left.count:
            return []
        if text is None:
            found = few.subquery()
            return [select(found.c.number).where(found.c.number < below).order_by(found.c.number.desc()).limit(limit)]
        terms = schema.terms.c
        known = select(terms.number).where(terms.term == text, terms.number < below, terms.number.in_(few))
        queries = [known.order_by(terms.number.desc()).limit(limit)]
        if has_words(text):
            queries.append(self._words.among(few, left, text, below, limit))
        return queries

    def _move(self, connection: Connection, told: Sequence[Told]) -> None:
        """Move the positions behind what is taken in.

        Raises:
            HistoryConflictError: a position is not where these records begin.
        """
        table = schema.positions
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        for each in told:
            first.setdefault(each.partition, each.offset)
            last[each.partition] = each.offset
        known = dict(iter(connection.execute(select(table.c.partition, table.c.next_offset))))
        for partition, offset in last.items():
            if partition not in known:
                connection.execute(insert(table).values(partition=partition, next_offset=offset + 1))
                continue
            moved = connection.execute(
                update(table)
                .where(table.c.partition == partition, table.c.next_offset == known[partition])
                .values(next_offset=offset + 1)
            )
            if known[partition] > first[partition] or not moved.rowcount:
                message = f"partition {partition} was read by somebody else"
                raise HistoryConflictError(message)

    def _index(self, connection: Connection, rows: dict[str, _Row], changed: dict[str, list[CaseEvent]]) -> None:
        """Note what the changed cases are found and counted by."""
        terms, reasons, words = set[tuple[str, int]](), set[tuple[int, str]](), dict[int, str]()
        for case_id, events in changed.items():
            row = rows[case_id]
            number = row.number or 0
            for each in events:
                terms |= {(term, number) for term in terms_of(row.case, each)}
                if each.alert is not None:
                    reasons |= {(number, reason) for reason in each.alert.reasons}
                if more := words_of(each):
                    words[number] = f"{words[number]} {more}" if number in words else more
        _add_new(connection, schema.terms, sorted(terms))
        _add_new(connection, schema.reasons, sorted(reasons))
        self._words.add(connection, words)

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        """A transaction.

        Raises:
            HistoryUnavailableError: the database does not answer.
        """
        try:
            with self._engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            message = f"the database of closed cases does not answer ({type(error.orig).__name__})"
            raise HistoryUnavailableError(message) from error


def _engine(url: str) -> Engine:
    """An engine for SQLite or PostgreSQL."""
    if url.startswith("sqlite:"):
        engine = create_engine(url, connect_args={"timeout": _LOCK_WAIT_S})

        @event.listens_for(engine, "connect")
        def _configure(connection: Any, _record: Any) -> None:
            # Readers and the writer do not wait for each other; what a loss of power takes is read again.
            connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")

        return engine
    if url.startswith("postgresql"):
        # Planned with what is asked for in sight: a plan made for any words reads far too much for most.
        unprepared = {"prepare_threshold": None}
        return create_engine(url, pool_size=_POOL_CONNECTIONS, pool_pre_ping=True, connect_args=unprepared)
    message = "the address of a SQLite or PostgreSQL database is expected"
    raise ValueError(message)


def _load(connection: Connection, case_ids: set[str]) -> dict[str, _Row]:
    """What is stored of some cases."""
    table = schema.cases
    found = connection.execute(
        select(
            table.c.number,
            table.c.body,
            table.c.first_action_ms,
            table.c.missed_target,
            table.c.untouched_since_ms,
            table.c.frozen_ms,
            table.c.unfrozen_ms,
        ).where(table.c.case_id.in_(case_ids))
    )
    rows = [
        _Row(number, _decoder.decode(body), first_ms, bool(missed), Promptness(*waits))
        for number, body, first_ms, missed, *waits in found
    ]
    return {row.case.case_id: row for row in rows}


def _took(rows: dict[str, _Row], told: CaseEvent, done: list[Done]) -> bool:
    """Whether an event is a new one, and fits; it then counts in its row, and what it ended is added to `done`."""
    row = rows.get(told.case_id)
    if row is not None and told.sequence <= row.case.sequence:
        return False
    before = None if row is None else row.case
    try:
        case = fold(before, told)
    except IllegalCaseMoveError:
        return False
    if row is None:
        row = rows[told.case_id] = _Row(None, case)
    row.case = case
    row.take(told)
    done += row.promptness.take(before, case, told)
    return True


def _store(connection: Connection, rows: Sequence[_Row]) -> None:
    """Write changed cases; new ones get their numbers."""
    new, known = [row for row in rows if row.number is None], [row for row in rows if row.number is not None]
    if new:
        made = insert(schema.cases).returning(schema.cases.c.number, sort_by_parameter_order=True)
        numbers = connection.execute(made, [row.columns() for row in new]).scalars()
        for row, number in zip(new, numbers, strict=True):
            row.number = number
    for row in known:
        change = update(schema.cases).where(schema.cases.c.number == row.number)
        connection.execute(change.values(row.columns()))


def _add_new(connection: Connection, table: Any, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows that are not there yet."""
    if not rows:
        return
    names = [column.name for column in table.primary_key]
    made = _inserting(connection)(table).on_conflict_do_nothing()
    connection.execute(made, [dict(zip(names, row, strict=True)) for row in rows])


def _inserting(connection: Connection) -> Any:
    """`insert` with ON CONFLICT: the same clause in both dialects, which SQLAlchemy has in neither's common part."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as inserting  # noqa: PLC0415
    else:
        from sqlalchemy.dialects.sqlite import insert as inserting  # type: ignore[assignment] # noqa: PLC0415
    return inserting


def _note_days(connection: Connection, rows: Sequence[_Row]) -> None:
    """Note between which numbers the cases of each day lie."""
    days: dict[int, list[int]] = {}
    for row in rows:
        if row.case.closed_ms is not None and row.number is not None:
            days.setdefault(row.case.closed_ms // DAY_MS, []).append(row.number)
    if not days:
        return
    table, is_postgres = schema.closed_days, connection.dialect.name == "postgresql"
    least, most = (func.least, func.greatest) if is_postgres else (func.min, func.max)
    made = _inserting(connection)(table)
    widened = made.on_conflict_do_update(
        index_elements=["day"],
        set_={
            "first_number": least(table.c.first_number, made.excluded.first_number),
            "last_number": most(table.c.last_number, made.excluded.last_number),
        },
    )
    # In order, so that two writers never wait for each other crosswise.
    connection.execute(
        widened,
        [{"day": day, "first_number": min(each), "last_number": max(each)} for day, each in sorted(days.items())],
    )


def _number_of(cursor: str | None) -> int:
    """The number that a cursor says.

    Raises:
        InvalidCursorError: no list gave it out.
    """
    if cursor is None:
        return LARGEST_NUMBER
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < len(str(LARGEST_NUMBER))):
        message = "the cursor was not given out by this list"
        raise InvalidCursorError(message)
    return int(cursor)
