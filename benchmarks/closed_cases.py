"""Millions of closed cases in the memory of closed cases, as the history role would have written them.

Some thousand cases are played on a desk and taken in by the history role's own writer. The rows that this writes are
then written again and again under other cards, payments and times, in bulk: only who, when and the reference in the
note differ, so every row is one that the role could have written.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, create_engine, select, text

from cardwatch.settings import shipped_toml
from casework.adapters.memory_store import MemoryStore
from casework.adapters.sql_history import schema
from casework.adapters.sql_history.store import SqlHistory
from casework.adapters.sql_history.words import PostgresWords, SqliteWords
from casework.alerts import Alert, Evidence, Payment
from casework.authority import Authority, Person, Role
from casework.cases import CaseEvent, Disposition
from casework.commands import VerifySeen
from casework.desk import Desk
from casework.history import Told
from casework.ids import case_id_of
from casework.outbox import CASES_TOPIC, OutboxEntry
from casework.playbook import Playbook
from casework.records import case_event_of
from casework.verification import Method
from casework.views import CardAction, Override
from detector.vocabulary import Action

START_MS = 1_700_000_000_000
_MINUTE_MS = 60_000
_PLAYED = 2_000
_MERCHANTS, _TERMINALS, _DEVICES, _AGENTS = 4_000, 9_000, 20_000, 60
_WRITE_ROWS = 20_000
_OUTBOX_ENTRIES = 100_000
# What a copy is told apart by: a word's tail, so that tokens, ids and the note's reference are other ones in each copy.
_MARK = "x{:06d}x"
_TIME = re.compile(r"\b1[67]\d{11}\b")
# The commonest words stand in most notes, the others in fewer and fewer: as words do.
_WORDS = (
    "cardholder", "called", "payment", "confirmed", "not", "theirs", "travel", "abroad", "number", "card", "merchant",
    "terminal", "declined", "known", "refund", "hotel", "taxi", "supermarket", "phone", "wallet", "family", "stolen",
    "lost", "airport", "subscription", "trial", "laptop", "delivery", "insurance", "rental", "deposit", "ferry",
    "pharmacy", "cinema", "garage", "florist", "locksmith", "aquarium", "zeppelin", "harpsichord",
)  # fmt: skip
COMMON_WORD, RARE_WORDS = _WORDS[0], (_WORDS[-3], _WORDS[-1])

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Filled:
    """What there is to be searched for.

    Attributes:
        cases: how many.
        card_token, transaction_id, case_id, reference: lead to one case each; the reference stands in its note.
        merchant_id: of many cases.
    """

    cases: int
    card_token: str
    transaction_id: str
    case_id: str
    reference: str
    merchant_id: str


def desk_on(store: Any) -> Desk:
    """A desk by the shipped rules."""
    playbook = Playbook.from_mapping(shipped_toml("playbook.toml"))
    return Desk(store, playbook, Authority.from_mapping(shipped_toml("roles.toml")), bytes(32))


def made_alert(number: int, at_ms: int, rng: random.Random) -> Alert:
    """An alert with evidence and last payments, at one of the places where alerts cluster."""
    mark = _MARK.format(0)
    amount_minor = int(rng.lognormvariate(8.5, 1.2))
    evidence = tuple(
        Evidence(code, code, float(amount_minor), 2_500.0, weight)
        for code, weight in (("amount_above_usual", 2.1), ("new_country", 1.4), ("impossible_travel", 0.8))
    )
    return Alert(
        alert_id=f"al-{number:07d}{mark}",
        transaction_id=f"tx-{number:07d}{mark}",
        card_token=f"tok-{number:07d}{mark}",
        event_time_ms=at_ms - 1_000,
        action=rng.choices((Action.FREEZE, Action.REVIEW, Action.STEP_UP), (5, 4, 0))[0],
        score=rng.uniform(0.3, 0.98),
        anomaly=rng.random(),
        reasons=tuple(each.code for each in evidence),
        rules=(),
        flags=(),
        expected_loss_minor=amount_minor * 9 // 10,
        model_version="m-000012",
        policy_version="policy-3",
        evidence=evidence,
        last_payments=tuple(_payment(at_ms - back * 7_200_000, rng) for back in range(20)),
        amount_minor=amount_minor,
        currency="EUR",
        merchant_id=f"mrc_{_often(_MERCHANTS, rng):05d}",
        country=rng.choice(("DE", "BR", "PH", "CN", "US")),
        terminal_ref=f"t{_often(_TERMINALS, rng):06d}",
        device_ref=f"d{_often(_DEVICES, rng):06d}",
    )


def _payment(at_ms: int, rng: random.Random) -> Payment:
    return {
        "event_time_ms": at_ms, "amount_minor": int(rng.lognormvariate(7.5, 0.8)), "currency": "EUR",
        "kind": "purchase", "channel": "pos", "entry_mode": "contactless", "country": "DE",
        "merchant_id": f"mrc_{_often(_MERCHANTS, rng):05d}",
    }  # fmt: skip


def _often(count: int, rng: random.Random) -> int:
    """One of so many, the first ones far more often."""
    return int(count * rng.random() ** 3)


def _note(number: int, rng: random.Random) -> str:
    words = rng.choices(_WORDS, [1 / (place + 1) ** 1.3 for place in range(len(_WORDS))], k=14)
    return f"{' '.join(words)}. Reference {number:07d}{_MARK.format(0)}."


def case_events(entries: Sequence[OutboxEntry]) -> list[CaseEvent]:
    """The events of cases among what an outbox holds."""
    return [case_event_of(entry.value) for entry in entries if entry.topic == CASES_TOPIC]


async def _played() -> tuple[list[CaseEvent], Alert]:
    """Cases opened, decided and closed by a desk, as its outbox tells them, and the first one's alert."""
    rng = random.Random(11)
    desk = desk_on(MemoryStore(shards=1, outbox_limit=_OUTBOX_ENTRIES))
    await desk.open()
    alerts = [made_alert(number, START_MS + number * _MINUTE_MS, rng) for number in range(_PLAYED)]
    for number, alert in enumerate(alerts):
        now_ms = START_MS + number * _MINUTE_MS
        (outcome,) = await desk.respond([alert], now_ms)
        by = Person(f"agent-{number % _AGENTS:02d}", Role.SENIOR_AGENT)
        if outcome.case_id is None:
            continue
        disposition = rng.choices(tuple(Disposition), (2, 5, 2))[0]
        decided_ms = now_ms + rng.randint(2, 90) * _MINUTE_MS
        order = Override(disposition, CardAction.KEEP, _note(number, rng), by)
        if alert.action is Action.FREEZE and disposition is Disposition.FALSE_POSITIVE:
            seen = (VerifySeen(Method.CALL_BACK),)
            await desk.act(outcome.case_id, seen, by, now_ms=decided_ms, nonce="n" * 16)
            order = Override(disposition, CardAction.UNFREEZE, order.note, by)
        await desk.override(outcome.case_id, order, now_ms=decided_ms)
    return case_events(await desk.read_outbox(0, None, _OUTBOX_ENTRIES)), alerts[0]


def fill(url: str, cases: int, folder: Path, say: Callable[[str], None]) -> Filled:
    """Write so many closed cases, rounded up to whole copies, into an empty database.

    Args:
        url: SQLAlchemy's.
        cases: how many at least.
        folder: for the cases that are played.
        say: told how far it is.
    """
    events, first = asyncio.run(_played())
    played_url = f"sqlite:///{folder / 'played.db'}"
    taken_in(played_url, events)
    copies = -(-cases // _PLAYED)
    history = SqlHistory(url)
    history.open()
    history.close()
    engine = create_engine(url)
    words: Table = (PostgresWords if engine.dialect.name == "postgresql" else SqliteWords).table
    rows = _rows(played_url)
    per_write = max(1, _WRITE_ROWS // _PLAYED)
    with engine.begin() as connection:
        for copy in range(0, copies, per_write):
            numbers = range(copy, min(copies, copy + per_write))
            for table, columns in _COLUMNS.items():
                written = words.name if table == words.name else table
                _write(connection, written, columns, (row for number in numbers for row in rows.copy(table, number)))
            if copy % (10 * per_write) == 0:
                say(f"{copy * _PLAYED:,} of {copies * _PLAYED:,} cases")
        connection.execute(text(_CLOSED_DAYS))
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT setval(pg_get_serial_sequence('cases', 'number'), max(number)) FROM cases"))
    _settle(engine)
    engine.dispose()
    mark = _MARK.format(copies // 2)
    return Filled(
        cases=copies * _PLAYED,
        card_token=first.card_token.replace(_MARK.format(0), mark),
        transaction_id=first.transaction_id.replace(_MARK.format(0), mark),
        case_id=rows.case_id(first.card_token, copies // 2),
        reference=f"{0:07d}{mark}",
        merchant_id=first.merchant_id or "",
    )


def taken_in(url: str, events: Sequence[CaseEvent]) -> None:
    """Let the history role's writer take events in, as those of a topic of its own; blocks."""
    history = SqlHistory(url)
    history.open()
    history.positions("benchmark/fraud.cases.v1")
    start = max(history.positions("benchmark/fraud.cases.v1").values(), default=0)
    for place in range(0, len(events), 1_000):
        some = events[place : place + 1_000]
        history.apply([Told(0, start + place + number, event) for number, event in enumerate(some)])
    history.close()


def _settle(engine: Any) -> None:
    """What PostgreSQL's autovacuum does by itself after a while: statistics, and the index's pending entries."""
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))


_CLOSED_DAYS = (
    "INSERT INTO closed_days (day, first_number, last_number) SELECT closed_ms / 86400000, min(number), max(number) "
    "FROM cases WHERE closed_ms IS NOT NULL GROUP BY closed_ms / 86400000"
)
_COLUMNS: dict[str, tuple[str, ...]] = {
    "cases": tuple(schema.cases.c.keys()),
    "case_terms": ("term", "number"),
    "case_reasons": ("number", "reason"),
    "case_words": ("number", "words"),
}


class _Rows:
    """The rows of the played cases, to be copied."""

    def __init__(self, tables: dict[str, list[dict[str, Any]]]) -> None:
        self._tables = tables
        self._span_ms = _PLAYED * _MINUTE_MS
        self._tokens = {
            term["number"]: str(term["term"]) for term in tables["case_terms"] if term["term"].startswith("tok-")
        }

    def case_id(self, card_token: str, copy: int) -> str:
        """The id of the case of a played card's copy: alert and card have the same number."""
        token = card_token.replace(_MARK.format(0), _MARK.format(copy))
        return case_id_of(token.replace("tok-", "al-"), token)

    def copy(self, table: str, copy: int) -> Iterator[Row]:
        """A table's rows as those of another copy."""
        mark, begin, shift_ms = _MARK.format(copy), copy * _PLAYED, copy * self._span_ms
        before = _MARK.format(0)
        columns = _COLUMNS[table]
        for row in self._tables[table]:
            number = row["number"]
            changed = dict(row, number=begin + number)
            if table == "cases":
                changed["case_id"] = self.case_id(self._tokens[number], copy)
                for name in ("opened_ms", "first_action_ms", "closed_ms", "unfrozen_ms"):
                    changed[name] = None if row[name] is None else row[name] + shift_ms
                body = row["body"].replace(row["case_id"], changed["case_id"]).replace(before, mark)
                changed["body"] = _TIME.sub(lambda found: str(int(found[0]) + shift_ms), body)
            elif table == "case_terms":
                is_case = row["term"].startswith("case-")
                term = self.case_id(self._tokens[number], copy) if is_case else row["term"].replace(before, mark)
                changed["term"] = term
            elif table == "case_words":
                changed["words"] = row["words"].replace(before, mark)
            yield tuple(changed[name] for name in columns)


def _rows(url: str) -> _Rows:
    """What was played, as it is stored."""
    engine = create_engine(url)
    tables: dict[str, Table] = {
        "cases": schema.cases, "case_terms": schema.terms, "case_reasons": schema.reasons,
        "case_words": SqliteWords.table,
    }  # fmt: skip
    with engine.connect() as connection:
        read = {
            name: [dict(row) for row in connection.execute(select(*table.c)).mappings()]
            for name, table in tables.items()
        }
    engine.dispose()
    for row in read["case_words"]:
        if "rowid" in row:
            row["number"] = row.pop("rowid")
    return _Rows(read)


def _write(connection: Connection, table: str, columns: Sequence[str], rows: Iterator[Row]) -> None:
    """Write rows past SQLAlchemy, the way each database takes many."""
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "postgresql":
        names = ", ".join(columns)
        with driver.cursor() as cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copying:
            for row in rows:
                copying.write_row(row)
        return
    names = ", ".join("rowid" if table == "case_words" and name == "number" else name for name in columns)
    places = ", ".join("?" for _ in columns)
    driver.executemany(f"INSERT INTO {table} ({names}) VALUES ({places})", rows)  # noqa: S608  our own names
