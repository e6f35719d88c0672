"""An event is written down together with what it changes: its row in the inbox, the upload's change, and the notice of it.

All of it is there, or nothing; and the change compares the upload's version as every change does. Where somebody else was
faster, only the event is written down, for another look.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final, Literal

from sqlalchemy import Connection, bindparam, case, exists, insert, null, select, update
from sqlalchemy.dialects import postgresql

from blobkit.tracking.database import Database
from blobkit.tracking.finding import find_for_event
from blobkit.tracking.inbox import Waiting, told_of
from blobkit.tracking.moving import Change, Plan, Shape, conditional_update, make, plan_change
from blobkit.tracking.places import Named
from blobkit.tracking.prepared import Prepared
from blobkit.tracking.records import Upload
from blobkit.tracking.schema import inbox, outbox, uploads
from blobkit.tracking.timing import Timing

__all__ = ["Entry", "Recorder", "Written"]


class Entry:
    """One event that is to be written down, and what a look has made of it.

    Attributes:
        named: Whose event it is.
        dedupe_key: The event's own; of an event that concerns several stores or keys, one for each.
        outlook: ``waits``: nobody has looked; ``acts``: ``change`` is to be made, nothing when it is None; ``parked``: no
            upload has the key; ``failed``: ``error`` says why; ``known``: it is there from an earlier delivery.
        upload: As it was when somebody looked.
    """

    __slots__ = ("change", "dedupe_key", "error", "named", "outlook", "upload")

    def __init__(self, named: Named) -> None:
        self.named = named
        self.dedupe_key = hashlib.sha256(f"{named.event.dedupe_key}\n{named.store}\n{named.key}".encode()).hexdigest()
        self.outlook: Literal["waits", "acts", "parked", "failed", "known"] = "waits"
        self.upload: Upload | None = None
        self.change: Change | None = None
        self.error: Exception | None = None

    def __lt__(self, other: Entry) -> bool:
        """Whoever writes several writes them in this order: else two who have the same could wait for each other."""
        mine, yours = self.named, other.named
        return (mine.store, mine.key, self.dedupe_key) < (yours.store, yours.key, other.dedupe_key)


@dataclass(frozen=True, slots=True)
class Written:
    """What became of an entry.

    Attributes:
        new: It was not there before.
        changed: An upload was changed, and not only when somebody looks at it next.
        waiting: It is the caller's to act upon; None when nothing is left to be done now.
    """

    new: bool = False
    changed: bool = False
    waiting: Waiting | None = None


class Recorder:
    """Reads and writes entries."""

    def __init__(self, database: Database, timing: Timing) -> None:
        self._timing = timing
        self._in_one = database.shared
        row: dict[str, Any] = {column.name: bindparam(column.name) for column in _COLUMNS}
        self._put = Prepared(database.insert(inbox).values(row).returning(inbox.c.id))

    def find(self, connection: Connection, entry: Entry) -> None:
        """Read the entry's upload, and whether the event is there already."""
        entry.upload, known = find_for_event(connection, entry.named.store, entry.named.key, entry.dedupe_key)
        if known:
            entry.outlook = "known"
        elif entry.upload is None:
            entry.outlook = "parked"

    def write(self, connection: Connection, entry: Entry, now: datetime) -> Written:
        """Write an entry down, and make its change. In PostgreSQL it is one statement."""
        row, plan = self._row(entry, now), None
        acts = entry.outlook == "acts"
        if entry.upload is not None and entry.change is not None:
            plan = plan_change(entry.upload, entry.change, now)
            acts = plan is not None  # else the upload is in a state that the change cannot start from
        if plan is None:
            number = self._insert(connection, row | _ACTED if acts else row)
        elif self._in_one:
            number, acts = _in_one(connection, plan, row)
        else:
            number = self._insert(connection, row | _ACTED)
            acts = number is not None and make(connection, plan)
            if number is not None and not acts:
                _waits_after_all.count(connection, {"this": number, "until": row["retry_at"]})
        changed = acts and entry.change is not None and entry.change.what is not None
        if number is None or acts or entry.outlook in ("parked", "failed"):
            return Written(number is not None, changed)
        named = entry.named
        return Written(True, changed, Waiting(number, named.store, named.key, named.event, 1, now))

    def _insert(self, connection: Connection, row: dict[str, Any]) -> int | None:
        written = self._put.first(connection, row)
        return None if written is None else written[0]

    def _row(self, entry: Entry, now: datetime) -> dict[str, Any]:
        """The row of an entry that is not acted upon: reserved for the caller, or due again soon."""
        wait = self._timing.lease if entry.outlook in ("waits", "acts") else self._timing.retry_after(1)
        named = entry.named
        return {
            "dedupe_key": entry.dedupe_key,
            "state": "parked" if entry.outlook == "parked" else "new",
            "store": named.store,
            "key": named.key,
            "event": _encode(named.event.to_dict()),
            "attempts": 1,
            "error": None if entry.error is None else told_of(entry.error),
            "received_at": now,
            "retry_at": now + wait,
        }


_encode: Final = json.JSONEncoder(separators=(",", ":")).encode
_ACTED: Final[dict[str, Any]] = {"state": "done", "retry_at": None}
_COLUMNS: Final = tuple(inbox.c[name] for name in (
    "dedupe_key", "state", "store", "key", "event", "attempts", "error", "received_at", "retry_at",
))  # fmt: skip
_waits_after_all: Final = Prepared(
    update(inbox).where(inbox.c.id == bindparam("this")).values(state="new", retry_at=bindparam("until"))
)


def _in_one(connection: Connection, plan: Plan, row: dict[str, Any]) -> tuple[int | None, bool]:
    """The new row's number, if it is new, and whether the upload was changed."""
    given = {**plan.given, **{f"inbox_{name}": value for name, value in row.items()}}
    for name, value in (plan.notice or {}).items():
        given[f"outbox_{name}"] = value
    statement = _statement(plan.shape, None if plan.notice is None else tuple(plan.notice))
    number, acts = statement.first(connection, given) or (None, False)
    return number, acts


@cache
def _statement(shape: Shape, notice: tuple[str, ...] | None) -> Prepared:
    """All three at once: ``WITH`` the upload changed, unless the event is known, ``INSERT`` the other two accordingly.

    Every part sees the tables as they were before; one that comes second waits for the upload's row, finds another version
    there, and changes nothing. https://www.postgresql.org/docs/current/queries-with.html#QUERIES-WITH-MODIFYING
    """
    known = exists().where(inbox.c.dedupe_key == bindparam("inbox_dedupe_key"))
    changed = conditional_update(shape).where(~known).returning(uploads.c.id).cte("changed")
    acts = exists(select(changed.c.id))
    values = {column.name: bindparam(f"inbox_{column.name}", type_=column.type) for column in _COLUMNS}
    row = {**values, "state": case((acts, "done"), else_=values["state"])}
    row["retry_at"] = case((acts, null()), else_=values["retry_at"])
    written = (
        postgresql.insert(inbox)
        .from_select(list(row), select(*row.values()), include_defaults=False)
        .on_conflict_do_nothing()
        .returning(inbox.c.id)
        .cte("written")
    )
    answer = select(select(written.c.id).scalar_subquery(), acts)
    if notice is None:
        return Prepared(answer)
    told = [bindparam(f"outbox_{name}", type_=outbox.c[name].type) for name in notice]
    notices = insert(outbox).from_select(list(notice), select(*told).select_from(changed)).cte("told")
    return Prepared(answer.add_cte(notices))
