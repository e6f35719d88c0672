"""When to try again, and how long to wait before. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from blobkit.errors import BlobkitError, InvalidArgument

__all__ = ["Patience", "retry_after"]

_jitter: Final = random.Random()  # noqa: S311 - no secret; its own, so that a thread changes nobody's random numbers
_LONGEST_WISH: Final = 120.0  # a server that asks for more is asking for another day


@dataclass(frozen=True, slots=True)
class Patience:
    """How often and how long.

    Attributes:
        retries: How many times a request is repeated without any byte having moved.
        base: The first wait is up to so many seconds; each further one up to twice the last.
        longest: No wait is longer, unless the server asks for it.
    """

    retries: int = 6
    base: float = 0.25
    longest: float = 20.0

    def __post_init__(self) -> None:
        if self.retries < 0 or self.base < 0 or self.longest < 0:
            raise InvalidArgument("retries and waits are not negative")

    def wait(self, attempt: int, error: BlobkitError, asked: float | None = None) -> float | None:
        """Seconds to wait before attempt number ``attempt`` (from 1) is repeated; None when it must not be.

        Full jitter: a thousand clients that failed together do not come back together.
        """
        if not error.retryable or attempt > self.retries:
            return None
        if asked is not None:
            return min(asked, _LONGEST_WISH)
        return _jitter.uniform(0, min(self.longest, self.base * 2 ** (attempt - 1)))


def retry_after(text: str | None, now: datetime | None = None) -> float | None:
    """The seconds that a ``Retry-After`` header asks for (RFC 9110 section 10.2.3); None for nonsense."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - (now or datetime.now(UTC))).total_seconds())
