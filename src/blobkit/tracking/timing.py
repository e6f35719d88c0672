"""How long things take: :class:`Timing`, and the waits between attempts."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Final

from blobkit.errors import InvalidArgument

__all__ = ["Timing", "backoff"]

_second: Final = timedelta(seconds=1)
_minute: Final = timedelta(minutes=1)
_hour: Final = timedelta(hours=1)
_day: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The spans that rule the records. All are positive.

    Attributes:
        first_look: After ``begin``, until reconcile looks for the object itself.
        longest_look: Between two looks at an upload that does not arrive; they start at ``first_look`` and double.
        arrival: After the end of the last URL, until an upload expires: a transfer that began in time may still run, and
            its event may be late.
        session_life: How long a chunked session is waited for, at most as long as the provider keeps it.
        verify: Between two looks at an available upload.
        sweep_margin: After the end of the last URL, until its key is swept for the last time.
        parked: How long an event of an unknown key is tried again, before it counts as an orphan's.
        longest_retry: Between two attempts at an event or a delivery; they start at a second and double.
        lease: How long a worker has for what it took, before another may take it.
        orphan_age: How old an object without an upload is when it is marked, and how long it stays marked before it is
            deleted. Longer than any event is retried.
        sweep_every: Between two sweeps for orphans.
        session_age: How old a provider's session is when it is aborted although no upload knows it.
        keep: How long handled events (by which duplicates are known) and delivered notices stay: longer than any queue
            delivers again.
    """

    first_look: timedelta = _minute
    longest_look: timedelta = _hour
    arrival: timedelta = _hour
    session_life: timedelta = 7 * _day
    verify: timedelta = 7 * _day
    sweep_margin: timedelta = _hour
    parked: timedelta = 15 * _minute
    longest_retry: timedelta = _hour
    lease: timedelta = _minute
    orphan_age: timedelta = _day
    sweep_every: timedelta = _day
    session_age: timedelta = 8 * _day
    keep: timedelta = 32 * _day

    def __post_init__(self) -> None:
        for item in fields(self):
            if not isinstance(value := getattr(self, item.name), timedelta) or value <= timedelta(0):
                raise InvalidArgument(f"{item.name} is a positive timedelta")

    def look_after(self, looks: int) -> timedelta:
        """How long after the look number ``looks`` (from 0) the next one is due."""
        return backoff(looks, first=self.first_look, longest=self.longest_look)

    def retry_after(self, attempts: int) -> timedelta:
        """How long after the failed attempt number ``attempts`` (from 1) the next one is due."""
        return backoff(attempts - 1, first=_second, longest=self.longest_retry)

    def next_verify(self, url_expires_at: datetime, now: datetime) -> datetime:
        """When an available upload is looked at next: after its URL can overwrite it no more, then now and again."""
        over = url_expires_at + self.sweep_margin
        return over if over > now else now + self.verify


def backoff(attempt: int, *, first: timedelta, longest: timedelta) -> timedelta:
    """``first`` doubled ``attempt`` times, at most ``longest``."""
    times: int = 2 ** min(max(attempt, 0), 30)
    return min(longest, first * times)
