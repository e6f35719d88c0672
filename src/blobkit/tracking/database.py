"""The database of the records: SQLite embedded, PostgreSQL when one machine is not enough; one way in for both.

A database that cannot answer (gone, locked, its disk full) raises Unavailable, which is retryable: a webhook answers 503,
a queue keeps its message, and nothing that was not committed is acknowledged.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Connection, Engine, Insert, Table, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from blobkit.errors import ConfigError, PluginMissing, Unavailable
from blobkit.tracking import migrations
from blobkit.tracking.prepared import say

__all__ = ["Database", "DatabaseUnavailable"]

_KNOWN: Final = ("sqlite", "postgresql")
_SYNCHRONOUS: Final = "blobkit_synchronous"


class DatabaseUnavailable(Unavailable):
    """The database of the records did not answer: not a store, of which the others may still be asked."""


class Database:
    """Connections, transactions and what differs between the two databases. Thread-safe.

    Args:
        source: ``sqlite:///file.db``, ``postgresql+psycopg://…``, or an engine of the service's own, which is then left
            open, and whose pool and isolation (READ COMMITTED on PostgreSQL) are the service's to choose. Its execution
            events do not see what runs for every storage event (:mod:`blobkit.tracking.prepared`).
        migrate: Bring the schema to this release's version. Else it is compared, and ConfigError raised when it is another.

    Raises:
        ConfigError: Another kind of database; a schema of another version.
        PluginMissing: psycopg is not installed.
        Unavailable: The database does not answer.
    """

    def __init__(self, source: str | URL | Engine, *, migrate: bool = True) -> None:
        self._owned = not isinstance(source, Engine)
        self.engine = source if isinstance(source, Engine) else _engine(source)
        self.dialect = self.engine.dialect.name
        if self.dialect not in _KNOWN:
            raise ConfigError(f"records live in SQLite or PostgreSQL, not {self.dialect}")
        self.shared = self.dialect == "postgresql"
        # The same pool, where each statement is by itself. What SQLite only reads needs no transaction anyway.
        self._alone = self.engine.execution_options(isolation_level="AUTOCOMMIT") if self.shared else self.engine
        try:
            self._prepare(migrate)
        except BaseException:
            self.close()
            raise

    def _prepare(self, migrate: bool) -> None:
        with self.read() as connection:
            found, wanted = migrations.current(connection), migrations.newest()
        if found == wanted:
            return
        if not migrate:
            raise ConfigError(
                f"the database has version {found or 'none'} of blobkit's tables, and this release needs {wanted}",
                hint="blobkit.tracking.migrations.upgrade(engine), or Tracker(…, migrate=True)",
            )
        with self.write() as connection:
            migrations.upgrade(connection)

    def close(self) -> None:
        """Close the connections that were opened here. Idempotent."""
        if self._owned:
            self.engine.dispose()

    @contextmanager
    def write(self, *, redone: bool = False, single: bool = False) -> Iterator[Connection]:
        """A transaction, committed at the end and rolled back by an exception. In SQLite writers take turns.

        Args:
            single: It is to be one statement, which in PostgreSQL is a transaction by itself: no BEGIN and no COMMIT go
                back and forth.
            redone: If the database's machine loses its power right now, this may be lost, since something that is durable
                will have it done again: the event in the inbox, the notice that was not marked. It need not wait for the
                disk. The next transaction that does wait makes it durable too; none is ever lost before an earlier one.

        Raises:
            Unavailable: The database did not answer; nothing was committed, as far as anybody knows.
        """
        try:
            if single and self.shared:
                with self._alone.connect() as connection:
                    yield connection
                return
            with self.engine.connect() as connection, connection.begin():
                if not self.shared:
                    self._begin_sqlite(connection, redone)
                elif redone:
                    say(connection, "SET LOCAL synchronous_commit = off")
                yield connection
        except (DBAPIError, PoolTimeout) as error:
            if _answered(error):
                raise
            raise _unavailable(error) from error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that only reads: no writer waits for it, and each statement sees what is committed then.

        Raises:
            Unavailable: The database did not answer.
        """
        try:
            with self._alone.connect() as connection:
                yield connection
        except (DBAPIError, PoolTimeout) as error:
            if _answered(error):
                raise
            raise _unavailable(error) from error

    def _begin_sqlite(self, connection: Connection, redone: bool) -> None:
        """A writer takes the lock at once: one that took it later could find that it read what is no longer true.

        The driver of a service's own engine begins by itself when it writes.
        """
        if not self._owned:
            return
        # In write-ahead mode NORMAL loses the newest transactions when the power goes, and FULL does not.
        wanted, info = "NORMAL" if redone else "FULL", connection.connection.info
        if info.get(_SYNCHRONOUS) != wanted:
            say(connection, f"PRAGMA synchronous = {wanted}")
            info[_SYNCHRONOUS] = wanted
        say(connection, "BEGIN IMMEDIATE")

    def insert(self, table: Table) -> Insert:
        """An INSERT that does nothing when a unique row is there already. Keep it: making it costs more than running it."""
        if self.shared:
            return postgresql.insert(table).on_conflict_do_nothing()
        return sqlite.insert(table).on_conflict_do_nothing()


def _engine(source: str | URL) -> Engine:
    try:
        url = make_url(source)
    except ArgumentError as error:
        raise ConfigError(
            "not a database URL", hint="sqlite:///uploads.db, postgresql+psycopg://user@host/name"
        ) from error
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in _KNOWN:
        raise ConfigError(f"records live in SQLite or PostgreSQL, not {url.drivername}")
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise ConfigError("records in SQLite need a file", hint="sqlite:///uploads.db")
    try:
        if url.get_backend_name() == "sqlite":
            engine = create_engine(url, connect_args={"timeout": 30.0})
            event.listen(engine, "connect", _prepare_sqlite)
            return engine
        # No ping before each use: a connection that went stale fails once, takes its whole pool with it, and is retried.
        return create_engine(url, isolation_level="READ COMMITTED")
    except NoSuchModuleError as error:
        raise ConfigError(f"not a database that SQLAlchemy knows: {url.drivername}") from error
    except ImportError as error:
        raise PluginMissing(
            f"the driver of {url.drivername} is not installed", hint='pip install "blobkit[postgresql]"'
        ) from error


def _prepare_sqlite(connection: sqlite3.Connection, _: object) -> None:
    """https://docs.sqlalchemy.org/en/20/dialects/sqlite.html#serializable-isolation-savepoints-transactional-ddl."""
    connection.isolation_level = None  # whoever writes says BEGIN
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # what was acknowledged survives a power cut
    connection.execute("PRAGMA foreign_keys = ON")


def _answered(error: DBAPIError | PoolTimeout) -> bool:
    """Whether it is the database's answer, and not that there is none."""
    return not (isinstance(error, OperationalError | PoolTimeout) or error.connection_invalidated)


def _unavailable(error: DBAPIError | PoolTimeout) -> DatabaseUnavailable:
    cause = error.orig if isinstance(error, DBAPIError) else error
    # The driver's own words, never the statement's parameters: those are other people's.
    said = str(cause).strip().partition("\n")[0][:200]
    return DatabaseUnavailable(f"the database did not answer: {said}", code=type(cause).__name__, http_status=503)
