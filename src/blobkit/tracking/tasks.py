"""What one worker at a time does, of all that share the database: leases that run out by themselves, and cursors."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from sqlalchemy import or_, select, update

from blobkit.errors import PreconditionFailed
from blobkit.tracking.database import Database
from blobkit.tracking.schema import tasks
from blobkit.tracking.timing import Timing

__all__ = ["Held", "Tasks"]


class Held:
    """A task that this worker has. Whoever lost it hears of that at the next :meth:`keep`."""

    def __init__(self, owner: Tasks, name: str, holder: str, cursor: str | None) -> None:
        self._owner = owner
        self._name = name
        self._holder = holder
        self.cursor = cursor

    def keep(self, cursor: str | None) -> None:
        """Write how far it has come, and have the task for another lease. Raises PreconditionFailed when it was lost."""
        self.cursor = cursor
        self._owner.write(self._name, self._holder, {"cursor": cursor}, keep=True)

    def finish(self, due_at: datetime) -> None:
        """All is done, until then. Raises PreconditionFailed when the task was lost."""
        values = {"cursor": None, "due_at": due_at, "holder": None, "until": None}
        self._owner.write(self._name, self._holder, values)

    def release(self) -> None:
        """Leave the rest to whoever comes next. No error when the task was lost already."""
        try:
            self._owner.write(self._name, self._holder, {"holder": None, "until": None})
        except PreconditionFailed:
            return


class Tasks:
    """The table ``blobkit_tasks``."""

    def __init__(self, database: Database, timing: Timing, now: Callable[[], datetime]) -> None:
        self._database = database
        self._timing = timing
        self._now = now

    def take(self, name: str, *, even_if_not_due: bool = False) -> Held | None:
        """Have the task, if it is due or was begun, and nobody has it.

        Returns:
            None when another worker has it, or it is not due.
        """
        now, holder = self._now(), secrets.token_hex(16)
        free = or_(tasks.c.until.is_(None), tasks.c.until <= now)
        due = or_(tasks.c.due_at.is_(None), tasks.c.due_at <= now, tasks.c.cursor.is_not(None))
        mine = update(tasks).where(tasks.c.name == name, free)
        if not even_if_not_due:
            mine = mine.where(due)
        with self._database.write() as connection:
            connection.execute(self._database.insert(tasks), {"name": name})
            taken = connection.execute(mine.values(holder=holder, until=now + self._timing.lease))
            if taken.rowcount != 1:
                return None
            cursor = connection.execute(select(tasks.c.cursor).where(tasks.c.name == name)).scalar_one()
        return Held(self, name, holder, cursor)

    def write(self, name: str, holder: str, values: dict[str, Any], *, keep: bool = False) -> None:
        """For :class:`Held`: write, if the holder has it. Raises PreconditionFailed."""
        if keep:
            values = {**values, "until": self._now() + self._timing.lease}
        mine = update(tasks).where(tasks.c.name == name, tasks.c.holder == holder)
        with self._database.write() as connection:
            if connection.execute(mine.values(**values)).rowcount != 1:
                raise PreconditionFailed(f"another worker has {_SHOWN.get(name.partition(':')[0], 'the task')}")


_SHOWN: Final = {"orphans": "the sweep for orphans"}
