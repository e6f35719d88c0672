"""The Signer of Blob Storage: what the core asks for, as shared access signatures of least permission. Pure.

Every grant is for one blob and one step: ``c`` to create and nothing else, ``w`` to write, ``r`` to read, ``d`` to delete. None
has a start: clocks differ, and a SAS without one is good at once. One SAS serves all chunks of a session, since it covers the
blob and not the block; a chunk's URL costs a string.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Final, overload
from urllib.parse import quote

from blobkit.backend import DownloadOrder, SessionState, UploadOrder
from blobkit.blobs import Checksum
from blobkit.chunking import Chunk
from blobkit.signed import ChunkTemplate, Receipt, RequestTemplate, SignedChunk, SignedRequest, signed_requests
from blobkit.spec import Constraint, UploadSpec
from blobkit_azure.blocks import query_prefix, query_suffix
from blobkit_azure.signing.presign import Presigner, encode_key, halves
from blobkit_azure.signing.sas import AccountKey, DelegationKey, Grant, Resource, stamp
from blobkit_azure.signing.shapes import bound_headers, put_headers

__all__ = ["SNAPSHOT", "AzureSigner", "Rules", "SharedSigner"]

SNAPSHOT: Final = "snapshot="
"""A version that starts so is the time of a snapshot; any other is a version's id."""

_REMEMBERED: Final = 1024
_CREATED: Final = (201,)
_CHUNK: Final = ChunkTemplate(expected_status=_CREATED, receipt=Receipt("none", None))
_DELETE: Final = RequestTemplate("DELETE", expected_status=(202,))
_HEAD: Final = RequestTemplate("HEAD")
_GET: Final = RequestTemplate("GET", expected_status=(200, 206))


@dataclass(frozen=True, slots=True)
class Rules:
    """What every signature of a store has.

    Attributes:
        container: The container's name.
        base: What a client appends the encoded name to.
        version, ip, protocol, policy: As in :class:`~blobkit_azure.signing.sas.Grant`.
    """

    container: str
    base: str
    version: str
    ip: str | None = None
    protocol: str = "https"
    policy: str | None = None


class AzureSigner:
    """Signs with one key. See :class:`blobkit.backend.Signer`.

    Args:
        key: An account's key, or a user-delegation key.
        rules: What every signature has.
        valid_until: When the key ends, seconds since the epoch; None when it does not.
    """

    def __init__(self, key: AccountKey | DelegationKey, rules: Rules, valid_until: int | None = None) -> None:
        self.valid_until = valid_until
        self._key = key
        self._rules = rules
        self._halves = halves(key.value)
        self._uploads: dict[UploadOrder, tuple[int, Presigner, RequestTemplate]] = {}
        self._downloads: tuple[int, dict[DownloadOrder, tuple[Presigner, RequestTemplate]]] = (0, {})
        self._writes: tuple[int, Presigner] | None = None

    def __repr__(self) -> str:
        return f"AzureSigner({type(self._key).__name__}, {self._rules.base})"

    def upload(
        self, key: str, order: UploadOrder, start: int, end: int, spec: UploadSpec | None = None
    ) -> SignedRequest:
        """See Signer."""
        known = self._uploads.get(order) if spec is None else None
        if known is None or known[0] != end:
            known = self.prepared(order.of(spec), end, lasting=spec is None)
        return SignedRequest(known[2], known[1].url(key), end)

    def uploads(self, items: Sequence[tuple[str, UploadOrder]], start: int, end: int) -> Sequence[SignedRequest]:
        """See Signer; each is signed when it is read, which gives the same bytes whenever that is."""
        return _Batch(self, tuple(items), end)

    def prepared(self, order: UploadOrder, end: int, *, lasting: bool = True) -> tuple[int, Presigner, RequestTemplate]:
        """All that uploads of this order, which end then, have in common; remembered if the order will come again."""
        create = order.spec.if_absent and order.binds(Constraint.IF_ABSENT)
        grant = self._grant("c" if create else "w", end, headers=bound_headers(order))
        template = RequestTemplate("PUT", put_headers(order), _CREATED, order.spec, order.enforcement)
        made = (end, self._presigner(grant), template)
        if lasting:
            if len(self._uploads) >= _REMEMBERED:
                self._uploads.clear()
            self._uploads[order] = made
        return made

    def download(self, key: str, order: DownloadOrder, start: int, end: int) -> SignedRequest:
        """See Signer. Azure lets whoever may GET also HEAD, and the other way round."""
        until, known = self._downloads
        if until != end or len(known) >= _REMEMBERED:
            known = {}
            self._downloads = (end, known)
        found = known.get(order)
        if found is None:
            found = known[order] = (self._reading(order, end), _HEAD if order.method == "HEAD" else _GET)
        return SignedRequest(found[1], found[0].url(key), end)

    def _reading(self, order: DownloadOrder, end: int) -> Presigner:
        resource, instant, more = _version(order.version)
        grant = self._grant(
            "r",
            end,
            resource=resource,
            snapshot=instant,
            cache_control=order.cache_control,
            content_disposition=order.content_disposition,
            content_type=order.content_type,
        )
        return self._presigner(grant, more)

    def delete(self, key: str, start: int, end: int) -> SignedRequest:
        """See Signer."""
        return SignedRequest(_DELETE, self._presigner(self._grant("d", end)).url(key), end)

    def chunks(
        self, state: SessionState, chunks: Sequence[Chunk], checksums: Mapping[int, Checksum], start: int, end: int
    ) -> Sequence[SignedChunk]:
        """See Signer. ``checksums`` are never given: no SAS binds one, and ``chunk_checksums`` is not declared."""
        known = self._writes
        if known is None or known[0] != end:
            known = self._writes = (end, self._presigner(self._grant("w", end)))
        return _chunks(known[1].url(state.key), state, chunks, end)

    def _presigner(self, grant: Grant, more: str = "") -> Presigner:
        return Presigner(grant, self._key, self._rules.container, self._rules.base, self._halves, more)

    def _grant(
        self,
        permissions: str,
        end: int,
        *,
        resource: Resource = "b",
        snapshot: str | None = None,
        headers: Mapping[str, str] | None = None,
        cache_control: str | None = None,
        content_disposition: str | None = None,
        content_type: str | None = None,
    ) -> Grant:
        rules = self._rules
        return Grant(
            version=rules.version,
            permissions=permissions,
            expiry=stamp(end),
            resource=resource,
            policy=rules.policy,
            ip=rules.ip,
            protocol=rules.protocol,
            snapshot=snapshot,
            headers=headers or {},
            cache_control=cache_control,
            content_disposition=content_disposition,
            content_type=content_type,
        )


class SharedSigner:
    """Hands on a SAS that somebody else made: as wide as it is, and until it ends, whatever was asked.

    Args:
        sas: Without ``?``.
        rules: Of these, only ``base``.
        ends: When it ends, seconds since the epoch.
    """

    def __init__(self, sas: str, rules: Rules, ends: int) -> None:
        self.valid_until: int | None = ends
        self._ends = ends
        self._sas = sas
        self._base = rules.base

    def __repr__(self) -> str:
        return f"SharedSigner({self._base})"

    def upload(
        self, key: str, order: UploadOrder, start: int, end: int, spec: UploadSpec | None = None
    ) -> SignedRequest:
        """See Signer."""
        order = order.of(spec)
        template = RequestTemplate("PUT", put_headers(order), _CREATED, order.spec, order.enforcement)
        return SignedRequest(template, self._url(key), self._ends)

    def uploads(self, items: Sequence[tuple[str, UploadOrder]], start: int, end: int) -> Sequence[SignedRequest]:
        """See Signer."""
        return tuple([self.upload(key, order, start, end) for key, order in items])

    def download(self, key: str, order: DownloadOrder, start: int, end: int) -> SignedRequest:
        """See Signer. Response headers cannot be overruled, and are not declared."""
        _, _, more = _version(order.version)
        return SignedRequest(_HEAD if order.method == "HEAD" else _GET, self._url(key, more), self._ends)

    def delete(self, key: str, start: int, end: int) -> SignedRequest:
        """See Signer."""
        return SignedRequest(_DELETE, self._url(key), self._ends)

    def chunks(
        self, state: SessionState, chunks: Sequence[Chunk], checksums: Mapping[int, Checksum], start: int, end: int
    ) -> Sequence[SignedChunk]:
        """See Signer."""
        return _chunks(self._url(state.key), state, chunks, self._ends)

    def _url(self, key: str, more: str = "") -> str:
        return f"{self._base}{encode_key(key)}?{more}{self._sas}"


def _version(version: str | None) -> tuple[Resource, str | None, str]:
    """What a version is (``sr``), what is signed of it, and how the request names it."""
    if version is None:
        return "b", None, ""
    if version.startswith(SNAPSHOT):
        instant = version.removeprefix(SNAPSHOT)
        return "bs", instant, f"snapshot={quote(instant, safe='')}&"
    return "bv", version, f"versionid={quote(version, safe='')}&"


def _chunks(url: str, state: SessionState, chunks: Sequence[Chunk], end: int) -> Sequence[SignedChunk]:
    """Put Block, once for each chunk: https://learn.microsoft.com/rest/api/storageservices/put-block"""
    head = f"{url}&comp=block&blockid={query_prefix(state.provider_id)}"
    return tuple([SignedChunk(_CHUNK, head + query_suffix(chunk.number), end, chunk) for chunk in chunks])


_key: Final = itemgetter(0)
_order: Final = itemgetter(1)


class _Batch(Sequence[SignedRequest]):
    """Uploads that are signed when they are read."""

    __slots__ = ("_end", "_items", "_signer")

    def __init__(self, signer: AzureSigner, items: tuple[tuple[str, UploadOrder], ...], end: int) -> None:
        self._signer = signer
        self._items = items
        self._end = end

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> SignedRequest: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[SignedRequest]: ...
    def __getitem__(self, index: int | slice) -> SignedRequest | Sequence[SignedRequest]:
        if isinstance(index, slice):
            return _Batch(self._signer, self._items[index], self._end)
        key, order = self._items[index]
        return self._signer.upload(key, order, 0, self._end)

    def __iter__(self) -> Iterator[SignedRequest]:
        end = self._end
        for order, run in groupby(self._items, _order):  # mostly one: uploads that share a spec
            _, presigner, template = self._signer.prepared(order, end)
            yield from signed_requests(template, presigner.urls(map(_key, run)), end)

    def __repr__(self) -> str:
        return f"<{len(self)} signed uploads>"
