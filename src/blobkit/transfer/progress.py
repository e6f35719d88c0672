"""How far a transfer is: counted by worker threads, told one at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Meter", "OnProgress", "Progress"]


@dataclass(frozen=True, slots=True)
class Progress:
    """A moment of a transfer.

    Attributes:
        bytes_done: Bytes that the other side holds, those of an earlier run included, and those on their way.
        bytes_total: None when unknown.
        chunks_done, chunks_total: Whole chunks or ranges.
    """

    bytes_done: int
    bytes_total: int | None
    chunks_done: int
    chunks_total: int | None


OnProgress = Callable[[Progress], None]


class Meter:
    """Counts, and calls ``on_progress`` in whichever thread moved the bytes, never two at once."""

    def __init__(self, on_progress: OnProgress | None, total: int | None, chunks: int | None) -> None:
        self._tell = on_progress
        self._lock = threading.Lock()
        self._bytes = 0
        self._chunks = 0
        self.total = total
        self.chunks_total = chunks
        self.sent = 0
        self.resent = 0

    def held(self, size: int, chunks: int) -> None:
        """What the other side held before."""
        self._add(size, chunks)

    def moved(self, size: int) -> None:
        """Bytes left (or arrived)."""
        with self._lock:
            self.sent += size
        self._add(size, 0)

    def lost(self, size: int) -> None:
        """Bytes that moved and must move again."""
        with self._lock:
            self.resent += size
        self._add(-size, 0)

    def done(self) -> None:
        """A chunk is whole."""
        self._add(0, 1)

    def _add(self, size: int, chunks: int) -> None:
        with self._lock:
            self._bytes += size
            self._chunks += chunks
            if self._tell is not None:
                self._tell(Progress(self._bytes, self.total, self._chunks, self.chunks_total))
