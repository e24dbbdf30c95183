"""Cases, what they are found by, and how far the topic was read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table("origin", sa.Column("origin", sa.String(200), primary_key=True))
    op.create_table(
        "positions",
        sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("next_offset", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "cases",
        sa.Column("number", _ID, primary_key=True, autoincrement=True),
        sa.Column("case_id", sa.String(64), nullable=False, unique=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("opened_ms", sa.BigInteger, nullable=False),
        sa.Column("first_action_ms", sa.BigInteger),
        sa.Column("closed_ms", sa.BigInteger),
        sa.Column("closed_by", sa.String(64)),
        sa.Column("disposition", sa.String(32)),
        sa.Column("missed_target", sa.SmallInteger, nullable=False, server_default="0"),
        sa.Column("unfrozen_ms", sa.BigInteger),
        sa.Column("body", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("cases_opened", "cases", ["opened_ms"])
    op.create_index("cases_closed", "cases", ["closed_ms"])
    op.create_index("cases_kind", "cases", ["kind", "number"])
    op.create_index("cases_disposition", "cases", ["disposition", "number"])
    op.create_index("cases_closed_by", "cases", ["closed_by", "number"])
    op.create_table(
        "case_terms",
        sa.Column("term", sa.String(128), primary_key=True),
        sa.Column("number", _ID, primary_key=True, autoincrement=False),
    )
    op.create_table(
        "case_reasons",
        sa.Column("number", _ID, primary_key=True, autoincrement=False),
        sa.Column("reason", sa.String(64), primary_key=True),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE TABLE case_words (number BIGINT PRIMARY KEY, words TEXT NOT NULL, "
            "search TSVECTOR GENERATED ALWAYS AS (to_tsvector('simple', words)) STORED)"
        )
        op.execute("CREATE INDEX case_words_search ON case_words USING gin (search)")
    else:
        op.execute("CREATE VIRTUAL TABLE case_words USING fts5(words, tokenize = 'unicode61 remove_diacritics 0')")


def downgrade() -> None:
    """Remove them; the topic holds all that was in them."""
    for name in ("case_words", "case_reasons", "case_terms", "cases", "positions", "origin"):
        op.drop_table(name)
