"""Signed URLs of a local store: pure functions of key, clock and request, and their inverse, :func:`verify`.

A URL is ``{public_endpoint}/o/{key}?bk-…&bk-sig=…``. Everything that is bound is a parameter of its own, in clear. The
signature is HMAC-SHA256 in hexadecimal, under a key of its own for each purpose (upload, download, head, delete, chunk), of

::

    blobkit-local-1 LF
    the object's key LF
    bk-exp LF
    NAME=VALUE LF          for every other bk- parameter, sorted by name, decoded

The decoded key and parameters are signed, and neither host nor order: a client that quotes a URL anew, or a proxy that
changes the host, does no harm. A download, a HEAD, a delete and each chunk need signatures of their own.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeVar, overload
from urllib.parse import quote

from blobkit.backend import DownloadOrder, SessionState, UploadOrder
from blobkit.blobs import Checksum
from blobkit.chunking import Chunk
from blobkit.errors import InvalidArgument
from blobkit.keys import quote_key
from blobkit.signed import ChunkTemplate, Receipt, RequestTemplate, SignedChunk, SignedRequest
from blobkit.spec import UploadSpec

__all__ = ["CHECKSUM", "META", "Grant", "LocalSigner", "Purpose", "Refused", "metadata_digest", "public_url", "verify"]

META: Final = "x-blobkit-meta-"
"""The header of a metadata entry starts so."""
CHECKSUM: Final = "x-blobkit-checksum-"
"""The header of a checksum starts so; MD5 travels as Content-MD5 (RFC 1864)."""
STORAGE_CLASS: Final = "x-blobkit-storage-class"

_DOMAIN: Final = "blobkit-local-1\n"
_OK: Final = (200,)
_MAX_NUMBER: Final = 2**63 - 1


class Purpose(StrEnum):
    """What a signature is for. Each has a key of its own, so that none serves another."""

    UPLOAD = "upload"
    DOWNLOAD = "download"
    HEAD = "head"
    DELETE = "delete"
    CHUNK = "chunk"


_METHODS: Final[Mapping[str, tuple[Purpose, ...]]] = {
    "GET": (Purpose.DOWNLOAD,),
    "HEAD": (Purpose.HEAD,),
    "DELETE": (Purpose.DELETE,),
    "PUT": (Purpose.UPLOAD, Purpose.CHUNK),
}

# The parameters that each purpose may carry beside bk-exp and bk-sig; anything else is refused.
_DOWNLOAD_NAMES: Final = frozenset({"bk-version", "bk-response-disposition", "bk-response-type", "bk-response-cache"})
_UPLOAD_NAMES: Final = frozenset(
    {
        "bk-absent", "bk-cache", "bk-disposition", "bk-encoding", "bk-max", "bk-meta", "bk-min", "bk-size", "bk-class",
        "bk-sum", "bk-type",
    }
)  # fmt: skip
_CHUNK_NAMES: Final = frozenset({"bk-chunk", "bk-chunk-size", "bk-session", "bk-sum"})
_WIDE_NAMES: Final = frozenset({"bk-chunk", "bk-chunk-size"})  # unsigned where a grant is as wide as the object
_NAMES: Final[Mapping[Purpose, frozenset[str]]] = {
    Purpose.UPLOAD: _UPLOAD_NAMES,
    Purpose.DOWNLOAD: _DOWNLOAD_NAMES,
    Purpose.HEAD: _DOWNLOAD_NAMES,
    Purpose.DELETE: frozenset(),
    Purpose.CHUNK: _CHUNK_NAMES | {"bk-wide"},
}


def _purpose_key(key: bytes, purpose: Purpose) -> bytes:
    return hmac.digest(key, b"blobkit-local/url/" + purpose.encode("ascii"), "sha256")


def _signature(key: bytes, text: str) -> str:
    return hmac.digest(key, text.encode("utf-8"), "sha256").hex()


def metadata_digest(metadata: Mapping[str, str]) -> str:
    """What stands for all metadata in a URL: SHA-256 of ``name=value LF`` sorted by name, in hexadecimal."""
    text = "".join(f"{name}={value}\n" for name, value in sorted(metadata.items()))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def public_url(key: str, endpoint: str, *, base_path: str = "") -> str:
    """Where the data plane of a public store serves the object to anybody."""
    return f"{endpoint}{base_path}/o/{quote_key(key)}"


# --- signing ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Shape:
    """What all signatures with the same parameters share: the signed text and the query around the expiry."""

    key: bytes
    text: str
    query: str


def _shape(key: bytes, parameters: Mapping[str, str]) -> _Shape:
    pairs = sorted(parameters.items())
    text = "".join(f"{name}={value}\n" for name, value in pairs)
    query = "".join(f"&{name}={quote(value, safe='-_.~')}" for name, value in pairs)
    return _Shape(key, text, query)


def _upload_parameters(spec: UploadSpec) -> dict[str, str]:
    values = {
        "bk-size": spec.size,
        "bk-min": spec.min_size,
        "bk-max": spec.max_size,
        "bk-type": spec.content_type,
        "bk-cache": spec.cache_control,
        "bk-disposition": spec.content_disposition,
        "bk-encoding": spec.content_encoding,
        "bk-class": spec.storage_class,
        "bk-sum": None if spec.checksum is None else _sum(spec.checksum),
        "bk-meta": metadata_digest(spec.metadata) if spec.metadata else None,
        "bk-absent": "1" if spec.if_absent else None,
    }
    return {name: str(value) for name, value in values.items() if value is not None}


def _upload_headers(spec: UploadSpec) -> Mapping[str, str]:
    values = {
        "content-type": spec.content_type,
        "cache-control": spec.cache_control,
        "content-disposition": spec.content_disposition,
        "content-encoding": spec.content_encoding,
        STORAGE_CLASS: spec.storage_class,
        "if-none-match": "*" if spec.if_absent else None,
        **{META + name: value for name, value in spec.metadata.items()},
    }
    if spec.checksum is not None:
        values[checksum_header(spec.checksum)] = spec.checksum.base64
    return MappingProxyType({name: value for name, value in values.items() if value is not None})


def checksum_header(checksum: Checksum) -> str:
    """The header that carries a checksum."""
    return "content-md5" if checksum.algorithm == "md5" else CHECKSUM + checksum.algorithm


def _sum(checksum: Checksum) -> str:
    return f"{checksum.algorithm}:{checksum.base64}"


class LocalSigner:
    """Signs with one key. See :class:`blobkit.backend.Signer`.

    Args:
        key: The store's signing key.
        endpoint: Scheme and authority of the URLs; not signed.
        base_path: What a proxy or mount puts before the data plane's paths; not signed.
        wide: Chunk URLs of a session differ only in unsigned parameters, so that each can write any chunk, or the whole
            object: what an Azure SAS is. Only to try a service against it.
    """

    __slots__ = ("_base", "_downloads", "_keys", "_uploads", "_wide")

    def __init__(self, key: bytes, endpoint: str, *, base_path: str = "", wide: bool = False) -> None:
        self._keys = {purpose: _purpose_key(key, purpose) for purpose in Purpose}
        self._base = f"{endpoint}{base_path}/o/"
        self._wide = wide
        self._uploads: dict[UploadOrder, tuple[_Shape, RequestTemplate]] = {}
        self._downloads: dict[DownloadOrder, tuple[_Shape, RequestTemplate]] = {}

    def __repr__(self) -> str:
        return f"LocalSigner({self._base})"

    @property
    def valid_until(self) -> int | None:
        """The key does not end."""
        return None

    def upload(
        self, key: str, order: UploadOrder, start: int, end: int, spec: UploadSpec | None = None
    ) -> SignedRequest:
        """A PUT that binds everything in the spec."""
        known = self._uploads.get(order) if spec is None else self._upload_shape(order.of(spec))
        if known is None:
            known = _remember(self._uploads, order, self._upload_shape(order))
        return self._request(key, known[0], known[1], end)

    def uploads(self, items: Sequence[tuple[str, UploadOrder]], start: int, end: int) -> Sequence[SignedRequest]:
        """Many; each is signed when it is read, which gives the same bytes whenever that is."""
        return _Batch(self, tuple(items), start, end)

    def download(self, key: str, order: DownloadOrder, start: int, end: int) -> SignedRequest:
        """A GET or a HEAD."""
        known = self._downloads.get(order)
        if known is None:
            known = self._download_shape(order)
        return self._request(key, known[0], known[1], end)

    def delete(self, key: str, start: int, end: int) -> SignedRequest:
        """A DELETE."""
        shape = _Shape(self._keys[Purpose.DELETE], "", "")
        return self._request(key, shape, _DELETE, end)

    def chunks(
        self, state: SessionState, chunks: Sequence[Chunk], checksums: Mapping[int, Checksum], start: int, end: int
    ) -> Sequence[SignedChunk]:
        """PUTs of chunks; a checksum given for one is bound, and must be sent."""
        key, base = self._keys[Purpose.CHUNK], self._base + quote_key(state.key)
        head = f"{_DOMAIN}{state.key}\n{end}\n"
        session = f"bk-session={state.upload_id}"
        signed: list[SignedChunk] = []
        if self._wide:
            text = f"{head}{session}\nbk-wide=1\n"
            shared = f"{base}?bk-exp={end}&{session}&bk-wide=1&bk-sig={_signature(key, text)}"
            for chunk in chunks:
                url = f"{shared}&bk-chunk={chunk.number}&bk-chunk-size={chunk.size}"
                signed.append(SignedChunk(_CHUNK, url, end, chunk))
            return tuple(signed)
        for chunk in chunks:
            checksum = checksums.get(chunk.number)
            text = f"{head}bk-chunk={chunk.number}\nbk-chunk-size={chunk.size}\n{session}\n"
            query = f"bk-exp={end}&bk-chunk={chunk.number}&bk-chunk-size={chunk.size}&{session}"
            headers = None
            if checksum is not None:
                text += f"bk-sum={_sum(checksum)}\n"
                query += f"&bk-sum={quote(_sum(checksum), safe='-_.~')}"
                headers = MappingProxyType({checksum_header(checksum): checksum.base64})
            signed.append(SignedChunk(_CHUNK, f"{base}?{query}&bk-sig={_signature(key, text)}", end, chunk, headers))
        return tuple(signed)

    def _request(self, key: str, shape: _Shape, template: RequestTemplate, end: int) -> SignedRequest:
        signature = _signature(shape.key, f"{_DOMAIN}{key}\n{end}\n{shape.text}")
        url = f"{self._base}{quote_key(key)}?bk-exp={end}{shape.query}&bk-sig={signature}"
        return SignedRequest(template, url, end)

    def _upload_shape(self, order: UploadOrder) -> tuple[_Shape, RequestTemplate]:
        spec = order.spec
        shape = _shape(self._keys[Purpose.UPLOAD], _upload_parameters(spec))
        return shape, RequestTemplate("PUT", _upload_headers(spec), _OK, spec, order.enforcement)

    def _download_shape(self, order: DownloadOrder) -> tuple[_Shape, RequestTemplate]:
        values = {
            "bk-version": order.version,
            "bk-response-disposition": order.content_disposition,
            "bk-response-type": order.content_type,
            "bk-response-cache": order.cache_control,
        }
        purpose = Purpose.HEAD if order.method == "HEAD" else Purpose.DOWNLOAD
        shape = _shape(self._keys[purpose], {name: value for name, value in values.items() if value is not None})
        expected = _OK if order.method == "HEAD" else (200, 206)
        return _remember(self._downloads, order, (shape, RequestTemplate(order.method, expected_status=expected)))


K = TypeVar("K")
_Made = tuple[_Shape, RequestTemplate]
_DELETE: Final = RequestTemplate("DELETE", expected_status=(204,))
_CHUNK: Final = ChunkTemplate(receipt=Receipt("header", "ETag", required=False))
_REMEMBERED: Final = 1024


def _remember(known: dict[K, _Made], order: K, made: _Made) -> _Made:
    if len(known) >= _REMEMBERED:
        known.clear()
    known[order] = made
    return made


class _Batch(Sequence[SignedRequest]):
    """Uploads that are signed when they are read."""

    __slots__ = ("_end", "_items", "_signer", "_start")

    def __init__(self, signer: LocalSigner, items: tuple[tuple[str, UploadOrder], ...], start: int, end: int) -> None:
        self._signer = signer
        self._items = items
        self._start = start
        self._end = end

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> SignedRequest: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[SignedRequest]: ...
    def __getitem__(self, index: int | slice) -> SignedRequest | Sequence[SignedRequest]:
        if isinstance(index, slice):
            return _Batch(self._signer, self._items[index], self._start, self._end)
        key, order = self._items[index]
        return self._signer.upload(key, order, self._start, self._end)

    def __repr__(self) -> str:
        return f"<{len(self)} signed uploads>"


# --- verifying --------------------------------------------------------------------------------------------------------


class Refused(Exception):
    """A request that no signature covers. ``code`` says why, for machines; the message for people."""

    def __init__(self, code: str, message: str, status: int = 403) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


_ANY: Final = UploadSpec()
_PLAIN: Final = DownloadOrder()


@dataclass(frozen=True, slots=True)
class Grant:
    """What a verified URL allows.

    Attributes:
        purpose: What it is for.
        key: The object's full key.
        expires: Seconds since the epoch.
        spec: Of an upload: what must hold. Its metadata are not in the URL; ``metadata`` is their digest.
        metadata: The digest that the metadata headers must have; None when there must be none.
        session, chunk, chunk_size: Of a chunk. Without a number (a wide grant): the whole object.
        checksum: Of a chunk, when it was bound.
        order: Of a download: version and response headers.
    """

    purpose: Purpose
    key: str
    expires: int
    spec: UploadSpec = _ANY
    metadata: str | None = None
    session: str = ""
    chunk: int | None = None
    chunk_size: int | None = None
    checksum: Checksum | None = None
    order: DownloadOrder = _PLAIN


def verify(key: bytes, method: str, object_key: str, parameters: Sequence[tuple[str, str]], now: int) -> Grant:
    """What the signed URL of a request allows.

    Args:
        key: The store's signing key.
        method: The request's method.
        object_key: The decoded key of its path.
        parameters: Its decoded query; parameters that do not start with ``bk-`` are nobody's business.
        now: Seconds since the epoch.

    Raises:
        Refused: No signature, a wrong one, an expired one, one for another method, or parameters that none may have.
    """
    given: dict[str, str] = {}
    for name, value in parameters:
        if name.startswith("bk-"):
            if name in given:
                raise Refused("malformed", f"{name} is given twice", 400)
            given[name] = value
    signature, expiry = given.pop("bk-sig", None), given.pop("bk-exp", None)
    if signature is None or expiry is None:
        raise Refused("unsigned", "this request needs a signed URL")
    expires = _number("bk-exp", expiry)
    purpose = _signed_for(key, object_key, expiry, given, signature)
    if purpose is None:
        raise Refused("signature", "the signature does not cover this request")
    if purpose not in _METHODS.get(method, ()):
        raise Refused("method", f"the URL was signed for another method than {method}")
    if now >= expires:
        raise Refused("expired", "the URL has expired")
    if unknown := sorted(set(given) - _NAMES[purpose]):
        raise Refused("malformed", f"unknown parameter {unknown[0]}", 400)
    return _grant(purpose, object_key, expires, given)


def _signed_for(key: bytes, object_key: str, expiry: str, given: Mapping[str, str], signature: str) -> Purpose | None:
    """The purpose whose key made the signature. Every purpose is tried, so that none is told from another by the time."""
    loose = _WIDE_NAMES if "bk-wide" in given else frozenset[str]()
    text = "".join(f"{name}={value}\n" for name, value in sorted(given.items()) if name not in loose)
    signed, found = f"{_DOMAIN}{object_key}\n{expiry}\n{text}", None
    for purpose in Purpose:
        if hmac.compare_digest(_signature(_purpose_key(key, purpose), signed).encode(), signature.encode()):
            found = purpose
    return found


def _grant(purpose: Purpose, object_key: str, expires: int, given: Mapping[str, str]) -> Grant:
    checksum = _checksum(given["bk-sum"]) if "bk-sum" in given else None
    if purpose is Purpose.CHUNK:
        numbers = {name: _number(name, given[name]) for name in _WIDE_NAMES if name in given}
        if len(numbers) == 1:
            raise Refused("malformed", "a chunk has a number and a size", 400)
        return Grant(
            purpose,
            object_key,
            expires,
            session=given.get("bk-session", ""),
            chunk=numbers.get("bk-chunk"),
            chunk_size=numbers.get("bk-chunk-size"),
            checksum=checksum,
        )
    if purpose is Purpose.UPLOAD:
        return Grant(purpose, object_key, expires, spec=_spec(given, checksum), metadata=given.get("bk-meta"))
    order = DownloadOrder(
        "HEAD" if purpose is Purpose.HEAD else "GET",
        given.get("bk-version"),
        given.get("bk-response-disposition"),
        given.get("bk-response-type"),
        given.get("bk-response-cache"),
    )
    return Grant(purpose, object_key, expires, order=order)


def _spec(given: Mapping[str, str], checksum: Checksum | None) -> UploadSpec:
    sizes = {name: _number(name, given[name]) for name in ("bk-size", "bk-min", "bk-max") if name in given}
    try:
        return UploadSpec(
            content_type=given.get("bk-type"),
            size=sizes.get("bk-size"),
            min_size=sizes.get("bk-min"),
            max_size=sizes.get("bk-max"),
            checksum=checksum,
            cache_control=given.get("bk-cache"),
            content_disposition=given.get("bk-disposition"),
            content_encoding=given.get("bk-encoding"),
            storage_class=given.get("bk-class"),
            if_absent="bk-absent" in given,
        )
    except InvalidArgument as error:
        raise Refused("malformed", error.message, 400) from error


def _checksum(text: str) -> Checksum:
    algorithm, _, encoded = text.partition(":")
    try:
        return Checksum.from_base64(algorithm, encoded)
    except InvalidArgument as error:
        raise Refused("malformed", error.message, 400) from error


def _number(name: str, text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 19 or int(text) > _MAX_NUMBER:
        raise Refused("malformed", f"{name} is not a number", 400)
    return int(text)
