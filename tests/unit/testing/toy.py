"""The backend and signer of the toy storage, in three manners: as S3 (forms, parts), as GCS (bearer sessions), as Azure."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import IO, Final, Literal

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
    Verdict,
)
from blobkit.blobs import AbortResult, BlobInfo, Checksum, DeleteResult, PendingUpload, Pin, Prefix
from blobkit.calling import Calls
from blobkit.chunking import Chunk, ChunkLimits
from blobkit.config import Location, parse
from blobkit.errors import (
    ChecksumMismatch,
    PreconditionFailed,
    SessionNotFound,
    SourceChanged,
    UnenforceableConstraint,
)
from blobkit.plugins.manager import Observers
from blobkit.sealing import Keyring
from blobkit.signed import ChunkTemplate, Receipt, RequestTemplate, SignedChunk, SignedRequest
from blobkit.spec import Constraint, Enforcement, Route, UploadSpec
from blobkit.store import Store
from blobkit.testing import Harness, everything_but

from .toy_server import RANGE, SUM, Session, Toy, ToyHttp, canonical, headers_of, path_of

Manner = Literal["parts", "bearer", "blocks"]
WEEK: Final = timedelta(days=7)


def capabilities(manner: Manner) -> Capabilities:
    enforces: dict[tuple[Route, Constraint], Verdict] = {}
    for constraint in Constraint:
        enforces[Route.PUT, constraint] = Enforcement.SIGNATURE
        enforces[Route.POST, constraint] = Enforcement.SIGNATURE
        enforces[Route.CHUNKED, constraint] = Enforcement.PROVIDER
    features: dict[Feature, bool | None] = dict.fromkeys(Feature, True)
    features |= {Feature.VERSIONS: False, Feature.PUBLIC_URL: False, Feature.DATA_PLANE: False}
    chunks, life = ChunkLimits(min_chunk=100, max_chunk=10**6, max_count=1000, max_object=10**8), None
    if manner == "parts":
        enforces[Route.PUT, Constraint.SIZE_RANGE] = False
        enforces[Route.POST, Constraint.IF_ABSENT] = False
        enforces[Route.POST, Constraint.SIZE] = False
        enforces[Route.CHUNKED, Constraint.CHECKSUM] = False
        enforces[Route.CHUNKED, Constraint.SIZE_RANGE] = None
    elif manner == "bearer":
        features |= {Feature.SIGN_FORM: False, Feature.CHUNK_CHECKSUMS: False, Feature.SIGN_DELETE: None}
        chunks = replace(chunks, min_chunk=256, align=256, sequential=True)
        enforces[Route.CHUNKED, Constraint.CHECKSUM] = False
        life = WEEK
    else:
        features |= {Feature.SIGN_FORM: False, Feature.START_AFTER: False, Feature.CHUNK_CHECKSUMS: False}
        enforces |= {(Route.PUT, constraint): False for constraint in Constraint}
        chunks = replace(chunks, empty_chunk=False)
    return Capabilities(
        enforces=enforces,
        features=features,
        limits=Limits(
            max_expiry=WEEK, max_put=10**6, max_copy=10**8, chunks=chunks, session_life=WEEK, chunk_url_life=life
        ),
        commit="last_chunk" if manner == "bearer" else "service",
        chunk_grant="chunk" if manner == "parts" else "object",
        multi_process=False,
    )


class ToySigner:
    valid_until = None

    def __init__(self, toy: Toy, manner: Manner, endpoint: str, secret: bytes | None) -> None:
        self._toy, self._manner, self._endpoint, self._secret = toy, manner, endpoint, secret

    def _url(self, method: str, key: str, query: Mapping[str, str], headers: Mapping[str, str], end: int) -> str:
        from urllib.parse import urlencode

        said = base64.urlsafe_b64encode(json.dumps(dict(headers), sort_keys=True).encode()).decode()
        whole = {
            **query,
            "x-toy-expires": str(end),
            "x-toy-headers": ";".join(sorted(headers)),
            "x-toy-method": method,
            "x-toy-said": said,
        }
        signature = self._toy.sign(canonical(method, self._toy.signed_path(path_of(key)), whole, headers), self._secret)
        return f"{self._endpoint}{path_of(key)}?{urlencode({**whole, 'sig': signature})}"

    def upload(
        self, key: str, order: UploadOrder, start: int, end: int, spec: UploadSpec | None = None
    ) -> SignedRequest:
        order = order.of(spec)
        spec = order.spec
        if spec.checksum is not None and spec.checksum.algorithm == "crc32c" and order.binds(Constraint.CHECKSUM):
            raise UnenforceableConstraint("checksum", provider="toy", alternatives=["sha256 or md5"])
        headers = headers_of(spec)
        if order.binds(Constraint.CHECKSUM) and spec.checksum is not None:
            headers[SUM + spec.checksum.algorithm] = spec.checksum.base64
        limits = f"{spec.min_size or 0},{'' if spec.max_size is None else spec.max_size}"
        if order.route is Route.POST:
            return self._form(key, order, headers, limits, end)
        if order.binds(Constraint.SIZE_RANGE):
            headers[RANGE] = limits
        if order.binds(Constraint.IF_ABSENT):
            headers["if-none-match"] = "*"
        signed = dict(headers)
        if order.binds(Constraint.SIZE):
            signed["content-length"] = str(spec.size)
        loose = {}
        if self._manner == "blocks":  # headers are told, and not bound
            signed, loose = {}, {"loose": "1"}
        template = RequestTemplate("PUT", headers, (200,), spec, order.enforcement)
        return SignedRequest(template, self._url("PUT", key, loose, signed, end), end)

    def _form(self, key: str, order: UploadOrder, headers: Mapping[str, str], limits: str, end: int) -> SignedRequest:
        fields = {"key": key, **headers}
        ranged = Constraint.SIZE_RANGE in order.spec.constraints
        policy = base64.b64encode(
            json.dumps({"expires": end, "fields": fields, "range": limits if ranged else None}).encode()
        ).decode()
        signature = self._toy.sign(policy.encode(), self._secret)
        template = RequestTemplate("POST", {}, (204,), order.spec, order.enforcement)
        return SignedRequest(template, self._endpoint + "/", end, {**fields, "policy": policy, "sig": signature})

    def uploads(self, items: Sequence[tuple[str, UploadOrder]], start: int, end: int) -> Sequence[SignedRequest]:
        return tuple(self.upload(key, order, start, end) for key, order in items)

    def download(self, key: str, order: DownloadOrder, start: int, end: int) -> SignedRequest:
        query = {
            "response-type": order.content_type,
            "response-disposition": order.content_disposition,
            "response-cache": order.cache_control,
        }
        method = "GET" if self._manner == "blocks" else order.method
        given = {name: value for name, value in query.items() if value is not None}
        return SignedRequest(RequestTemplate(order.method), self._url(method, key, given, {}, end), end)

    def delete(self, key: str, start: int, end: int) -> SignedRequest:
        return SignedRequest(RequestTemplate("DELETE", {}, (204,)), self._url("DELETE", key, {}, {}, end), end)

    def chunks(
        self, state: SessionState, chunks: Sequence[Chunk], checksums: Mapping[int, Checksum], start: int, end: int
    ) -> Sequence[SignedChunk]:
        if self._manner == "bearer":
            template = ChunkTemplate("PUT", {}, (200,), 308, Receipt("range", "Range"), content_range=True)
            url = f"{self._endpoint}/?session={state.upload_id}"
            return [SignedChunk(template, url, end, chunk) for chunk in chunks]
        template = ChunkTemplate(receipt=Receipt("none", None) if self._manner == "blocks" else Receipt())
        signed = []
        for chunk in chunks:
            digest = checksums.get(chunk.number)
            bound = "" if digest is None else f"{digest.algorithm}:{digest.base64}"
            number = str(chunk.number) if self._toy.checks("chunk_number") else "1"
            query = {"part": number, "upload": state.upload_id, "sum": bound}
            url = self._url("PUT", state.key, query, {}, end)
            if not self._toy.checks("chunk_number"):
                url = url.replace("part=1&", f"part={chunk.number}&")
            signed.append(SignedChunk(template, url, end, chunk))
        return signed


class ToyBackend(Backend):
    def __init__(self, toy: Toy, manner: Manner, endpoint: str, secret: bytes | None = None) -> None:
        self.toy, self.manner, self.capabilities = toy, manner, capabilities(manner)
        self._signer = ToySigner(toy, manner, endpoint, secret)

    def signer(self, until: datetime) -> Signer:
        return self._signer

    def ready_signer(self, until: datetime) -> Signer | None:
        return self._signer

    def refuse_key(self, key: str) -> str | None:
        return "no backslash here" if self.manner == "blocks" and "\\" in key else None

    def classify(self, error: Exception) -> Classified | None:
        return None

    def head(self, key: str, *, version: str | None = None) -> BlobInfo:
        return self.toy.info(key, self.toy.get(key))

    def get(
        self, key: str, *, start: int = 0, end: int | None = None, pin: Pin | None = None, version: str | None = None
    ) -> tuple[BlobInfo, IO[bytes]]:
        blob = self.toy.get(key)
        if pin is not None and pin.etag != blob.etag:
            raise PreconditionFailed("replaced")
        return self.toy.info(key, blob), io.BytesIO(blob.data[start:end])

    def put(
        self, key: str, body: IO[bytes], size: int, *, spec: UploadSpec, upload_id: str, if_match: Pin | None = None
    ) -> BlobInfo:
        if not self.toy.checks("torn_write"):
            self.toy.put(key, b"", {})
        data = body.read(size)
        while len(data) < size and (more := body.read(size - len(data))):
            data += more
        if len(data) != size:
            raise SourceChanged("the source is shorter than it said")
        if spec.checksum is not None and not spec.checksum.same_as(Checksum.of(spec.checksum.algorithm, data)):
            raise ChecksumMismatch("other bytes")
        absent = spec.if_absent and self.toy.checks("commit_if_absent")
        blob = self.toy.put(key, data, headers_of(spec), upload_id=upload_id, absent=absent, match=if_match)
        return self.toy.info(key, blob)

    def copy(
        self, source: str, target: str, *, pin: Pin | None, if_absent: bool, to: Backend | None = None
    ) -> BlobInfo:
        with self.toy.lock:
            blob = self.toy.get(source)
            if pin is not None and pin.etag != blob.etag and self.toy.checks("copy_pin"):
                raise PreconditionFailed("replaced")
            absent = if_absent and self.toy.checks("copy_if_absent")
            done = self.toy.put(target, blob.data, blob.headers, upload_id=blob.upload_id, absent=absent)
            return self.toy.info(target, done)

    def delete(
        self, key: str, *, pin: Pin | None = None, version: str | None = None, purge_versions: bool = False
    ) -> DeleteResult:
        with self.toy.lock:
            blob = self.toy.blobs.get(self.toy.name(key))
            if blob is not None and pin is not None and pin.etag != blob.etag and self.toy.checks("delete_pin"):
                raise PreconditionFailed("replaced")
            self.toy.blobs.pop(self.toy.name(key), None)
            return DeleteResult(key)

    def delete_many(self, keys: Sequence[str]) -> list[DeleteResult]:
        return [self.delete(key) for key in keys]

    def list(
        self, prefix: str, *, start_after: str | None = None, delimiter: str | None = None
    ) -> Iterator[BlobInfo | Prefix]:
        seen: set[str] = set()
        with self.toy.lock:
            items = sorted(self.toy.blobs.items(), key=lambda item: item[0].encode())
        for count, (key, blob) in enumerate(i for i in items if i[0].startswith(prefix)):
            if count >= 1000 and not self.toy.checks("list_1000"):
                return
            if start_after is not None and key.encode() <= start_after.encode():
                continue
            place = key.find(delimiter, len(prefix)) if delimiter else -1
            if delimiter and place >= 0:
                group = key[: place + len(delimiter)]
                if group not in seen:
                    seen.add(group)
                    yield Prefix(group)
            else:
                yield self.toy.info(key, blob)

    def open_session(self, order: SessionOrder, now: datetime) -> SessionState:
        session = Session(order.key, order.upload_id, now, order.plan.size, spec=order.spec)
        self.toy.sessions[order.upload_id] = session
        expires = now + WEEK
        return SessionState(order.key, order.spec, order.plan, order.upload_id, order.upload_id, now, expires)

    def received(self, state: SessionState) -> Received:
        with self.toy.lock:
            session = self.toy.sessions.get(state.upload_id)
            if session is None:
                blob = self.toy.blobs.get(self.toy.name(state.key))
                if blob is not None and blob.upload_id == state.upload_id:
                    return Received("committed", info=self.toy.info(state.key, blob))
                return Received("gone")
            if self.manner == "bearer":
                held, offset = [], session.offset
                for chunk in state.plan:
                    size = chunk.size if state.plan.size is not None else min(chunk.size, offset - chunk.offset)
                    if size <= 0 or chunk.offset + size > offset:
                        break
                    held.append(HeldChunk(chunk.number, size))
                return Received("open", held, offset=offset)
            held = [HeldChunk(n, len(part), None) for n, part in sorted(session.parts.items())]
            if self.manner == "parts":
                import hashlib

                held = [replace(c, receipt=hashlib.md5(session.parts[c.number]).hexdigest()) for c in held]
            if not self.toy.checks("chunk_size") and state.plan.size is not None:
                held = [replace(c, size=state.plan.chunk(c.number).size) for c in held if c.number <= len(state.plan)]
            return Received("open", held)

    def commit(self, state: SessionState, chunks: Sequence[HeldChunk], total: int) -> BlobInfo:
        with self.toy.lock:
            session = self.toy.sessions.get(state.upload_id)
            if session is None:
                raise SessionNotFound("no such session")
            if self.manner == "bearer":
                self.toy.piece(session, f"bytes */{total}", b"")
                return self.head(state.key)
            numbers = sorted(session.parts) if self.toy.checks("commit_order") else list(session.parts)
            data = b"".join(session.parts[n] for n in numbers)
            wanted = state.spec.checksum
            checked = self.manner == "blocks" and self.toy.checks("commit_checksum")
            if checked and wanted is not None and not wanted.same_as(Checksum.of(wanted.algorithm, data)):
                raise ChecksumMismatch("other bytes")
            absent = state.spec.if_absent and self.toy.checks("commit_if_absent")
            blob = self.toy.put(state.key, data, headers_of(state.spec), upload_id=state.upload_id, absent=absent)
            del self.toy.sessions[state.upload_id]
            return self.toy.info(state.key, blob)

    def discard(self, state: SessionState) -> AbortResult:
        with self.toy.lock:
            if self.toy.checks("session_left"):
                self.toy.sessions.pop(state.upload_id, None)
            if not self.toy.checks("abort_deletes"):
                self.toy.blobs.pop(self.toy.name(state.key), None)
        return AbortResult(discarded=True)

    def pending(self, prefix: str) -> Iterator[PendingUpload]:
        for session in list(self.toy.sessions.values()):
            if session.key.startswith(prefix) or not self.toy.checks("list_prefix"):
                yield PendingUpload(session.key, session.upload_id, session.started)

    def close(self) -> None:
        """Nothing to close."""


class ToyHarness(Harness):
    """A harness for one toy storage, whose checks in ``without`` are taken away though it declares them all."""

    def __init__(self, manner: Manner, without: frozenset[str] = frozenset()) -> None:
        self.toy = Toy(wide=manner == "blocks", last_chunk=manner == "bearer", without=without)
        self.manner: Manner = manner
        self.http = ToyHttp(self.toy)
        enforces = (
            everything_but("head", "signed_headers", "unsigned_headers") if manner == "blocks" else everything_but()
        )
        super().__init__(opener=self.open_toy, enforces=enforces, others={"foreign_keys": "toy"}, name=f"toy-{manner}")

    def open_toy(
        self,
        prefix: str,
        *,
        clock: Callable[[], datetime] | None = None,
        endpoint: str | None = None,
        sealing: Keyring | None = None,
        secret: bytes | None = None,
    ) -> Store:
        location = Location("bucket")
        config = parse(
            {"bucket": "toys", "prefix": prefix}, scheme="toy", provider="toy", location=location, options=(), env={}
        )
        backend = ToyBackend(self.toy, self.manner, self.http.endpoint, secret)
        keys = sealing or self.sealing
        return Store(
            Calls(
                backend,
                config,
                backend.capabilities,
                sealing=keys,
                clock=clock,
                observers=Observers(()),
                env=os.environ,
            )
        )

    def open(self, prefix: str, *, clock: Callable[[], datetime] | None = None, other: str | None = None) -> Store:
        if other == "foreign_keys":
            return self.open_toy(prefix, clock=clock, secret=b"another secret")
        return super().open(prefix, clock=clock)

    def stop(self) -> None:
        super().stop()
        self.http.close()
