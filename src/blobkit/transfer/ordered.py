"""Send bytes in order to one bearer URL, each request with its Content-Range; after a failure ask how far it got."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from blobkit.chunking import Chunk
from blobkit.errors import BlobkitError, SessionMismatch, TransientError, Unavailable
from blobkit.transfer.job import Job
from blobkit.transfer.outgoing import Body, Means
from blobkit.transfer.progress import Meter
from blobkit.transfer.refusals import Answer, session_failure
from blobkit.transfer.sending import DENIED
from blobkit.transfer.source import Source

__all__ = ["InOrder", "Position"]

_RANGE: Final = re.compile(r"(?:bytes=)?0-(\d{1,19})\Z")


class InOrder:
    """One sequential upload on its way.

    A question is ``bytes */*``: with the total in place of the second star it would commit a session whose bytes are all there.

    Args:
        means: Moves bytes.
        job: Its signer gives the URL; ``job.offset`` is where it goes on.
    """

    def __init__(self, means: Means, job: Job) -> None:
        self._means = means
        self._job = job

    def send(self, data: Source) -> None:
        """Send the bytes of a source from ``job.offset`` on."""
        job = self._job
        if job.chunks:
            step = max(chunk.size for chunk in (*job.held, *job.chunks))  # of any other size only the last may be
            self.part(data, 0, Position(self._means.meter, job.chunks, step, job.offset), job.size)

    def part(self, data: Source, base: int, position: Position, total: int | None) -> None:
        """Send what is between the position and its end.

        Args:
            data: The bytes; its first one is byte ``base`` of the object.
            base: See ``data``.
            position: Where it goes on.
            total: The object's size; None while nobody knows it, and more is to come.
        """
        attempt, renewed, fresh, means = 1, False, False, self._means
        while True:
            body = means.body(data, position.offset - base, position.next_size)
            reached, error, asked = self._range(position, body, total, fresh=fresh)
            fresh = False
            if error is not None and error.http_status == DENIED and self._job.signer.can_renew and not renewed:
                renewed = fresh = True
                body.lost()
                continue
            if error is not None:
                means.wait_or_raise(attempt, error, asked)
                attempt += 1
                reached = self._ask(position, total) if reached is None else reached
            if reached is None:
                body.lost()
                continue
            if reached < base:
                raise SessionMismatch("the storage lost bytes that it had acknowledged, and the stream cannot go back")
            if reached == position.offset + body.size and error is None:
                body.arrived()
            if position.move(reached, body.size):
                attempt, renewed = 1, False
            if reached >= position.end:
                return

    def _range(
        self, position: Position, body: Body, total: int | None, *, fresh: bool
    ) -> tuple[int | None, BlobkitError | None, float | None]:
        """One request: how far the storage says it is, what went wrong, and the wait that it asks for."""
        offset, size = position.offset, position.next_size
        try:
            request = self._job.signer.request(position.number, fresh=fresh)
            headers = _with_range(request.headers, offset, size, total)
            answer = self._means.http.send(request.method, request.url, headers, body.content, size)
        except TransientError as broken:
            return None, broken, None
        reached = self._reached(answer, position, total)
        if reached is None:
            return None, session_failure(answer), answer.asked_to_wait
        if reached < position.end and reached <= position.furthest:
            return reached, Unavailable("the storage keeps none of the bytes that are sent"), None
        return reached, None, None

    def _ask(self, position: Position, total: int | None) -> int | None:
        """How many bytes the storage holds; None when it does not say now."""
        try:
            request = self._job.signer.request(position.number)
            headers = {**request.headers, "content-range": "bytes */*"}
            answer = self._means.http.send(request.method, request.url, headers, b"", 0)
        except TransientError:
            return None
        reached = self._reached(answer, position, total)
        if reached is None and answer.status != self._job.incomplete:
            error = session_failure(answer)
            if not error.retryable:
                raise error
        return reached

    def _reached(self, answer: Answer, position: Position, total: int | None) -> int | None:
        """How many bytes from the start the storage says it holds; None when the answer is something else."""
        job = self._job
        if answer.status in job.ok:
            return position.end
        if answer.status != job.incomplete or total == 0:  # nothing held is not yet an empty object
            return None
        found = _RANGE.match(answer.headers.get("range", "").strip())
        reached = int(found[1]) + 1 if found else 0  # no Range header: nothing is held yet
        if reached > position.end:
            raise SessionMismatch(f"the storage holds {reached} bytes, the source has {position.end}")
        return reached


class Position:
    """How far a session in order is: where it goes on, and the furthest that the storage ever said.

    The two differ when a storage loses bytes that it had acknowledged; going round in circles is not progress.
    """

    def __init__(self, meter: Meter, chunks: Sequence[Chunk], step: int, offset: int) -> None:
        """``chunks``: those that end after ``offset``, where it goes on; ``step``: bytes of a request."""
        self._meter = meter
        self._step = step
        self._ends = deque(chunk.offset + chunk.size for chunk in chunks)
        self.number = chunks[0].number
        self.end = chunks[-1].offset + chunks[-1].size
        self.offset = self.furthest = offset
        meter.held(offset - chunks[0].offset, 0)

    @property
    def next_size(self) -> int:
        """Bytes of the next request."""
        return min(self._step, self.end - self.offset)

    def move(self, reached: int, moved: int) -> bool:
        """The storage is at ``reached`` after ``moved`` bytes left from here; whether it never was so far."""
        self._meter.lost(max(0, self.offset + moved - reached))
        self._meter.held(max(0, reached - self.offset - moved), 0)
        while self._ends and self._ends[0] <= reached:
            self._ends.popleft()
            self._meter.done()
        further = reached > self.furthest
        self.offset, self.furthest = reached, max(reached, self.furthest)
        return further


def _with_range(headers: Mapping[str, str], offset: int, size: int, total: int | None) -> dict[str, str]:
    whole = "*" if total is None else str(total)
    span = f"bytes {offset}-{offset + size - 1}/{whole}" if size else f"bytes */{whole}"
    return {**headers, "content-range": span}
