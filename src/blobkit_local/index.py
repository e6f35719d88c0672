"""The index of a local store: one SQLite database. This module has the schema, the connections and the transactions.

WAL mode lets readers go on while one writes; ``synchronous=FULL`` makes a commit survive a loss of power. Conditions are
decided inside ``BEGIN IMMEDIATE``, so that of two writers one sees what the other did. The queries are in :mod:`.rows`.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from blobkit.errors import ClosedError, ConfigError
from blobkit_local.rows import Rows

__all__ = ["SCHEMA_VERSION", "Index"]

SCHEMA_VERSION: Final = 2
_APPLICATION_ID: Final = 0x626B6974  # "bkit": tells a blobkit index from any other SQLite file
_BUSY_SECONDS: Final = 30.0

_SCHEMA: Final = """
CREATE TABLE counter (value INTEGER NOT NULL) STRICT;
INSERT INTO counter VALUES (0);

-- A file of bytes. refs: how many objects, sessions and chunks have it; at 0 the row goes, and then the file.
CREATE TABLE extents (name TEXT PRIMARY KEY, refs INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- Every version of every object. id grows with time. At most one version of a key is current; a marker hides the others.
CREATE TABLE blobs (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    version TEXT,
    current INTEGER NOT NULL,
    marker INTEGER NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    modified INTEGER NOT NULL,
    attributes TEXT NOT NULL,
    checksums TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX blobs_current ON blobs (key) WHERE current;
CREATE INDEX blobs_versions ON blobs (key, id);

-- An object's bytes, in order: ranges of extents.
CREATE TABLE pieces (
    blob INTEGER NOT NULL, position INTEGER NOT NULL,
    extent TEXT NOT NULL, start INTEGER NOT NULL, size INTEGER NOT NULL,
    PRIMARY KEY (blob, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
    upload_id TEXT PRIMARY KEY, key TEXT NOT NULL, extent TEXT NOT NULL,
    state TEXT NOT NULL, attributes TEXT NOT NULL, started INTEGER NOT NULL, touched INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_key ON sessions (key, upload_id);

-- Who may write a chunk into its place of the session's own extent: the first one that claims it, nobody after.
CREATE TABLE claims (
    upload_id TEXT NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (upload_id, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE chunks (
    upload_id TEXT NOT NULL, number INTEGER NOT NULL,
    size INTEGER NOT NULL, etag TEXT NOT NULL, crc32c INTEGER NOT NULL,
    extent TEXT NOT NULL, start INTEGER NOT NULL,
    PRIMARY KEY (upload_id, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE expiry_rules (prefix TEXT PRIMARY KEY, seconds INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- Events that a webhook has not taken yet. due: seconds since the epoch, by the wall clock.
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL, attempts INTEGER NOT NULL, due REAL NOT NULL
) STRICT;
CREATE INDEX outbox_due ON outbox (due);
"""

_SCHEMA_2: Final = """
-- Who reads events as a queue, and what each of them has not settled yet. due: as in the outbox; lease: who holds it now.
CREATE TABLE consumers (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE queue (
    id INTEGER PRIMARY KEY AUTOINCREMENT, consumer TEXT NOT NULL, body BLOB NOT NULL,
    attempts INTEGER NOT NULL, due REAL NOT NULL, lease TEXT
) STRICT;
CREATE INDEX queue_due ON queue (consumer, due);
"""
_STEPS: Final = (_SCHEMA, _SCHEMA_2)
"""What makes each version out of the one before."""


class Index:
    """Connections to one index, handed out for the time of one transaction. Thread-safe; after a fork it opens new ones.

    Args:
        path: The database file; None for one in memory, which has a single connection.

    Raises:
        ConfigError: The file is another application's, or of a later version of blobkit.
    """

    def __init__(self, path: Path | None, *, busy_seconds: float = _BUSY_SECONDS) -> None:
        self._path = path
        self._busy = busy_seconds
        self._pid = os.getpid()
        self._idle: deque[sqlite3.Connection] = deque()
        self._lent: set[sqlite3.Connection] = set()
        self._guard = threading.Lock()
        self._one = threading.RLock()  # in memory: one connection, one at a time
        self._closed = False
        try:
            connection = self._connect()
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorname", "") != "SQLITE_NOTADB":
                raise
            raise ConfigError(f"{path} is not an SQLite database", hint="use an empty directory") from error
        self._idle.append(connection)
        _indexes.add(self)

    # --- transactions ---

    @contextmanager
    def read(self) -> Iterator[Rows]:
        """One consistent view. Do not hold it across anything slow."""
        with self._connection() as connection:
            connection.execute("BEGIN")
            try:
                yield Rows(connection)
            finally:
                connection.execute("ROLLBACK")

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Rows]:
        """The one writer of this moment; committed at the end, rolled back by any exception.

        Args:
            durable: False for what may be lost with the power, though never half done: it saves a sync.
        """
        with self._connection() as connection:
            if not durable:
                connection.execute("PRAGMA synchronous=NORMAL")
            try:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield Rows(connection)
                    commit(connection)
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
            finally:
                if not durable:
                    connection.execute("PRAGMA synchronous=FULL")

    def close(self) -> None:
        """Close idle connections; those in use close when they come back. Idempotent."""
        with self._guard:
            self._closed = True
            idle, self._idle = self._idle, deque()
        for connection in idle:
            connection.close()

    # --- connections ---

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        if self._path is None:
            with self._one:
                self._check_open()
                yield self._idle[0]
            return
        with self._guard:
            self._check_open()
            pid = self._pid
            connection = self._idle.pop() if self._idle else self._connect()
            self._lent.add(connection)
        try:
            yield connection
        finally:
            with self._guard:
                if self._pid == pid:
                    self._lent.discard(connection)
                    if self._closed:
                        connection.close()
                    else:
                        self._idle.append(connection)

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the local store is closed")

    def _connect(self) -> sqlite3.Connection:
        target = ":memory:" if self._path is None else str(self._path)
        connection = sqlite3.connect(target, timeout=self._busy, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA synchronous=FULL")
        except BaseException:
            connection.close()
            raise
        return connection

    # --- fork: no thread is inside while the process is copied, and the child starts with connections of its own ---

    def hold(self) -> None:
        """Keep every other thread out, until :meth:`let_go`."""
        self._one.acquire()
        self._guard.acquire()

    def let_go(self) -> None:
        """The end of :meth:`hold`."""
        self._guard.release()
        self._one.release()

    def disinherit(self) -> list[sqlite3.Connection]:
        """In a forked child: the parent's connections, which must be neither used nor closed here."""
        self._pid = os.getpid()
        if self._path is None:
            return []  # memory was copied with the process, and is the child's own
        left = [*self._idle, *self._lent]
        self._idle.clear()
        self._lent.clear()
        return left

    # --- the schema ---

    def _prepare(self, connection: sqlite3.Connection) -> None:
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if tables and application != _APPLICATION_ID:
            raise ConfigError(f"{self._path} is not an index of blobkit", hint="use an empty directory")
        if version > SCHEMA_VERSION:
            raise ConfigError(
                f"{self._path} has schema version {version}; this blobkit knows {SCHEMA_VERSION}",
                hint="upgrade blobkit: a later version made this store",
            )
        if self._path is not None:
            self._use_wal(connection)
        if version == SCHEMA_VERSION:
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]  # another process may have been first
            for step in _STEPS[version:]:
                for statement in _statements(step):
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id={_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            commit(connection)
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise

    def _use_wal(self, connection: sqlite3.Connection) -> None:
        """Switch to WAL, which is kept in the file. Two processes that switch at once lock each other out for a moment."""
        end = time.monotonic() + self._busy
        while True:
            try:
                mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            except sqlite3.OperationalError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)
                continue
            if str(mode).lower() != "wal":
                raise ConfigError(
                    f"the file system of {self._path} cannot hold an SQLite index in WAL mode", hint="use a local disk"
                )
            return


# --- fork -----------------------------------------------------------------------------------------------------------------

_indexes: weakref.WeakSet[Index] = weakref.WeakSet()
# Connections that a forked child inherited: SQLite forbids to use them there, and closing one could take the parent's WAL.
_inherited: list[sqlite3.Connection] = []


_held: list[Index] = []


def _before_fork() -> None:
    indexes = list(_indexes)
    for index in indexes:
        index.hold()
    _held[:] = indexes


def _in_parent() -> None:
    for index in _held:
        index.let_go()


def _in_child() -> None:
    for index in _held:
        _inherited.extend(index.disinherit())
        index.let_go()


os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)


def commit(connection: sqlite3.Connection) -> None:
    """Commit. Apart, because it is one of the steps at which a crash is tested."""
    connection.execute("COMMIT")


def _statements(script: str) -> Iterator[str]:
    lines: list[str] = []
    for line in script.splitlines():
        lines.append(line)
        if sqlite3.complete_statement("\n".join(lines)):
            yield "\n".join(lines)
            lines = []
