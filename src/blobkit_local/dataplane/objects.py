"""The object routes: what a verified URL allows, done. Everything else is refused before a byte of the body is read."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, unquote_to_bytes

from blobkit.blobs import BlobInfo, Checksum
from blobkit.errors import BlobkitError, InvalidArgument, InvalidKey
from blobkit.keys import MAX_KEY_BYTES, quote_key
from blobkit_local.dataplane.errors import Problem, problem_of
from blobkit_local.dataplane.http import Disconnected, Exchange, Receive, Scope, Send
from blobkit_local.dataplane.ranges import decide, http_date
from blobkit_local.engine import Attributes, Wanted
from blobkit_local.signing import CHECKSUM, META, STORAGE_CLASS, Grant, Purpose, Refused, metadata_digest, verify

if TYPE_CHECKING:
    from blobkit_local.backend import LocalBackend

__all__ = ["VERDICT", "Objects"]

VERDICT: Final = "blobkit.verdict"
"""Where the edge leaves its verdict in the scope of a request."""

_MAX_QUERY: Final = 16 * 1024
_METHODS: Final = ("GET", "HEAD", "PUT", "DELETE")
_SAFE: Final = (("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer"))
_log = logging.getLogger("blobkit.local.dataplane")


class Objects:
    """The ASGI application below ``/o/``."""

    def __init__(self, backend: LocalBackend) -> None:
        self._backend = backend

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        exchange = Exchange(scope, receive, send)
        try:
            await self._dispatch(exchange, scope)
        except Disconnected:
            return  # nobody is there to be answered; what was begun is discarded already
        except Exception as error:
            problem = problem_of(error, self._classified(error))
            if problem.status >= 500:
                _log.error("%s failed: %s", exchange.method, type(error).__name__, exc_info=error)
            if exchange.started:
                raise  # too late for another status: the broken connection says that the answer is not whole
            allow = (("allow", ", ".join(_METHODS)),) if problem.status == 405 else ()
            await exchange.refuse(problem, (*_SAFE, *allow))

    def _classified(self, error: Exception) -> BlobkitError | None:
        known = self._backend.classify(error)
        return None if known is None else known.error(known.message)

    async def _dispatch(self, exchange: Exchange, scope: Scope) -> None:
        if exchange.method not in _METHODS:
            raise Problem(405, "method", "GET, HEAD, PUT and DELETE are what there is")
        key = _key(scope)
        grant = self._grant(exchange, scope, key)
        if exchange.method == "PUT":
            await (self._put_chunk if grant.chunk is not None else self._put_object)(exchange, grant)
        elif exchange.method == "DELETE":
            await exchange.run(self._backend.engine.delete, key)
            await exchange.answer(204, _SAFE)
        else:
            await self._read(exchange, grant)

    def _grant(self, exchange: Exchange, scope: Scope, key: str) -> Grant:
        query: bytes = scope.get("query_string", b"")
        if len(query) > _MAX_QUERY:
            raise Problem(414, "malformed", "the query is too long")
        try:
            parameters = parse_qsl(query.decode("ascii"), keep_blank_values=True, encoding="utf-8", errors="strict")
        except (UnicodeDecodeError, ValueError) as error:
            raise Problem(400, "malformed", "the query cannot be read") from error
        if exchange.method in ("GET", "HEAD") and not any(name.startswith("bk-") for name, _ in parameters):
            purpose = Purpose.HEAD if exchange.method == "HEAD" else Purpose.DOWNLOAD
            if self._backend.config.public:
                return Grant(purpose, key, 0)
            if (verdict := scope.get(VERDICT)) is not None:  # an edge stands in front, and has judged the request
                if verdict:
                    return Grant(purpose, key, 0)
                raise Refused(str(verdict.reason), f"the edge refuses: {verdict.detail}")
        now = int(self._backend.clock().timestamp())
        return verify(self._backend.signing_key, exchange.method, key, parameters, now)

    # --- reading ---

    async def _read(self, exchange: Exchange, grant: Grant) -> None:
        engine, order = self._backend.engine, grant.order
        if exchange.method == "HEAD":
            info, file = await exchange.run(lambda: engine.head(grant.key, version=order.version)), None
        else:
            info, file = await exchange.run(lambda: engine.open(grant.key, version=order.version))
        try:
            asked = exchange.headers
            if exchange.method == "HEAD":  # a range is GET's alone (RFC 9110 section 14.2)
                asked = {name: value for name, value in asked.items() if name != "range"}
            answer = decide(asked, etag=info.etag, modified=info.modified, size=info.size)
            headers = _object_headers(info, grant)
            if answer.content_range is not None:
                headers.append(("content-range", answer.content_range))
            if answer.status in (304, 412, 416):
                if answer.status == 304:
                    headers = [pair for pair in headers if pair[0] not in ("content-type", "content-encoding")]
                    await exchange.answer(304, headers)
                    return
                raise Problem(
                    answer.status, "range" if answer.status == 416 else "precondition_failed", "not as it is now"
                )
            if file is None:
                await exchange.answer(answer.status, headers, size=answer.end - answer.start)
                return
            if answer.start:
                await exchange.run(file.seek, answer.start)
            body, file = file, None  # from here on the stream closes it
            await exchange.stream(answer.status, headers, body, answer.end - answer.start)
        finally:
            if file is not None:
                await exchange.run(file.close)

    # --- writing ---

    async def _put_object(self, exchange: Exchange, grant: Grant) -> None:
        spec = grant.spec
        headers = exchange.headers
        metadata = _metadata(headers)
        _must_be(headers, "content-type", spec.content_type)
        _must_be(headers, "cache-control", spec.cache_control)
        _must_be(headers, "content-disposition", spec.content_disposition)
        _must_be(headers, "content-encoding", spec.content_encoding)
        _must_be(headers, STORAGE_CLASS, spec.storage_class)
        if spec.if_absent and headers.get("if-none-match") != "*":
            raise Refused("header", "the URL binds If-None-Match: *, which the request does not have")
        if (grant.metadata or metadata_digest({})) != metadata_digest(metadata):
            raise Refused("header", "the metadata headers are not those that the URL binds")
        checksum = _sent_checksum(headers, spec.checksum)
        upload_id = None
        if grant.purpose is Purpose.CHUNK:  # a played wide grant: the whole object, as the session would have it
            state = await exchange.run(self._backend.engine.session, grant.session)
            if state.key != grant.key:
                raise Refused("signature", "the session is of another key")
            upload_id = state.upload_id
        length = exchange.content_length
        if length is not None and not spec.allows_size(length):
            raise Problem(
                413 if spec.max_size is not None or spec.size is not None else 400,
                "constraint",
                "the size is not allowed",
            )
        attributes = Attributes(
            content_type=headers.get("content-type"),
            metadata=metadata,
            cache_control=headers.get("cache-control"),
            content_disposition=headers.get("content-disposition"),
            content_encoding=headers.get("content-encoding"),
            storage_class=headers.get(STORAGE_CLASS),
            upload_id=upload_id,
        )
        wanted = Wanted(
            spec.size, spec.min_size, spec.max_size, checksum, spec.if_absent or headers.get("if-none-match") == "*"
        )
        incoming = await exchange.run(self._backend.engine.incoming, grant.key, attributes, wanted)
        try:
            got = await exchange.pour(incoming.write)
            if length is not None and got != length:
                raise Problem(400, "malformed", "the body is not of the announced size")
            info = await exchange.run(incoming.commit)
        finally:
            await exchange.run(incoming.discard)
        await exchange.answer(200, [*_SAFE, *_receipt(info)])

    async def _put_chunk(self, exchange: Exchange, grant: Grant) -> None:
        engine, number, size = self._backend.engine, grant.chunk or 0, grant.chunk_size or 0
        if _metadata(exchange.headers):
            raise Refused("header", "a chunk has no metadata")
        checksum = _sent_checksum(exchange.headers, grant.checksum)
        state = await exchange.run(engine.session, grant.session)
        if state.key != grant.key:
            raise Refused("signature", "the session is of another key")
        length = exchange.content_length
        if length is not None and length != size and state.plan.size is not None:
            raise Problem(400, "constraint", "the size is not the chunk's")
        last_of_unknown = state.plan.size is None and length is not None and length <= size
        incoming = await exchange.run(
            lambda: engine.incoming_chunk(
                grant.session, number, length if last_of_unknown and length is not None else size, checksum=checksum
            )
        )
        try:
            got = await exchange.pour(incoming.write)
            if length is not None and got != length:
                raise Problem(400, "malformed", "the body is not of the announced size")
            held = await exchange.run(incoming.commit)
        finally:
            await exchange.run(incoming.discard)
        await exchange.answer(200, [*_SAFE, ("etag", f'"{held.receipt}"')])


# --- pure helpers -----------------------------------------------------------------------------------------------------


def _key(scope: Scope) -> str:
    """The object's key: what follows the mount in the path as it was sent, decoded once."""
    raw: bytes = scope.get("raw_path") or quote_key(scope["path"]).encode()
    root: str = scope.get("root_path", "")
    try:
        path = unquote_to_bytes(raw.partition(b"?")[0]).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Problem(400, "malformed", "the path is not UTF-8") from error
    if not path.startswith(f"{root}/"):
        raise Problem(404, "not_found", "nothing is served here")
    key = path[len(root) + 1 :]
    if not key or len(key.encode()) > MAX_KEY_BYTES:
        raise Problem(400, "malformed", "no key, or one that is too long")
    if any(segment in (".", "..") for segment in key.split("/")) or any(ord(c) < 32 or ord(c) == 127 for c in key):
        raise Problem(400, "malformed", InvalidKey("a key has no dot segments and no control characters").message)
    return key


def _must_be(headers: Mapping[str, str], name: str, wanted: str | None) -> None:
    """A bound header must be sent exactly so; one that is not bound may be anything, except our own."""
    sent = headers.get(name)
    if wanted is not None and sent != wanted:
        raise Refused("header", f"{name} is not what the URL binds")
    if wanted is None and sent is not None and name.startswith("x-blobkit-"):
        raise Refused("header", f"{name} is not bound by the URL")


def _metadata(headers: Mapping[str, str]) -> dict[str, str]:
    found = {name.removeprefix(META): value for name, value in headers.items() if name.startswith(META)}
    known = (META, CHECKSUM, STORAGE_CLASS)
    if foreign := [name for name in headers if name.startswith("x-blobkit-") and not name.startswith(known)]:
        raise Refused("header", f"{foreign[0]} is not bound by the URL")
    return found


def _sent_checksum(headers: Mapping[str, str], bound: Checksum | None) -> Checksum | None:
    """The checksum that the bytes must have: the bound one, which must be sent; else one that the client offers itself."""
    sent: list[Checksum] = []
    try:
        for name, value in headers.items():
            if name == "content-md5":
                sent.append(Checksum.from_base64("md5", value))
            elif name.startswith(CHECKSUM):
                sent.append(Checksum.from_base64(name.removeprefix(CHECKSUM), value))
    except InvalidArgument as error:
        raise Problem(400, "malformed", error.message) from error
    if len(sent) > 1:
        raise Problem(400, "malformed", "one checksum is enough")
    if bound is not None and (not sent or not sent[0].same_as(bound)):
        raise Refused("header", "the checksum header is not what the URL binds")
    return sent[0] if sent else None


def _receipt(info: BlobInfo) -> Sequence[tuple[str, str]]:
    headers = [("etag", f'"{info.etag}"')]
    if info.version is not None:
        headers.append(("x-blobkit-version", info.version))
    headers += [(CHECKSUM + name, value.base64) for name, value in info.checksums.items()]
    return headers


def _object_headers(info: BlobInfo, grant: Grant) -> list[tuple[str, str]]:
    order = grant.order
    headers = [
        *_SAFE,
        ("accept-ranges", "bytes"),
        ("content-type", order.content_type or info.content_type or "application/octet-stream"),
        ("last-modified", http_date(info.modified)),
        *_receipt(info),
    ]
    optional = (
        ("cache-control", order.cache_control or info.cache_control),
        ("content-disposition", order.content_disposition or info.content_disposition),
        ("content-encoding", info.content_encoding),
        (STORAGE_CLASS, info.storage_class),
    )
    headers += [(name, value) for name, value in optional if value is not None]
    return headers + [(META + name, value) for name, value in info.metadata.items()]
