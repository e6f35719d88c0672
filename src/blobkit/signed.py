"""What signing gives: :class:`SignedUrl`, :class:`SignedRequest`, :class:`SignedChunk`.

A signed thing is never a bare string: it is the method, the URL, exactly the headers (and form fields) that the client must
send, the statuses that mean success, the true expiry, and who enforces what. These values are made a hundred thousand times
a second, so each holds few fields: what does not vary between two signatures sits in a template that they share.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, Literal, NoReturn, SupportsIndex, overload

from blobkit.chunking import Chunk
from blobkit.errors import InvalidArgument
from blobkit.redaction import Secret, redact_url
from blobkit.spec import Constraint, Enforcement, UploadSpec

__all__ = [
    "ChunkTemplate",
    "Receipt",
    "RequestTemplate",
    "SignedChunk",
    "SignedChunks",
    "SignedRequest",
    "SignedRequests",
    "SignedUrl",
    "signed_chunks",
    "signed_requests",
]


class SignedUrl(Secret):
    """A URL that grants access. Prints its host and path only; :meth:`~blobkit.redaction.Secret.reveal` gives it whole."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"SignedUrl({redact_url(self._value)})"


def _no_headers() -> Mapping[str, str]:
    return MappingProxyType({})


_Headers = Mapping[str, str] | Callable[[UploadSpec], Mapping[str, str]]
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_NO_ENFORCEMENT: Final[Mapping[Constraint, Enforcement]] = MappingProxyType({})


class _Immutable:
    """Slots that are written once, by their descriptors: three times cheaper than a frozen dataclass."""

    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable")


class _Grant:
    """What whoever has it may use: it is not written anywhere by accident."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(f"{type(self).__name__} does not pickle: it grants access; pass what as_dict() gives")


class RequestTemplate(_Immutable):
    """What signed requests of one kind share.

    Args:
        method: ``GET | HEAD | PUT | POST | DELETE``.
        headers: Exactly what the client must send besides what HTTP itself needs (Host, Content-Length); or what makes them
            of a spec, where each request has its own.
        expected_status: The statuses that mean success.
        spec: What was asked of an upload; None for downloads and deletes, and where each request has its own.
        enforcement: Who sees to each constraint.
    """

    __slots__ = ("_parts",)
    _parts: tuple[str, _Headers, tuple[int, ...], UploadSpec | None, Mapping[Constraint, Enforcement]]

    def __init__(
        self,
        method: str,
        headers: _Headers = _NO_HEADERS,
        expected_status: tuple[int, ...] = (200,),
        spec: UploadSpec | None = None,
        enforcement: Mapping[Constraint, Enforcement] = _NO_ENFORCEMENT,
    ) -> None:
        _set_template_parts(self, (method, headers, expected_status, spec, enforcement))

    @property
    def method(self) -> str:
        """``GET | HEAD | PUT | POST | DELETE``."""
        return self._parts[0]

    def headers_for(self, spec: UploadSpec | None) -> Mapping[str, str]:
        """Exactly what the client must send besides what HTTP itself needs."""
        headers = self._parts[1]
        if not callable(headers):
            return headers
        assert spec is not None, "headers that are made of a spec have one"
        return headers(spec)

    @property
    def expected_status(self) -> tuple[int, ...]:
        """The statuses that mean success."""
        return self._parts[2]

    @property
    def spec(self) -> UploadSpec | None:
        """What was asked of an upload."""
        return self._parts[3]

    @property
    def enforcement(self) -> Mapping[Constraint, Enforcement]:
        """Who sees to each constraint."""
        return self._parts[4]


_set_template_parts: Final = RequestTemplate.__dict__["_parts"].__set__


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a chunk's answer carries that the client should keep.

    ``kind``: ``header`` (its name is ``name``), ``range`` (the ``Range`` header of a sequential session) or ``none``.
    """

    kind: Literal["header", "range", "none"] = "header"
    name: str | None = "ETag"
    required: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ChunkTemplate:
    """What the signed chunks of one session share.

    Attributes:
        method: ``PUT`` or ``POST``.
        headers: Exactly what the client must send with every chunk.
        expected_status: The statuses that mean that the chunk is held.
        incomplete_status: The status that means "held, and more is expected" (GCS sessions: 308), else None.
        receipt: What to keep of the answer.
        content_range: Whether each chunk must carry a ``Content-Range`` header (GCS sessions).
    """

    method: str = "PUT"
    headers: Mapping[str, str] = field(default_factory=_no_headers)
    expected_status: tuple[int, ...] = (200,)
    incomplete_status: int | None = None
    receipt: Receipt = Receipt()
    content_range: bool = False


class SignedRequest(_Immutable, _Grant):
    """One request that a client may make until :attr:`expires_at`, exactly as described.

    Signers make them; see :class:`RequestTemplate` for the meaning of the shared part. ``spec`` is the request's own, where
    the template has none.
    """

    __slots__ = ("_parts",)
    _parts: tuple[RequestTemplate, str, int, Mapping[str, str] | None, UploadSpec | None]

    def __init__(
        self,
        template: RequestTemplate,
        url: str,
        expires: int,
        fields: Mapping[str, str] | None = None,
        spec: UploadSpec | None = None,
    ) -> None:
        _set_parts(self, (template, url, expires, fields, spec))  # one slot: five would take twice as long

    @property
    def method(self) -> str:
        """``GET | HEAD | PUT | POST | DELETE``."""
        return self._parts[0].method

    @property
    def url(self) -> SignedUrl:
        """Where to send it."""
        return SignedUrl(self._parts[1])

    @property
    def headers(self) -> Mapping[str, str]:
        """Exactly what the client must send besides what HTTP itself needs."""
        return self._parts[0].headers_for(self._parts[4])

    @property
    def fields(self) -> Mapping[str, str] | None:
        """The form fields of a POST, in the order to send them (the ``file`` field comes last); else None."""
        fields = self._parts[3]
        return None if fields is None else MappingProxyType(dict(fields))

    @property
    def expected_status(self) -> tuple[int, ...]:
        """The statuses that mean success."""
        return self._parts[0].expected_status

    @property
    def expires_at(self) -> datetime:
        """When it ends, in truth: aware UTC, capped by the end of the credentials that signed it."""
        return datetime.fromtimestamp(self._parts[2], UTC)

    @property
    def spec(self) -> UploadSpec | None:
        """What was asked of the upload."""
        return self._parts[4] or self._parts[0].spec

    @property
    def enforcement(self) -> Mapping[Constraint, Enforcement]:
        """Who sees to each constraint of :attr:`spec`."""
        return self._parts[0].enforcement

    def as_dict(self) -> dict[str, object]:
        """Everything a client needs, as JSON values, with the URL in clear."""
        fields = self._parts[3]
        return {
            "method": self.method,
            "url": self._parts[1],
            "headers": dict(self.headers),
            "fields": None if fields is None else dict(fields),
            "expected_status": list(self.expected_status),
            "expires_at": _iso(self._parts[2]),
            "enforcement": {str(constraint): str(by) for constraint, by in self.enforcement.items()},
        }

    def as_json(self) -> str:
        """:meth:`as_dict` as compact JSON."""
        return json.dumps(self.as_dict(), separators=(",", ":"))

    def as_curl(self, path: str) -> str:
        """A shell command that makes this request: sends the file at ``path``, or writes the download to it.

        The command contains the signature: treat it like a password.
        """
        words = ["curl", "--fail-with-body", "--silent", "--show-error"]
        if self.method == "HEAD":
            words.append("--head")
        elif self.method == "GET":
            words += ["--output", path]
        elif self.method == "PUT" and self._parts[1].partition("?")[0].endswith("/"):
            # curl appends the file's name to an upload URL whose path ends in a slash; a request with data it leaves alone
            words += ["--request", "PUT", "--data-binary", f"@{path}"]
            if "content-type" not in self.headers:
                words += ["--header", "content-type:"]
        elif self.method == "PUT":
            words += ["--upload-file", path]
        else:
            words += ["--request", self.method]
        for name, value in self.headers.items():
            words += ["--header", f"{name}: {value}" if value else f"{name};"]
        if self._parts[3] is not None:
            for name, value in self._parts[3].items():
                words += ["--form-string", f"{name}={value}"]
            words += ["--form", f"file=@{_form_path(path)}"]
        return shlex.join([*words, self._parts[1]])

    def __repr__(self) -> str:
        return f"SignedRequest({self.method} {redact_url(self._parts[1])}, expires_at={_iso(self._parts[2])})"


def signed_requests(template: RequestTemplate, urls: Iterable[str], expires: int) -> Iterator[SignedRequest]:
    """A request for each URL, all of one template: the fast way for batches, which a constructor's call would slow down."""
    make, fill, kind = object.__new__, _set_parts, SignedRequest
    for url in urls:
        made = make(kind)
        fill(made, (template, url, expires, None, None))
        yield made


class SignedRequests(_Grant, Sequence[SignedRequest]):
    """Requests of one template: signed already, each made when it is read. Of thousands, only the URLs are held."""

    __slots__ = ("_expires", "_template", "_urls")

    def __init__(self, template: RequestTemplate, urls: Sequence[str], expires: int) -> None:
        self._template = template
        self._urls = urls
        self._expires = expires

    def __len__(self) -> int:
        return len(self._urls)

    @overload
    def __getitem__(self, index: int) -> SignedRequest: ...
    @overload
    def __getitem__(self, index: slice) -> SignedRequests: ...
    def __getitem__(self, index: int | slice) -> SignedRequest | SignedRequests:
        if isinstance(index, slice):
            return SignedRequests(self._template, self._urls[index], self._expires)
        return SignedRequest(self._template, self._urls[index], self._expires)

    def __iter__(self) -> Iterator[SignedRequest]:
        return signed_requests(self._template, self._urls, self._expires)

    def __repr__(self) -> str:
        return f"<{len(self)} signed requests>"


class SignedChunk(_Immutable, _Grant):
    """One chunk of a session, and the request that moves it."""

    __slots__ = ("_parts",)
    _parts: tuple[ChunkTemplate, str, int, Chunk, Mapping[str, str] | None]

    def __init__(
        self, template: ChunkTemplate, url: str, expires: int, chunk: Chunk, headers: Mapping[str, str] | None = None
    ) -> None:
        _set_chunk_parts(self, (template, url, expires, chunk, headers))

    @property
    def number(self) -> int:
        """From 1."""
        return self._parts[3].number

    @property
    def offset(self) -> int:
        """Where the chunk starts in the object, bytes."""
        return self._parts[3].offset

    @property
    def size(self) -> int:
        """How long the chunk is, bytes."""
        return self._parts[3].size

    @property
    def method(self) -> str:
        """``PUT`` or ``POST``."""
        return self._parts[0].method

    @property
    def url(self) -> SignedUrl:
        """Where to send it."""
        return SignedUrl(self._parts[1])

    @property
    def headers(self) -> Mapping[str, str]:
        """Exactly what the client must send with this chunk besides what HTTP itself needs."""
        return self._parts[0].headers if self._parts[4] is None else self._parts[4]

    @property
    def expected_status(self) -> tuple[int, ...]:
        """The statuses that mean that the chunk is held."""
        return self._parts[0].expected_status

    @property
    def template(self) -> ChunkTemplate:
        """What all chunks of this session share."""
        return self._parts[0]

    @property
    def expires_at(self) -> datetime:
        """When the URL ends, in truth: aware UTC."""
        return datetime.fromtimestamp(self._parts[2], UTC)

    def as_dict(self) -> dict[str, object]:
        """Everything a client needs, as JSON values, with the URL in clear."""
        return {
            "n": self.number,
            "offset": self.offset,
            "size": self.size,
            "method": self.method,
            "url": self._parts[1],
            "headers": dict(self.headers),
            "expires_at": _iso(self._parts[2]),
        }

    def __repr__(self) -> str:
        _, url, expires, chunk, _ = self._parts
        return f"SignedChunk(number={chunk.number}, size={chunk.size}, {redact_url(url)}, expires_at={_iso(expires)})"


def signed_chunks(
    template: ChunkTemplate, urls: Iterable[str], expires: int, chunks: Iterable[Chunk]
) -> Iterator[SignedChunk]:
    """Each chunk with its URL, all of one template: for thousands, as :func:`signed_requests`."""
    make, fill, kind = object.__new__, _set_chunk_parts, SignedChunk
    for chunk, url in zip(chunks, urls, strict=True):
        made = make(kind)
        fill(made, (template, url, expires, chunk, None))
        yield made


class SignedChunks(_Grant, Sequence[SignedChunk]):
    """Chunks of one template: signed already, each made when it is read."""

    __slots__ = ("_chunks", "_expires", "_template", "_urls")

    def __init__(self, template: ChunkTemplate, urls: Sequence[str], expires: int, chunks: Sequence[Chunk]) -> None:
        self._template = template
        self._urls = urls
        self._expires = expires
        self._chunks = chunks

    def __len__(self) -> int:
        return len(self._urls)

    @overload
    def __getitem__(self, index: int) -> SignedChunk: ...
    @overload
    def __getitem__(self, index: slice) -> SignedChunks: ...
    def __getitem__(self, index: int | slice) -> SignedChunk | SignedChunks:
        if isinstance(index, slice):
            return SignedChunks(self._template, self._urls[index], self._expires, self._chunks[index])
        return SignedChunk(self._template, self._urls[index], self._expires, self._chunks[index])

    def __iter__(self) -> Iterator[SignedChunk]:
        return signed_chunks(self._template, self._urls, self._expires, self._chunks)

    def __repr__(self) -> str:
        return f"<{len(self)} signed chunks>"


_set_parts: Final = SignedRequest.__dict__["_parts"].__set__
_set_chunk_parts: Final = SignedChunk.__dict__["_parts"].__set__


def _iso(epoch: int) -> str:
    return datetime.fromtimestamp(epoch, UTC).isoformat().replace("+00:00", "Z")


def _form_path(path: str) -> str:
    if '"' in path or "\\" in path or "\n" in path:
        raise InvalidArgument("curl cannot name this file in a form", hint="rename it, or use another client")
    return f'"{path}"' if set(path) & set(",; ") else path
