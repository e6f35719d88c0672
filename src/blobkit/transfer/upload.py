"""Execute an upload plan: one request, chunks in parallel, or chunks in order; only what is missing moves."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from blobkit.errors import InvalidArgument
from blobkit.plans import UploadPlan
from blobkit.transfer.http import Http
from blobkit.transfer.job import Session, Sign, check_size, job_of_plan, job_of_session
from blobkit.transfer.progress import Meter, OnProgress
from blobkit.transfer.retry import Patience
from blobkit.transfer.sending import Sending
from blobkit.transfer.source import Readable, opened
from blobkit.transfer.workers import Sleep

__all__ = ["Session", "UploadResult", "upload"]


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
    sleep: Sleep | None = None,
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
        sleep: How to wait, given seconds; None waits, and wakes when the upload has failed elsewhere.

    Raises:
        SessionMismatch, ConstraintViolated: The source is not of the plan's size; nothing was sent.
        SourceChanged: The source changed while it was read, or cannot be read any more.
        PermissionDenied, PreconditionFailed, AlreadyExists, SessionNotFound, SessionExpired: The storage refused, for good.
        ChecksumMismatch, ChunkMismatch: The storage got other bytes, or gave no receipt.
        TransientError: It kept failing; the same call later goes on where this one ended.
        InvalidArgument: A plan that cannot be executed; InvalidChunk: ``held`` names a chunk that it has not.
        PluginMissing: urllib3 is not installed.
    """
    if concurrency < 1:
        raise InvalidArgument("concurrency is at least 1")
    start, waiting = time.monotonic(), patience or Patience()
    if isinstance(plan, str | bytes):
        plan = UploadPlan.from_json(plan)
    with opened(source) as data, Http(concurrency, timeout.total_seconds()) as http:
        if isinstance(plan, UploadPlan):
            check_size(plan, data.size)
        if isinstance(plan, UploadPlan) and plan.single is not None:
            meter = Meter(on_progress, data.size, 1)
            Sending(http, data, meter, waiting, sleep).single(plan.single, deny=plan.overwrite == "deny")
            data.check()
            return UploadResult({}, 0, meter.sent, meter.resent, time.monotonic() - start)
        if not isinstance(plan, UploadPlan):
            job = job_of_session(plan, data.size)
        elif plan.parts is not None:
            job = job_of_plan(plan, plan.parts, data.size, frozenset(held), sign)
        else:
            raise InvalidArgument("the plan has neither a request nor chunks")
        meter = Meter(on_progress, data.size, len(job.chunks) + len(job.held))
        meter.held(sum(chunk.size for chunk in job.held), len(job.held))
        sending = Sending(http, data, meter, waiting, sleep)
        if job.content_range:
            sending.in_order(job)
        else:
            sending.chunks(job, 1 if job.sequential else concurrency)
        data.check()
        return UploadResult(
            dict(sorted(sending.receipts.items())), len(job.chunks), meter.sent, meter.resent, time.monotonic() - start
        )
