"""The inbox: every event is written down before it is acknowledged, and handled once however often it comes."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, bindparam, delete, func, select, update

from blobkit.errors import MalformedEvent
from blobkit.events.controls import NotAnEvent, RecordError
from blobkit.events.model import BlobEvent, EventKind
from blobkit.tracking.database import Database
from blobkit.tracking.schema import UNKNOWN, inbox
from blobkit.tracking.timing import Timing

__all__ = ["HANDLED", "MAX_ATTEMPTS", "Inbox", "Waiting", "told_of"]

HANDLED: Final = frozenset(
    {
        EventKind.CREATED,
        EventKind.DELETED,
        EventKind.EXPIRED,
        EventKind.SUPERSEDED,
        EventKind.RENAMED,
        EventKind.UPLOAD_STARTED,
        EventKind.PREFIX_DELETED,
        EventKind.PREFIX_RENAMED,
    }
)
"""The kinds that can change an upload. The others (tiers, tags, restores) say nothing of what is bound."""

MAX_ATTEMPTS: Final = 20
"""An event whose look fails so often is put aside as dead. Reconcile still finds what it told of."""

_MAX_RAW: Final = 16_384
_SHOWN: Final = 200


@dataclass(slots=True)
class Waiting:
    """One event of the inbox that somebody works on now."""

    id: int
    store: str
    key: str
    event: BlobEvent
    attempts: int
    received_at: datetime


class Inbox:
    """The table ``blobkit_inbox``."""

    def __init__(self, database: Database, timing: Timing) -> None:
        self._database = database
        self._timing = timing
        self._put = database.insert(inbox).returning(inbox.c.id)

    def bury(self, connection: Connection, refused: Sequence[RecordError | NotAnEvent], now: datetime) -> int:
        """Keep what cannot be read, cut short, so that somebody can look at it and the queue is rid of it."""
        count = 0
        for item in refused:
            raw = _raw(item)
            error = item.message if isinstance(item, RecordError) else item.reason
            row = {
                "dedupe_key": hashlib.sha256(raw.encode("utf-8", "surrogatepass")).hexdigest(),
                "state": "dead",
                "event": _storable(raw, _MAX_RAW),
                "attempts": 1,
                "error": _storable(error, _SHOWN),
                "received_at": now,
            }
            count += connection.execute(self._put, row).scalar() is not None
        return count

    def claim(self, limit: int, now: datetime, by: datetime | None = None) -> list[Waiting]:
        """Take events that wait: left by a worker that died, put off, or parked. No two workers get the same.

        Args:
            limit: At most so many.
            now: The time, from which they are the caller's.
            by: Only those whose time had come by then; now, when None.
        """
        with self._database.write() as connection:
            due = (
                select(*_TAKEN)
                .where(inbox.c.retry_at <= (by or now))
                .order_by(inbox.c.retry_at, inbox.c.id)
                .limit(limit)
                .with_for_update(skip_locked=True)
            )
            rows = connection.execute(due).all()
            if not rows:
                return []
            taken = update(inbox).where(inbox.c.id.in_([row.id for row in rows]))
            connection.execute(taken.values(attempts=inbox.c.attempts + 1, retry_at=now + self._timing.lease))
            found = []
            for row in rows:
                try:
                    event = BlobEvent.from_dict(json.loads(row.event))
                except (ValueError, MalformedEvent) as error:  # written by a later release, or by somebody else
                    connection.execute(_end, {"this": row.id, "new_state": "dead", "new_error": type(error).__name__})
                else:
                    found.append(Waiting(row.id, row.store, row.key, event, row.attempts + 1, row.received_at))
        return found

    def done(self, connection: Connection, item: Waiting) -> None:
        """It has been acted upon."""
        connection.execute(_end, {"this": item.id, "new_state": "done", "new_error": None})

    def put_off(self, connection: Connection, item: Waiting, error: Exception, now: datetime) -> bool:
        """It could not be acted upon yet. Returns False when it was put aside for good."""
        said = told_of(error)
        if item.attempts >= MAX_ATTEMPTS:
            connection.execute(_end, {"this": item.id, "new_state": "dead", "new_error": said})
            return False
        wait = now + self._timing.retry_after(item.attempts)
        connection.execute(update(inbox).where(inbox.c.id == item.id).values(retry_at=wait, error=said, state="new"))
        return True

    def park(self, connection: Connection, item: Waiting, now: datetime) -> bool:
        """No upload has its key: it waits for one. Returns False when it waited long enough, and is an orphan's."""
        if now >= item.received_at + self._timing.parked:
            connection.execute(_end, {"this": item.id, "new_state": "orphan", "new_error": None})
            return False
        wait = min(now + self._timing.retry_after(item.attempts), item.received_at + self._timing.parked)
        connection.execute(update(inbox).where(inbox.c.id == item.id).values(retry_at=wait, state="parked"))
        return True

    def drop(self, store: str, keep: int, limit: int) -> Counter[str]:
        """Forget the oldest events of keys that no upload has, beyond ``keep`` of a store, at most ``limit``.

        Returns:
            How many there were of each state: ``parked`` ones still waited, ``orphan`` ones had waited their time.
        """
        beyond = (
            select(inbox.c.id)
            .where(inbox.c.store == store, UNKNOWN)
            .order_by(inbox.c.received_at.desc(), inbox.c.id.desc())
            .offset(keep)
            .limit(limit)
        )
        # What another worker has in hand is left to the next run: whoever waits for nobody is in no deadlock.
        free = select(inbox.c.id).where(inbox.c.id.in_(beyond.scalar_subquery())).with_for_update(skip_locked=True)
        gone = delete(inbox).where(inbox.c.id.in_(free.scalar_subquery()), UNKNOWN).returning(inbox.c.state)
        with self._database.write() as connection:
            return Counter(connection.execute(gone).scalars())

    def count(self, state: str) -> int:
        """How many events are in a state: ``new | parked | done | orphan | dead``."""
        with self._database.read() as connection:
            return connection.execute(select(func.count()).where(inbox.c.state == state)).scalar_one()

    def purge(self, before: datetime, limit: int) -> int:
        """Forget at most ``limit`` events that were received before, and that nobody waits for."""
        old = (
            select(inbox.c.id)
            .where(inbox.c.received_at < before, inbox.c.retry_at.is_(None))
            .order_by(inbox.c.received_at)
            .limit(limit)
        )
        with self._database.write() as connection:
            return connection.execute(delete(inbox).where(inbox.c.id.in_(old.scalar_subquery()))).rowcount


_TAKEN: Final = (inbox.c.id, inbox.c.store, inbox.c.key, inbox.c.event, inbox.c.attempts, inbox.c.received_at)
_end: Final = (
    update(inbox)
    .where(inbox.c.id == bindparam("this"))
    .values(state=bindparam("new_state"), error=bindparam("new_error"), retry_at=None)
)


def told_of(error: Exception) -> str:
    """An error, as a row keeps it."""
    return _storable(f"{type(error).__name__}: {error}", _SHOWN)


def _raw(item: RecordError | NotAnEvent) -> str:
    raw = item.raw
    if isinstance(raw, bytes):
        return raw.decode("utf-8", "replace")
    return raw if isinstance(raw, str) else json.dumps(raw, default=repr)


def _storable(text: str, length: int) -> str:
    """Cut short, and without what a text column cannot hold."""
    return text[:length].replace("\0", "\ufffd").encode("utf-8", "replace").decode()
