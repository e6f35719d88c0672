"""What a look at the store means for an upload. Pure: what was seen, and the time, become a :class:`Change` or nothing.

The store is asked first and decides alone; events and clients only say that it is worth asking. The versions that the store
names decide, never a clock: the time only says when a wait is over.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from blobkit.blobs import BlobInfo
from blobkit.tracking.moving import Change
from blobkit.tracking.records import Upload, checksum_text, identity, same_content
from blobkit.tracking.states import OPEN, Signal, State, Step
from blobkit.tracking.timing import Timing

__all__ = ["SWEPT", "judge_absent", "judge_arrived", "judge_bound", "judge_broken", "wants_sweep"]

SWEPT = frozenset({State.FAILED, State.EXPIRED, State.CANCELED, State.REJECTED, State.DELETED})
"""The states in which nothing may be at the key that the client uploads to."""


def judge_arrived(upload: Upload, info: BlobInfo, now: datetime, timing: Timing, order: str | None = None) -> Change:
    """An open upload's object is there and is what was declared: it is bound to exactly this content."""
    values: dict[str, Any] = {
        "size": info.size,
        "content_type": info.content_type,
        "checksum": _checksum(upload, info),
        "version": info.version,
        "etag": info.etag or None,
        "order_token": order,
        "session": None,
        "reason": None,
        "looks": 0,
        "look_at": timing.next_verify(upload.url_expires_at, now),
    }
    if upload.checks:
        return Change(Step.ARRIVED, {**values, "examine_at": now})
    return Change(Step.ACCEPTED, values)


def _checksum(upload: Upload, info: BlobInfo) -> str | None:
    wanted = upload.asked.checksum
    if wanted is not None:
        return checksum_text(wanted)  # it was compared with the object's
    whole = [item for item in info.checksums.values() if not item.composite]
    return checksum_text(whole[0]) if whole else None


def judge_broken(upload: Upload, info: BlobInfo | None, reason: str, now: datetime) -> Change:
    """An open upload's object is not what was declared. The sweep removes it."""
    seen = None if info is None else identity(info)
    return Change(Step.BROKEN, {"reason": reason, "seen": seen, "look_at": None, "sweep_at": now})


def judge_absent(upload: Upload, now: datetime) -> Change | None:
    """An open upload's object is not there. This look was the last one when its time is over."""
    if now < upload.expires_at:
        return None
    return Change(Step.LAPSED, {"reason": "nothing arrived in time", "look_at": None, "sweep_at": now})


def judge_bound(
    upload: Upload, current: BlobInfo | None, bound: BlobInfo | None, now: datetime, timing: Timing
) -> Change | None:
    """A bound upload was looked at where it is served from.

    Args:
        upload: In ``uploaded``, ``available`` or ``missing``. One that is being examined is its examiner's.
        current: What is at the key now.
        bound: The bound version, asked for by its name where there are versions.

    Returns:
        None when all is as recorded. Other content is never bound in place of what was.
    """
    place = upload.place
    if place is None or upload.state in OPEN or upload.state is State.CHECKING:
        return None
    pinned = place.pin
    there = (current is not None and same_content(pinned, current)) or (
        bound is not None and same_content(pinned, bound)
    )
    other = None if current is None or same_content(pinned, current) else identity(current)
    reason = "gone" if other is None else "overwritten"
    match upload.state:
        case State.UPLOADED if not there:
            return Change(
                Step.LOST,
                {"reason": reason, "seen": other, "look_at": None, "examine_at": None, "sweep_at": now},
            )
        case State.AVAILABLE if not there:
            if upload.removal_at is not None and other is None:
                return Change(Step.REMOVED, {"reason": "asked for", "look_at": None, "sweep_at": now})
            return Change(Step.VANISHED, {"reason": reason, "seen": other, "look_at": now + timing.verify})
        case State.MISSING if there:
            return Change(Step.RESTORED, {"reason": None, "look_at": timing.next_verify(upload.url_expires_at, now)})
    if other is not None and other != upload.seen:
        return Change(Signal.OVERWRITTEN, {"seen": other})
    return None


def wants_sweep(upload: Upload) -> bool:
    """Whether an object at the key that the client uploads to has no business there."""
    return upload.state in SWEPT or (upload.promoted and upload.state in (State.AVAILABLE, State.MISSING))
