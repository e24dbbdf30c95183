"""Tables of the read model. Their history is in `versions/`: a change here is a migration there."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, SmallInteger, String, Table, Text

# A number that SQLite takes for its own row id.
_ID = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData()

# One row: which topic of which cluster all of this was read from.
origin = Table("origin", metadata, Column("origin", String(200), primary_key=True))

positions = Table(
    "positions",
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("next_offset", BigInteger, nullable=False),
)

cases = Table(
    "cases",
    metadata,
    # Rises with the order of opening as far as partitions tell it; lists are in this order, backwards.
    Column("number", _ID, primary_key=True, autoincrement=True),
    Column("case_id", String(64), nullable=False, unique=True),
    Column("kind", String(32), nullable=False),
    Column("state", String(32), nullable=False),
    Column("opened_ms", BigInteger, nullable=False),
    Column("first_action_ms", BigInteger),
    Column("closed_ms", BigInteger),
    Column("closed_by", String(64)),
    Column("disposition", String(32)),
    # Whether a target was missed, and when a freeze was undone.
    Column("missed_target", SmallInteger, nullable=False, server_default="0"),
    Column("unfrozen_ms", BigInteger),
    # Since when an urgent case waits for the desk, null once it does not; and when its card was frozen.
    Column("untouched_since_ms", BigInteger),
    Column("frozen_ms", BigInteger),
    # The whole case, as casework writes it.
    Column("body", Text, nullable=False),
    Index("cases_opened", "opened_ms"),
    Index("cases_closed", "closed_ms"),
    Index("cases_kind", "kind", "number"),
    Index("cases_disposition", "disposition", "number"),
    Index("cases_closed_by", "closed_by", "number"),
    Index("cases_untouched", "untouched_since_ms"),
    # AUTOINCREMENT in SQLite: a number is never given out twice.
    sqlite_autoincrement=True,
)

# Between which numbers the cases lie that were closed on a day since 1970, some of which may be open again.
closed_days = Table(
    "closed_days",
    metadata,
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("first_number", BigInteger, nullable=False),
    Column("last_number", BigInteger, nullable=False),
)

terms = Table(
    "case_terms",
    metadata,
    Column("term", String(128), primary_key=True),
    Column("number", _ID, primary_key=True, autoincrement=False),
)

reasons = Table(
    "case_reasons",
    metadata,
    Column("number", _ID, primary_key=True, autoincrement=False),
    Column("reason", String(64), primary_key=True),
)

# The words people wrote; how they are searched depends on the database, see versions/.
words = Table("case_words", metadata, Column("number", _ID, primary_key=True), Column("words", Text, nullable=False))
