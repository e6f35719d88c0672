"""A clock that stands still until it is told otherwise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Self

__all__ = ["FakeClock"]


class FakeClock:
    """The time, as a test wants it; give it as ``clock=`` to ``open_store``. Expiry is tested by signing in the past, never
    by sleeping.

    Args:
        now: Aware; the real time, in whole seconds, when None.
    """

    def __init__(self, now: datetime | None = None) -> None:
        self.now = now or datetime.now(UTC).replace(microsecond=0)
        if self.now.tzinfo is None:
            raise ValueError("a clock's time has a zone")

    @classmethod
    def ago(cls, distance: timedelta) -> Self:
        """A clock that is this far behind the real one."""
        return cls(datetime.now(UTC).replace(microsecond=0) - distance)

    def advance(self, distance: timedelta) -> None:
        """Let this much time pass."""
        self.now += distance

    def __call__(self) -> datetime:
        return self.now
