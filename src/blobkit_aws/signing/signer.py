"""The Signer of S3: what the core asks for, in requests that S3 understands. Pure; one per set of credentials."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from types import MappingProxyType
from typing import Final, Protocol

from blobkit.backend import DownloadOrder, SessionState, UploadOrder
from blobkit.blobs import Checksum
from blobkit.chunking import Chunk
from blobkit.errors import InvalidKey, UnenforceableConstraint
from blobkit.signed import ChunkTemplate, RequestTemplate, SignedChunk, SignedRequest, signed_chunks, signed_requests
from blobkit.spec import Constraint, Route
from blobkit_aws.signing.encoding import encode_key
from blobkit_aws.signing.endpoints import Address
from blobkit_aws.signing.post import FORM_TOKEN, iso, sign_policy
from blobkit_aws.signing.shapes import checksum_header, form_parts, put_headers
from blobkit_aws.signing.sigv4 import SESSION_TOKEN, Credentials, QuerySigner, Scope, SignedHeaders, exact_headers

__all__ = ["S3Signer", "Site"]

BACKDATED: Final = 60
"""Seconds by which a signature begins before now, so that a server whose clock is a little behind accepts it."""

_REMEMBERED: Final = 1024
_CHUNK: Final = ChunkTemplate()
_OK: Final = (200,)
_POST: Final = Route.POST
_order_of: Final = itemgetter(1)
_number_of: Final = itemgetter(0)
_size_of: Final = itemgetter(2)
_EXPRESS_TOKEN: Final = "X-Amz-S3session-Token"  # noqa: S105 - a parameter's name


class _Prepared(Protocol):
    """All of a signed URL but its path, or its part number, and the headers whose values vary."""

    def url(self, part: str | int, lines: str = "") -> str: ...

    def urls(self, parts: Iterable[str | int], lines: str = "") -> Iterator[str]: ...


class _Presigns(Protocol):
    """What makes presigned URLs, with either algorithm."""

    def of_path(
        self,
        method: str,
        start: int,
        lifetime: int,
        *,
        base: str = "/",
        headers: SignedHeaders | None = None,
        query: Sequence[tuple[str, str]] = (),
    ) -> _Prepared: ...

    def of_part(
        self, path: str, upload_id: str, start: int, lifetime: int, *, headers: SignedHeaders | None = None
    ) -> _Prepared: ...


class _Shape:
    """Everything of signed PUTs with the same header names, in the same second, but their paths and the headers' values."""

    __slots__ = ("_lines", "_values", "prepared")

    def __init__(self, names: list[str], host: str, prepared: _Prepared) -> None:
        self.prepared = prepared
        fixed = {"host": host.replace("%", "%%")}
        self._lines = "".join([f"{name}:{fixed.get(name, '%s')}\n" for name in names])
        vary = [name for name in names if name not in fixed]
        self._values: Callable[[Mapping[str, str]], object] = itemgetter(*vary) if vary else _nothing

    def lines(self, headers: Mapping[str, str]) -> str:
        """The canonical headers, with these values."""
        return self._lines % self._values(headers)


def _no_size(_: Chunk) -> None:
    """Of an object whose size is not known, the last chunk may be any shorter: no size is signed."""


def _nothing(_: Mapping[str, str]) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Site:
    """What signatures are made for.

    Attributes:
        bucket: The bucket's name, as a form's policy names it.
        region: What stands in the scope.
        address: Where clients find it.
        kind: ``s3``, ``express`` (a directory bucket) or ``multi_region`` (a Multi-Region Access Point).
        max_life: The longest life of a signature, seconds.
        headers: Sent and signed with every upload: encryption, access control, tags.
        put_checksums: The checksums that the service compares on a PUT; None: not known, whoever asserts them has all.
        form_checksums: The same of a form.
    """

    bucket: str
    region: str
    address: Address
    kind: str = "s3"
    max_life: int = 604_800
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    put_checksums: frozenset[str] | None = None
    form_checksums: frozenset[str] | None = None


class S3Signer:
    """See :class:`blobkit.backend.Signer`."""

    def __init__(self, credentials: Credentials, site: Site) -> None:
        self.valid_until = credentials.ends
        self._credentials = credentials
        self._site = site
        self._base = site.address.base
        self._host = ("host", site.address.host)
        self._scope = Scope(site.region, "s3express" if site.kind == "express" else "s3")
        self._presigns = _presigns(credentials, site, self._scope)
        self._shapes: tuple[int, int, dict[tuple[str, ...], _Shape]] = (0, 0, {})
        self._uploads: dict[UploadOrder, tuple[int, int, _Prepared, str, RequestTemplate]] = {}
        self._downloads: tuple[int, int, dict[DownloadOrder, tuple[_Prepared, RequestTemplate]]] = (0, 0, {})

    def __repr__(self) -> str:
        return f"S3Signer({self._credentials.access_key}, {self._site.address.origin})"

    def _dates(self, start: int, end: int) -> tuple[int, int]:
        """When the signature begins, a little early, and how long it lives so that it ends as asked."""
        early = max(0, min(BACKDATED, self._site.max_life - (end - start)))
        return start - early, end - start + early

    # --- uploads ---

    def upload(self, key: str, order: UploadOrder, start: int, end: int) -> SignedRequest:
        """See Signer."""
        if order.route is _POST:
            return self._form(key, order, start, end)
        known = self._uploads.get(order) if order.lasting else None
        if known is None or known[1] != end or known[0] != start:
            known = self._prepare(order, start, end)
        _, _, prepared, lines, template = known
        return SignedRequest(template, prepared.url(encode_key(key), lines), end)

    def uploads(self, items: Sequence[tuple[str, UploadOrder]], start: int, end: int) -> Sequence[SignedRequest]:
        """See Signer."""
        made: list[SignedRequest] = []
        for order, run in groupby(items, _order_of):  # mostly one: uploads that share a spec
            if order.route is _POST:
                made += [self._form(key, order, start, end) for key, _ in run]
            else:
                _, _, prepared, lines, template = self._prepare(order, start, end)
                made += signed_requests(template, prepared.urls([encode_key(key) for key, _ in run], lines), end)
        return tuple(made)

    def _prepare(self, order: UploadOrder, start: int, end: int) -> tuple[int, int, _Prepared, str, RequestTemplate]:
        """All of a PUT but its path, for this order: what headers its shape has, and then their values."""
        if order.spec.checksum is not None:
            _check_checksum(order, self._site.put_checksums)
        sent, length = put_headers(order)
        if self._site.headers:
            sent.update(self._site.headers)
        if length is not None:
            sent["content-length"] = length
        shape = self._shape(tuple(sent), start, end)
        lines = shape.lines(sent)
        if length is not None:
            del sent["content-length"]  # signed, but HTTP itself sends it
        template = RequestTemplate("PUT", MappingProxyType(sent), _OK, order.spec, order.enforcement)
        known = (start, end, shape.prepared, lines, template)
        if order.lasting:
            if len(self._uploads) >= _REMEMBERED:
                self._uploads.clear()
            self._uploads[order] = known
        return known

    def _shape(self, names: tuple[str, ...], start: int, end: int) -> _Shape:
        """What PUTs with these headers have in common in this second; remembered until the next."""
        since, until, known = self._shapes
        if since != start or until != end or len(known) >= _REMEMBERED:
            known = {}
            self._shapes = (start, end, known)
        shape = known.get(names)
        if shape is None:
            begin, lifetime = self._dates(start, end)
            ordered = sorted([*names, "host"])
            headers = SignedHeaders("", ";".join(ordered))  # the lines come with the values
            prepared = self._presigns.of_path("PUT", begin, lifetime, base=self._base, headers=headers)
            shape = known[names] = _Shape(ordered, self._site.address.host, prepared)
        return shape

    def _form(self, key: str, order: UploadOrder, start: int, end: int) -> SignedRequest:
        if "${filename}" in key:
            raise InvalidKey("S3 would put the client's file name for ${filename} in a form's key", key=key)
        _check_checksum(order, self._site.form_checksums)
        begin, _ = self._dates(start, end)
        fields, conditions = form_parts(order)
        own = _form_fields(self._site.headers)
        made = sign_policy(
            self._credentials,
            self._scope,
            start=begin,
            expiration=iso(end),
            fields={"key": key, **fields, **own},
            conditions=[{"bucket": self._site.bucket}, {"key": key}, *conditions, *({n: v} for n, v in own.items())],
            token_name=_EXPRESS_TOKEN if self._site.kind == "express" else FORM_TOKEN,
        )
        template = RequestTemplate("POST", MappingProxyType({}), (204,), order.spec, order.enforcement)
        return SignedRequest(template, self._site.address.form, end, made)

    # --- downloads and deletes ---

    def download(self, key: str, order: DownloadOrder, start: int, end: int) -> SignedRequest:
        """See Signer."""
        since, until, known = self._downloads
        if since != start or until != end or len(known) >= _REMEMBERED:
            known = {}
            self._downloads = (start, end, known)
        found = known.get(order)
        if found is None:
            begin, lifetime = self._dates(start, end)
            prepared = self._presigns.of_path(order.method, begin, lifetime, base=self._base, query=_overrides(order))
            found = known[order] = (prepared, RequestTemplate(order.method))
        return SignedRequest(found[1], found[0].url(encode_key(key)), end)

    def delete(self, key: str, start: int, end: int) -> SignedRequest:
        """See Signer."""
        begin, lifetime = self._dates(start, end)
        prepared = self._presigns.of_path("DELETE", begin, lifetime, base=self._base)
        return SignedRequest(_DELETE, prepared.url(encode_key(key)), end)

    # --- chunks ---

    def chunks(
        self, state: SessionState, chunks: Sequence[Chunk], checksums: Mapping[int, Checksum], start: int, end: int
    ) -> Sequence[SignedChunk]:
        """See Signer. A chunk of a known size is bound to it: a leaked URL cannot write more.

        A checksum is an MD5: S3 compares any other only in an upload that was created for its algorithm.
        """
        begin, lifetime = self._dates(start, end)
        if checksums:
            return self._checked_chunks(state, chunks, checksums, begin, lifetime, end)
        path = f"{self._base}{encode_key(state.key)}"
        exact = state.plan.size is not None
        prepared: dict[int | None, _Prepared] = {}
        made: list[SignedChunk] = []
        for size, same in groupby(
            chunks, _size_of if exact else _no_size
        ):  # mostly two: all but the last, and the last
            if size not in prepared:
                prepared[size] = self._part(path, state, begin, lifetime, size)
            run = list(same)
            made += signed_chunks(_CHUNK, prepared[size].urls(map(_number_of, run)), end, run)
        return tuple(made)

    def _checked_chunks(
        self,
        state: SessionState,
        chunks: Sequence[Chunk],
        checksums: Mapping[int, Checksum],
        begin: int,
        lifetime: int,
        end: int,
    ) -> Sequence[SignedChunk]:
        path = f"{self._base}{encode_key(state.key)}"
        made: list[SignedChunk] = []
        for chunk in chunks:
            size = None if state.plan.size is None else chunk.size
            checksum = checksums.get(chunk.number)
            headers: dict[str, str] | None = None
            if checksum is not None:
                if checksum.algorithm != "md5":
                    raise UnenforceableConstraint(
                        "checksum",
                        provider="s3",
                        alternatives=(
                            "an md5 of the chunk",
                            "a checksum of the whole object, which complete() verifies",
                        ),
                        why=f"the {checksum.algorithm} of a part is only compared in an upload created for it",
                    )
                headers = dict([checksum_header(checksum)])
            url = self._part(path, state, begin, lifetime, size, headers).url(chunk.number)
            made.append(SignedChunk(_CHUNK, url, end, chunk, headers))
        return tuple(made)

    def _part(
        self,
        path: str,
        state: SessionState,
        begin: int,
        lifetime: int,
        size: int | None,
        headers: Mapping[str, str] | None = None,
    ) -> _Prepared:
        signed: list[tuple[str, str]] = [self._host, *(headers or {}).items()]
        if size is not None:
            signed.append(("content-length", str(size)))
        return self._presigns.of_part(path, state.provider_id, begin, lifetime, headers=exact_headers(signed))


_DELETE: Final = RequestTemplate("DELETE", expected_status=(204,))


def _presigns(credentials: Credentials, site: Site, scope: Scope) -> _Presigns:
    address = site.address
    if site.kind == "multi_region":
        from blobkit_aws.signing.sigv4a import AsymmetricSigner

        return AsymmetricSigner(credentials, origin=address.origin, host=address.host)
    token = _EXPRESS_TOKEN if site.kind == "express" else SESSION_TOKEN
    return QuerySigner(credentials, scope, origin=address.origin, host=address.host, token_name=token)


def _overrides(order: DownloadOrder) -> list[tuple[str, str]]:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html, response-* parameters."""
    given = (
        ("response-cache-control", order.cache_control),
        ("response-content-disposition", order.content_disposition),
        ("response-content-type", order.content_type),
        ("versionId", order.version),
    )
    return [(name, value) for name, value in given if value is not None]


def _check_checksum(order: UploadOrder, known: frozenset[str] | None) -> None:
    """Of several algorithms, a service compares some."""
    checksum = order.spec.checksum
    if checksum is None or known is None or checksum.algorithm in known or not order.binds(Constraint.CHECKSUM):
        return
    raise UnenforceableConstraint(
        "checksum",
        provider="s3",
        alternatives=(f"another algorithm: {', '.join(sorted(known))}", "start_upload(), whose complete() verifies it"),
        why=f"this service does not compare a {checksum.algorithm}",
    )


def _form_fields(headers: Mapping[str, str]) -> dict[str, str]:
    """A store's own headers as fields of a form: only access control and tags have other names there."""
    fields = dict(headers)
    if (acl := fields.pop("x-amz-acl", None)) is not None:
        fields["acl"] = acl
    if (tags := fields.pop("x-amz-tagging", None)) is not None:
        from blobkit_aws.signing.tagging import as_xml

        fields["tagging"] = as_xml(tags)
    return fields
