"""Execute an upload plan: one request, chunks in parallel, or chunks in order; only what is missing moves."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import IO, Final, cast

from blobkit.blobs import Checksum
from blobkit.errors import ChecksumMismatch, InvalidArgument, SessionNotFound
from blobkit.plans import UploadPlan
from blobkit.transfer.digests import Digest, digest_for
from blobkit.transfer.http import Http
from blobkit.transfer.job import (
    BATCH,
    Job,
    Session,
    Sign,
    SignOne,
    check_size,
    job_of_plan,
    job_of_session,
    job_of_stream,
)
from blobkit.transfer.ordered import InOrder
from blobkit.transfer.outgoing import Means
from blobkit.transfer.pace import MOST, START, Bandwidth, Climb
from blobkit.transfer.progress import Meter, OnProgress
from blobkit.transfer.retry import Patience
from blobkit.transfer.sending import OnReceipt, Sending
from blobkit.transfer.single import send_single
from blobkit.transfer.source import Readable, Source, is_stream, opened
from blobkit.transfer.streams import Stream, send_stream
from blobkit.transfer.workers import Sleep, Stop

__all__ = ["Options", "Session", "UploadResult", "upload"]

# A session may be gone because an earlier attempt's last chunk took effect late, and published it: then all of it is there.
_TIMES: Final = 2


@dataclass(frozen=True, slots=True)
class UploadResult:
    """What moved.

    Attributes:
        receipts: What the storage answered for each chunk sent, by number (an etag, unquoted); empty for one request.
        chunks_sent: How many chunks this call sent.
        bytes_sent: Bytes that left, those that had to be sent again included.
        bytes_resent: Bytes that had to be sent again after a failure.
        seconds: Wall time.
        size: Bytes of the whole; what ``session.complete(size=…)`` wants of a stream.
        checksum: The digest of the whole, when one was asked for.
        answer: What a service answered to the completion, when the plan came from one.
    """

    receipts: Mapping[int, str]
    chunks_sent: int
    bytes_sent: int
    bytes_resent: int
    seconds: float
    size: int = 0
    checksum: Checksum | None = None
    answer: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a transfer moves; the same for uploads and downloads.

    Attributes:
        on_progress: Called as bytes move, from any thread, never twice at once.
        concurrency: Chunks at a time, where the storage allows any order. None looks for what the line bears, up to 16; a
            number is the most. Fewer while the storage refuses.
        bandwidth: Bytes a second at most; a :class:`~blobkit.transfer.pace.Bandwidth` is shared by several transfers.
        timeout: Without a byte moving; then the connection counts as dead and the chunk is started again.
        patience: How often failures are tried again.
        tls: What https trusts; None takes what this machine trusts.
        stop: Set by whoever wants the transfer to end; it fails at once then, and can be resumed.
        sleep: How to wait, given seconds; None waits, and wakes when the transfer has failed elsewhere.

    Raises:
        InvalidArgument: A concurrency below 1, a timeout that is none.
    """

    on_progress: OnProgress | None = None
    concurrency: int | None = None
    bandwidth: Bandwidth | float | None = None
    timeout: timedelta = timedelta(seconds=60)
    patience: Patience | None = None
    tls: ssl.SSLContext | None = None
    stop: Stop | None = None
    sleep: Sleep | None = None

    def __post_init__(self) -> None:
        if self.concurrency is not None and self.concurrency < 1:
            raise InvalidArgument("concurrency is at least 1")
        if self.timeout <= timedelta(0):
            raise InvalidArgument("the timeout is positive")

    @contextmanager
    def means(self, total: int | None, chunks: int | None) -> Iterator[Means]:
        """What moves the bytes of one transfer."""
        bandwidth, stop = self.bandwidth, Stop()
        if self.stop is not None:  # the caller's may be of many transfers; the failure of one is not that of the others
            self.stop.also(stop.set)
        with Http(self.timeout.total_seconds(), self.tls) as http:
            yield Means(
                http,
                Meter(self.on_progress, total, chunks),
                self.patience or Patience(),
                stop,
                self.sleep,
                Climb(self.concurrency or MOST, self.concurrency or START),
                self.concurrency or MOST,
                Bandwidth(bandwidth) if isinstance(bandwidth, int | float) else bandwidth,
            )


def upload(
    source: Readable,
    plan: UploadPlan | Session | str | bytes,
    *,
    held: Iterable[int] = (),
    again: Iterable[int] = (),
    sign: Sign | None = None,
    sign_one: SignOne | None = None,
    batch: int = BATCH,
    checksum: Checksum | str | None = None,
    chunk_checksum: str | None = None,
    on_receipt: OnReceipt | None = None,
    on_progress: OnProgress | None = None,
    concurrency: int | None = None,
    bandwidth: Bandwidth | float | None = None,
    timeout: timedelta = timedelta(seconds=60),
    patience: Patience | None = None,
    tls: ssl.SSLContext | None = None,
    stop: Stop | None = None,
    sleep: Sleep | None = None,
) -> UploadResult:
    """Move what is missing.

    Args:
        source: A path, bytes, an open file; or a stream that cannot seek, for a session that was started without a size.
        plan: A plan (or its JSON); a session, which is asked what it holds and signs as the upload goes; or the
            ``http(s)://`` address of a service, which is asked for a plan and told of the completion
            (see :mod:`blobkit.transfer.service`).
        held: Numbers of chunks that the storage holds already; a session is asked instead.
        again: Of a session: numbers of chunks to send though the storage holds them.
        sign: For a lazy plan, and for URLs that expire on the way: gives fresh requests for chunk numbers.
        sign_one: For a plan whose chunks are signed with their checksums.
        batch: How many chunks ``sign`` is asked for at a time.
        checksum: What the source must have, compared before anything is completed; or an algorithm, to be told what it has.
            It is computed while the bytes are read.
        chunk_checksum: For a session that has ``chunk_checksums``: the algorithm that is bound in each chunk's signature.
        on_receipt: Told each chunk's number and receipt once the storage holds it; from any thread, never twice at once.
        on_progress, concurrency, bandwidth, timeout, patience, tls, stop, sleep: See :class:`Options`.

    Raises:
        SessionMismatch, ConstraintViolated: The source is not of the plan's size; nothing was sent.
        SourceChanged: The source changed while it was read, or cannot be read any more.
        PermissionDenied, PreconditionFailed, AlreadyExists, SessionNotFound, SessionExpired: The storage refused, for good.
        ChecksumMismatch, ChunkMismatch: The storage got other bytes, or gave no receipt; or the source is not as promised.
        Unsupported: The storage sends the client elsewhere: a signed request is not followed there.
        TransientError: It kept failing; the same call later goes on where this one ended.
        InvalidArgument: A plan that cannot be executed; InvalidChunk: ``held`` names a chunk that it has not.
    """
    options = Options(
        on_progress=on_progress,
        concurrency=concurrency,
        bandwidth=bandwidth,
        timeout=timeout,
        patience=patience,
        tls=tls,
        stop=stop,
        sleep=sleep,
    )
    if isinstance(plan, str) and plan.startswith(("http://", "https://")):
        from blobkit.transfer.service import upload_to_service

        return upload_to_service(source, plan, options, checksum=checksum)
    if isinstance(plan, str | bytes):
        plan = UploadPlan.from_json(plan)
    if is_stream(source):
        if isinstance(plan, UploadPlan):
            raise InvalidArgument(
                "a stream needs a session that was started without a size", hint="or spool it to a file"
            )
        return _stream(cast("IO[bytes]", source), plan, options, checksum, chunk_checksum, on_receipt)
    with opened(source) as data:
        if isinstance(plan, UploadPlan):
            if plan.single is not None:
                return _single(data, plan, options, checksum)
            planned, parts = plan, plan.parts
            if parts is None:
                raise InvalidArgument("the plan has neither a request nor chunks")
            check_size(planned, data.size)
            job = job_of_plan(planned, parts, data.size, frozenset(held), sign, sign_one, batch)
            return _chunked(data, job, options, _wanted(planned, checksum), on_receipt)
        return _of_session(data, plan, options, checksum, chunk_checksum, frozenset(again), on_receipt)


def _of_session(
    data: Source,
    session: Session,
    options: Options,
    checksum: Checksum | str | None,
    chunk_checksum: str | None,
    again: frozenset[int],
    on_receipt: OnReceipt | None,
) -> UploadResult:
    for attempt in range(_TIMES + 1):
        job = job_of_session(session, data.size, chunk_checksum, again)
        try:
            return _chunked(data, job, options, checksum, on_receipt)
        except SessionNotFound:
            if attempt == _TIMES or session.status().state == "gone":
                raise
    raise AssertionError("the loop ends by itself")


def _wanted(plan: UploadPlan, checksum: Checksum | str | None) -> Checksum | str | None:
    """What is computed: as asked, else what the plan wants to be told."""
    if checksum is None and plan.checksum is not None:
        told = plan.checksum
        return told.algorithm if told.scope == "object" and told.value is None else None
    return checksum


def _single(data: Source, plan: UploadPlan, options: Options, checksum: Checksum | str | None) -> UploadResult:
    assert plan.single is not None
    check_size(plan, data.size)
    start = time.monotonic()
    with options.means(data.size, 1) as means, _digested(means, data, _wanted(plan, checksum), single=True) as finished:
        send_single(means, data, plan.single, deny=plan.overwrite == "deny")
        data.check()
        done, meter = finished(), means.meter
        return UploadResult({}, 0, meter.sent, meter.resent, time.monotonic() - start, data.size, done)


def _chunked(
    data: Source,
    job: Job,
    options: Options,
    checksum: Checksum | str | None,
    on_receipt: OnReceipt | None,
) -> UploadResult:
    start = time.monotonic()
    with options.means(data.size, len(job.chunks) + len(job.held)) as means:
        means.meter.held(sum(chunk.size for chunk in job.held), len(job.held))
        sending = Sending(means, job, on_receipt)
        with _digested(means, data, checksum, single=False) as finished:
            if job.content_range:
                InOrder(means, job).send(data)
            else:
                sending.chunks(data, job.chunks)
            data.check()
            done = finished()
    receipts, meter = dict(sorted(sending.receipts.items())), means.meter
    return UploadResult(receipts, len(job.chunks), meter.sent, meter.resent, time.monotonic() - start, data.size, done)


def _stream(
    file: IO[bytes],
    session: Session,
    options: Options,
    checksum: Checksum | str | None,
    chunk_checksum: str | None,
    on_receipt: OnReceipt | None,
) -> UploadResult:
    start, job = time.monotonic(), job_of_stream(session, chunk_checksum)
    stream = Stream(file, checksum.algorithm if isinstance(checksum, Checksum) else checksum)
    with options.means(None, None) as means:
        sending = Sending(means, job, on_receipt)
        send_stream(means, job, sending, stream, session.chunks)
    done, meter = stream.checksum(), means.meter
    _compare(checksum, done)
    receipts = dict(sorted(sending.receipts.items()))
    return UploadResult(receipts, sending.sent, meter.sent, meter.resent, time.monotonic() - start, stream.size, done)


@contextmanager
def _digested(
    means: Means, data: Source, wanted: Checksum | str | None, *, single: bool
) -> Iterator[Callable[[], Checksum | None]]:
    """A checksum that is computed while bytes move; yields how to finish it, and compares it with what was promised."""
    algorithm = wanted.algorithm if isinstance(wanted, Checksum) else wanted
    digest: Digest | None = digest_for(algorithm, data, single=single)
    if digest is None:
        yield lambda: None
        return
    means.digest = digest
    means.expected = wanted if isinstance(wanted, Checksum) else None

    def finished() -> Checksum:
        result = digest.result(data)
        _compare(wanted, result)
        return result

    try:
        yield finished
    finally:
        digest.close()


def _compare(wanted: Checksum | str | None, found: Checksum | None) -> None:
    if isinstance(wanted, Checksum) and found is not None and not wanted.same_as(found):
        raise ChecksumMismatch("the source is not what its checksum promises", hint="nothing was completed")
