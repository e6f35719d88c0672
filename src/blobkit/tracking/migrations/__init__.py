"""The schema's versions, and how a database gets to the newest: :func:`upgrade`. Alembic runs them; they ship in the wheel."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

__all__ = ["VERSION_TABLE", "config", "current", "newest", "upgrade"]

VERSION_TABLE: Final = "blobkit_version"
_LOCK: Final = 0x626C6F626B6974  # "blobkit": the advisory lock under which PostgreSQL is migrated


def config(connection: Connection | None = None) -> Config:
    """Alembic's configuration of these migrations, for ``alembic.command``."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    made.attributes["connection"] = connection
    return made


def newest() -> str:
    """The version that this release works with."""
    head = ScriptDirectory.from_config(config()).get_current_head()
    assert head is not None
    return head


def current(connection: Connection) -> str | None:
    """The version that the database has; None when it has none of our tables."""
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()


def upgrade(database: Engine | Connection) -> None:
    """Bring the database to :func:`newest`. Idempotent; many processes may call it at once.

    Args:
        database: An engine; or a connection inside a transaction, which stays the caller's: in a service's own migration,
            ``upgrade(op.get_bind())``.
    """
    if isinstance(database, Engine):
        with database.begin() as connection:
            upgrade(connection)
        return
    if database.dialect.name == "postgresql":
        database.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    if current(database) != newest():
        command.upgrade(config(database), "head")
