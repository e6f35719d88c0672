"""Trying again: a bounded number of times, for what may pass, with waits that grow and differ between callers."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

from blobkit.errors import BlobkitError
from blobkit_gcs.errors import classify

__all__ = ["Attempts"]

P = ParamSpec("P")
R = TypeVar("R")
_FIRST: Final = 0.1  # seconds
_LONGEST: Final = 5.0
_jitter: Final = random.Random()  # noqa: S311 - spreads callers, protects nothing; its own: a thread changes nobody's numbers


def _passes(error: Exception) -> bool:
    if isinstance(error, BlobkitError):
        return error.retryable
    known = classify(error)
    if known is None:
        return False
    return bool(known.error("", retryable=known.retryable).retryable)


class Attempts:
    """Wraps a call so that it is made again, ``retries`` times at most; google-cloud-storage takes one as ``retry=``."""

    def __init__(self, retries: int) -> None:
        self._retries = retries

    def __call__(self, call: Callable[P, R]) -> Callable[P, R]:
        """The same call, tried more than once."""

        def again(*args: P.args, **kwargs: P.kwargs) -> R:
            wait = _FIRST
            for left in range(self._retries, -1, -1):
                try:
                    return call(*args, **kwargs)
                except Exception as error:
                    if not left or not _passes(error):
                        raise
                    time.sleep(wait * _jitter.uniform(0.5, 1.0))
                    wait = min(wait * 2, _LONGEST)
            raise AssertionError("unreachable")

        return again
