"""The Signer of S3: what the core asks for, in requests that S3 understands. Pure; one per set of credentials."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, groupby
from operator import itemgetter
from types import MappingProxyType
from typing import Final, Protocol

from blobkit.backend import DownloadOrder, SessionState, UploadOrder
from blobkit.blobs import Checksum
from blobkit.chunking import Chunk
from blobkit.errors import InvalidKey, UnenforceableConstraint
from blobkit.signed import ChunkTemplate, RequestTemplate, SignedChunk, SignedChunks, SignedRequest, SignedRequests
from blobkit.spec import Constraint, Route, UploadSpec
from blobkit_aws.signing.encoding import encode_key
from blobkit_aws.signing.endpoints import Address
from blobkit_aws.signing.post import FORM_TOKEN, iso, sign_policy
from blobkit_aws.signing.shapes import checksum_header, form_parts, header_lines, put_headers, values
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
    """All of signed PUTs with the same constraints, in the same second, but their paths and the headers' values."""

    __slots__ = ("_lines", "_vary", "prepared", "template")

    def __init__(self, lines: str, places: tuple[int, ...], prepared: _Prepared, template: RequestTemplate) -> None:
        self.prepared = prepared
        self.template = template
        self._lines = lines
        self._vary: Callable[[tuple[object, ...]], object] = itemgetter(*places) if places else _nothing

    def lines(self, spec: UploadSpec) -> str:
        """The canonical headers of one of them."""
        return self._lines % self._vary(values(spec))


def _no_size(_: Chunk) -> None:
    """Of an object whose size is not known, the last chunk may be any shorter: no size is signed."""


def _nothing(_: tuple[object, ...]) -> tuple[()]:
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
        self._fixed = {**site.headers, "host": site.address.host}
        self._scope = Scope(site.region, "s3express" if site.kind == "express" else "s3")
        self._presigns = _presigns(credentials, site, self._scope)
        self._shapes: tuple[int, int, dict[tuple[UploadOrder, tuple[str, ...], str | None], _Shape]] = (0, 0, {})
        self._uploads: dict[UploadOrder, tuple[int, int, _Prepared, str, RequestTemplate]] = {}
        self._downloads: tuple[int, int, dict[DownloadOrder, tuple[_Prepared, RequestTemplate]]] = (0, 0, {})

    def __repr__(self) -> str:
        return f"S3Signer({self._credentials.access_key}, {self._site.address.origin})"

    def _dates(self, start: int, end: int) -> tuple[int, int]:
        """When the signature begins, a little early, and how long it lives so that it ends as asked."""
        early = max(0, min(BACKDATED, self._site.max_life - (end - start)))
        return start - early, end - start + early

    # --- uploads ---

    def upload(
        self, key: str, order: UploadOrder, start: int, end: int, spec: UploadSpec | None = None
    ) -> SignedRequest:
        """See Signer."""
        if order.route is _POST:
            return self._form(key, order.of(spec), start, end)
        if spec is not None:
            shape = self._shape(order, spec, start, end)
            url = shape.prepared.url(encode_key(key), shape.lines(spec))
            return SignedRequest(shape.template, url, end, None, spec)
        known = self._uploads.get(order)
        if known is None or known[1] != end or known[0] != start:
            known = self._prepare(order, start, end)
        _, _, prepared, lines, template = known
        return SignedRequest(template, prepared.url(encode_key(key), lines), end)

    def uploads(self, items: Sequence[tuple[str, UploadOrder]], start: int, end: int) -> Sequence[SignedRequest]:
        """See Signer."""
        runs: list[Sequence[SignedRequest]] = []
        for order, run in groupby(items, _order_of):  # mostly one: uploads that share a spec
            if order.route is _POST:
                runs.append(tuple([self._form(key, order, start, end) for key, _ in run]))
            else:
                _, _, prepared, lines, template = self._prepare(order, start, end)
                urls = list(prepared.urls([encode_key(key) for key, _ in run], lines))
                runs.append(SignedRequests(template, urls, end))
        return runs[0] if len(runs) == 1 else tuple(chain.from_iterable(runs))

    def _prepare(self, order: UploadOrder, start: int, end: int) -> tuple[int, int, _Prepared, str, RequestTemplate]:
        """All of a PUT but its path, for an order that comes again."""
        spec = order.spec
        shape = self._shape(order, spec, start, end)
        template = RequestTemplate("PUT", shape.template.headers_for(spec), _OK, spec, order.enforcement)
        known = (start, end, shape.prepared, shape.lines(spec), template)
        if len(self._uploads) >= _REMEMBERED:
            self._uploads.clear()
        self._uploads[order] = known
        return known

    def _shape(self, order: UploadOrder, spec: UploadSpec, start: int, end: int) -> _Shape:
        """What PUTs with these constraints and names of metadata have in common in this second, remembered until the next."""
        since, until, known = self._shapes
        if since != start or until != end or len(known) >= _REMEMBERED:
            known = {}
            self._shapes = (start, end, known)
        checksum = spec.checksum
        what = (order, tuple(spec.metadata), None if checksum is None else checksum.algorithm)
        shape = known.get(what)
        if shape is None:
            if checksum is not None:
                _check_checksum(order.of(spec), self._site.put_checksums)
            names, lines, places = header_lines(order.of(spec), self._fixed)
            begin, lifetime = self._dates(start, end)
            headers = SignedHeaders("", ";".join(names))  # the lines come with the values
            prepared = self._presigns.of_path("PUT", begin, lifetime, base=self._base, headers=headers)
            template = RequestTemplate("PUT", partial(_sent, order, self._site.headers), _OK, None, order.enforcement)
            shape = known[what] = _Shape(lines, places, prepared, template)
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
        urls: list[str] = []
        for size, run in groupby(chunks, _size_of if exact else _no_size):  # mostly two: all but the last, and the last
            if size not in prepared:
                prepared[size] = self._part(path, state, begin, lifetime, size)
            urls += prepared[size].urls(map(_number_of, run))
        return SignedChunks(_CHUNK, urls, end, chunks)

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


def _sent(order: UploadOrder, own: Mapping[str, str], spec: UploadSpec) -> Mapping[str, str]:
    """The headers that a client sends; Content-Length is signed, but HTTP itself sends it."""
    return MappingProxyType({**put_headers(order.of(spec))[0], **own})


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
