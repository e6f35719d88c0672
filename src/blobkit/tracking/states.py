"""The states of an upload and every move between them: one table.

============  =====================================================================================================
state         what is true
============  =====================================================================================================
pending       permission was given; nothing is known to have arrived
uploading     something of it has arrived
uploaded      all of it is there, is what was declared, and is bound to one version; checks are still to come
checking      somebody examines exactly that version
available     it may be served: exactly the bound version
rejected      a check refused it
failed        what arrived is not what was declared, or it was lost before it could be served
expired       it did not arrive in time
canceled      the service called it off
deleted       the service had it deleted
missing       it was available, and is gone or replaced without having been asked for
============  =====================================================================================================

A move is a conditional UPDATE that names the states it may start from, so a move that is not in the table cannot be
written, and a terminal state stays what it is. Every row of the outbox is the notice of a move, or a :class:`Signal`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

__all__ = ["MOVES", "OPEN", "SIGNALS", "TERMINAL", "Move", "Signal", "State", "Step", "diagram", "table"]


class State(StrEnum):
    """Where an upload stands. See the module's table."""

    PENDING = "pending"
    UPLOADING = "uploading"
    UPLOADED = "uploaded"
    CHECKING = "checking"
    AVAILABLE = "available"
    REJECTED = "rejected"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELED = "canceled"
    DELETED = "deleted"
    MISSING = "missing"


class Step(StrEnum):
    """The name of a move."""

    STARTED = "started"
    ARRIVED = "arrived"
    ACCEPTED = "accepted"
    BROKEN = "broken"
    LAPSED = "lapsed"
    CALLED_OFF = "called_off"
    CLAIMED = "claimed"
    RECLAIMED = "reclaimed"
    RELEASED = "released"
    PASSED = "passed"
    REFUSED = "refused"
    LOST = "lost"
    REMOVED = "removed"
    VANISHED = "vanished"
    RESTORED = "restored"


class Signal(StrEnum):
    """Something that the service should hear of, and that changes no state."""

    OVERWRITTEN = "overwritten"
    LATE_UPLOAD = "late_upload"


@dataclass(frozen=True, slots=True)
class Move:
    """One row of the table.

    Attributes:
        sources: The states it may start from.
        target: The state it ends in.
        when: What has been seen when it is made.
        notice: What the outbox calls it; None for a move that nobody outside needs to hear of.
    """

    sources: tuple[State, ...]
    target: State
    when: str
    notice: str | None


_ARRIVING: Final = (State.PENDING, State.UPLOADING)

MOVES: Final[Mapping[Step, Move]] = MappingProxyType(
    {
        Step.STARTED: Move((State.PENDING,), State.UPLOADING, "the provider holds some of it", "uploading"),
        Step.ARRIVED: Move(_ARRIVING, State.UPLOADED, "it is there and as declared; checks are asked for", "uploaded"),
        Step.ACCEPTED: Move(_ARRIVING, State.AVAILABLE, "it is there and as declared; no checks", "available"),
        Step.BROKEN: Move(_ARRIVING, State.FAILED, "it is there and not as declared", "failed"),
        Step.LAPSED: Move(_ARRIVING, State.EXPIRED, "its time is over and a last look found nothing", "expired"),
        Step.CALLED_OFF: Move((*_ARRIVING, State.UPLOADED), State.CANCELED, "the service calls it off", "canceled"),
        Step.CLAIMED: Move((State.UPLOADED,), State.CHECKING, "somebody takes it to examine", "checking"),
        Step.RECLAIMED: Move((State.CHECKING,), State.CHECKING, "the lease ran out: another takes it", None),
        Step.RELEASED: Move((State.CHECKING,), State.UPLOADED, "the checks could not decide", None),
        Step.PASSED: Move((State.CHECKING,), State.AVAILABLE, "the checks passed, its place is known", "available"),
        Step.REFUSED: Move((State.CHECKING,), State.REJECTED, "a check refused it", "rejected"),
        Step.LOST: Move(
            (State.UPLOADED, State.CHECKING), State.FAILED, "the bound version is gone before it was served", "failed"
        ),
        Step.REMOVED: Move((State.AVAILABLE, State.MISSING), State.DELETED, "the service has it deleted", "deleted"),
        Step.VANISHED: Move((State.AVAILABLE,), State.MISSING, "the bound version is gone, unasked", "missing"),
        Step.RESTORED: Move((State.MISSING,), State.AVAILABLE, "the same bound version is back", "restored"),
    }
)
"""Every move there is. Only ``accepted`` and ``passed`` announce ``available``, and no state leads back to their sources."""

SIGNALS: Final[Mapping[Signal, tuple[State, ...]]] = MappingProxyType(
    {
        Signal.OVERWRITTEN: (State.UPLOADED, State.CHECKING, State.AVAILABLE, State.MISSING),
        Signal.LATE_UPLOAD: (State.FAILED, State.EXPIRED, State.CANCELED, State.REJECTED),
    }
)
"""In which states a signal can be given: other content at the key of a bound one; content that came too late."""

OPEN: Final = _ARRIVING
"""The states in which the client may still send."""

TERMINAL: Final = frozenset(State) - {source for move in MOVES.values() for source in move.sources}
"""The states that no move leaves."""


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> pending: begin"]
    for step, move in MOVES.items():
        lines += [f"    {source} --> {move.target}: {step}" for source in move.sources]
    lines += [f"    {state} --> [*]" for state in State if state in TERMINAL]
    return "\n".join(lines)


def table() -> str:
    """The table as Markdown."""
    rows = ["| move | from | to | when | notice |", "| --- | --- | --- | --- | --- |"]
    for step, move in MOVES.items():
        sources = ", ".join(move.sources)
        rows.append(f"| {step} | {sources} | {move.target} | {move.when} | {move.notice or 'none'} |")
    return "\n".join(rows)
