"""The first schema: uploads, inbox, outbox, orphans, tasks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from blobkit.tracking.schema import UtcTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    key = sa.String().with_variant(sa.String(collation="C"), "postgresql")
    op.create_table(
        "blobkit_uploads",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("filename", sa.String()),
        sa.Column("store", sa.String(), nullable=False),
        sa.Column("key", key, nullable=False),
        sa.Column("upload_id", sa.String(32)),
        sa.Column("session", sa.Text()),
        sa.Column("declared_size", sa.BigInteger()),
        sa.Column("most_size", sa.BigInteger()),
        sa.Column("declared_type", sa.String()),
        sa.Column("declared_checksum", sa.String()),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("checks", sa.Boolean(), nullable=False),
        sa.Column("size", sa.BigInteger()),
        sa.Column("content_type", sa.String()),
        sa.Column("checksum", sa.String()),
        sa.Column("version", sa.String()),
        sa.Column("etag", sa.String()),
        sa.Column("order_token", sa.String()),
        sa.Column("served_store", sa.String()),
        sa.Column("served_key", key),
        sa.Column("served_version", sa.String()),
        sa.Column("served_etag", sa.String()),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("state_version", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String()),
        sa.Column("seen", sa.String()),
        sa.Column("verdict", sa.Text()),
        sa.Column("lease", sa.String(32)),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("updated_at", UtcTime(), nullable=False),
        sa.Column("expires_at", UtcTime(), nullable=False),
        sa.Column("url_expires_at", UtcTime(), nullable=False),
        sa.Column("removal_at", UtcTime()),
        sa.Column("look_at", UtcTime()),
        sa.Column("looks", sa.Integer(), nullable=False),
        sa.Column("examine_at", UtcTime()),
        sa.Column("examined", sa.Integer(), nullable=False),
        sa.Column("sweep_at", UtcTime()),
        sa.UniqueConstraint("store", "key", name="uq_blobkit_uploads_store_key"),
    )
    _partial("blobkit_uploads", "served", "served_key", ["served_store", "served_key"], unique=True)
    for column in ("look_at", "examine_at", "sweep_at"):
        _partial("blobkit_uploads", column, column, [column, "id"])
    op.create_index("ix_blobkit_uploads_owner", "blobkit_uploads", ["owner", "state", "id"])
    op.create_index("ix_blobkit_uploads_state", "blobkit_uploads", ["state", "id"])

    op.create_table(
        "blobkit_inbox",
        sa.Column("id", number, primary_key=True),
        sa.Column("dedupe_key", sa.String(64), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("store", sa.String()),
        sa.Column("key", key),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.String()),
        sa.Column("received_at", UtcTime(), nullable=False),
        sa.Column("retry_at", UtcTime()),
        sa.UniqueConstraint("dedupe_key", name="uq_blobkit_inbox_dedupe_key"),
    )
    _partial("blobkit_inbox", "retry_at", "retry_at", ["retry_at", "id"])
    op.create_index("ix_blobkit_inbox_received_at", "blobkit_inbox", ["received_at"])

    op.create_table(
        "blobkit_outbox",
        sa.Column("upload", sa.Uuid(), primary_key=True),
        sa.Column("seq", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("state", sa.String(9), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.String()),
        sa.Column("lease", sa.String(32)),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("retry_at", UtcTime()),
        sa.Column("delivered_at", UtcTime()),
    )
    _partial("blobkit_outbox", "retry_at", "retry_at", ["retry_at", "upload", "seq"])
    _partial("blobkit_outbox", "delivered_at", "delivered_at", ["delivered_at"])

    op.create_table(
        "blobkit_orphans",
        sa.Column("store", sa.String(), primary_key=True),
        sa.Column("key", key, primary_key=True),
        sa.Column("version", sa.String()),
        sa.Column("etag", sa.String()),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("marked_at", UtcTime(), nullable=False),
    )
    op.create_table(
        "blobkit_tasks",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("holder", sa.String(32)),
        sa.Column("until", UtcTime()),
        sa.Column("cursor", sa.Text()),
        sa.Column("due_at", UtcTime()),
    )


def _partial(table: str, name: str, given: str, columns: list[str], *, unique: bool = False) -> None:
    """An index of the rows that have ``given``: those that wait for somebody, however many rows there are."""
    there = sa.text(f"{given} IS NOT NULL")
    op.create_index(f"ix_{table}_{name}", table, columns, unique=unique, sqlite_where=there, postgresql_where=there)


def downgrade() -> None:
    """Drop the tables, and all that they say."""
    for table in ("blobkit_tasks", "blobkit_orphans", "blobkit_outbox", "blobkit_inbox", "blobkit_uploads"):
        op.drop_table(table)
