"""Since when an urgent case waits for the desk, and when its card was frozen.

Cases that are there already wait for nobody as far as this tells; `cardwatch rebuild history` reads them anew.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add what promptness needs."""
    op.add_column("cases", sa.Column("untouched_since_ms", sa.BigInteger))
    op.add_column("cases", sa.Column("frozen_ms", sa.BigInteger))
    op.create_index("cases_untouched", "cases", ["untouched_since_ms"])


def downgrade() -> None:
    """Take it away."""
    op.drop_index("cases_untouched", "cases")
    op.drop_column("cases", "frozen_ms")
    op.drop_column("cases", "untouched_since_ms")
