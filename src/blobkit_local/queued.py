"""The queries of the event queue: one row for each event and consumer, until that consumer has settled it."""

# ruff: noqa: S608 - what is put into statements is this module's own text; values are bound

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["QueueRows", "Taken"]

_MARKS: Final = 500  # SQLite binds some thousand values at most


@dataclass(frozen=True, slots=True)
class Taken:
    """An event that a consumer took: ``attempts`` counts this time too."""

    id: int
    body: bytes
    attempts: int


class QueueRows:
    """Lives inside one transaction, as :class:`blobkit_local.rows.Rows`, which makes it."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def register(self, consumer: str) -> None:
        """From now on every event is kept for it. May be repeated."""
        self._connection.execute("INSERT OR IGNORE INTO consumers (name) VALUES (?)", (consumer,))

    def forget(self, consumer: str) -> None:
        """Keep nothing more for it, and drop what is kept."""
        self._connection.execute("DELETE FROM consumers WHERE name = ?", (consumer,))
        self._connection.execute("DELETE FROM queue WHERE consumer = ?", (consumer,))

    def consumers(self) -> list[str]:
        """Their names."""
        return [name for (name,) in self._connection.execute("SELECT name FROM consumers ORDER BY name")]

    def add(self, consumer: str, body: bytes, due: float, most: int) -> bool:
        """Keep an event for it; False when ``most`` are kept already."""
        if self.count(consumer) >= most:
            return False
        self._connection.execute(
            "INSERT INTO queue (consumer, body, attempts, due) VALUES (?, ?, 0, ?)", (consumer, body, due)
        )
        return True

    def count(self, consumer: str) -> int:
        """How many are kept for it."""
        row = self._connection.execute("SELECT count(*) FROM queue WHERE consumer = ?", (consumer,)).fetchone()
        return int(row[0])

    def next_due(self, consumer: str) -> float | None:
        """When the first of them may be taken, in seconds since the epoch; None when there is none."""
        row = self._connection.execute("SELECT min(due) FROM queue WHERE consumer = ?", (consumer,)).fetchone()
        return None if row[0] is None else float(row[0])

    def take(self, consumer: str, now: float, until: float, lease: str, limit: int) -> list[Taken]:
        """Up to ``limit`` that are due, hidden from others until then, in the order of the events."""
        rows = self._connection.execute(
            "UPDATE queue SET due = ?, attempts = attempts + 1, lease = ? WHERE id IN "
            "(SELECT id FROM queue WHERE consumer = ? AND due <= ? ORDER BY due, id LIMIT ?) RETURNING id, body, attempts",
            (until, lease, consumer, now, limit),
        ).fetchall()
        return sorted((Taken(*row) for row in rows), key=lambda taken: taken.id)

    def hold(self, ids: Sequence[int], lease: str, due: float) -> None:
        """Put off what is still held under that lease."""
        for start in range(0, len(ids), _MARKS):
            part = ids[start : start + _MARKS]
            marks = ", ".join("?" * len(part))
            self._connection.execute(
                f"UPDATE queue SET due = ? WHERE lease = ? AND id IN ({marks})", (due, lease, *part)
            )

    def remove(self, ids: Sequence[int]) -> None:
        """They were settled."""
        for start in range(0, len(ids), _MARKS):
            part = ids[start : start + _MARKS]
            self._connection.execute(f"DELETE FROM queue WHERE id IN ({', '.join('?' * len(part))})", part)
