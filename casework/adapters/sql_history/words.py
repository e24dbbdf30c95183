"""Searching what people wrote: SQLite's FTS5 or PostgreSQL's text search, behind one face.

Both keep words as `casework.history.searchable` writes them; a query's words must all occur, and what it held together,
such as a Chinese word, must stand together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    MetaData,
    Select,
    Table,
    Text,
    any_,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import TSVECTOR, insert
from sqlalchemy.sql import ColumnElement

from casework.adapters.sql_history import schema
from casework.adapters.sql_history.narrowing import Narrowed
from casework.history import searchable

# Read in some 5 ms; words of one case in 200 are found in so many by walking backwards, rarer ones in the index.
_SAMPLE_CASES, _COMMON_CASES = 2_000, 10
# Some 80 µs against 0.4 µs; and every second of the few may hold the words.
_STEPS_A_LOOK_UP, _OF_THEM = 200, 2


class SqliteWords:
    """An FTS5 table whose row ids are the cases' numbers."""

    table = Table("case_words", MetaData(), Column("rowid", BigInteger, key="number"), Column("words", Text))

    def add(self, connection: Connection, words: Mapping[int, str]) -> None:
        """Add words to cases."""
        for number, more in words.items():
            row = {"number": number, "more": more}
            changed = connection.execute(
                text("UPDATE case_words SET words = words || ' ' || :more WHERE rowid = :number"), row
            )
            if not changed.rowcount:
                connection.execute(text("INSERT INTO case_words (rowid, words) VALUES (:number, :more)"), row)

    def numbers(
        self, _connection: Connection, plain: Select[tuple[int]], query: str, below: int, left: Narrowed
    ) -> Select[tuple[int]]:
        """Narrow a query of cases' numbers to those that hold the words, the newest first.

        FTS5 walks what it finds from the newest on, however many there are.
        """
        return _joined(plain, self.table, below, left).where(self._matches(query))

    def among(self, few: Select[tuple[int]], left: Narrowed, query: str, below: int, limit: int) -> Select[tuple[int]]:
        """Numbers of cases among few that hold the words: the newest of them, or all.

        FTS5 takes as long to look one case up as to walk over many that hold the words. So of cases that lie far apart
        each is looked up, in the only order in which that is quick; of others the walk leaves out those that are none
        of them, without a look at their rows.
        """
        number = self.table.c.number
        found = select(number).where(self._matches(query), *left.within(number, below))
        steps = (left.last - left.first) * min(1.0, _OF_THEM * limit / left.count)
        if left.count * _STEPS_A_LOOK_UP < steps:
            return found.where(number.in_(few))
        walked: ColumnElement[int] = literal_column("+case_words.rowid")
        return found.where(walked.in_(few)).order_by(number.desc()).limit(limit)

    def _matches(self, query: str) -> ColumnElement[bool]:
        phrases = " AND ".join(f'"{phrase}"' for phrase in _phrases(query))
        return literal_column("case_words").op("MATCH")(phrases)


class PostgresWords:
    """A table with a generated `tsvector` under a GIN index."""

    table = Table(
        "case_words",
        MetaData(),
        Column("number", BigInteger, primary_key=True),
        Column("words", Text),
        Column("search", TSVECTOR),
    )

    def add(self, connection: Connection, words: Mapping[int, str]) -> None:
        """Add words to cases."""
        if words:
            rows = [{"number": number, "words": more} for number, more in words.items()]
            made = insert(self.table).values(rows)
            appended = self.table.c.words + " " + made.excluded.words
            connection.execute(made.on_conflict_do_update(index_elements=["number"], set_={"words": appended}))

    def numbers(
        self, connection: Connection, plain: Select[tuple[int]], query: str, below: int, left: Narrowed
    ) -> Select[tuple[int]]:
        """Narrow a query of cases' numbers to those that hold the words, the newest first.

        PostgreSQL takes every word that it has no statistics of for one that a case in 200 has, and reads all cases
        backwards for a word that none has. So the newest ones are asked how common the words are.
        """
        found, matches = self.table.c, self._matches(query)
        newest = select(func.max(found.number)).scalar_subquery()
        sample = select(found.number).where(found.number > newest - _SAMPLE_CASES, matches).limit(_COMMON_CASES)
        if len(connection.execute(sample).all()) == _COMMON_CASES:
            return _joined(plain, self.table, below, left).where(matches)
        # As an array, so that it is made from the index first, and cases are looked up by it.
        few = select(found.number).where(matches, found.number < below).scalar_subquery()
        number = schema.cases.c.number
        return plain.where(number == any_(func.array(few))).order_by(number.desc())

    def among(self, few: Select[tuple[int]], left: Narrowed, query: str, below: int, limit: int) -> Select[tuple[int]]:
        """Numbers of the newest cases among few that hold the words: these are looked at, and the index is not."""
        number = self.table.c.number
        found = select(number).where(number == any_(func.array(few.scalar_subquery())))
        return found.where(*left.within(number, below), self._matches(query)).order_by(number.desc()).limit(limit)

    def _matches(self, query: str) -> ColumnElement[bool]:
        asked: Any = None
        for phrase in _phrases(query):
            one = func.phraseto_tsquery("simple", phrase)
            asked = one if asked is None else asked.op("&&")(one)
        return self.table.c.search.op("@@")(asked)


def _joined(plain: Select[tuple[int]], words: Table, below: int, left: Narrowed) -> Select[tuple[int]]:
    """A query of cases together with their words, the newest first."""
    number = words.c.number
    joined = plain.join(words, number == schema.cases.c.number).where(*left.within(number, below))
    return joined.order_by(number.desc())


def has_words(query: str) -> bool:
    """Whether a query holds anything that could stand in a note."""
    return bool(_phrases(query))


def _phrases(query: str) -> list[str]:
    return [phrase for part in query.split() if (phrase := searchable(part))]
