"""HEAD each key, or list past them all: whichever costs less, found out on the way.

A page of a listing costs about as much as a dozen HEADs (on S3 a LIST request costs 12.5 times a HEAD) and describes a
thousand objects. So a page that meets a dozen of the wanted keys has paid for itself, and the listing goes on; one that does
not is given up, the next keys are asked for one by one, and after a while a page is tried again: twice as late each time it
did not pay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal

from blobkit.backend import Feature
from blobkit.blobs import BlobInfo
from blobkit.store import Store

__all__ = ["ASK", "PAGE", "WORTH", "Listing", "Seen"]

PAGE: Final = 1000
"""The objects of one list call; a provider whose pages are longer only costs less than was counted on."""

WORTH: Final = 12
"""So many HEADs cost as much as one list call."""

_FIRST_SKIP: Final = 64
_LONGEST_SKIP: Final = 16 * PAGE

ASK: Final[Literal["ask"]] = "ask"
Seen = BlobInfo | None | Literal["ask"]
"""What a listing says of a key: an object, nothing there, or that it was not asked and somebody has to look."""


class Listing:
    """One store's keys, met in order. Used for batches of keys that mostly ascend; it keeps its place between them.

    Attributes:
        pages: List calls that were counted on so far.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._able = store.capabilities.has(Feature.ORDERED_LIST) and store.capabilities.has(Feature.START_AFTER)
        self._items: Iterator[BlobInfo] | None = None
        self._head: BlobInfo | None = None
        self._place = b""  # what was asked for last
        self._total = 0  # objects read since the listing was started
        self._read = 0  # of these, since a page last paid for itself
        self._met = 0  # keys that were answered since then
        self._skip = 0
        self._next_skip = _FIRST_SKIP
        self.pages = 0

    def look_up(self, keys: Sequence[str]) -> Iterator[Seen]:
        """What is known of each key. ``keys`` ascend by their UTF-8 bytes."""
        for at, key in enumerate(keys):
            if self._skip > 0 or not self._ready(key, len(keys) - at):
                self._skip = max(0, self._skip - 1)
                yield ASK
            else:
                yield self._meet(key)

    def close(self) -> None:
        """End the listing. Idempotent."""
        self._items, self._head = None, None

    def _ready(self, key: str, left: int) -> bool:
        """Whether the listing stands before the key, or may be moved there for that many keys."""
        if not self._able:
            return False
        if self._items is not None and _order(key) >= self._place:
            return True
        if left < WORTH:
            return False
        self._start(key)
        return True

    def _start(self, key: str) -> None:
        """List from just before the key."""
        self._items = self._store.list(start_after=key[:-1] or None)
        self._place, self._read, self._met, self._total = _order(key), 0, 0, 0
        self._advance()

    def _meet(self, key: str) -> Seen:
        """Read on until the key is met or passed; give up where a page met too few."""
        wanted = _order(key)
        while self._head is not None and _order(self._head.key) < wanted:
            if self._read >= PAGE and not self._paid():
                return ASK
            self._advance()
        self._place = wanted
        self._met += 1
        head = self._head
        return head if head is not None and head.key == key else None

    def _paid(self) -> bool:
        """At the end of a page: whether to read another."""
        if self._met >= WORTH:
            self._read, self._met, self._next_skip = 0, 0, _FIRST_SKIP
            return True
        self.close()
        self._skip, self._next_skip = self._next_skip, min(_LONGEST_SKIP, self._next_skip * 2)
        return False

    def _advance(self) -> None:
        assert self._items is not None
        if self._total % PAGE == 0:
            self.pages += 1
        self._head = next(self._items, None)
        self._total += 1
        self._read += 1


def _order(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")
