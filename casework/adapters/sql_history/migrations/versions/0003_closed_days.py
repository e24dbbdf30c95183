"""Between which numbers the cases lie that were closed on a day: where a search of old cases begins and ends."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_DAY_MS = 86_400_000


def upgrade() -> None:
    """Make the table, and fill it from the cases that are there."""
    op.create_table(
        "closed_days",
        sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("first_number", sa.BigInteger, nullable=False),
        sa.Column("last_number", sa.BigInteger, nullable=False),
    )
    op.execute(
        "INSERT INTO closed_days (day, first_number, last_number) "  # noqa: S608 - our own number
        f"SELECT closed_ms / {_DAY_MS}, min(number), max(number) FROM cases WHERE closed_ms IS NOT NULL "
        f"GROUP BY closed_ms / {_DAY_MS}"
    )


def downgrade() -> None:
    """Take it away."""
    op.drop_table("closed_days")
