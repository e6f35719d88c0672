"""What an upload has to do: which chunks are missing, how each is signed, and what counts as success. Moves nothing."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from blobkit.blobs import Checksum
from blobkit.chunking import Chunk, ChunkPlan
from blobkit.errors import ConstraintViolated, InvalidArgument, InvalidChunk, SessionMismatch, SessionNotFound
from blobkit.plans import PlanChunk, PlanChunks, UploadPlan
from blobkit.session import SessionStatus
from blobkit.signed import Receipt, SignedChunk

__all__ = [
    "BATCH",
    "Job",
    "Request",
    "Session",
    "Sign",
    "SignOne",
    "Signer",
    "check_size",
    "job_of_plan",
    "job_of_session",
    "job_of_stream",
]

BATCH: Final = 32
_SOON: Final = timedelta(seconds=30)  # a URL that ends so soon is signed anew rather than raced

Sign = Callable[[Sequence[int]], Iterable[PlanChunk | SignedChunk]]
"""Gives fresh requests for chunk numbers."""
SignOne = Callable[[int, Checksum], PlanChunk | SignedChunk]
"""Gives a request for one chunk, with its checksum bound in the signature."""


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
        self,
        numbers: Iterable[int] | None = None,
        *,
        expires_in: timedelta | None = None,
        checksums: Mapping[int, Checksum] | None = None,
    ) -> Sequence[SignedChunk]:
        """Requests for these chunks."""
        ...


@dataclass(slots=True)
class Job:
    """The chunks of one upload.

    Attributes:
        chunks: Those to send, in order.
        held: Those that the storage holds.
        size: Bytes of the whole.
        signer: Gives the requests.
        offset: Where a session with ``content_range`` goes on, bytes from the start.
        sequential, content_range, receipt, ok, incomplete: As in :class:`~blobkit.plans.PlanChunks`.
        chunk_checksum: The algorithm of the checksum that each chunk's request carries; None for none.
        checksum_header: The header that carries it, in base64; None where only the signature binds it.
    """

    chunks: list[Chunk]
    held: list[Chunk]
    size: int
    signer: Signer
    offset: int = 0
    sequential: bool = False
    content_range: bool = False
    receipt: Receipt = field(default_factory=Receipt)
    ok: tuple[int, ...] = (200, 201)
    incomplete: int | None = None
    chunk_checksum: str | None = None
    checksum_header: str | None = None

    def with_checksum(self, headers: Mapping[str, str], checksum: Checksum | None) -> Mapping[str, str]:
        """The headers of a chunk whose checksum is this."""
        if checksum is None or self.checksum_header is None:
            return headers
        return {**headers, self.checksum_header: checksum.base64}


def check_size(plan: UploadPlan, size: int) -> None:
    """Refuse a source that the plan is not for, before a byte moves.

    Raises:
        SessionMismatch: The plan is for another size.
        ConstraintViolated: The plan allows no such size.
    """
    if plan.size is not None and size != plan.size:
        raise SessionMismatch(f"the source has {size} bytes, the plan is for {plan.size}")
    least, most = plan.limits.min_size, plan.limits.max_size
    if least is not None and size < least:
        raise ConstraintViolated("min_size", expected=f"at least {least} bytes", actual=f"{size} bytes")
    if most is not None and size > most:
        raise ConstraintViolated("max_size", expected=f"at most {most} bytes", actual=f"{size} bytes")


def job_of_plan(
    plan: UploadPlan,
    parts: PlanChunks,
    size: int,
    held: frozenset[int],
    sign: Sign | None,
    sign_one: SignOne | None = None,
    batch: int = BATCH,
) -> Job:
    """What a plan's chunks leave to do, for a source of ``size`` bytes. ``batch``: chunks that are signed at a time.

    Raises:
        InvalidArgument: A plan that cannot be executed.
        InvalidChunk: ``held`` names a chunk that the plan has not.
        SessionMismatch: The plan's chunks are not the source.
    """
    if parts.sign == "inline":
        chunks = [Chunk(item.number, item.offset, item.size) for item in parts.items]
    elif plan.size is None:
        raise InvalidArgument("a lazy plan of unknown size needs a session")
    else:
        chunks = list(ChunkPlan(plan.size, parts.chunk_size, parts.count))
    _check_cut(chunks, size)
    if strange := held - {chunk.number for chunk in chunks}:
        raise InvalidChunk(f"the plan has no chunk number {min(strange)}, which is said to be held")
    missing = [chunk for chunk in chunks if chunk.number not in held]
    numbers = [chunk.number for chunk in missing]
    part = plan.checksum if plan.checksum is not None and plan.checksum.scope == "part" else None
    if part is not None and part.sign_needs_value and sign_one is None:
        raise InvalidArgument("the plan's chunks are signed with their checksums, and nobody is there to sign them")
    return Job(
        chunks=missing,
        held=[chunk for chunk in chunks if chunk.number in held],
        size=size,
        signer=Signer(sign, {item.number: item for item in parts.items}, numbers, sign_one, batch),
        offset=missing[0].offset if missing else size,
        sequential=parts.order == "sequential",
        content_range=parts.content_range,
        receipt=parts.receipt,
        ok=parts.ok,
        incomplete=parts.incomplete,
        chunk_checksum=None if part is None else part.algorithm,
        checksum_header=None if part is None else part.header,
    )


def _check_cut(chunks: Iterable[Chunk], size: int) -> None:
    """Chunks that overlap, or leave a hole, would make another object than the source."""
    at = 0
    for expected, chunk in enumerate(chunks, 1):
        if (chunk.number, chunk.offset) != (expected, at) or chunk.size < 0:
            raise SessionMismatch(f"the plan's chunk {expected} does not begin where the one before it ends")
        at += chunk.size
    if at != size:
        raise SessionMismatch(f"the plan's chunks are {at} bytes, the source has {size}")


def job_of_session(
    session: Session, size: int, chunk_checksum: str | None = None, again: frozenset[int] = frozenset()
) -> Job:
    """What a session still lacks, as the provider says now. ``chunk_checksum``: the algorithm to bind in each chunk's request.
    ``again``: chunks that count as lacking though they are held.

    Raises:
        SessionMismatch: The session is for another size.
        SessionNotFound: The session is gone.
    """
    chunks = session.chunks.resolved(size) if session.chunks.size is None else session.chunks
    if chunks.size != size:
        raise SessionMismatch(f"the source has {size} bytes, the session is for {chunks.size}")
    status = session.status()
    if status.state == "gone":
        raise SessionNotFound("the session is gone")
    received = set(status.received) if status.state == "open" else {chunk.number for chunk in chunks}
    received -= again if status.state == "open" else frozenset()
    missing = [chunk for chunk in chunks if chunk.number not in received]
    numbers = [chunk.number for chunk in missing]
    job = Job(
        chunks=missing,
        held=[chunk for chunk in chunks if chunk.number in received],
        size=size,
        signer=Signer(session.sign_chunks, {}, numbers, _sign_one(session)),
        chunk_checksum=chunk_checksum,
        offset=max(status.received_bytes, missing[0].offset) if missing else size,
        sequential=session.sequential,
    )
    if missing:
        _like_template(job, session)
    return job


def job_of_stream(session: Session, chunk_checksum: str | None = None) -> Job:
    """What there is to do for a stream whose end nobody knows: the plan's chunks, as far as it goes. Nothing may be held yet.

    Raises:
        SessionMismatch: The session is for a known size, or holds chunks already.
    """
    chunks, status = session.chunks, session.status()
    if chunks.size is not None:
        raise SessionMismatch("the session is for a known size, and the stream's is unknown", hint="spool it to a file")
    if status.state != "open" or status.received_bytes:
        raise SessionMismatch("the session holds chunks already, and a stream cannot be read again from there")
    signer = Signer(session.sign_chunks, {}, range(1, len(chunks) + 1), _sign_one(session))
    job = Job([], [], 0, signer, sequential=session.sequential, chunk_checksum=chunk_checksum)
    _like_template(job, session)
    return job


def _sign_one(session: Session) -> SignOne:
    return lambda number, checksum: session.sign_chunks([number], checksums={number: checksum})[0]


def _like_template(job: Job, session: Session) -> None:
    """What a signed chunk says of all of them."""
    template = session.sign_chunks([job.chunks[0].number if job.chunks else 1])[0].template
    job.content_range = template.content_range
    job.receipt, job.ok = template.receipt, template.expected_status
    job.incomplete = template.incomplete_status


# --- requests ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    """One chunk's request, with its URL in clear."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str]
    expires_at: datetime


class Signer:
    """Requests by chunk number: from the plan, or signed some at a time and again before they end. Thread-safe.

    Args:
        sign: Gives fresh requests; None when the plan's own are all there will be.
        known: The plan's own.
        upcoming: The numbers that will be asked for, ascending: they are signed in batches.
        sign_one: Signs a chunk together with its checksum.
        batch: How many are signed at a time.
    """

    def __init__(
        self,
        sign: Sign | None,
        known: Mapping[int, PlanChunk],
        upcoming: Sequence[int],
        sign_one: SignOne | None = None,
        batch: int = BATCH,
    ) -> None:
        self._sign = sign
        self._sign_one = sign_one
        self._batch = batch
        self._lock = threading.Lock()
        self._known = {number: _request(item) for number, item in known.items()}
        self._order = upcoming

    @property
    def can_renew(self) -> bool:
        """Whether a refused URL may be replaced."""
        return self._sign is not None

    def request(self, number: int, *, fresh: bool = False, checksum: Checksum | None = None) -> Request:
        """The request for a chunk; ``fresh``: another one than before; ``checksum``: what it is signed with, if anything is.

        Raises:
            InvalidArgument: A lazy plan without a signer, or a signer that leaves the chunk out.
        """
        if checksum is not None and self._sign_one is not None:
            return _request(self._sign_one(number, checksum))
        if self._batch == 1 and self._sign is not None:  # each costs a question to a service: threads ask side by side
            return self._alone(self._sign, number, fresh=fresh)
        with self._lock:
            known = self._known.get(number)
            if self._sign is None:
                if known is None:
                    raise InvalidArgument("the plan is lazy: it needs sign=, or a session")
                return known
            if known is None or fresh or _ends(known):
                at = bisect_left(self._order, number)
                for item in self._sign([number] if fresh else self._order[at : at + self._batch]):
                    self._known[item.number] = _request(item)
                if number not in self._known:
                    raise InvalidArgument(f"chunk {number} was not signed though it was asked for")
            return self._known[number]

    def _alone(self, sign: Sign, number: int, *, fresh: bool) -> Request:
        known = self._known.get(number)
        if known is None or fresh or _ends(known):
            known = next((_request(item) for item in sign([number]) if item.number == number), None)
            if known is None:
                raise InvalidArgument(f"chunk {number} was not signed though it was asked for")
            self._known[number] = known
        return known

    def forget(self, number: int) -> None:
        """The chunk is held: its request will not be needed again."""
        with self._lock:
            self._known.pop(number, None)


def _ends(request: Request) -> bool:
    return request.expires_at < datetime.now(UTC) + _SOON


def _request(item: PlanChunk | SignedChunk) -> Request:
    url = item.url if isinstance(item, PlanChunk) else item.url.reveal()
    return Request(item.method, url, item.headers, item.expires_at)
