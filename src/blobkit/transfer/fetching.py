"""Fetch one object into an open file: the first answer tells what it is, the ranges after it must be of the same."""

from __future__ import annotations

import errno
import os
import re
import threading
from dataclasses import dataclass
from typing import Final

from blobkit.errors import BlobkitError, ConnectionFailed, PreconditionFailed, SourceChanged, Unsupported
from blobkit.transfer.http import Http, Incoming, failure
from blobkit.transfer.progress import Meter
from blobkit.transfer.retry import Patience
from blobkit.transfer.source import BLOCK
from blobkit.transfer.workers import Sleep, run_all, sleeper

__all__ = ["Fetching", "Pinned"]

_CONTENT_RANGE: Final = re.compile(r"bytes (?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19})\Z")
_LENGTH: Final = re.compile(r"\d{1,19}\Z")
_NO_FALLOCATE: Final = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


@dataclass(frozen=True, slots=True)
class Pinned:
    """What the caller knows of the object: its size in bytes, its etag with or without quotes."""

    size: int | None = None
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class _Span:
    """The bytes of an answer: from, and to where (None: to its end, which the transfer coding marks)."""

    begin: int
    end: int | None


@dataclass(frozen=True, slots=True)
class _Outcome:
    """One request.

    ``reached``: how far the bytes are now. ``asked``: seconds that the storage wants to be left alone. ``ended``: that was all.
    """

    reached: int
    error: BlobkitError | None = None
    asked: float | None = None
    ended: bool = False


class Fetching:
    """One download.

    Args:
        http: Moves bytes.
        url, headers: The request.
        fd: Where to, open for writing, empty.
        pinned: What the object must be.
        meter: Counts bytes.
        patience, sleep: How often failures are tried again, and how the waits are spent (None: until another fails).

    Attributes:
        size, etag: What the storage said the object is.
    """

    def __init__(
        self,
        http: Http,
        url: str,
        headers: dict[str, str],
        fd: int,
        pinned: Pinned,
        meter: Meter,
        patience: Patience,
        sleep: Sleep | None,
    ) -> None:
        self._http = http
        self._url = url
        self._headers = headers
        self._fd = fd
        self._pinned = pinned
        self._meter = meter
        self._patience = patience
        self._stop = threading.Event()
        self._sleep = sleeper(sleep, self._stop)
        self._known = False
        self._in_one = False  # the storage sends no ranges: all of it, from the first byte, each time
        self._bare = False  # not even a request for one
        self.size = 0
        self.etag = None if pinned.etag is None else _quoted(pinned.etag)

    def fetch(self, range_size: int, concurrency: int) -> None:
        """The first range tells size and etag; the others follow in parallel, pinned to that etag."""
        reached = self._range(0, range_size)
        rest = range(reached, self.size, range_size)
        run_all(lambda begin: self._range(begin, min(begin + range_size, self.size)), rest, concurrency, self._stop)

    def _range(self, begin: int, end: int) -> int:
        """Fetch ``[begin, end)``, after a failure go on where it broke off; returns how far the bytes are now.

        That may be further than was asked, where the storage sends more at once.
        """
        at, attempt = begin, 1
        while True:
            outcome = self._once(at, end)
            whole = outcome.ended or (self._known and outcome.reached >= min(end, self.size))
            if outcome.error is None and whole:
                self._meter.done()
                return outcome.reached
            attempt = 1 if outcome.reached > at else attempt
            at = outcome.reached
            if outcome.error is None:
                continue  # a storage may send less than the range (RFC 9110 section 15.3.7), or want no range at all
            seconds = self._patience.wait(attempt, outcome.error, outcome.asked)
            if seconds is None:
                raise outcome.error
            self._sleep(seconds)
            if self._stop.is_set():
                raise outcome.error
            attempt += 1

    def _once(self, begin: int, end: int) -> _Outcome:
        headers = dict(self._headers)
        if not self._bare:
            headers["range"] = f"bytes={begin}-{end - 1}"
        if self.etag is not None and not self.etag.startswith("W/"):
            headers["if-match"] = self.etag
        try:
            with self._http.open(self._url, headers) as incoming:
                if self._refuses_ranges(incoming):
                    self._bare = True
                    return _Outcome(begin)
                span = self._accept(incoming, begin)
                if span is None:
                    answer = incoming.refused()
                    return _Outcome(begin, self._refusal(failure(answer)), answer.asked_to_wait)
                self._meter.lost(begin - span.begin)
                return self._copy(incoming, span)
        except ConnectionFailed as broken:
            return _Outcome(begin, broken)

    def _copy(self, incoming: Incoming, span: _Span) -> _Outcome:
        """The bytes of one answer into the file, as far as they come."""
        at = span.begin
        try:
            while span.end is None or at < span.end:
                if self._stop.is_set():
                    return _Outcome(at, ConnectionFailed("stopped because another range failed", retryable=False))
                block = incoming.read(BLOCK if span.end is None else min(BLOCK, span.end - at))
                if not block and span.end is not None:
                    return _Outcome(at, ConnectionFailed("the answer broke off"))
                if not block:
                    self._learn(at, None)
                    break
                _write(self._fd, block, at)
                at += len(block)
                self._meter.moved(len(block))
        except ConnectionFailed as broken:
            return _Outcome(at, broken)
        return _Outcome(at, ended=self._in_one)

    # --- what an answer means ---

    def _refuses_ranges(self, incoming: Incoming) -> bool:
        """A 416 to the very first range: an empty object, on a storage that does not say so."""
        return incoming.status == 416 and not self._known and not self._bare and _total(incoming) is None

    def _accept(self, incoming: Incoming, begin: int) -> _Span | None:
        """The bytes that follow, when they are of the right object; None when it is a refusal.

        Raises:
            SourceChanged: They are of another.
            Unsupported: Nobody knows where they end.
        """
        if incoming.status == 416 and _total(incoming) == 0 and not self._known:
            self._learn(0, incoming.headers.get("etag"))  # an empty object has no first byte
            return _Span(0, 0)
        if incoming.status == 200 and (begin == 0 or self._in_one):
            return self._all(incoming)
        if incoming.status == 200:
            raise SourceChanged("the storage sent the whole object instead of a range of it")
        if incoming.status != 206:
            return None
        found = _CONTENT_RANGE.match(incoming.headers.get("content-range", ""))
        if found is None or found[1] is None or not begin == int(found[1]) <= int(found[2]) < int(found[3]):
            raise SourceChanged("the storage sent another range than was asked for")
        self._learn(int(found[3]), incoming.headers.get("etag"))
        return _Span(begin, int(found[2]) + 1)

    def _all(self, incoming: Incoming) -> _Span:
        """All bytes at once. Each time from the first one, so an object replaced in between is no mixture."""
        length = incoming.headers.get("content-length", "")
        chunked = "chunked" in incoming.headers.get("transfer-encoding", "").lower()
        if not chunked and not _LENGTH.match(length):
            raise Unsupported("the storage does not say how long the object is, so a part could be taken for the whole")
        self._in_one, self._known = True, False
        if self._pinned.etag is None:
            self.etag = None
        if chunked:
            self._pin(incoming.headers.get("etag"))
            return _Span(0, None)
        self._learn(int(length), incoming.headers.get("etag"))
        return _Span(0, self.size)

    def _learn(self, size: int, etag: str | None) -> None:
        """Remember what the first answer says, and hold the others to it."""
        expected = self.size if self._known else self._pinned.size
        if expected is not None and size != expected:
            raise SourceChanged(f"the object has {size} bytes, not {expected}: it was replaced")
        self._pin(etag)
        if not self._known:
            self.size, self._known = size, True
            self._meter.total = size
            _allocate(self._fd, size)

    def _pin(self, etag: str | None) -> None:
        if etag is not None and self.etag is not None and _strong(etag) != _strong(self.etag):
            raise SourceChanged("the object was replaced while it was read", hint="its etag is another")
        if not self._known and etag is not None:
            self.etag = etag

    def _refusal(self, error: BlobkitError) -> BlobkitError:
        gone = isinstance(error, PreconditionFailed) or (error.http_status == 416 and self._known)
        if not gone:
            return error
        return SourceChanged(
            "the object was replaced while it was read", code=error.code, http_status=error.http_status
        )


def _quoted(etag: str) -> str:
    """An etag as a header has it: stores give it without quotes."""
    return etag if etag.endswith('"') else f'"{etag}"'


def _strong(etag: str) -> str:
    return etag.removeprefix("W/")


def _total(incoming: Incoming) -> int | None:
    """The whole size that Content-Range tells."""
    found = _CONTENT_RANGE.match(incoming.headers.get("content-range", ""))
    return None if found is None else int(found[3])


def _allocate(fd: int, size: int) -> None:
    """Take the room at once, so that a full disk shows before the first byte, where the system can."""
    if size and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(fd, 0, size)
        except OSError as error:
            if error.errno not in _NO_FALLOCATE:
                raise
    os.ftruncate(fd, size)


def _write(fd: int, block: bytes, at: int) -> None:
    view = memoryview(block)
    while view:
        written = os.pwrite(fd, view, at)
        view, at = view[written:], at + written
