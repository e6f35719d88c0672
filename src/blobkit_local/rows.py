"""The queries of the index. A :class:`Rows` lives inside one transaction of :class:`blobkit_local.index.Index`."""

# ruff: noqa: S608 - what is put into statements is this module's own text; values are bound

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final

from blobkit.backend import HeldChunk, SessionState
from blobkit.blobs import BlobInfo, Checksum
from blobkit_local.engine import Attributes, ExpiryRule
from blobkit_local.queued import QueueRows

__all__ = ["BlobRow", "ChunkRow", "Piece", "Rows", "SessionRow", "after_prefix", "from_micros", "micros"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_BLOB: Final = "id, key, version, current, marker, size, etag, modified, attributes, checksums"


@dataclass(frozen=True, slots=True)
class Piece:
    """``size`` bytes of an object, at ``start`` of a file."""

    extent: str
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class BlobRow:
    """One version of an object, or a delete marker."""

    id: int
    current: bool
    marker: bool
    info: BlobInfo


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A chunked session: its state, what its object will have beside the bytes, and the file that its chunks share."""

    state: SessionState
    attributes: Attributes
    extent: str


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """A chunk that is held, and where."""

    held: HeldChunk
    crc32c: int
    piece: Piece


class Rows:
    """Queries and changes, on one connection, inside one transaction.

    Attributes:
        queue: Those of the event queue.
    """

    __slots__ = ("_execute", "queue")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute
        self.queue: Final = QueueRows(connection)

    # --- objects ---

    def next_id(self) -> int:
        """A number greater than any before: the order of changes."""
        row = self._execute("UPDATE counter SET value = value + 1 RETURNING value").fetchone()
        return int(row[0])

    def current(self, key: str) -> BlobRow | None:
        """The version that a plain read sees; it may be a delete marker."""
        row = self._execute(f"SELECT {_BLOB} FROM blobs WHERE key = ? AND current", (key,)).fetchone()
        return None if row is None else _blob(row)

    def version(self, key: str, version: str) -> BlobRow | None:
        """The version with this id."""
        row = self._execute(f"SELECT {_BLOB} FROM blobs WHERE key = ? AND version = ?", (key, version)).fetchone()
        return None if row is None else _blob(row)

    def unversioned(self, key: str) -> BlobRow | None:
        """The version without an id, which a write without versioning replaces."""
        row = self._execute(f"SELECT {_BLOB} FROM blobs WHERE key = ? AND version IS NULL", (key,)).fetchone()
        return None if row is None else _blob(row)

    def versions(self, key: str) -> list[BlobRow]:
        """Every version and marker of the key, oldest first."""
        return [_blob(row) for row in self._execute(f"SELECT {_BLOB} FROM blobs WHERE key = ? ORDER BY id", (key,))]

    def page(self, prefix: str, *, after: str | None, least: str, count: int) -> list[BlobInfo]:
        """The next current objects below ``prefix`` by the keys' bytes: greater than ``after``, not less than ``least``."""
        low, beyond = max(prefix, least), ">="
        if after is not None and after >= low:  # a single lower bound, so that the index seeks to it
            low, beyond = after, ">"
        sql, values = f"SELECT {_BLOB} FROM blobs WHERE current AND NOT marker AND key {beyond} ?", [low]
        if (end := after_prefix(prefix)) is not None:
            sql, values = sql + " AND key < ?", [*values, end]
        return [_blob(row).info for row in self._execute(f"{sql} ORDER BY key LIMIT {count}", values)]

    def older(self, prefix: str, before: int, count: int) -> list[BlobRow]:
        """Versions below ``prefix`` written before ``before`` (microseconds); markers too."""
        sql, values = f"SELECT {_BLOB} FROM blobs WHERE modified < ? AND key >= ?", [before, prefix]
        if (end := after_prefix(prefix)) is not None:
            sql, values = sql + " AND key < ?", [*values, end]
        return [_blob(row) for row in self._execute(f"{sql} ORDER BY key, id LIMIT {count}", values)]

    def add(self, row_id: int, info: BlobInfo, pieces: Sequence[Piece], *, marker: bool = False) -> None:
        """Add a version, current from now on. The caller has made room."""
        self._execute(
            f"INSERT INTO blobs ({_BLOB}) VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, ?)",
            (
                row_id,
                info.key,
                info.version,
                int(marker),
                info.size,
                info.etag,
                micros(info.modified),
                json.dumps(_attributes_of(info), separators=(",", ":")),
                json.dumps({name: value.base64 for name, value in info.checksums.items()}, separators=(",", ":")),
            ),
        )
        for position, piece in enumerate(pieces):
            self._execute(
                "INSERT INTO pieces VALUES (?, ?, ?, ?, ?)", (row_id, position, piece.extent, piece.start, piece.size)
            )
        for extent in {piece.extent for piece in pieces}:
            self.use(extent)

    def hide(self, key: str) -> None:
        """No version of the key is current."""
        self._execute("UPDATE blobs SET current = 0 WHERE key = ? AND current", (key,))

    def promote_newest(self, key: str) -> BlobRow | None:
        """Make the newest version left the current one, and return it."""
        row = self._execute(
            f"UPDATE blobs SET current = 1 WHERE id = (SELECT max(id) FROM blobs WHERE key = ?) RETURNING {_BLOB}",
            (key,),
        ).fetchone()
        return None if row is None else _blob(row)

    def remove(self, row: BlobRow) -> list[str]:
        """Remove one version for good; returns the files that nothing has any more."""
        extents = {piece.extent for piece in self.pieces(row.id)}
        self._execute("DELETE FROM pieces WHERE blob = ?", (row.id,))
        self._execute("DELETE FROM blobs WHERE id = ?", (row.id,))
        return self.release(extents)

    def pieces(self, row_id: int) -> list[Piece]:
        """The bytes of a version, in order."""
        found = self._execute("SELECT extent, start, size FROM pieces WHERE blob = ? ORDER BY position", (row_id,))
        return [Piece(*row) for row in found]

    # --- files ---

    def use(self, extent: str) -> None:
        """One more thing has this file."""
        self._execute("INSERT INTO extents VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET refs = refs + 1", (extent,))

    def release(self, extents: Iterable[str]) -> list[str]:
        """One thing less has each of these files; returns those that nothing has any more."""
        dead: list[str] = []
        for extent in extents:
            self._execute("UPDATE extents SET refs = refs - 1 WHERE name = ?", (extent,))
            if self._execute("DELETE FROM extents WHERE name = ? AND refs <= 0", (extent,)).rowcount:
                dead.append(extent)
        return dead

    def has_extent(self, extent: str) -> bool:
        """Whether anything has this file."""
        return self._execute("SELECT 1 FROM extents WHERE name = ?", (extent,)).fetchone() is not None

    def extents(self) -> set[str]:
        """Every file that something has."""
        return {row[0] for row in self._execute("SELECT name FROM extents")}

    # --- sessions ---

    def add_session(self, row: SessionRow, now: int) -> None:
        """Add an open session; its own file is used by it."""
        state = row.state
        self._execute(
            "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                state.upload_id,
                state.key,
                row.extent,
                json.dumps(state.to_dict(), separators=(",", ":")),
                json.dumps(_attributes_of(row.attributes), separators=(",", ":")),
                micros(state.started),
                now,
            ),
        )
        self.use(row.extent)

    def session(self, upload_id: str) -> SessionRow | None:
        """The open session with this id."""
        row = self._execute(
            "SELECT state, attributes, extent FROM sessions WHERE upload_id = ?", (upload_id,)
        ).fetchone()
        if row is None:
            return None
        return SessionRow(SessionState.from_dict(json.loads(row[0])), Attributes(**json.loads(row[1])), row[2])

    def touch_session(self, upload_id: str, now: int) -> bool:
        """Note that the session lives; False when it does not exist."""
        return self._execute("UPDATE sessions SET touched = ? WHERE upload_id = ?", (now, upload_id)).rowcount > 0

    def sessions(self, prefix: str, after: tuple[str, str], count: int) -> list[tuple[str, str, int, int]]:
        """The next open sessions below ``prefix``: key, id, start (microseconds), bytes held."""
        sql, values = "key >= ?", [prefix, *after]
        if (end := after_prefix(prefix)) is not None:
            sql, values = "key >= ? AND key < ?", [prefix, end, *after]
        found = self._execute(
            "SELECT key, upload_id, started, (SELECT coalesce(sum(size), 0) FROM chunks c WHERE c.upload_id = s.upload_id) "
            f"FROM sessions s WHERE {sql} AND (key, upload_id) > (?, ?) ORDER BY key, upload_id LIMIT {count}",
            values,
        )
        return [(row[0], row[1], row[2], row[3]) for row in found]

    def abandoned(self, before: int, count: int) -> list[str]:
        """The ids of the sessions that nobody has touched since ``before`` (microseconds)."""
        return [
            row[0]
            for row in self._execute(f"SELECT upload_id FROM sessions WHERE touched < ? LIMIT {count}", (before,))
        ]

    def remove_session(self, upload_id: str) -> list[str] | None:
        """Forget a session with its chunks; returns the files that nothing has any more, None when there was no session."""
        row = self._execute("DELETE FROM sessions WHERE upload_id = ? RETURNING extent", (upload_id,)).fetchone()
        if row is None:
            return None
        gone = self._execute("DELETE FROM chunks WHERE upload_id = ? RETURNING extent", (upload_id,)).fetchall()
        self._execute("DELETE FROM claims WHERE upload_id = ?", (upload_id,))
        return self.release([row[0], *(extent for (extent,) in gone if extent != row[0])])

    # --- chunks ---

    def claim(self, upload_id: str, number: int) -> bool:
        """Whether the caller is the one who may write the chunk into the session's own file."""
        sql = "INSERT OR IGNORE INTO claims VALUES (?, ?)"
        return self._execute(sql, (upload_id, number)).rowcount > 0

    def unclaim(self, upload_id: str, number: int, session_extent: str) -> None:
        """The writer that claimed the place is done and did not fill it: let another one try. Does nothing if it did."""
        self._execute(
            "DELETE FROM claims WHERE upload_id = ? AND number = ? AND NOT EXISTS "
            "(SELECT 1 FROM chunks WHERE upload_id = ? AND number = ? AND extent = ?)",
            (upload_id, number, upload_id, number, session_extent),
        )

    def chunk(self, upload_id: str, number: int) -> ChunkRow | None:
        """The chunk, if it is held."""
        row = self._execute(
            "SELECT number, size, etag, crc32c, extent, start FROM chunks WHERE upload_id = ? AND number = ?",
            (upload_id, number),
        ).fetchone()
        return None if row is None else _chunk(row)

    def chunks(self, upload_id: str) -> list[ChunkRow]:
        """Every chunk held, by number."""
        found = self._execute(
            "SELECT number, size, etag, crc32c, extent, start FROM chunks WHERE upload_id = ? ORDER BY number",
            (upload_id,),
        )
        return [_chunk(row) for row in found]

    def count_chunks(self, upload_id: str, below: int) -> int:
        """How many chunks with a smaller number than ``below`` are held."""
        row = self._execute(
            "SELECT count(*) FROM chunks WHERE upload_id = ? AND number < ?", (upload_id, below)
        ).fetchone()
        return int(row[0])

    def put_chunk(self, upload_id: str, row: ChunkRow, session_extent: str) -> list[str]:
        """Hold a chunk in place of an earlier one; returns the files that nothing has any more."""
        old = self.chunk(upload_id, row.held.number)
        self._execute(
            "INSERT OR REPLACE INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                upload_id,
                row.held.number,
                row.held.size,
                row.held.receipt,
                row.crc32c,
                row.piece.extent,
                row.piece.start,
            ),
        )
        if row.piece.extent != session_extent:
            self.use(row.piece.extent)
        return self.release([old.piece.extent]) if old is not None and old.piece.extent != session_extent else []

    # --- expiry rules ---

    def rules(self) -> list[ExpiryRule]:
        """All of them, by prefix."""
        found = self._execute("SELECT prefix, seconds FROM expiry_rules ORDER BY prefix")
        return [ExpiryRule(prefix, timedelta(seconds=seconds)) for prefix, seconds in found]

    def set_rules(self, rules: Iterable[ExpiryRule]) -> None:
        """Replace all of them."""
        self._execute("DELETE FROM expiry_rules")
        for rule in rules:
            self._execute("INSERT INTO expiry_rules VALUES (?, ?)", (rule.prefix, int(rule.age.total_seconds())))

    # --- the outbox ---

    def add_event(self, body: bytes, due: float) -> None:
        """Keep an event until the webhook has taken it."""
        self._execute("INSERT INTO outbox (body, attempts, due) VALUES (?, 0, ?)", (body, due))

    def count_events(self) -> int:
        """How many wait."""
        return int(self._execute("SELECT count(*) FROM outbox").fetchone()[0])

    def next_event_due(self) -> float | None:
        """When the first of them may be sent, in seconds since the epoch."""
        row = self._execute("SELECT min(due) FROM outbox").fetchone()
        return None if row[0] is None else float(row[0])

    def take_event(self, now: float, until: float) -> tuple[int, bytes, int] | None:
        """The event that has been due for longest (id, body, attempts before), reserved for the caller until then."""
        row = self._execute(
            "UPDATE outbox SET due = ?, attempts = attempts + 1 "
            "WHERE id = (SELECT id FROM outbox WHERE due <= ? ORDER BY due LIMIT 1) RETURNING id, body, attempts",
            (until, now),
        ).fetchone()
        return None if row is None else (row[0], row[1], row[2] - 1)

    def put_off_event(self, event: int, due: float) -> None:
        """Send it again, later."""
        self._execute("UPDATE outbox SET due = ? WHERE id = ?", (due, event))

    def remove_event(self, event: int) -> None:
        """It was taken, or given up."""
        self._execute("DELETE FROM outbox WHERE id = ?", (event,))


# --- between rows and values ----------------------------------------------------------------------------------------------


def micros(when: datetime) -> int:
    """Microseconds since the epoch."""
    return (when - _EPOCH) // _MICROSECOND


def from_micros(value: int) -> datetime:
    """The aware datetime of so many microseconds since the epoch."""
    return _EPOCH + timedelta(microseconds=value)


def after_prefix(prefix: str) -> str | None:
    """The least text that is greater than every text starting with ``prefix``; None when there is no such text.

    Code points and their UTF-8 bytes have the same order, which is SQLite's for text.
    """
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return None
    following = ord(stem[-1]) + 1
    return stem[:-1] + chr(0xE000 if following == 0xD800 else following)  # no surrogates in UTF-8


def _blob(row: Sequence[object]) -> BlobRow:
    row_id, key, version, current, marker, size, etag, modified, attributes, checksums = row
    values: Mapping[str, object] = json.loads(str(attributes))
    return BlobRow(
        id=_int(row_id),
        current=bool(current),
        marker=bool(marker),
        info=BlobInfo(
            key=str(key),
            size=_int(size),
            etag=str(etag),
            modified=from_micros(_int(modified)),
            version=_text(version),
            content_type=_text(values.get("content_type")),
            metadata=MappingProxyType(_metadata(values.get("metadata"))),
            checksums=MappingProxyType(
                {name: Checksum.from_base64(name, text) for name, text in json.loads(str(checksums)).items()}
            ),
            cache_control=_text(values.get("cache_control")),
            content_disposition=_text(values.get("content_disposition")),
            content_encoding=_text(values.get("content_encoding")),
            storage_class=_text(values.get("storage_class")),
            upload_id=_text(values.get("upload_id")),
        ),
    )


def _chunk(row: Sequence[object]) -> ChunkRow:
    number, size, etag, crc32c, extent, start = row
    held = HeldChunk(_int(number), _int(size), str(etag))
    return ChunkRow(held, _int(crc32c), Piece(str(extent), _int(start), held.size))


_ATTRIBUTES: Final = (
    "content_type",
    "cache_control",
    "content_disposition",
    "content_encoding",
    "storage_class",
    "upload_id",
)


def _attributes_of(source: BlobInfo | Attributes) -> dict[str, object]:
    out: dict[str, object] = {name: value for name in _ATTRIBUTES if (value := getattr(source, name)) is not None}
    if source.metadata:
        out["metadata"] = dict(source.metadata)
    return out


def _metadata(value: object) -> dict[str, str]:
    return {str(name): str(text) for name, text in value.items()} if isinstance(value, Mapping) else {}


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value
