"""Searching what people wrote: SQLite's FTS5 or PostgreSQL's text search, behind one face.

Both keep words as `casework.history.searchable` writes them; a query's words must all occur, and what it held together,
such as a Chinese word, must stand together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, MetaData, Table, Text, func, literal_column, text
from sqlalchemy.dialects.postgresql import TSVECTOR, insert
from sqlalchemy.sql import ColumnElement

from casework.history import searchable


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

    def matches(self, query: str) -> ColumnElement[bool]:
        """The condition that a row of the table holds the query's words."""
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

    def matches(self, query: str) -> ColumnElement[bool]:
        """The condition that a row of the table holds the query's words."""
        asked: Any = None
        for phrase in _phrases(query):
            one = func.phraseto_tsquery("simple", phrase)
            asked = one if asked is None else asked.op("&&")(one)
        return self.table.c.search.op("@@")(asked)


def has_words(query: str) -> bool:
    """Whether a query holds anything that could stand in a note."""
    return bool(_phrases(query))


def _phrases(query: str) -> list[str]:
    return [phrase for part in query.split() if (phrase := searchable(part))]
