"""How a state changes: one conditional UPDATE, and the notice of it, in one transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Update, bindparam, insert, literal_column, or_, update

from blobkit.tracking.prepared import Prepared
from blobkit.tracking.records import Upload
from blobkit.tracking.schema import outbox, uploads
from blobkit.tracking.states import MOVES, SIGNALS, Signal, State, Step

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Change", "Plan", "Shape", "apply_change", "conditional_update", "make", "note", "plan_change"]

_TOLD: Final = (
    "owner", "filename", "store", "key", "size", "content_type", "version", "etag", "reason",
    "served_store", "served_key",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become of an upload.

    Args:
        what: The move, or the signal; None only writes ``values``, and nobody hears of it.
        values: Columns that change with it.
    """

    what: Step | Signal | None
    values: Mapping[str, Any] = field(default_factory=dict)

    def sources(self) -> tuple[State, ...]:
        """The states in which it can happen."""
        if isinstance(self.what, Step):
            return MOVES[self.what].sources
        return tuple(State) if self.what is None else SIGNALS[self.what]

    def target(self, state: State) -> State:
        """The state afterwards."""
        return MOVES[self.what].target if isinstance(self.what, Step) else state

    def notice(self) -> str | None:
        """What the outbox calls it; None when it is not told."""
        return MOVES[self.what].notice if isinstance(self.what, Step) else self.what


Shape = tuple[tuple[State, ...], tuple[str, ...]]
"""What a change's statement depends on: the states that it may start from, and the columns that it writes."""

_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_NOTICE: Final = ("upload", "seq", "kind", "data", "state", "attempts", "created_at", "retry_at")
_put_notice: Final = Prepared(insert(outbox).values({name: bindparam(name) for name in _NOTICE}))


@dataclass(frozen=True, slots=True)
class Plan:
    """A change of one upload as it was read, ready to be made.

    Attributes:
        shape, given: The conditional update, and its values.
        notice: What is put into the outbox; None when nobody is told.
        values: What is other than it was.
    """

    shape: Shape
    given: Mapping[str, Any]
    notice: Mapping[str, Any] | None
    values: Mapping[str, Any]


def plan_change(upload: Upload, change: Change, now: datetime) -> Plan | None:
    """What there is to be written; None when the upload is in a state that the change cannot start from."""
    sources = change.sources()
    if upload.state not in sources:
        return None
    version = upload.state_version + 1
    values = {**change.values, "state": change.target(upload.state), "state_version": version, "updated_at": now}
    given = {f"new_{name}": value for name, value in values.items()}
    given |= {"this": upload.id, "was": upload.state_version}
    kind = change.notice()
    return Plan((sources, tuple(values)), given, None if kind is None else _notice(upload, values, kind, now), values)


def make(connection: Connection, plan: Plan) -> bool:
    """Make the change if the upload is still as it was read, and put its notice into the outbox."""
    if _update_of(plan.shape).count(connection, plan.given) != 1:
        return False
    if plan.notice is not None:
        _put_notice.count(connection, plan.notice)
    return True


def apply_change(connection: Connection, upload: Upload, change: Change, now: datetime) -> Upload | None:
    """Make the change if the upload is still as it was read, and put its notice into the outbox.

    Returns:
        The upload as it is now; None when somebody else changed it meanwhile, or it is in a state that the change cannot
        start from: then nothing happened.
    """
    plan = plan_change(upload, change, now)
    return replace(upload, **plan.values) if plan is not None and make(connection, plan) else None


@cache
def _update_of(shape: Shape) -> Prepared:
    return Prepared(conditional_update(shape))


def conditional_update(shape: Shape) -> Update:
    """The update of these columns: one for each move, and for each set of columns that goes with it."""
    sources, columns = shape
    return (
        update(uploads)
        .where(
            uploads.c.id == bindparam("this"),
            uploads.c.state_version == bindparam("was"),
            or_(*(uploads.c.state == literal_column(f"'{source}'") for source in sources)),
        )
        .values({name: bindparam(f"new_{name}") for name in columns})
    )


def _notice(upload: Upload, values: Mapping[str, Any], kind: str, now: datetime) -> dict[str, Any]:
    told = {"state": values["state"]}
    for name in _TOLD:
        value = values[name] if name in values else getattr(upload, name)
        if value is not None:
            told[name] = value
    return {
        "upload": upload.id,
        "seq": values["state_version"],
        "kind": kind,
        "data": _encode(told),
        "state": "waiting",
        "attempts": 0,
        "created_at": now,
        "retry_at": now,
    }


def note(connection: Connection, upload: Upload, values: Mapping[str, Any]) -> None:
    """Write when somebody looks next, whatever happened meanwhile: it changes nothing that a change compares with."""
    connection.execute(update(uploads).where(uploads.c.id == upload.id).values(dict(values)))
