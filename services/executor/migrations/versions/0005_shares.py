"""What each owner's workers have had, by which slots are shared."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005_shares"
down_revision = "0004_traces"


def upgrade() -> None:
    op.create_table(
        "shares",
        sa.Column("owner_id", sa.Text(), primary_key=True),
        sa.Column("tag_s", sa.Double(), nullable=False),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.Column("mean_s", sa.Double(), nullable=False),
        sa.Column("active_time", sa.DateTime(timezone=True), nullable=False),
    )
    # The default stays: the release before still inserts rows without the column for a while.
    column = sa.Column("charged_s", sa.Double(), server_default="0", nullable=False)
    op.add_column("jobs", column)


def downgrade() -> None:
    op.drop_column("jobs", "charged_s")
    op.drop_table("shares")
