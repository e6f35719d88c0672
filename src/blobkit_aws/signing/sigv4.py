"""Presigned URLs: Signature Version 4 with its parameters in the query.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html::

    canonical request  = METHOD \\n path \\n query \\n headers \\n signed header names \\n UNSIGNED-PAYLOAD
    string to sign     = AWS4-HMAC-SHA256 \\n YYYYMMDDTHHMMSSZ \\n scope \\n hex(SHA-256(canonical request))
    scope              = YYYYMMDD / region / service / aws4_request
    signing key        = HMAC(HMAC(HMAC(HMAC("AWS4" + secret, date), region), service), "aws4_request")
    signature          = hex(HMAC(signing key, string to sign))

All but the path (or the part number) and the headers' values is the same for thousands of URLs, so it is computed once, in a
:class:`Presigner`: the text around them, and the two hashes of HMAC as they are before the digest.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from blobkit_aws.signing.encoding import encode_query, encode_value

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

__all__ = [
    "ALGORITHM",
    "SESSION_TOKEN",
    "UNSIGNED_PAYLOAD",
    "Credentials",
    "Moment",
    "Presigner",
    "QuerySigner",
    "Scope",
    "SignedHeaders",
    "exact_headers",
    "hmac_halves",
    "hmac_sha256",
    "moment",
    "signed_headers",
    "signing_key",
]

ALGORITHM: Final = "AWS4-HMAC-SHA256"
UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"
SESSION_TOKEN: Final = "X-Amz-Security-Token"  # noqa: S105 - a parameter's name
_TERMINATOR: Final = "aws4_request"

_IPAD: Final = bytes(byte ^ 0x36 for byte in range(256))
_OPAD: Final = bytes(byte ^ 0x5C for byte in range(256))
_BLOCK: Final = 64


@dataclass(frozen=True, slots=True)
class Credentials:
    """One set of keys, frozen.

    Attributes:
        access_key: The public id of the key.
        secret_key: The secret.
        token: The session token of temporary credentials.
        ends: When they end, seconds since the epoch; None when they do not, or nobody knows.
    """

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    ends: int | None = None


class Scope(NamedTuple):
    """Where a signature is valid: region and service (``s3``, ``s3express``)."""

    region: str
    service: str = "s3"


class Moment(NamedTuple):
    """A time as Signature Version 4 writes it: ``YYYYMMDDTHHMMSSZ``, and its first eight characters."""

    stamp: str
    date: str


def moment(epoch: int) -> Moment:
    """Whole seconds since the epoch as a :class:`Moment`."""
    stamp = datetime.fromtimestamp(epoch, UTC).strftime("%Y%m%dT%H%M%SZ")
    return Moment(stamp, stamp[:8])


def hmac_sha256(key: bytes, message: str) -> bytes:
    """HMAC-SHA256 of a text."""
    return hmac.digest(key, message.encode("utf-8"), "sha256")


def signing_key(secret_key: str, date: str, scope: Scope) -> bytes:
    """The key that signs everything of one day, region and service."""
    key = f"AWS4{secret_key}".encode()
    for part in (date, scope.region, scope.service, _TERMINATOR):
        key = hmac_sha256(key, part)
    return key


class SignedHeaders(NamedTuple):
    """Headers in canonical form: their lines, each with its end, and their names with ``;`` between them."""

    lines: str
    names: str


def signed_headers(headers: Iterable[tuple[str, str]]) -> SignedHeaders:
    """Canonical form: names lower-cased and sorted; values trimmed, and their runs of white space one space."""
    return exact_headers([(name.lower(), " ".join(value.split())) for name, value in headers])


def exact_headers(headers: list[tuple[str, str]]) -> SignedHeaders:
    """The same for headers that are known to be lower-case and without superfluous white space. Sorts the list."""
    headers.sort()
    return SignedHeaders("".join([f"{n}:{v}\n" for n, v in headers]), ";".join([n for n, _ in headers]))


class Presigner:
    """A presigned URL but for the path (or the number of a chunk), and for the values of headers that vary.

    ``canonical request = head + part + middle + lines + tail``, and ``URL = url_head + part + url_tail + signature``.
    ``inner`` and ``outer`` copy the two hashes of HMAC as they are before the digest, see :func:`hmac_halves`.
    """

    __slots__ = ("_head", "_inner", "_middle", "_outer", "_tail", "_url_head", "_url_tail")

    def __init__(self, canonical: tuple[str, str, str], url: tuple[str, str], halves: tuple[Hash, Hash]) -> None:
        self._head, self._middle, self._tail = canonical
        self._url_head, self._url_tail = url
        self._inner, self._outer = halves[0].copy, halves[1].copy

    def url(self, part: str | int, lines: str = "") -> str:
        """The signed URL; a text is encoded already. ``lines`` are the canonical headers that were not known before."""
        canonical = sha256(f"{self._head}{part}{self._middle}{lines}{self._tail}".encode()).hexdigest()
        inner, outer = self._inner(), self._outer()
        inner.update(canonical.encode())
        outer.update(inner.digest())
        return f"{self._url_head}{part}{self._url_tail}{outer.hexdigest()}"

    def urls(self, parts: Iterable[str | int], lines: str = "") -> Iterator[str]:
        """:meth:`url` of each, at less cost."""
        head, tail = self._head, f"{self._middle}{lines}{self._tail}"
        url_head, url_tail = self._url_head, self._url_tail
        new_inner, new_outer = self._inner, self._outer
        for part in parts:
            canonical = sha256(f"{head}{part}{tail}".encode()).hexdigest()
            inner, outer = new_inner(), new_outer()
            inner.update(canonical.encode())
            outer.update(inner.digest())
            yield f"{url_head}{part}{url_tail}{outer.hexdigest()}"


class _Second:
    """What all signatures of one second share."""

    __slots__ = ("credential", "halves", "key", "moment", "start")

    def __init__(self, start: int, at: Moment, credential: str, key: bytes, scope: Scope) -> None:
        self.start = start
        self.moment = at
        self.credential = credential
        self.key = key
        self.halves = hmac_halves(
            key, f"{ALGORITHM}\n{at.stamp}\n{at.date}/{scope.region}/{scope.service}/{_TERMINATOR}\n"
        )


class QuerySigner:
    """Presigns for one host with one set of credentials.

    Args:
        credentials: The keys.
        scope: Region and service.
        origin: ``scheme://host[:port]``, as the client will call it.
        host: The Host header: with the port unless it is the scheme's own.
        token_name: The parameter of a session token; ``X-Amz-S3session-Token`` for S3 Express.
    """

    def __init__(
        self, credentials: Credentials, scope: Scope, *, origin: str, host: str, token_name: str = SESSION_TOKEN
    ) -> None:
        self.credentials = credentials
        self.scope = scope
        self.origin = origin
        self._only_host = SignedHeaders(f"host:{host}\n", "host")
        self._token = "" if credentials.token is None else f"&{token_name}={encode_value(credentials.token)}"
        self._keys: dict[str, bytes] = {}
        self._last: _Second | None = None

    def __repr__(self) -> str:
        return f"QuerySigner({self.credentials.access_key}, {self.scope}, {self.origin})"

    def second(self, start: int) -> _Second:
        """What all signatures of this second share; the last one asked for is kept."""
        last = self._last
        if last is not None and last.start == start:
            return last
        at = moment(start)
        key = self._keys.get(at.date)
        if key is None:
            self._keys.clear()  # yesterday's is not needed any more
            key = self._keys[at.date] = signing_key(self.credentials.secret_key, at.date, self.scope)
        region, service = self.scope
        credential = encode_value(f"{self.credentials.access_key}/{at.date}/{region}/{service}/{_TERMINATOR}")
        last = self._last = _Second(start, at, credential, key, self.scope)
        return last

    def of_path(
        self,
        method: str,
        start: int,
        lifetime: int,
        *,
        base: str = "/",
        headers: SignedHeaders | None = None,
        query: Sequence[tuple[str, str]] = (),
    ) -> Presigner:
        """URLs that differ in what follows ``base`` in the path.

        Args:
            method: ``GET | HEAD | PUT | DELETE``.
            start: When the signature begins, seconds since the epoch.
            lifetime: How long it lives, seconds.
            base: How every path begins, encoded.
            headers: What is signed, Host included; None for Host alone. Never hoisted into the query, where S3 would
                ignore them. Lines that vary are left out here, and given to :meth:`Presigner.url`.
            query: Parameters of the operation, in the order in which the URL shall have them.
        """
        second = self.second(start)
        lines, names = headers or self._only_host
        head, signed = self._authorization(second, lifetime, names)
        operation = encode_query(query)
        parameters = f"{head}{self._token}{signed}"
        if query:
            parameters = "&".join(sorted([*parameters.split("&"), *operation.split("&")], key=_by_name))
            operation += "&"
        return Presigner(
            (f"{method}\n{base}", f"\n{parameters}\n{lines}", f"\n{names}\n{UNSIGNED_PAYLOAD}"),
            (f"{self.origin}{base}", f"?{operation}{head}{signed}{self._token}&X-Amz-Signature="),
            second.halves,
        )

    def of_part(
        self, path: str, upload_id: str, start: int, lifetime: int, *, headers: SignedHeaders | None = None
    ) -> Presigner:
        """URLs of UploadPart that differ in the part's number. ``path`` is whole and encoded."""
        second = self.second(start)
        lines, names = headers or self._only_host
        head, signed = self._authorization(second, lifetime, names)
        upload = f"&uploadId={encode_value(upload_id)}"
        return Presigner(
            (
                f"PUT\n{path}\n{head}{self._token}{signed}&partNumber=",
                f"{upload}\n{lines}",
                f"\n{names}\n{UNSIGNED_PAYLOAD}",
            ),
            (f"{self.origin}{path}?partNumber=", f"{upload}&{head}{signed}{self._token}&X-Amz-Signature="),
            second.halves,
        )

    def _authorization(self, second: _Second, lifetime: int, names: str) -> tuple[str, str]:
        """The parameters of the signature, before and after the place of a token in their order by name."""
        return (
            (
                f"X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={second.credential}"
                f"&X-Amz-Date={second.moment.stamp}&X-Amz-Expires={lifetime}"
            ),
            f"&X-Amz-SignedHeaders={_encoded_names(names)}",
        )


def _by_name(pair: str) -> list[str]:
    return pair.split("=", 1)


@lru_cache(maxsize=512)
def _encoded_names(names: str) -> str:
    """The names of signed headers as a parameter's value: the same few lists come again and again."""
    return encode_value(names)


def hmac_halves(key: bytes, start: str) -> tuple[Hash, Hash]:
    """The inner and outer hash of HMAC-SHA256 (RFC 2104) with this key, the inner one after the start of the message.

    ``HMAC(K, m) = H((K ^ opad) || H((K ^ ipad) || m))``, K padded to the block of the hash. Keys here have 32 bytes.
    """
    padded = key.ljust(_BLOCK, b"\0")
    return sha256(padded.translate(_IPAD) + start.encode("ascii")), sha256(padded.translate(_OPAD))
