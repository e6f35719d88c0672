"""A backend in a dictionary: just enough of a provider to see what Store and UploadSession decide and survive.

It can be told to behave like any of the real ones (who commits, how wide a chunk grant is, what is enforced) and to lose the
reply of a call after it has taken effect.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import IO

from blobkit.backend import (
    Backend,
    Capabilities,
    Classified,
    DownloadOrder,
    Feature,
    HeldChunk,
    Limits,
    Received,
    SessionOrder,
    SessionState,
    Signer,
    UploadOrder,
)
from blobkit.blobs import AbortResult, BlobInfo, Checksum, DeleteResult, PendingUpload, Pin, Prefix
from blobkit.chunking import Chunk, ChunkLimits
from blobkit.config import Kind, Location, OpenContext, Option, StoreConfig
from blobkit.errors import (
    AlreadyExists,
    BlobNotFound,
    ChecksumMismatch,
    ConnectionFailed,
    PreconditionFailed,
    SessionNotFound,
)
from blobkit.plugins.spec import StorePlugin
from blobkit.signed import ChunkTemplate, RequestTemplate, SignedChunk, SignedRequest
from blobkit.spec import Constraint, Enforcement, Route, UploadSpec

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

EVERYTHING = Capabilities(
    enforces={
        **{(Route.PUT, c): Enforcement.SIGNATURE for c in Constraint},
        **{(Route.POST, c): False for c in Constraint},
        **{(Route.CHUNKED, c): Enforcement.PROVIDER for c in Constraint},
    },
    features={feature: feature is not Feature.SIGN_FORM for feature in Feature},
    limits=Limits(chunks=ChunkLimits(min_chunk=4, max_chunk=64, max_count=100, max_object=6400), max_put=1024),
)


class ProviderFault(Exception):
    """What this provider's "SDK" raises."""


class FakeSigner:
    def __init__(self, valid_until: int | None = None) -> None:
        self.valid_until = valid_until
        self.signed: list[str] = []
        self.orders: list[UploadOrder] = []

    def upload(
        self, key: str, order: UploadOrder, start: int, end: int, spec: UploadSpec | None = None
    ) -> SignedRequest:
        method = "POST" if order.route is Route.POST else "PUT"
        self.signed.append(key)
        self.orders.append(order.of(spec))
        template = RequestTemplate(method, {}, (200,), order.of(spec).spec, order.enforcement)
        return SignedRequest(template, f"https://fake/{key}?sig=secret&start={start}", end)

    def uploads(self, items: Sequence[tuple[str, UploadOrder]], start: int, end: int) -> Sequence[SignedRequest]:
        return tuple(self.upload(key, order, start, end) for key, order in items)

    def download(self, key: str, order: DownloadOrder, start: int, end: int) -> SignedRequest:
        shown = order.content_disposition or ""
        return SignedRequest(RequestTemplate(order.method), f"https://fake/{key}?sig=secret&s={start}&d={shown}", end)

    def delete(self, key: str, start: int, end: int) -> SignedRequest:
        return SignedRequest(RequestTemplate("DELETE"), f"https://fake/{key}?sig=secret", end)

    def chunks(
        self, state: SessionState, chunks: Sequence[Chunk], checksums: Mapping[int, Checksum], start: int, end: int
    ) -> Sequence[SignedChunk]:
        template = ChunkTemplate()
        return [SignedChunk(template, f"https://fake/{state.key}?n={c.number}&sig=secret", end, c) for c in chunks]


class FakeBackend(Backend):
    """Objects by key, sessions by id. ``lose`` names calls whose next reply is lost after they took effect."""

    def __init__(self, capabilities: Capabilities = EVERYTHING, *, valid_until: int | None = None) -> None:
        self.capabilities = capabilities
        self.objects: dict[str, tuple[BlobInfo, bytes]] = {}
        self.open_sessions: dict[str, dict[int, bytes]] = {}
        self.session_keys: dict[str, tuple[str, datetime]] = {}
        self.lose: list[str] = []
        self.fail: list[str] = []
        self.calls: list[str] = []
        self.closed = 0
        self.fake_signer = FakeSigner(valid_until)
        self._etags = itertools.count(1)

    # --- what tests do to it ---

    def put_chunk(self, upload_id: str, number: int, data: bytes) -> None:
        self.open_sessions[upload_id][number] = data

    def _before(self, call: str) -> None:
        self.calls.append(call)
        if call in self.fail:
            self.fail.remove(call)
            raise ProviderFault("before")

    def _after(self, call: str) -> None:
        if call in self.lose:
            self.lose.remove(call)
            raise ProviderFault("reply lost")

    def _store(self, key: str, data: bytes, spec: UploadSpec, upload_id: str | None) -> BlobInfo:
        info = BlobInfo(
            key=key,
            size=len(data),
            etag=f"e{next(self._etags)}",
            modified=NOON,
            content_type=spec.content_type,
            metadata=spec.metadata,
            upload_id=upload_id,
        )
        self.objects[key] = (info, data)
        return info

    # --- Backend ---

    def signer(self, until: datetime) -> Signer:
        self.calls.append("signer")
        return self.fake_signer

    def ready_signer(self, until: datetime) -> Signer | None:
        return self.fake_signer if "signer" in self.calls else None

    def public_url(self, key: str) -> str:
        return f"https://fake/{key}"

    def classify(self, error: Exception) -> Classified | None:
        if isinstance(error, ProviderFault):
            return Classified(ConnectionFailed, str(error), code="Fault", http_status=500, request_id="r-1")
        return None

    def head(self, key: str, *, version: str | None = None) -> BlobInfo:
        self._before("head")
        if key not in self.objects:
            raise BlobNotFound("no such object")
        return self.objects[key][0]

    def get(
        self, key: str, *, start: int = 0, end: int | None = None, pin: Pin | None = None, version: str | None = None
    ) -> tuple[BlobInfo, IO[bytes]]:
        info = self.head(key)
        if pin is not None and pin.etag != info.etag:
            raise PreconditionFailed("replaced")
        return info, io.BytesIO(self.objects[key][1][start:end])

    def put(
        self, key: str, body: IO[bytes], size: int, *, spec: UploadSpec, upload_id: str, if_match: Pin | None = None
    ) -> BlobInfo:
        self._before("put")
        if spec.if_absent and key in self.objects:
            raise AlreadyExists("taken")
        info = self._store(key, body.read(size), spec, upload_id)
        self._after("put")
        return info

    def copy(
        self, source: str, target: str, *, pin: Pin | None, if_absent: bool, to: Backend | None = None
    ) -> BlobInfo:
        self._before("copy")
        info, data = self.objects.get(source, (None, b""))
        if info is None:
            raise BlobNotFound("no such object")
        if pin is not None and pin.etag != info.etag:
            raise PreconditionFailed("replaced")
        other = to if isinstance(to, FakeBackend) else self
        if if_absent and target in other.objects:
            raise AlreadyExists("taken")
        done = replace(info, key=target, etag=f"e{next(self._etags)}")
        other.objects[target] = (done, data)
        self._after("copy")
        return done

    def delete(
        self, key: str, *, pin: Pin | None = None, version: str | None = None, purge_versions: bool = False
    ) -> DeleteResult:
        self._before("delete")
        if pin is not None and key in self.objects and self.objects[key][0].etag != pin.etag:
            raise PreconditionFailed("replaced")
        self.objects.pop(key, None)
        return DeleteResult(key)

    def delete_many(self, keys: Sequence[str]) -> list[DeleteResult]:
        return [self.delete(key) for key in keys]

    def list(
        self, prefix: str, *, start_after: str | None = None, delimiter: str | None = None
    ) -> Iterator[BlobInfo | Prefix]:
        for key in sorted(self.objects):
            if key.startswith(prefix) and key > (start_after or ""):
                yield self.objects[key][0]

    def open_session(self, order: SessionOrder, now: datetime) -> SessionState:
        self._before("open_session")
        self.open_sessions[order.upload_id] = {}
        self.session_keys[order.upload_id] = (order.key, now)
        return SessionState(
            order.key, order.spec, order.plan, order.upload_id, order.upload_id, now, now + timedelta(days=7)
        )

    def received(self, state: SessionState) -> Received:
        self._before("received")
        if state.upload_id not in self.open_sessions:
            return Received("gone")
        held = self.open_sessions[state.upload_id]
        full = state.plan.size is not None and len(held) == len(state.plan)
        if self.capabilities.commit == "last_chunk" and full:
            return Received("committed", info=self.commit(state, (), state.plan.size or 0))
        return Received("open", [HeldChunk(n, len(data), f"r{n}") for n, data in sorted(held.items())])

    def commit(self, state: SessionState, chunks: Sequence[HeldChunk], total: int) -> BlobInfo:
        self._before("commit")
        if state.upload_id not in self.open_sessions:
            raise SessionNotFound("no such session")
        if state.spec.if_absent and state.key in self.objects:
            raise AlreadyExists("taken")
        held = self.open_sessions[state.upload_id]
        data = b"".join(held[n] for n in sorted(held))
        wanted = state.spec.checksum if self.capabilities.enforcer(Route.CHUNKED, Constraint.CHECKSUM) else None
        if wanted is not None and wanted != Checksum.of(wanted.algorithm, data):
            raise ChecksumMismatch("not the bytes that were promised")
        self.open_sessions.pop(state.upload_id)
        info = self._store(state.key, data, state.spec, state.upload_id)
        self._after("commit")
        return info

    def discard(self, state: SessionState) -> AbortResult:
        self._before("discard")
        self.open_sessions.pop(state.upload_id, None)
        return AbortResult(discarded=True)

    def pending(self, prefix: str) -> Iterator[PendingUpload]:
        for upload_id in self.open_sessions:
            key, started = self.session_keys[upload_id]
            if key.startswith(prefix):
                yield PendingUpload(key, upload_id, started)

    def close(self) -> None:
        self.closed += 1

    def sealing_key(self) -> bytes | None:
        return b"k" * 32


class FakePlugin(StorePlugin):
    scheme = "fake"
    provider = "fake"
    extra = "fake"
    location = Location("bucket")
    options = (Option("region", Kind.TEXT, "Where."), Option("key", Kind.SECRET, "A secret."))

    def __init__(self, backend: FakeBackend) -> None:
        self.backend = backend

    def open(self, config: StoreConfig, context: OpenContext) -> Backend:
        return self.backend
