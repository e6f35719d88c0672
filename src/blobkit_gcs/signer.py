"""The Signer of ``gs://``: what the core asks for, as V4 signed requests."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Final, TypeVar, overload

from blobkit.backend import DownloadOrder, Feature, SessionState, UploadOrder
from blobkit.blobs import Checksum
from blobkit.chunking import Chunk
from blobkit.errors import UnenforceableConstraint, Unsupported
from blobkit.keys import quote_key
from blobkit.signed import ChunkTemplate, Receipt, RequestTemplate, SignedChunk, SignedRequest
from blobkit.spec import Route, TiB, UploadSpec
from blobkit_gcs.hosts import Site
from blobkit_gcs.signing import Shape, SigningKey, Window, policy_fields, sign_url, window

__all__ = ["GcsSigner", "cores", "upload_headers"]

T = TypeVar("T")
R = TypeVar("R")
_LARGEST: Final = 5 * TiB
_REMEMBERED: Final = 1024
_OK: Final = (200,)
_RESUMABLE: Final = ChunkTemplate(
    expected_status=(200, 201), incomplete_status=308, receipt=Receipt("range", "Range"), content_range=True
)
_PART: Final = ChunkTemplate(receipt=Receipt("header", "ETag"))
_POST: Final = Route.POST  # named once: to find a member in its enumeration takes long
_DELETE: Final = RequestTemplate("DELETE", expected_status=(204,))


def _md5(checksum: Checksum) -> str:
    if checksum.algorithm != "md5":
        raise UnenforceableConstraint(
            "checksum",
            provider="gcs",
            why=f"a signed upload binds an MD5, not {checksum.algorithm}",
            alternatives=('Checksum.of("md5", data)', "start_upload(), whose complete() verifies any checksum"),
        )
    return checksum.base64


def upload_headers(spec: UploadSpec) -> dict[str, str]:
    """The headers that bind a spec. https://cloud.google.com/storage/docs/xml-api/reference-headers.

    Raises:
        UnenforceableConstraint: A checksum that no header binds.
    """
    values = {
        "content-type": spec.content_type,
        "cache-control": spec.cache_control,
        "content-disposition": spec.content_disposition,
        "content-encoding": spec.content_encoding,
        "content-md5": None if spec.checksum is None else _md5(spec.checksum),
        "x-goog-content-length-range": _size_range(spec),
        "x-goog-if-generation-match": "0" if spec.if_absent else None,
        "x-goog-storage-class": spec.storage_class,
        **{f"x-goog-meta-{name}": value for name, value in spec.metadata.items()},
    }
    return {name: value for name, value in values.items() if value is not None}


def _bounds(spec: UploadSpec) -> tuple[int, int] | None:
    if spec.size is not None:
        return spec.size, spec.size
    if spec.min_size is None and spec.max_size is None:
        return None
    return spec.min_size or 0, _LARGEST if spec.max_size is None else spec.max_size


def _size_range(spec: UploadSpec) -> str | None:
    bounds = _bounds(spec)
    return None if bounds is None else f"{bounds[0]},{bounds[1]}"


class GcsSigner:
    """Signs with one key. See :class:`blobkit.backend.Signer`.

    Args:
        key: What signs.
        site: Where the bucket is for clients.
        bucket: Its name.
        multipart: Whether chunks are parts of XML uploads; else they go to resumable sessions.
        threads: How many signatures of a batch are made at a time; 0: each when it is read.
        user_project: Who pays for the requests, of a bucket whose requesters pay.
        sure_until: Until when signatures made now hold for sure, seconds since the epoch; None: as long as they say.
    """

    def __init__(
        self,
        key: SigningKey,
        site: Site,
        bucket: str,
        *,
        multipart: bool = False,
        threads: int = 0,
        user_project: str | None = None,
        sure_until: Callable[[], int] | None = None,
    ) -> None:
        self._key = key
        self._payer = {"userProject": user_project} if user_project else {}
        self._sure_until = sure_until
        self._site = site
        self._bucket = bucket
        self._multipart = multipart
        self._threads = threads
        self._uploads: dict[UploadOrder, tuple[Shape, RequestTemplate]] = {}
        self._downloads: dict[DownloadOrder, tuple[Shape, RequestTemplate]] = {}
        self._delete = Shape.of("DELETE", site, query=self._payer)
        self._window: tuple[int, int, Window] | None = None

    def __repr__(self) -> str:
        return f"GcsSigner({self._site.base}, {self._key!r})"

    @property
    def valid_until(self) -> int | None:
        """Signatures outlive the token that asked for them; those of a key that Google keeps may not outlive that key."""
        return None if self._sure_until is None else self._sure_until()

    def upload(
        self, key: str, order: UploadOrder, start: int, end: int, spec: UploadSpec | None = None
    ) -> SignedRequest:
        """A PUT; or a form, when the order says so."""
        if order.route is _POST:
            return self._form(key, order.of(spec), start, end)
        known = self._uploads.get(order) if spec is None else None
        if known is None:
            asked = order.spec if spec is None else spec
            headers = upload_headers(asked)
            template = RequestTemplate("PUT", MappingProxyType(headers), _OK, asked, order.enforcement)
            known = (Shape.of("PUT", self._site, headers, self._payer), template)
            if spec is None:
                if len(self._uploads) >= _REMEMBERED:
                    self._uploads.clear()
                self._uploads[order] = known
        url = sign_url(self._key, self._site, quote_key(key), known[0], self._when(start, end))
        return SignedRequest(known[1], url, end)

    def uploads(self, items: Sequence[tuple[str, UploadOrder]], start: int, end: int) -> Sequence[SignedRequest]:
        """Many: with an HMAC key each is signed when it is read; else all are signed now, some at a time."""
        if not self._threads:
            return _Batch(self, tuple(items), start, end)
        return self._each(lambda item: self.upload(*item, start, end), items)

    def _each(self, make: Callable[[T], R], items: Sequence[T]) -> tuple[R, ...]:
        """Sign for each item, so many at a time as there are threads: RSA releases the GIL, and signBlob waits."""
        if not self._threads or len(items) < 2:
            return tuple(map(make, items))
        workers = min(self._threads, len(items))
        step = -(-len(items) // (workers * 4))

        def some(first: int) -> list[R]:
            return [make(item) for item in items[first : first + step]]

        with ThreadPoolExecutor(workers, thread_name_prefix="blobkit-gcs-sign") as pool:
            return tuple(made for part in pool.map(some, range(0, len(items), step)) for made in part)

    def download(self, key: str, order: DownloadOrder, start: int, end: int) -> SignedRequest:
        """A GET or HEAD. Raises Unsupported for a Cache-Control, which Cloud Storage cannot answer instead of its own."""
        known = self._downloads.get(order)
        if known is None:
            if len(self._downloads) >= _REMEMBERED:
                self._downloads.clear()
            known = self._downloads[order] = self._download(order)
        url = sign_url(self._key, self._site, quote_key(key), known[0], self._when(start, end))
        return SignedRequest(known[1], url, end)

    def delete(self, key: str, start: int, end: int) -> SignedRequest:
        """A DELETE."""
        url = sign_url(self._key, self._site, quote_key(key), self._delete, self._when(start, end))
        return SignedRequest(_DELETE, url, end)

    def chunks(
        self, state: SessionState, chunks: Sequence[Chunk], checksums: Mapping[int, Checksum], start: int, end: int
    ) -> Sequence[SignedChunk]:
        """PUTs of parts; or the session's own URI, which is all that a resumable session needs."""
        if not self._multipart:
            return tuple(SignedChunk(_RESUMABLE, state.provider_id, end, chunk) for chunk in chunks)
        when, path = self._when(start, end), quote_key(state.key)

        def part(chunk: Chunk) -> SignedChunk:
            size, checksum = f"{chunk.size},{chunk.size}", checksums.get(chunk.number)
            headers = {} if state.plan.size is None else {"x-goog-content-length-range": size}
            if checksum is not None:
                headers["content-md5"] = _md5(checksum)
            query = {"partNumber": str(chunk.number), "uploadId": state.provider_id, **self._payer}
            url = _once(self._key, self._site, path, Shape.of("PUT", self._site, headers, query), when)
            return SignedChunk(_PART, url, end, chunk, MappingProxyType(headers))

        return self._each(part, chunks)

    # --- how ---

    def _when(self, start: int, end: int) -> Window:
        known = self._window
        if known is None or known[0] != start or known[1] != end:
            known = self._window = (start, end, window(self._key, start, end))
        return known[2]

    def _download(self, order: DownloadOrder) -> tuple[Shape, RequestTemplate]:
        if order.cache_control is not None:
            raise Unsupported(
                "Cloud Storage answers the stored Cache-Control, whatever is signed",
                features=[Feature.RESPONSE_OVERRIDES],
                provider="gcs",
                hint="store it with the object (cache_control=), or leave it out",
            )
        values = {
            "generation": order.version,
            "response-content-disposition": order.content_disposition,
            "response-content-type": order.content_type,
            **self._payer,
        }
        query = {name: value for name, value in values.items() if value is not None}
        expected = _OK if order.method == "HEAD" else (200, 206)
        return Shape.of(order.method, self._site, query=query), RequestTemplate(order.method, expected_status=expected)

    def _form(self, key: str, order: UploadOrder, start: int, end: int) -> SignedRequest:
        fields = upload_headers(order.spec)
        bounds = fields.pop("x-goog-content-length-range", None)
        conditions: list[object] = []
        if bounds is not None:
            conditions.append(["content-length-range", *map(int, bounds.split(","))])
        made = policy_fields(self._key, self._bucket, key, start, end, fields=fields, conditions=conditions)
        template = RequestTemplate("POST", expected_status=(204,), spec=order.spec, enforcement=order.enforcement)
        return SignedRequest(template, self._site.base, end, made)


def _once(key: SigningKey, site: Site, path: str, shape: Shape, when: Window) -> str:
    """A URL of a shape that nothing else has: it is not remembered."""
    return sign_url(key, site, path, shape, Window(when.date, when.head, when.query))


def cores() -> int:
    """How many threads may sign at a time."""
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


class _Batch(Sequence[SignedRequest]):
    """Uploads that are signed when they are read."""

    __slots__ = ("_end", "_items", "_signer", "_start")

    def __init__(self, signer: GcsSigner, items: tuple[tuple[str, UploadOrder], ...], start: int, end: int) -> None:
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
