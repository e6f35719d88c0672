"""Things that go wrong, on demand."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from blobkit_gcs.testing.verification import Call

__all__ = ["Fault", "Faults"]

Effect = Literal["status", "drop", "truncate", "pause"]


@dataclass(slots=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        effect: ``status``: answer that status. ``drop``: close the connection without an answer. ``truncate``: send only the
            first ``keep`` bytes of the answer's body, then close. ``pause``: wait until ``release`` is set, at most 30 s.
        when: Called with each request.
        after: Let the request take effect first (``status``, ``drop``).
        status: For ``status``.
        retry_after: Seconds, for its header.
        keep: For ``truncate``.
        times: How often.
        release: For ``pause``.
    """

    effect: Effect
    when: Callable[[Call], bool] = lambda call: True
    after: bool = False
    status: int = 503
    retry_after: int | None = None
    keep: int = 0
    times: int = 1
    release: threading.Event | None = None


class Faults:
    """The faults that wait for their request. Thread-safe.

    Attributes:
        met: How many took effect.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Fault] = []
        self.met = 0

    def add(self, *faults: Fault) -> None:
        """Let these happen to the next requests that they are for."""
        with self._lock:
            self._waiting += faults

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        with self._lock:
            self._waiting.clear()

    def take(self, call: Call) -> Fault | None:
        """The fault for this request, if one waits."""
        with self._lock:
            for fault in self._waiting:
                if fault.times > 0 and fault.when(call):
                    fault.times -= 1
                    self.met += 1
                    if not fault.times:
                        self._waiting.remove(fault)
                    return fault
        return None
