"""Send what a job says: chunks in parallel, bytes in order with offset recovery, or all in one request."""

from __future__ import annotations

import re
import secrets
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from blobkit.chunking import Chunk
from blobkit.errors import (
    AlreadyExists,
    BlobkitError,
    BlobNotFound,
    ChunkMismatch,
    ConnectionFailed,
    PreconditionFailed,
    SessionMismatch,
    SessionNotFound,
    TransientError,
    Unavailable,
)
from blobkit.plans import PlanRequest
from blobkit.transfer.http import Answer, Http, failure
from blobkit.transfer.job import Job, Request
from blobkit.transfer.progress import Meter
from blobkit.transfer.retry import Patience
from blobkit.transfer.source import Source
from blobkit.transfer.workers import Sleep, run_all, sleeper

__all__ = ["Sending"]

_RANGE: Final = re.compile(r"(?:bytes=)?0-(\d{1,19})\Z")
_NAME: Final = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})  # WHATWG HTML, multipart/form-data
_DENIED: Final = 403


class Sending:
    """One upload on its way.

    Args:
        http: Moves bytes.
        data: The source.
        meter: Counts them.
        patience, sleep: How often failures are tried again, and how the waits are spent (None: until another fails).

    Attributes:
        receipts: What the storage answered for each chunk.
    """

    def __init__(self, http: Http, data: Source, meter: Meter, patience: Patience, sleep: Sleep | None) -> None:
        self._http = http
        self._data = data
        self._meter = meter
        self._patience = patience
        self._stop = threading.Event()
        self._sleep = sleeper(sleep, self._stop)
        self.receipts: dict[int, str] = {}

    # --- chunks, each with its own request ---

    def chunks(self, job: Job, concurrency: int) -> None:
        """Send every chunk, ``concurrency`` at a time. The first failure stops the others and is raised."""
        run_all(lambda chunk: self._chunk(job, chunk), job.chunks, concurrency, self._stop)

    def _chunk(self, job: Job, chunk: Chunk) -> None:
        attempt, renewed, fresh = 1, False, False
        while True:
            moved, asked = self._counted(chunk.offset, chunk.size), None
            try:
                request = job.signer.request(chunk.number, fresh=fresh)
                fresh = False
                answer = self._http.send(request.method, request.url, request.headers, moved.body, chunk.size)
                if answer.status in job.ok:
                    self._accept(job, chunk, answer)
                    return
                error, asked = _refusal(answer), answer.asked_to_wait
            except TransientError as broken:  # of the connection, or of whoever signs
                error = broken
            self._meter.lost(moved.size)
            if error.http_status == _DENIED and job.signer.can_renew and not renewed:
                renewed = fresh = True  # it may only have expired on the way
                continue
            self._wait_or_raise(attempt, error, asked)
            attempt += 1

    def _accept(self, job: Job, chunk: Chunk, answer: Answer) -> None:
        receipt = job.receipt
        if receipt.kind == "header" and receipt.name is not None:
            value = answer.headers.get(receipt.name.lower())
            if value is not None:
                self.receipts[chunk.number] = value.strip('"')
            elif receipt.required:
                raise ChunkMismatch(
                    f"the storage gave no {receipt.name} for chunk {chunk.number}", wrong=[chunk.number]
                )
        job.signer.forget(chunk.number)
        self._meter.done()

    # --- one bearer URL, bytes in order ---

    def in_order(self, job: Job) -> None:
        """Send the bytes from ``job.offset`` on, each request with its Content-Range.

        After a failure the storage is asked how far it is, by ``bytes */*``: with the total in place of the second star
        the question would commit a session whose bytes are all there.
        """
        if not job.chunks:
            return
        position = _Position(job, self._meter)
        attempt, renewed, fresh = 1, False, False
        while True:
            moved = self._counted(position.offset, position.next_size)
            reached, error, asked = self._range(job, position, moved, fresh=fresh)
            fresh = False
            if error is not None and error.http_status == _DENIED and job.signer.can_renew and not renewed:
                renewed = fresh = True
                self._meter.lost(moved.size)
                continue
            if error is not None:
                self._wait_or_raise(attempt, error, asked)
                attempt += 1
                reached = self._ask(job) if reached is None else reached
            if reached is None:
                self._meter.lost(moved.size)
                continue
            if position.move(reached, moved.size):
                attempt, renewed = 1, False
            if reached >= job.size:
                return

    def _range(
        self, job: Job, position: _Position, moved: _Counted, *, fresh: bool
    ) -> tuple[int | None, BlobkitError | None, float | None]:
        """One request: how far the storage says it is, what went wrong, and the wait that it asks for."""
        offset, size = position.offset, position.next_size
        try:
            request = job.signer.request(job.chunks[0].number, fresh=fresh)
            headers = _with_range(request, offset, size, job.size)
            answer = self._http.send(request.method, request.url, headers, moved.body, size)
        except TransientError as broken:
            return None, broken, None
        reached = _reached(answer, job)
        if reached is None:
            return None, _refusal(answer), answer.asked_to_wait
        if reached < job.size and reached <= position.furthest:
            return reached, Unavailable("the storage keeps none of the bytes that are sent"), None
        return reached, None, None

    def _ask(self, job: Job) -> int | None:
        """How many bytes the storage holds; None when it does not say now."""
        try:
            request = job.signer.request(job.chunks[0].number)
            headers = {**request.headers, "content-range": "bytes */*"}
            answer = self._http.send(request.method, request.url, headers, b"", 0)
        except TransientError:
            return None
        reached = _reached(answer, job)
        if reached is None and answer.status != job.incomplete and not (error := _refusal(answer)).retryable:
            raise error
        return reached

    # --- one request ---

    def single(self, request: PlanRequest, *, deny: bool) -> None:
        """Send all in one request. ``deny``: an object that is there already is an error of its own.

        Raises:
            AlreadyExists: It is there; when an earlier attempt's reply was lost, it may be this upload's own.
        """
        attempt = 1
        while True:
            moved, asked = self._counted(0, self._data.size), None
            headers, body, size = dict(request.headers), moved.body, self._data.size
            if request.fields is not None:
                headers, body, size = _form(headers, request.fields, moved, size)
            try:
                answer = self._http.send(request.method, request.url, headers, body, size)
                if answer.status in request.ok:
                    self._meter.done()
                    return
                error, asked = failure(answer), answer.asked_to_wait
            except TransientError as broken:
                error = broken
            self._meter.lost(moved.size)
            if isinstance(error, AlreadyExists) or (deny and isinstance(error, PreconditionFailed)):
                raise _exists(error, attempt)
            self._wait_or_raise(attempt, error, asked)
            attempt += 1

    # --- all of them ---

    def _counted(self, offset: int, size: int) -> _Counted:
        return _Counted(self._data.blocks(offset, size), size, self._meter, self._stop)

    def _wait_or_raise(self, attempt: int, error: BlobkitError, asked: float | None) -> None:
        seconds = self._patience.wait(attempt, error, asked)
        if seconds is None:
            raise error
        self._sleep(seconds)
        if self._stop.is_set():
            raise error


class _Position:
    """How far a session in order is: where it goes on, and the furthest that the storage ever said.

    The two differ when a storage loses bytes that it had acknowledged; going round in circles is not progress.
    """

    def __init__(self, job: Job, meter: Meter) -> None:
        self._meter = meter
        self._size = job.size
        self._step = max(chunk.size for chunk in (*job.held, *job.chunks))  # of any other size only the last may be
        self._ends = deque(chunk.offset + chunk.size for chunk in job.chunks)
        self.offset = self.furthest = job.offset
        meter.held(job.offset - job.chunks[0].offset, 0)

    @property
    def next_size(self) -> int:
        """Bytes of the next request."""
        return min(self._step, self._size - self.offset)

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


class _Counted:
    """Blocks on their way out, counted as they leave."""

    def __init__(self, blocks: Iterator[memoryview], planned: int, meter: Meter, stop: threading.Event) -> None:
        self._blocks = blocks
        self._planned = planned
        self._meter = meter
        self._stop = stop
        self.size = 0

    @property
    def body(self) -> Iterable[memoryview] | bytes:
        """What to send: these blocks, or nothing at all."""
        return self if self._planned else b""

    def __iter__(self) -> Iterator[memoryview]:
        for block in self._blocks:
            if self._stop.is_set():
                raise ConnectionFailed("stopped because another chunk failed", retryable=False)
            yield block
            self.size += len(block)
            self._meter.moved(len(block))


def _with_range(request: Request, offset: int, size: int, total: int) -> dict[str, str]:
    span = f"bytes {offset}-{offset + size - 1}/{total}" if size else f"bytes */{total}"
    return {**request.headers, "content-range": span}


def _reached(answer: Answer, job: Job) -> int | None:
    """How many bytes from the start the storage says it holds; None when the answer is something else."""
    if answer.status in job.ok:
        return job.size
    if answer.status != job.incomplete or not job.size:  # nothing held is not yet an empty object
        return None
    found = _RANGE.match(answer.headers.get("range", "").strip())
    reached = int(found[1]) + 1 if found else 0  # no Range header: nothing is held yet
    if reached > job.size:
        raise SessionMismatch(f"the storage holds {reached} bytes, the source has {job.size}")
    return reached


def _refusal(answer: Answer) -> BlobkitError:
    """What a refused chunk means: what is not found is the session."""
    error = failure(answer)
    if isinstance(error, BlobNotFound):
        return SessionNotFound(
            error.message, code=error.code, http_status=error.http_status, request_id=error.request_id
        )
    return error


def _exists(error: BlobkitError, attempt: int) -> AlreadyExists:
    hint = "the first attempt's reply was lost, so it may be this very upload: ask the service" if attempt > 1 else None
    return AlreadyExists(
        "an object is at this key already",
        code=error.code,
        http_status=error.http_status,
        request_id=error.request_id,
        hint=hint,
    )


def _form(
    headers: Mapping[str, str], fields: Mapping[str, str], blocks: Iterable[memoryview], size: int
) -> tuple[dict[str, str], Iterator[memoryview], int]:
    """A multipart/form-data body (RFC 7578): the fields in order, the file last; its headers, and its length."""
    boundary = secrets.token_hex(16)
    head = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name.translate(_NAME)}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    head += f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n\r\n'
    first, last = head.encode(), f"\r\n--{boundary}--\r\n".encode()

    def parts() -> Iterator[memoryview]:
        yield memoryview(first)
        yield from blocks
        yield memoryview(last)

    kept = {name: value for name, value in headers.items() if name.lower() != "content-type"}  # the boundary is ours
    kept["content-type"] = f"multipart/form-data; boundary={boundary}"
    return kept, parts(), len(first) + size + len(last)
