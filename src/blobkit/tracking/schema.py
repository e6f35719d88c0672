"""The tables. They live in a database of their own, or beside a service's own tables: their names start with ``blobkit_``.

:func:`blobkit.tracking.migrations.upgrade` makes them; a service that runs its own migrations may call it in one of them,
or hand :data:`metadata` to its own tool. Keys compare by their bytes, as every store lists them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.types import TypeDecorator

__all__ = ["UNKNOWN", "UtcTime", "inbox", "metadata", "orphans", "outbox", "tasks", "uploads"]

metadata: Final = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "uq": "uq_%(table_name)s_%(column_0_N_name)s"}
)


class UtcTime(TypeDecorator[datetime]):
    """Aware UTC times: ``timestamptz`` where there is one, text of a UTC time in SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database. Raises ValueError for a time without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time needs a zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From the database."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


_number: Final = BigInteger().with_variant(Integer(), "sqlite")  # only INTEGER counts by itself in SQLite
_key: Final = String().with_variant(String(collation="C"), "postgresql")

uploads: Final = Table(
    "blobkit_uploads",
    metadata,
    Column("id", Uuid(), primary_key=True),
    Column("owner", String(), nullable=False),
    Column("filename", String()),
    # where the client uploads to
    Column("store", String(), nullable=False),
    Column("key", _key, nullable=False),
    Column("upload_id", String(32)),
    Column("session", Text()),
    # what was declared
    Column("declared_size", BigInteger()),
    Column("most_size", BigInteger()),
    Column("declared_type", String()),
    Column("declared_checksum", String()),
    Column("spec", Text(), nullable=False),
    Column("checks", Boolean(), nullable=False),
    # what is there, bound
    Column("size", BigInteger()),
    Column("content_type", String()),
    Column("checksum", String()),
    Column("version", String()),
    Column("etag", String()),
    Column("order_token", String()),
    # where it is served from, when that is another place
    Column("served_store", String()),
    Column("served_key", _key),
    Column("served_version", String()),
    Column("served_etag", String()),
    # the machine
    Column("state", String(16), nullable=False),
    Column("state_version", Integer(), nullable=False),
    Column("reason", String()),
    Column("seen", String()),
    Column("verdict", Text()),
    Column("lease", String(32)),
    Column("created_at", UtcTime(), nullable=False),
    Column("updated_at", UtcTime(), nullable=False),
    Column("expires_at", UtcTime(), nullable=False),
    Column("url_expires_at", UtcTime(), nullable=False),
    Column("removal_at", UtcTime()),
    # when somebody has to do something, and how often somebody has
    Column("look_at", UtcTime()),
    Column("looks", Integer(), nullable=False),
    Column("examine_at", UtcTime()),
    Column("examined", Integer(), nullable=False),
    Column("sweep_at", UtcTime()),
    UniqueConstraint("store", "key"),
)
Index(
    "ix_blobkit_uploads_served",
    uploads.c.served_store,
    uploads.c.served_key,
    unique=True,
    sqlite_where=uploads.c.served_key.is_not(None),
    postgresql_where=uploads.c.served_key.is_not(None),
)
for _column in (uploads.c.look_at, uploads.c.examine_at, uploads.c.sweep_at):
    Index(
        f"ix_blobkit_uploads_{_column.name}",
        _column,
        uploads.c.id,
        sqlite_where=_column.is_not(None),
        postgresql_where=_column.is_not(None),
    )
Index("ix_blobkit_uploads_owner", uploads.c.owner, uploads.c.state, uploads.c.id)
Index("ix_blobkit_uploads_state", uploads.c.state, uploads.c.id)

inbox: Final = Table(
    "blobkit_inbox",
    metadata,
    Column("id", _number, primary_key=True),
    Column("dedupe_key", String(64), nullable=False),
    Column("state", String(8), nullable=False),  # new | parked | done | orphan | dead
    Column("store", String()),
    Column("key", _key),
    Column("event", Text(), nullable=False),
    Column("attempts", Integer(), nullable=False),
    Column("error", String()),
    Column("received_at", UtcTime(), nullable=False),
    Column("retry_at", UtcTime()),
    UniqueConstraint("dedupe_key"),
)
Index(
    "ix_blobkit_inbox_retry_at",
    inbox.c.retry_at,
    inbox.c.id,
    sqlite_where=inbox.c.retry_at.is_not(None),
    postgresql_where=inbox.c.retry_at.is_not(None),
)
Index("ix_blobkit_inbox_received_at", inbox.c.received_at)
UNKNOWN: Final = text("state IN ('parked', 'orphan')")
"""Events of the inbox whose keys no upload has. Said in the same words by the index and by whoever is to use it."""
Index(
    "ix_blobkit_inbox_unknown",
    inbox.c.store,
    inbox.c.received_at,
    inbox.c.id,
    sqlite_where=UNKNOWN,
    postgresql_where=UNKNOWN,
)

outbox: Final = Table(
    "blobkit_outbox",
    metadata,
    Column("upload", Uuid(), primary_key=True),
    Column("seq", Integer(), primary_key=True, autoincrement=False),
    Column("kind", String(16), nullable=False),
    Column("data", Text(), nullable=False),
    Column("state", String(9), nullable=False),  # waiting | delivered | dead
    Column("attempts", Integer(), nullable=False),
    Column("error", String()),
    Column("lease", String(32)),
    Column("created_at", UtcTime(), nullable=False),
    Column("retry_at", UtcTime()),
    Column("delivered_at", UtcTime()),
)
Index(
    "ix_blobkit_outbox_retry_at",
    outbox.c.retry_at,
    outbox.c.upload,
    outbox.c.seq,
    sqlite_where=outbox.c.retry_at.is_not(None),
    postgresql_where=outbox.c.retry_at.is_not(None),
)
Index(
    "ix_blobkit_outbox_delivered_at",
    outbox.c.delivered_at,
    sqlite_where=outbox.c.delivered_at.is_not(None),
    postgresql_where=outbox.c.delivered_at.is_not(None),
)

orphans: Final = Table(
    "blobkit_orphans",
    metadata,
    Column("store", String(), primary_key=True),
    Column("key", _key, primary_key=True),
    Column("version", String()),
    Column("etag", String()),
    Column("size", BigInteger(), nullable=False),
    Column("marked_at", UtcTime(), nullable=False),
)

tasks: Final = Table(
    "blobkit_tasks",
    metadata,
    Column("name", String(), primary_key=True),
    Column("holder", String(32)),
    Column("until", UtcTime()),
    Column("cursor", Text()),
    Column("due_at", UtcTime()),
)
"""What one worker at a time does: who holds it and until when, and how far it has come, and when it is due again."""
