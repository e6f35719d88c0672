"""An index of the events whose keys no upload has: the cap on them costs as much as they are, and not as the inbox is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index."""
    unknown = sa.text("state IN ('parked', 'orphan')")
    op.create_index(
        "ix_blobkit_inbox_unknown",
        "blobkit_inbox",
        ["store", "received_at", "id"],
        sqlite_where=unknown,
        postgresql_where=unknown,
    )


def downgrade() -> None:
    """Remove it."""
    op.drop_index("ix_blobkit_inbox_unknown", "blobkit_inbox")
