"""Execute an upload plan: one request, chunks in parallel, or chunks in order; only what is missing moves."""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from blobkit.chunking import Chunk, ChunkPlan
from blobkit.errors import (
    AlreadyExists,
    BlobkitError,
    BlobNotFound,
    ChunkMismatch,
    ConnectionFailed,
    InvalidArgument,
    SessionMismatch,
    SessionNotFound,
)
from blobkit.plans import PlanChunk, PlanRequest, UploadPlan
from blobkit.session import SessionStatus
from blobkit.signed import Receipt, SignedChunk
from blobkit.transfer.http import Answer, Http, failure
from blobkit.transfer.progress import Meter, OnProgress
from blobkit.transfer.retry import Patience
from blobkit.transfer.source import Readable, Source, opened

__all__ = ["Session", "UploadResult", "upload"]

_BATCH: Final = 32
_SOON: Final = timedelta(seconds=30)  # a URL that ends so soon is signed anew rather than raced
_LIFE: Final = timedelta(minutes=30)
_RANGE: Final = re.compile(r"(?:bytes=)?0-(\d{1,19})\Z")


class Session(Protocol):
    """What an upload needs of a session; :class:`blobkit.UploadSession` has it."""

    @property
    def chunks(self) -> ChunkPlan:
        """How the object is cut."""
        ...

    @property
    def sequential(self) -> bool:
        """Whether chunks must be sent in order, one at a time."""
        ...

    def status(self) -> SessionStatus:
        """What the provider holds."""
        ...

    def sign_chunks(
        self, numbers: Iterable[int] | None = None, *, expires_in: timedelta | None = None
    ) -> Sequence[SignedChunk]:
        """Requests for these chunks."""
        ...


Sign = Callable[[Sequence[int]], Iterable[PlanChunk | SignedChunk]]


@dataclass(frozen=True, slots=True)
class UploadResult:
    """What moved.

    Attributes:
        receipts: What the storage answered for each chunk sent, by number (an etag, unquoted); empty for one request.
        chunks_sent: How many chunks this call sent.
        bytes_sent: Bytes that left, those that had to be sent again included.
        bytes_resent: Bytes that had to be sent again after a failure.
        seconds: Wall time.
    """

    receipts: Mapping[int, str]
    chunks_sent: int
    bytes_sent: int
    bytes_resent: int
    seconds: float


def upload(
    source: Readable,
    plan: UploadPlan | Session | str | bytes,
    *,
    held: Iterable[int] = (),
    sign: Sign | None = None,
    on_progress: OnProgress | None = None,
    concurrency: int = 4,
    timeout: timedelta = timedelta(seconds=60),
    patience: Patience | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> UploadResult:
    """Move what is missing.

    Args:
        source: A path, bytes, or an open seekable file.
        plan: A plan (or its JSON), or a session, which is asked what it holds and signs as the upload goes.
        held: Numbers of chunks that the storage holds already; a session is asked instead.
        sign: For a lazy plan, and for URLs that expire on the way: gives fresh requests for chunk numbers.
        on_progress: Called as bytes move, from any thread, never twice at once.
        concurrency: Chunks at a time, where the plan allows any order.
        timeout: Without a byte moving.
        patience: How often failures are tried again.
        sleep: How to wait.

    Raises:
        SourceChanged: The source changed while it was read, or is not of the plan's size.
        PermissionDenied, PreconditionFailed, AlreadyExists, SessionNotFound: The storage refused, for good.
        TransientError: It kept failing; the same call later goes on where this one ended.
        InvalidArgument: A plan that cannot be executed.
    """
    if concurrency < 1:
        raise InvalidArgument("concurrency is at least 1")
    start = time.monotonic()
    waiting = patience or Patience()
    with opened(source) as data, Http(concurrency, timeout.total_seconds()) as http:
        if isinstance(plan, str | bytes):
            plan = UploadPlan.from_json(plan)
        if isinstance(plan, UploadPlan) and plan.single is not None:
            meter = Meter(on_progress, data.size, 1)
            _single(http, plan, plan.single, data, meter, waiting, sleep)
            data.check()
            return UploadResult({}, 0, meter.sent, meter.resent, time.monotonic() - start)
        job = (
            _from_plan(plan, data, frozenset(held), sign) if isinstance(plan, UploadPlan) else _from_session(plan, data)
        )
        meter = Meter(on_progress, data.size, len(job.chunks) + len(job.held))
        meter.held(sum(chunk.size for chunk in job.held), len(job.held))
        run = _Run(http, data, job, meter, waiting, sleep)
        if job.content_range:
            run.in_ranges()
        else:
            run.in_chunks(1 if job.sequential else concurrency)
        data.check()
        return UploadResult(
            dict(sorted(run.receipts.items())), len(job.chunks), meter.sent, meter.resent, time.monotonic() - start
        )


# --- what is to be done -----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Job:
    """The chunks to send and those that are held; how chunks are signed and answered."""

    chunks: list[Chunk]
    held: list[Chunk]
    size: int
    signer: _Signer
    sequential: bool = False
    content_range: bool = False
    receipt: Receipt = field(default_factory=Receipt)
    ok: tuple[int, ...] = (200, 201)
    incomplete: int | None = None


def _from_plan(plan: UploadPlan, data: Source, held: frozenset[int], sign: Sign | None) -> _Job:
    parts = plan.parts
    if parts is None:
        raise InvalidArgument("the plan has no chunks")
    if plan.size is not None and data.size != plan.size:
        raise SessionMismatch(f"the source has {data.size} bytes, the plan is for {plan.size}")
    if parts.sign == "inline":
        chunks = [Chunk(item.number, item.offset, item.size) for item in parts.items]
    elif plan.size is None:
        raise InvalidArgument("a lazy plan of unknown size needs a session")
    else:
        chunks = list(ChunkPlan(plan.size, parts.chunk_size, parts.count))
    if sum(chunk.size for chunk in chunks) != data.size:
        raise SessionMismatch("the plan's chunks are not the source's size")
    return _Job(
        chunks=[chunk for chunk in chunks if chunk.number not in held],
        held=[chunk for chunk in chunks if chunk.number in held],
        size=data.size,
        signer=_Signer(sign, {item.number: item for item in parts.items}),
        sequential=parts.order == "sequential",
        content_range=parts.content_range,
        receipt=parts.receipt,
        ok=parts.ok,
        incomplete=parts.incomplete,
    )


def _from_session(session: Session, data: Source) -> _Job:
    chunks = session.chunks.resolved(data.size) if session.chunks.size is None else session.chunks
    if chunks.size != data.size:
        raise SessionMismatch(f"the source has {data.size} bytes, the session is for {chunks.size}")
    status = session.status()
    if status.state == "gone":
        raise SessionNotFound("the session is gone")
    received = set(status.received) if status.state == "open" else {chunk.number for chunk in chunks}
    todo = [chunk for chunk in chunks if chunk.number not in received]
    template = session.sign_chunks([todo[0].number])[0].template if todo else None
    job = _Job(
        chunks=todo,
        held=[chunk for chunk in chunks if chunk.number in received],
        size=data.size,
        signer=_Signer(lambda numbers: session.sign_chunks(numbers, expires_in=_LIFE), {}),
        sequential=session.sequential,
    )
    if template is not None:
        job.content_range = template.content_range
        job.receipt, job.ok = template.receipt, template.expected_status
        job.incomplete = template.incomplete_status
    return job


@dataclass(frozen=True, slots=True)
class _Request:
    """One chunk's request, with its URL in clear."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str]
    expires_at: datetime


class _Signer:
    """Requests by chunk number: from the plan, or signed some at a time and again before they end. Thread-safe."""

    def __init__(self, sign: Sign | None, known: Mapping[int, PlanChunk]) -> None:
        self._sign = sign
        self._lock = threading.Lock()
        self._known = {number: _request(item) for number, item in known.items()}
        self.upcoming: list[int] = []

    @property
    def can_renew(self) -> bool:
        """Whether a refused URL may be replaced."""
        return self._sign is not None

    def request(self, number: int, *, fresh: bool = False) -> _Request:
        """The request for a chunk; ``fresh``: another one than before."""
        with self._lock:
            known = self._known.get(number)
            ends_soon = known is not None and known.expires_at < datetime.now(UTC) + _SOON
            if self._sign is None:
                if known is None:
                    raise InvalidArgument("the plan is lazy: it needs sign=, or a session")
                return known
            if known is None or fresh or ends_soon:
                at = self.upcoming.index(number) if number in self.upcoming else 0
                numbers = [number] if fresh else sorted({number, *self.upcoming[at : at + _BATCH]})
                for item in self._sign(numbers):
                    self._known[item.number] = _request(item)
            return self._known[number]


def _request(item: PlanChunk | SignedChunk) -> _Request:
    url = item.url if isinstance(item, PlanChunk) else item.url.reveal()
    return _Request(item.method, url, item.headers, item.expires_at)


# --- doing it ---------------------------------------------------------------------------------------------------------


class _Run:
    """One execution of a job."""

    def __init__(
        self, http: Http, data: Source, job: _Job, meter: Meter, patience: Patience, sleep: Callable[[float], None]
    ) -> None:
        self._http = http
        self._data = data
        self._job = job
        self._meter = meter
        self._patience = patience
        self._sleep = sleep
        self._stop = threading.Event()
        self.receipts: dict[int, str] = {}

    def in_chunks(self, concurrency: int) -> None:
        """Each chunk with its own request, ``concurrency`` at a time. The first failure stops the others."""
        job = self._job
        job.signer.upcoming = [chunk.number for chunk in job.chunks]
        queue: Iterator[Chunk] = iter(job.chunks)
        lock = threading.Lock()
        first: list[BaseException] = []  # what failed; what follows it are only the chunks that were stopped

        def work() -> None:
            while not self._stop.is_set():
                with lock:
                    chunk = next(queue, None)
                if chunk is None:
                    return
                try:
                    self._chunk(chunk)
                except BaseException as error:
                    with lock:
                        first.append(error)
                    self._stop.set()
                    return

        workers = max(1, min(concurrency, len(job.chunks)))
        with ThreadPoolExecutor(workers, thread_name_prefix="blobkit-upload") as pool:
            futures = [pool.submit(work) for _ in range(workers)]
            try:
                wait(futures)
            except BaseException:  # Ctrl-C: the threads must end before this one may
                self._stop.set()
                raise
        if first:
            raise first[0]

    def _chunk(self, chunk: Chunk) -> None:
        attempt, renewed, fresh = 1, False, False
        while True:
            request = self._job.signer.request(chunk.number, fresh=fresh)
            fresh = False
            moved = _Counted(self._data.blocks(chunk.offset, chunk.size), self._meter, self._stop)
            asked = None
            try:
                body: Iterable[memoryview] | bytes = moved if chunk.size else b""
                answer = self._http.send(request.method, request.url, request.headers, body, chunk.size)
                if answer.status in self._job.ok:
                    self._accept(chunk, answer)
                    return
                error, asked = _chunk_failure(answer), answer.asked_to_wait
                if answer.status == 403 and self._job.signer.can_renew and not renewed:
                    renewed = fresh = True
                    self._meter.lost(moved.size)
                    continue
            except ConnectionFailed as broken:
                error = broken
            self._meter.lost(moved.size)
            self._wait_or_raise(attempt, error, asked)
            attempt += 1

    def _accept(self, chunk: Chunk, answer: Answer) -> None:
        receipt = self._job.receipt
        if receipt.kind == "header" and receipt.name is not None:
            value = answer.headers.get(receipt.name.lower())
            if value is not None:
                self.receipts[chunk.number] = value.strip('"')
            elif receipt.required:
                raise ChunkMismatch(
                    f"the storage gave no {receipt.name} for chunk {chunk.number}", wrong=[chunk.number]
                )
        self._meter.done()

    def in_ranges(self) -> None:
        """One bearer URL, bytes in order, each request with its Content-Range; after a failure the storage says how far."""
        job = self._job
        first = job.chunks[0] if job.chunks else None
        if first is None:
            return
        offset, attempt, number = first.offset, 1, first.number
        while True:
            request = job.signer.request(number)
            size = min(first.size, job.size - offset)
            span = f"bytes {offset}-{offset + size - 1}/{job.size}" if size else f"bytes */{job.size}"
            moved = _Counted(self._data.blocks(offset, size), self._meter, self._stop)
            body: Iterable[memoryview] | bytes = moved if size else b""
            asked = None
            try:
                answer = self._http.send(
                    request.method, request.url, {**request.headers, "content-range": span}, body, size
                )
                reached = self._reached(answer, job)
                if reached is not None:
                    attempt = 1 if reached > offset else attempt
                    self._meter.lost(max(0, offset + moved.size - reached))
                    if reached >= job.size:
                        self._meter.done()
                        return
                    offset = reached
                    self._meter.done()
                    continue
                error, asked = _chunk_failure(answer), answer.asked_to_wait
            except ConnectionFailed as broken:
                error = broken
            self._wait_or_raise(attempt, error, asked)
            attempt += 1
            reached = self._ask(request)
            if reached is None:
                self._meter.lost(moved.size)
                continue
            self._meter.lost(max(0, offset + moved.size - reached))
            if reached >= job.size:
                return
            offset = reached

    def _ask(self, request: _Request) -> int | None:
        """How many bytes the storage holds of a sequential session; None when it does not say now."""
        try:
            answer = self._http.send(
                request.method, request.url, {**request.headers, "content-range": "bytes */*"}, b"", 0
            )
        except ConnectionFailed:
            return None
        if answer.status not in (*self._job.ok, self._job.incomplete) and answer.status < 500:
            raise _chunk_failure(answer)
        return self._reached(answer, self._job)

    def _reached(self, answer: Answer, job: _Job) -> int | None:
        if answer.status in job.ok:
            return job.size
        if answer.status != job.incomplete:
            return None
        found = _RANGE.match(answer.headers.get("range", "").strip())
        return int(found[1]) + 1 if found else 0  # no Range header: nothing is held yet

    def _wait_or_raise(self, attempt: int, error: BlobkitError, asked: float | None) -> None:
        seconds = self._patience.wait(attempt, error, asked)
        if seconds is None:
            raise error
        self._sleep(seconds)


class _Counted:
    """Blocks on their way out, counted as they leave."""

    def __init__(self, blocks: Iterator[memoryview], meter: Meter, stop: threading.Event) -> None:
        self._blocks = blocks
        self._meter = meter
        self._stop = stop
        self.size = 0

    def __iter__(self) -> Iterator[memoryview]:
        for block in self._blocks:
            if self._stop.is_set():
                raise ConnectionFailed("stopped because another chunk failed", retryable=False)
            yield block
            self.size += len(block)
            self._meter.moved(len(block))


def _chunk_failure(answer: Answer) -> BlobkitError:
    error = failure(answer)
    if isinstance(error, BlobNotFound):
        return SessionNotFound(
            error.message, code=error.code, http_status=error.http_status, request_id=error.request_id
        )
    return error


# --- one request ------------------------------------------------------------------------------------------------------


def _single(
    http: Http,
    plan: UploadPlan,
    request: PlanRequest,
    data: Source,
    meter: Meter,
    patience: Patience,
    sleep: Callable[[float], None],
) -> None:
    attempt, stop = 1, threading.Event()
    while True:
        moved = _Counted(data.blocks(0, data.size), meter, stop)
        headers, body, size = dict(request.headers), moved, data.size
        form: Iterable[memoryview] | bytes = body if size else b""
        if request.fields is not None:
            headers, form, size = _form(request.fields, moved, data.size)
        asked = None
        try:
            answer = http.send(request.method, request.url, headers, form, size)
            if answer.status in request.ok:
                meter.done()
                return
            error, asked = failure(answer), answer.asked_to_wait
            if answer.status == 412 and plan.overwrite == "deny":
                hint = (
                    "the first attempt's reply was lost, so it may be this very upload: ask the service"
                    if attempt > 1
                    else None
                )
                error = AlreadyExists("an object is at this key already", code=error.code, http_status=412, hint=hint)
        except ConnectionFailed as broken:
            error = broken
        meter.lost(moved.size)
        seconds = patience.wait(attempt, error, asked)
        if seconds is None:
            raise error
        sleep(seconds)
        attempt += 1


def _form(
    fields: Mapping[str, str], blocks: Iterable[memoryview], size: int
) -> tuple[dict[str, str], Iterator[memoryview], int]:
    """A multipart/form-data body (RFC 7578): the fields in order, the file last."""
    boundary = secrets.token_hex(16)
    head = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    head += f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n\r\n'
    first, last = head.encode(), f"\r\n--{boundary}--\r\n".encode()

    def parts() -> Iterator[memoryview]:
        yield memoryview(first)
        yield from blocks
        yield memoryview(last)

    return {"content-type": f"multipart/form-data; boundary={boundary}"}, parts(), len(first) + size + len(last)
