"""What a plugin implements: :class:`Backend`, :class:`Signer`, :class:`Capabilities`, and the values that pass between.

Store and session do everything that is the same on every provider, once; a Backend is thin, and *may rely* on this:

* every key is full (with the store's prefix), not empty, without dot segments or control characters, at most 1,024 bytes of
  UTF-8, and passes :meth:`Backend.refuse_key`;
* every time is an aware UTC datetime or, where a name ends in ``start``/``end``/``now``, whole seconds since the epoch;
* an expiry is positive and within ``capabilities.limits``; ``end`` is never past the signer's ``valid_until`` unless the
  caller agreed to be cut short, and then it is cut already;
* constraints, capabilities and limits were decided: what arrives in an order is to be bound, and all of it;
* every exception it lets out is passed through :meth:`Backend.classify` and wrapped once, with provider, operation and key.

A Backend is synchronous and thread-safe. It never retries what is not idempotent and never sleeps without a bound.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any, Final, Literal, Protocol, Self

from blobkit.blobs import AbortResult, BlobInfo, Checksum, DeleteResult, PendingUpload, Pin, Prefix
from blobkit.chunking import Chunk, ChunkLimits, ChunkPlan
from blobkit.errors import BlobkitError, InvalidToken
from blobkit.spec import Constraint, Enforcement, Route, UploadSpec

if TYPE_CHECKING:
    from blobkit.cdn.base import Cdn
    from blobkit.events.model import BlobEvent
    from blobkit.signed import SignedChunk, SignedRequest

__all__ = [
    "ASGIApp",
    "Backend",
    "Capabilities",
    "Classified",
    "DownloadOrder",
    "Feature",
    "HeldChunk",
    "Limits",
    "Received",
    "SessionOrder",
    "SessionState",
    "Signer",
    "UploadOrder",
    "Verdict",
]

# The ASGI interface as its specification types it (asgi.readthedocs.io): scope and messages are open dictionaries.
ASGIApp = Callable[
    [
        MutableMapping[str, Any],
        Callable[[], Awaitable[MutableMapping[str, Any]]],
        Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ],
    Awaitable[None],
]

Verdict = Enforcement | Literal[False] | None
"""Who enforces a constraint: somebody, nobody (False), or not known (None)."""


class Feature(StrEnum):
    """What a store may or may not be able to do. The names are those that ``require=`` takes."""

    SIGN_UPLOAD = "sign_upload"
    SIGN_FORM = "sign_form"
    SIGN_DOWNLOAD = "sign_download"
    SIGN_HEAD = "sign_head"
    SIGN_DELETE = "sign_delete"
    RESPONSE_OVERRIDES = "response_overrides"
    CHUNKED = "chunked"
    CHUNK_CHECKSUMS = "chunk_checksums"
    LIST_UPLOADS = "list_uploads"
    IF_ABSENT = "if_absent"
    IF_MATCH = "if_match"
    COPY = "copy"
    COPY_IF_ABSENT = "copy_if_absent"
    DELETE_PINNED = "delete_pinned"
    VERSIONS = "versions"
    ORDERED_LIST = "ordered_list"
    START_AFTER = "start_after"
    LIST_DIR = "list_dir"
    PUBLIC_URL = "public_url"
    DATA_PLANE = "data_plane"


@dataclass(frozen=True, slots=True)
class Limits:
    """Numbers that differ between providers.

    Attributes:
        max_expiry: The longest life of a signature; None = no limit.
        max_put: The largest object of a single PUT or ``write``, bytes.
        max_copy: The largest object that ``copy`` can copy, bytes.
        chunks: What a chunk may be.
        max_key_bytes: UTF-8 bytes of a full key.
        session_life: How long a chunked session can be continued; None = no end is known.
        chunk_url_life: When chunk URLs are bearer URLs that live this long whatever expiry is asked (GCS sessions: a week).
    """

    max_expiry: timedelta | None = timedelta(days=7)
    max_put: int = 5 * 1024**3
    max_copy: int = 5 * 1024**4
    chunks: ChunkLimits = field(default_factory=ChunkLimits)
    max_key_bytes: int = 1024
    session_life: timedelta | None = None
    chunk_url_life: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one store instance can do, as data. Declared means that the conformance kit passes; undeclared, that it raises.

    Attributes:
        enforces: For each (route, constraint): who enforces it, False for nobody, None or absence for "not known".
        features: For each feature: True, False, or None for "not known". An unknown one raises unless the user asserts it.
        limits: The numbers.
        commit: Who makes the object appear: ``service`` (a call by ``complete()``) or ``last_chunk`` (the client's last one).
        chunk_grant: How much a leaked chunk URL can do: write that ``chunk``, or anything to that ``object``.
        signing_io: Whether a signature itself may need the network (GCS signBlob).
        multi_process: Whether other processes see the same objects.
    """

    enforces: Mapping[tuple[Route, Constraint], Verdict]
    features: Mapping[Feature, bool | None]
    limits: Limits = field(default_factory=Limits)
    commit: Literal["service", "last_chunk"] = "service"
    chunk_grant: Literal["chunk", "object"] = "chunk"
    signing_io: bool = False
    multi_process: bool = True

    def enforcer(self, route: Route, constraint: Constraint) -> Verdict:
        """Who enforces ``constraint`` on ``route``."""
        return self.enforces.get((route, constraint))

    def has(self, feature: Feature | str) -> bool:
        """Whether the feature is there for sure. An unknown name raises ValueError."""
        return self.features.get(Feature(feature)) is True

    def as_dict(self) -> dict[str, object]:
        """All of it as JSON values; unknown is null."""
        chunks, limits = self.limits.chunks, self.limits
        return {
            "features": {feature.value: self.features.get(feature) for feature in Feature},
            "enforces": {
                route.value: {
                    constraint.value: None
                    if (who := self.enforcer(route, constraint)) is None
                    else str(who)
                    if who
                    else False
                    for constraint in Constraint
                }
                for route in Route
            },
            "limits": {
                "max_expiry_seconds": None if limits.max_expiry is None else int(limits.max_expiry.total_seconds()),
                "max_put": limits.max_put,
                "max_copy": limits.max_copy,
                "max_key_bytes": limits.max_key_bytes,
                "max_object": chunks.max_object,
                "min_chunk": chunks.min_chunk,
                "max_chunk": chunks.max_chunk,
                "max_chunks": chunks.max_count,
                "chunk_alignment": chunks.align,
                "equal_chunks": chunks.equal,
                "sequential_chunks": chunks.sequential,
            },
            "commit": self.commit,
            "chunk_grant": self.chunk_grant,
            "signing_io": self.signing_io,
            "multi_process": self.multi_process,
        }


@dataclass(frozen=True, slots=True, eq=False)
class UploadOrder:
    """A decided upload: what to bind, on which route. A reused spec has one order, which a signer does well to remember.

    Attributes:
        spec: The constraints.
        route: PUT or POST.
        enforcement: Who sees to each of them.
    """

    spec: UploadSpec
    route: Route
    enforcement: Mapping[Constraint, Enforcement]

    def of(self, spec: UploadSpec | None) -> UploadOrder:
        """The same decision for another spec with the same constraints; this one for None."""
        return self if spec is None else UploadOrder(spec, self.route, self.enforcement)

    def binds(self, constraint: Constraint) -> bool:
        """Whether the signature must bind this constraint."""
        return self.enforcement.get(constraint) is _SIGNATURE


_SIGNATURE: Final = (
    Enforcement.SIGNATURE
)  # to find a member in its enumeration takes as long as to look the constraint up


@dataclass(frozen=True, slots=True)
class DownloadOrder:
    """A decided download: ``GET`` or ``HEAD``, and what the answer's headers shall say instead of what is stored."""

    method: Literal["GET", "HEAD"] = "GET"
    version: str | None = None
    content_disposition: str | None = None
    content_type: str | None = None
    cache_control: str | None = None


@dataclass(frozen=True, slots=True)
class SessionOrder:
    """A decided chunked session.

    Attributes:
        key: The full key under which the chunks are assembled (a private one when staged).
        spec: The constraints. ``spec.if_absent`` is True only when this very key must be absent at commit.
        plan: How the object is cut.
        upload_id: 32 hex digits, to be stored as metadata ``blobkitupload`` of the object.
        origin: The browser's origin, where the provider wants it at the start (GCS).
    """

    key: str
    spec: UploadSpec
    plan: ChunkPlan
    upload_id: str
    origin: str | None = None


@dataclass(frozen=True, slots=True)
class SessionState:
    """Everything needed to go on with a session, on any machine. Sealed into tokens; never printed.

    Attributes:
        key: The full key under which the chunks are assembled.
        spec: As in the order.
        plan: How the object is cut.
        upload_id: Our own id, 32 hex digits.
        provider_id: The provider's id of the session: an upload id, a bearer session URL, a nonce. A secret.
        started: Aware UTC, whole seconds.
        expires: When the provider drops the session, aware UTC, or None.
    """

    key: str
    spec: UploadSpec
    plan: ChunkPlan
    upload_id: str
    provider_id: str = field(repr=False)
    started: datetime
    expires: datetime | None = None

    def to_dict(self) -> dict[str, object]:
        """As JSON values with short names. :meth:`from_dict` is its inverse."""
        plan = self.plan
        return {
            "k": self.key,
            "s": self.spec.to_dict(),
            "p": [
                plan.size,
                plan.chunk_size,
                plan.chunk_count,
                plan.doubles_every,
                plan.max_chunk,
                int(plan.empty_chunk),
            ],
            "u": self.upload_id,
            "i": self.provider_id,
            "t": int(self.started.timestamp()),
            "e": None if self.expires is None else int(self.expires.timestamp()),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From what :meth:`to_dict` gave. Raises InvalidToken for anything else."""
        try:
            size, chunk_size, count, doubles_every, max_chunk, empty = data["p"]
            return cls(
                key=data["k"],
                spec=UploadSpec.from_dict(data["s"]),
                plan=ChunkPlan(size, chunk_size, count, doubles_every, max_chunk, bool(empty)),
                upload_id=data["u"],
                provider_id=data["i"],
                started=datetime.fromtimestamp(data["t"], UTC),
                expires=None if data["e"] is None else datetime.fromtimestamp(data["e"], UTC),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidToken("tampered", "the token's content is not a session") from error


@dataclass(frozen=True, slots=True)
class HeldChunk:
    """A chunk that the provider holds: number, size in bytes, and its receipt (S3: the part's ETag) where there is one."""

    number: int
    size: int
    receipt: str | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """What the provider says of a session.

    Attributes:
        state: ``open``, ``committed`` (the object is there; ``info`` describes it), or ``gone``.
        chunks: The chunks it holds, by number; for a sequential session, the whole chunks below ``offset``.
        offset: Sequential sessions: how many bytes from the start are held.
        info: The object, when committed and the provider said so.
    """

    state: Literal["open", "committed", "gone"]
    chunks: Sequence[HeldChunk] = ()
    offset: int | None = None
    info: BlobInfo | None = None


@dataclass(frozen=True, slots=True)
class Classified:
    """What an SDK's exception means here: which error of :mod:`blobkit.errors`, and what the provider said."""

    error: type[BlobkitError]
    message: str
    code: str | None = None
    http_status: int | None = None
    request_id: str | None = None
    retryable: bool | None = None
    hint: str | None = None

    def as_error(self) -> BlobkitError:
        """The error itself; of a class whose constructor asks for more, what it asks for stays at its default."""
        made = self.error.__new__(self.error)
        BlobkitError.__init__(
            made,
            self.message,
            code=self.code,
            http_status=self.http_status,
            request_id=self.request_id,
            retryable=self.retryable,
            hint=self.hint,
        )
        return made


def _no_checksums() -> Mapping[int, Checksum]:
    return MappingProxyType({})


class Signer(Protocol):
    """Signs with one set of credentials. Pure: the same arguments give the same bytes, unless ``signing_io``.

    ``start`` and ``end`` are whole seconds since the epoch. Returned values are fully made: nothing is signed later with
    another clock (a lazy sequence computes the same bytes whenever it is read).
    """

    @property
    def valid_until(self) -> int | None:
        """When the credentials end, seconds since the epoch; None when they do not."""
        ...

    def upload(
        self, key: str, order: UploadOrder, start: int, end: int, spec: UploadSpec | None = None
    ) -> SignedRequest:
        """A PUT or a form POST that binds everything that ``order`` says is bound by the signature.

        ``spec`` stands in for the order's: it has the same constraints, and will not come again.
        """
        ...

    def uploads(self, items: Sequence[tuple[str, UploadOrder]], start: int, end: int) -> Sequence[SignedRequest]:
        """The same for many keys. The result is immutable and may make its items when they are read."""
        ...

    def download(self, key: str, order: DownloadOrder, start: int, end: int) -> SignedRequest:
        """A GET or HEAD."""
        ...

    def delete(self, key: str, start: int, end: int) -> SignedRequest:
        """A DELETE. Only called when ``sign_delete`` is declared."""
        ...

    def chunks(
        self, state: SessionState, chunks: Sequence[Chunk], checksums: Mapping[int, Checksum], start: int, end: int
    ) -> Sequence[SignedChunk]:
        """Requests for these chunks of a session. ``checksums`` (by number) are bound; only with ``chunk_checksums``."""
        ...


class Backend(ABC):
    """One bucket, container or directory of one provider. See the module's text for what it may rely on."""

    capabilities: Capabilities

    # --- signing ---

    @abstractmethod
    def signer(self, until: datetime) -> Signer:
        """A signer whose credentials last until ``until`` if a refresh can make them; else the longest there is.

        May do I/O (refresh, delegation key, an account's e-mail): cached, single flight.
        """

    def ready_signer(self, until: datetime) -> Signer | None:
        """The signer that :meth:`signer` would give, if that needs no I/O now; else None. Must never block."""
        return None

    def public_url(self, key: str) -> str:
        """The object's plain URL. Only called when ``public_url`` is declared."""
        raise AssertionError("public_url is declared and not implemented")

    def refuse_key(self, key: str) -> str | None:
        """Why this provider cannot hold a key that the portable rules allow; None when it can."""
        return None

    # --- errors ---

    @abstractmethod
    def classify(self, error: Exception) -> Classified | None:
        """What an exception of the SDK means; None when it is none of the provider's (it then passes unchanged)."""

    # --- objects ---

    @abstractmethod
    def head(self, key: str, *, version: str | None = None) -> BlobInfo:
        """Describe the object. Raises (as classified) BlobNotFound."""

    @abstractmethod
    def get(
        self, key: str, *, start: int = 0, end: int | None = None, pin: Pin | None = None, version: str | None = None
    ) -> tuple[BlobInfo, IO[bytes]]:
        """Bytes ``[start, end)`` as a stream to be closed. With a pin: exactly that content, or PreconditionFailed.

        A ``start`` at or past the end gives no bytes.
        """

    @abstractmethod
    def put(
        self, key: str, body: IO[bytes], size: int, *, spec: UploadSpec, upload_id: str, if_match: Pin | None = None
    ) -> BlobInfo:
        """Store ``size`` bytes read from ``body``, with everything the spec says, ``blobkitupload`` in the metadata.

        All or nothing: a short or failed body leaves what was there.
        """

    @abstractmethod
    def copy(
        self, source: str, target: str, *, pin: Pin | None, if_absent: bool, to: Backend | None = None
    ) -> BlobInfo:
        """Copy server-side with type, metadata and cache headers kept; pinned to ``pin`` when given.

        ``to`` is another backend of the same class (another bucket); None is this one.
        """

    @abstractmethod
    def delete(
        self, key: str, *, pin: Pin | None = None, version: str | None = None, purge_versions: bool = False
    ) -> DeleteResult:
        """Delete; a missing object is success. With a pin: only that content, or PreconditionFailed."""

    @abstractmethod
    def delete_many(self, keys: Sequence[str]) -> list[DeleteResult]:
        """Delete each; one failure does not stop the others. Results in the order of ``keys``."""

    @abstractmethod
    def list(
        self, prefix: str, *, start_after: str | None = None, delimiter: str | None = None
    ) -> Iterator[BlobInfo | Prefix]:
        """Every object whose key starts with ``prefix``, page by page, current versions only.

        In the order of the keys' UTF-8 bytes where ``ordered_list`` is declared. With a delimiter: the keys without it
        after the prefix, and one Prefix for each group of those that have it.
        """

    # --- chunked sessions ---

    @abstractmethod
    def open_session(self, order: SessionOrder, now: datetime) -> SessionState:
        """Start a session. A start that fails leaves nothing behind."""

    @abstractmethod
    def received(self, state: SessionState) -> Received:
        """What the provider holds, all pages of it. Never commits anything."""

    @abstractmethod
    def commit(self, state: SessionState, chunks: Sequence[HeldChunk], total: int) -> BlobInfo:
        """Make the object of exactly these chunks, in this order, ``total`` bytes; conditional when the spec says so.

        Raises (as classified) AlreadyExists, SessionNotFound, ChunkMismatch. The caller recognises a lost reply.
        """

    @abstractmethod
    def discard(self, state: SessionState) -> AbortResult:
        """Drop the session and its chunks. Never touches a committed object. A session already gone is success."""

    @abstractmethod
    def pending(self, prefix: str) -> Iterator[PendingUpload]:
        """Sessions below ``prefix`` that are neither committed nor discarded."""

    # --- the rest ---

    @abstractmethod
    def close(self) -> None:
        """Release connections and files. Idempotent."""

    def data_plane(self, *, edge: Cdn | None = None) -> ASGIApp | None:
        """The application that answers this backend's signed URLs, where the provider is embedded; else None.

        ``edge`` is a CDN whose links and cookies the application accepts for reading too.
        """
        return None

    def subscribe(self, listener: Callable[[BlobEvent], None]) -> Callable[[], None] | None:
        """Call ``listener`` after each change that this process makes, where the provider is embedded; else return None.

        Returns:
            How to stop that. Elsewhere events come from queues and webhooks, never from the backend.
        """
        return None

    def sealing_key(self) -> bytes | None:
        """32 bytes that seal this store's tokens when the service brings no keyring; None where there is no safe place."""
        return None
