"""The outbox: what happened to uploads, told at least once, in order for each upload.

A notice is written in the transaction that makes the change, so there is no change without its notice and no notice without
its change. A handler that raises hears it again, later and later; after ``max_attempts`` the notice is dead, and the
upload's next one is told.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, and_, bindparam, delete, exists, func, literal, select, tuple_, update

from blobkit.tracking.database import Database
from blobkit.tracking.records import Notification
from blobkit.tracking.schema import outbox
from blobkit.tracking.timing import Timing

__all__ = ["Delivered", "Handler", "Outbox"]

Handler = Callable[[Notification], object]

_SHOWN: Final = 200
_PAGE: Final = 100
_log = logging.getLogger("blobkit.tracking")


@dataclass(slots=True)
class Delivered:
    """What a round of deliveries came to: notices that the handler took, that it shall hear again, that are dead."""

    delivered: int = 0
    retried: int = 0
    dead: int = 0


class Outbox:
    """The table ``blobkit_outbox``. Any number of workers may deliver at once. Made by the tracker."""

    def __init__(self, database: Database, timing: Timing, now: Callable[[], datetime]) -> None:
        self._database = database
        self._timing = timing
        self._now = now

    def deliver(
        self,
        handler: Handler,
        *,
        limit: int | None = None,
        max_attempts: int = 20,
        stop: Callable[[], bool] | None = None,
    ) -> Delivered:
        """Tell the handler everything that is due, one at a time.

        Args:
            handler: Called outside any transaction, with a :class:`Notification`. When it returns, the notice is done; when
                it raises, it is told again. It may hear one twice (a worker died in between), always with the same ``id``.
            limit: At most so many calls.
            max_attempts: After so many calls in vain a notice is dead: kept, and no longer told.
            stop: Asked before each call; true ends the round.

        Raises:
            Unavailable: The database did not answer.
        """
        done, calls = Delivered(), 0
        while limit is None or calls < limit:
            lease = secrets.token_hex(16)
            taken = self._claim(lease, _PAGE if limit is None else min(_PAGE, limit - calls))
            if not taken:
                break
            for notification in taken:
                if stop is not None and stop():
                    self._give_back(lease)
                    return done
                calls += 1
                self._tell(handler, notification, lease, max_attempts, done)
        return done

    def _claim(self, lease: str, limit: int) -> list[Notification]:
        """Take notices that are due, of each upload only the first that is not done. No two workers get the same."""
        now, earlier = self._now(), outbox.alias("earlier")
        due = (
            select(*_TOLD)
            .where(outbox.c.retry_at <= now)
            .where(
                ~exists(
                    select(literal(1)).where(
                        earlier.c.upload == outbox.c.upload,
                        earlier.c.seq < outbox.c.seq,
                        earlier.c.state == "waiting",
                    )
                )
            )
            .order_by(outbox.c.retry_at, outbox.c.upload, outbox.c.seq)
            .limit(limit)
            .with_for_update(skip_locked=True, of=outbox)
        )
        with self._database.write() as connection:  # durable before the handler hears of it
            found = [_notification(row) for row in connection.execute(due)]
            if found:
                those = tuple_(outbox.c.upload, outbox.c.seq).in_([(item.upload, item.seq) for item in found])
                connection.execute(
                    update(outbox)
                    .where(those)
                    .values(attempts=outbox.c.attempts + 1, retry_at=now + self._timing.lease, lease=lease)
                )
        return [replace(item, attempt=item.attempt + 1) for item in found]

    def _give_back(self, lease: str) -> None:
        with self._database.write() as connection:
            connection.execute(
                update(outbox)
                .where(outbox.c.lease == lease, outbox.c.state == "waiting", outbox.c.retry_at > self._now())
                .values(retry_at=self._now(), attempts=outbox.c.attempts - 1, lease=None)
            )

    def _tell(self, handler: Handler, item: Notification, lease: str, max_attempts: int, done: Delivered) -> None:
        try:
            handler(item)
        except Exception as error:
            _log.warning("the handler failed on %s (%s), attempt %d", item.id, type(error).__name__, item.attempt)
            said = f"{type(error).__name__}: {error}"[:_SHOWN].replace("\0", "\ufffd")
            now = self._now()
            if item.attempt >= max_attempts:
                _log.error("notice %s is dead after %d attempts", item.id, item.attempt)
                done.dead += 1
                self._end(item, lease, {"state": "dead", "error": said, "retry_at": None})
            else:
                done.retried += 1
                wait = now + self._timing.retry_after(item.attempt)
                self._end(item, lease, {"error": said, "retry_at": wait, "lease": None})
            return
        done.delivered += 1
        end = {"state": "delivered", "error": None, "retry_at": None, "delivered_at": self._now()}
        self._end(item, lease, end)

    def _end(self, item: Notification, lease: str, values: dict[str, Any]) -> None:
        """Write how it went, unless the lease ran out and another worker has it."""
        statement = update(outbox).where(
            outbox.c.upload == bindparam("this"),
            outbox.c.seq == bindparam("which"),
            outbox.c.lease == bindparam("ours"),
        )
        given = {f"new_{name}": value for name, value in values.items()}
        with self._database.write(redone=True) as connection:
            connection.execute(
                statement.values({name: bindparam(f"new_{name}") for name in values}),
                {"this": item.upload, "which": item.seq, "ours": lease, **given},
            )

    # --- looking at it ---

    def history(self, upload: UUID) -> list[tuple[Notification, str]]:
        """Everything that is still kept about an upload, in order, each with ``waiting | delivered | dead``."""
        query = select(*_TOLD, outbox.c.state).where(outbox.c.upload == upload).order_by(outbox.c.seq)
        with self._database.read() as connection:
            return [(_notification(row), row.state) for row in connection.execute(query)]

    def count(self, state: str = "waiting") -> int:
        """How many notices are ``waiting``, ``delivered`` or ``dead``."""
        with self._database.read() as connection:
            return connection.execute(select(func.count()).where(outbox.c.state == state)).scalar_one()

    def dead(self) -> Iterator[Notification]:
        """The notices that were given up, oldest first."""
        query = select(*_TOLD).where(outbox.c.state == "dead").order_by(outbox.c.created_at)
        with self._database.read() as connection:
            yield from [_notification(row) for row in connection.execute(query)]

    def revive(self, notification: Notification) -> bool:
        """Tell a dead notice again, from its first attempt. Returns False when it is not dead."""
        with self._database.write() as connection:
            done = connection.execute(
                update(outbox)
                .where(
                    and_(
                        outbox.c.upload == notification.upload,
                        outbox.c.seq == notification.seq,
                        outbox.c.state == "dead",
                    )
                )
                .values(state="waiting", attempts=0, retry_at=self._now(), lease=None)
            )
        return done.rowcount == 1

    def purge(self, before: datetime, limit: int) -> int:
        """Forget at most ``limit`` notices that were delivered before. Dead ones stay."""
        old = (
            select(outbox.c.upload, outbox.c.seq)
            .where(outbox.c.delivered_at < before)
            .order_by(outbox.c.delivered_at)
            .limit(limit)
        )
        with self._database.write() as connection:
            return connection.execute(delete(outbox).where(tuple_(outbox.c.upload, outbox.c.seq).in_(old))).rowcount


_TOLD: Final = (
    outbox.c.upload,
    outbox.c.seq,
    outbox.c.kind,
    outbox.c.data,
    outbox.c.created_at,
    outbox.c.attempts,
)


def _notification(row: Row[*tuple[Any, ...]]) -> Notification:
    return Notification(row.upload, row.seq, row.kind, json.loads(row.data), row.created_at, row.attempts)
