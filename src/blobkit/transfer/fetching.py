"""Fetch one object into a sink: the first answer tells what it is, the ranges after it must be of the same."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from typing import Final

from blobkit.errors import BlobkitError, ConnectionFailed, PreconditionFailed, SourceChanged, Unsupported
from blobkit.hashing import Hasher
from blobkit.transfer.http import Incoming
from blobkit.transfer.outgoing import Means
from blobkit.transfer.refusals import failure
from blobkit.transfer.sinks import Sink
from blobkit.transfer.source import BLOCK, block_buffer
from blobkit.transfer.workers import run_all

__all__ = ["Fetching", "Pinned"]

_CONTENT_RANGE: Final = re.compile(r"bytes (?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19})\Z")
_LENGTH: Final = re.compile(r"\d{1,19}\Z")
_END: Final = 1 << 63  # more than there can be: to the end
_LEAST: Final = 64 * 1024
_QUICK, _SLOW = 0.02, 0.2  # seconds for a block: larger ones below, smaller ones above


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

    ``begun``: the first byte that it brought. ``reached``: how far the bytes are now. ``digest``: what saw those since the
    range began. ``asked``: seconds that the storage wants to be left alone. ``ended``: that was all.
    """

    begun: int
    reached: int
    digest: Hasher | None
    error: BlobkitError | None = None
    asked: float | None = None
    ended: bool = False


@dataclass(frozen=True, slots=True)
class _Refused:
    """An answer without bytes. ``error``: why, unless another request will do; ``asked``: as of :class:`_Outcome`."""

    error: BlobkitError | None = None
    asked: float | None = None


@dataclass(frozen=True, slots=True)
class _Opened:
    """An answer whose body is still to be read, and what it brings."""

    incoming: Incoming
    span: _Span


class Fetching:
    """One download.

    Args:
        means: Moves bytes.
        url, headers: The request.
        sink: Where to.
        pinned: What the object must be.

    Attributes:
        size, etag: What the storage said the object is.
        content_encoding: What its bytes are encoded with, as they are stored and written here.
    """

    def __init__(self, means: Means, url: str, headers: dict[str, str], sink: Sink, pinned: Pinned) -> None:
        self._means = means
        self._url = url
        self._headers = headers
        self._sink = sink
        self._pinned = pinned
        self._known = False
        self._in_one = False  # the storage sends no ranges: all of it, from the first byte, each time
        self._bare = False  # not even a request for one
        self._shared = False  # several ranges are under way
        self.size = 0
        self.etag = None if pinned.etag is None else _quoted(pinned.etag)
        self.content_encoding: str | None = None

    def fetch(self, range_size: int) -> None:
        """The first answer's head tells size and etag; its body and the other ranges follow in parallel, of that etag."""
        first = self._first(range_size)
        opened = [first]
        try:
            reached = first.span.end if first.span.end is not None else self.size
            reached = self.size if self._in_one else min(self.size, max(reached, range_size))
            if reached == self.size:
                self._range(0, range_size, opened)
            else:
                self._parallel(chain([(0, reached)], _cut([(reached, self.size)], range_size)), opened)
        finally:
            for unread in opened:
                unread.incoming.close()

    def go_on(self, size: int, gaps: Iterable[tuple[int, int]], range_size: int) -> None:
        """Fetch what an earlier run left out of an object of this size, whose etag is pinned."""
        self.size, self._known = size, True
        self._means.meter.total = size
        self._parallel(_cut(gaps, range_size))

    def in_order(self) -> None:
        """Fetch it from the first byte to the last, over one connection at a time."""
        self._range(0, _END)

    def _parallel(self, spans: Iterable[tuple[int, int]], opened: list[_Opened] | None = None) -> None:
        means, self._shared = self._means, True
        run_all(
            lambda span: self._range(*span, opened if span[0] == 0 else None) - span[0],
            spans,
            means.gate,
            means.most,
            means.stop,
        )

    def _first(self, range_size: int) -> _Opened:
        """The first range, answered and not read yet."""
        attempt = 1
        while True:
            asked: float | None = None
            try:
                incoming = self._ask(0, range_size)
                with ExitStack() as closing:
                    closing.enter_context(incoming)
                    found = self._span(incoming, 0)
                    if isinstance(found, _Span):
                        closing.pop_all()
                        return _Opened(incoming, found)
                if found.error is None:
                    continue
                error, asked = found.error, found.asked
            except ConnectionFailed as broken:
                error = broken
            self._means.wait_or_raise(attempt, error, asked)
            attempt += 1

    def _range(self, begin: int, end: int, opened: list[_Opened] | None = None) -> int:
        """Fetch ``[begin, end)``, after a failure go on where it broke off; returns how far the bytes are now.

        That may be further than was asked, where the storage sends more at once. ``opened`` has the answer already, if there is
        one, and loses it.
        """
        at, attempt, means = begin, 1, self._means
        digest = means.digest.piece() if means.digest is not None else None
        while True:
            outcome = self._once(at, end, digest, opened.pop() if opened else None)
            if outcome.begun < at:  # the storage began anew, at the first byte
                begin = outcome.begun
            digest = outcome.digest
            whole = outcome.ended or (self._known and outcome.reached >= min(end, self.size))
            if outcome.error is None and whole:
                if means.digest is not None:
                    means.digest.moved(begin, outcome.reached - begin, digest)
                self._sink.arrived(begin, outcome.reached)
                means.meter.done()
                return outcome.reached
            attempt = 1 if outcome.reached > at else attempt
            at = outcome.reached
            if outcome.error is None:
                continue  # a storage may send less than the range (RFC 9110 section 15.3.7), or want no range at all
            means.wait_or_raise(attempt, outcome.error, outcome.asked)
            attempt += 1

    def _once(self, begin: int, end: int, digest: Hasher | None, opened: _Opened | None) -> _Outcome:
        try:
            with self._ask(begin, end) if opened is None else opened.incoming as incoming:
                span = self._span(incoming, begin) if opened is None else opened.span
                if isinstance(span, _Refused):
                    return _Outcome(begin, begin, digest, span.error, span.asked)
                if span.begin < begin or (span.begin == 0 and digest is not None):
                    digest = None if self._means.digest is None else self._means.digest.piece()
                self._means.meter.lost(begin - span.begin)
                return self._copy(incoming, span, digest)
        except ConnectionFailed as broken:
            return _Outcome(begin, begin, digest, broken)

    def _ask(self, begin: int, end: int) -> Incoming:
        """Request a range, or all of it where the storage has no ranges. Raises ConnectionFailed."""
        headers = dict(self._headers)
        if not self._bare and not self._in_one:
            headers["range"] = f"bytes={begin}-" if end == _END else f"bytes={begin}-{end - 1}"
        if self.etag is not None and not self.etag.startswith("W/"):
            headers["if-match"] = self.etag
        return self._means.http.open(self._url, headers)

    def _span(self, incoming: Incoming, begin: int) -> _Span | _Refused:
        """The bytes that an answer brings; or why it brings none, which is no error where another request will do."""
        if self._refuses_ranges(incoming):
            self._bare = True
            return _Refused()
        if self._transcoded(incoming):
            self._headers["accept-encoding"] = "gzip"
            return _Refused()
        span = self._accept(incoming, begin)
        if span is not None:
            return span
        answer = incoming.refused()
        return _Refused(self._refusal(failure(answer)), answer.asked_to_wait)

    def _copy(self, incoming: Incoming, span: _Span, digest: Hasher | None) -> _Outcome:
        """The bytes of one answer into the sink, as far as they come."""
        at, means, block, size = span.begin, self._means, block_buffer(), _LEAST
        try:
            while span.end is None or at < span.end:
                if means.stop.is_set():
                    stopped = ConnectionFailed("stopped", retryable=False)
                    return _Outcome(span.begin, at, digest, stopped)
                if means.bandwidth is not None:
                    size = means.bandwidth.block
                start = time.monotonic()
                got = incoming.readinto(block[: size if span.end is None else min(size, span.end - at)])
                if not got and span.end is not None:
                    return _Outcome(span.begin, at, digest, ConnectionFailed("the answer broke off"))
                if not got:
                    self._learn(at, None)
                    break
                size = _next(size, time.monotonic() - start)
                self._sink.write(block[:got], at)
                if digest is not None:
                    digest.update(block[:got])
                at += got
                means.meter.moved(got)
                if means.bandwidth is not None:
                    means.stop.wait(means.bandwidth.due(got))
        except ConnectionFailed as broken:
            return _Outcome(span.begin, at, digest, broken)
        return _Outcome(span.begin, at, digest, ended=self._in_one)

    # --- what an answer means ---

    def _refuses_ranges(self, incoming: Incoming) -> bool:
        """A 416 to the very first range: an empty object, on a storage that does not say so."""
        return incoming.status == 416 and not self._known and not self._bare and _total(incoming) is None

    def _transcoded(self, incoming: Incoming) -> bool:
        """Whether the storage unpacks what it stores: then no length, no range and no checksum would be right.

        Cloud Storage does so for who does not accept gzip; what is stored is asked for instead.
        https://cloud.google.com/storage/docs/transcoding
        """
        stored = incoming.headers.get("x-goog-stored-content-encoding", "").lower()
        now = incoming.headers.get("content-encoding", "").lower()
        return stored == "gzip" and now != "gzip" and "accept-encoding" not in self._headers

    def _accept(self, incoming: Incoming, begin: int) -> _Span | None:
        """The bytes that follow, when they are of the right object; None when it is a refusal.

        Raises:
            SourceChanged: They are of another.
            Unsupported: Nobody knows where they end.
        """
        if incoming.status == 416 and _total(incoming) == 0 and not self._known:
            self._learn(0, incoming.headers.get("etag"))  # an empty object has no first byte
            return _Span(0, 0)
        ranged = (
            incoming.status == 206 or "content-range" in incoming.headers
        )  # there are storages that say 200 to a range
        if not ranged and incoming.status == 200 and ((begin == 0 and not self._shared) or self._in_one):
            return self._all(incoming)
        if not ranged and incoming.status == 200:
            raise SourceChanged("the storage sent the whole object instead of a range of it")
        if incoming.status not in (200, 206):
            return None
        found = _CONTENT_RANGE.match(incoming.headers.get("content-range", ""))
        if found is None or found[1] is None or not begin == int(found[1]) <= int(found[2]) < int(found[3]):
            raise SourceChanged("the storage sent another range than was asked for")
        self._learn(int(found[3]), incoming.headers.get("etag"))
        self.content_encoding = incoming.headers.get("content-encoding")
        return _Span(begin, int(found[2]) + 1)

    def _all(self, incoming: Incoming) -> _Span:
        """All bytes at once. Each time from the first one, so an object replaced in between is no mixture."""
        length = incoming.headers.get("content-length", "")
        chunked = "chunked" in incoming.headers.get("transfer-encoding", "").lower()
        if not chunked and not _LENGTH.match(length):
            raise Unsupported("the storage does not say how long the object is, so a part could be taken for the whole")
        same = _surely_same(self.etag, incoming.headers.get("etag"))
        if same and self._known and not chunked and int(length) != self.size:
            raise SourceChanged(f"the storage sends {length} bytes for the whole object, which has {self.size}")
        self._in_one, self._known = True, False
        self._sink.begin_anew(same=same)
        self.content_encoding = incoming.headers.get("content-encoding")
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
            self._means.meter.total = size
            self._sink.learn(size, self.etag)

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


def _surely_same(before: str | None, now: str | None) -> bool:
    """Whether two answers are certainly of the same bytes: a weak etag does not say so."""
    return before is not None and before == now and not before.startswith("W/")


def _next(size: int, seconds: float) -> int:
    """How much to read at a time: large blocks cost less, small ones tell sooner that nothing comes."""
    if seconds < _QUICK:
        return min(BLOCK, size * 2)
    return max(_LEAST, size // 2) if seconds > _SLOW else size


def _cut(spans: Iterable[tuple[int, int]], size: int) -> Iterator[tuple[int, int]]:
    for begin, end in spans:
        for at in range(begin, end, size):
            yield at, min(at + size, end)
