"""How fast, and how many at once: a limit of bytes a second, and concurrency that looks for what the line bears."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from blobkit.errors import InvalidArgument

__all__ = ["MOST", "START", "Bandwidth", "Climb"]

START: Final = 4
MOST: Final = 16
_GAIN: Final = 1.05  # below so much more it is not worth another connection
_CALM: Final = 2  # rounds without a refusal before one more is tried again


class Bandwidth:
    """At most so many bytes a second, for all threads that share it; after a pause a second's worth may go at once.

    Args:
        rate: Bytes a second.
        clock: Seconds, monotonic.

    Raises:
        InvalidArgument: A rate below one byte a second.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        if rate < 1:
            raise InvalidArgument("the bandwidth is at least one byte a second")
        self._rate = rate
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = clock()  # when what was let through so far would have gone at the full rate

    @property
    def block(self) -> int:
        """Bytes to move at a time, so that the line is even: a twentieth of a second, within 4 KiB and 1 MiB."""
        return int(min(1 << 20, max(4096, self._rate / 20)))

    def due(self, size: int) -> float:
        """Seconds to wait before ``size`` bytes more may move."""
        with self._lock:
            now = self._clock()
            start = max(self._free_at, now - 1.0)
            self._free_at = start + size / self._rate
            return max(0.0, start - now)


class Climb:
    """How many chunks at once: up while it helps, half of it when the storage wants to be left alone. Pure: time is given.

    A round ends when as many chunks are done as may run at once. A round that moved clearly more than the best one so far
    earns more concurrency; one that moved clearly less takes it back; after that the number stays. Refusals (429, 503, a
    broken connection) halve it, once a round; two calm rounds later one more is tried.

    Args:
        most: It never becomes more.
        start: What it begins with.

    Attributes:
        limit: How many now.
    """

    def __init__(self, most: int, start: int) -> None:
        self.limit = max(1, min(most, start))
        self._most = most
        self._climbing = self.limit < most
        self._best = 0.0
        self._before = self.limit
        self._halved = False
        self._calm = 0
        self._begun: float | None = None
        self._bytes = 0
        self._done = 0

    def begun(self, now: float) -> None:
        """A chunk starts."""
        if self._begun is None:
            self._begun = now

    def finished(self, size: int, now: float) -> None:
        """A chunk of ``size`` bytes is done."""
        self._bytes += size
        self._done += 1
        if self._done < self.limit or self._begun is None:
            return
        rate = self._bytes / max(now - self._begun, 1e-6)
        self._judge(rate)
        self._begun, self._bytes, self._done = now, 0, 0

    def refused(self) -> None:
        """The storage does not bear it."""
        self._calm = 0
        if not self._halved:
            self._halved, self._climbing, self._best = True, False, 0.0
            self.limit = max(1, self.limit // 2)

    def _judge(self, rate: float) -> None:
        if self._halved:
            self._halved = False
        elif not self._climbing:
            self._calm += 1
            if self._calm > _CALM and self._best == 0.0 and self.limit < self._most:
                self.limit, self._calm = self.limit + 1, 0
        elif rate > self._best * _GAIN:
            self._best, self._before = rate, self.limit
            self.limit = min(self._most, self.limit + max(1, self.limit // 2))
            self._climbing = self.limit > self._before
        else:
            self._climbing = False
            self.limit = self._before  # the last step did not help
