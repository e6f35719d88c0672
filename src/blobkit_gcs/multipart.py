"""Chunked sessions of the XML API. https://cloud.google.com/storage/docs/multipart-uploads

Parts in any order, in parallel, each with an ETag; no preconditions. The service asks with its own login, clients with
signed URLs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import quote
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from blobkit.backend import HeldChunk, Received, SessionOrder, SessionState
from blobkit.blobs import UPLOAD_ID_KEY, AbortResult, BlobInfo, PendingUpload
from blobkit.errors import ChunkMismatch, SessionNotFound, Unavailable
from blobkit.keys import quote_key
from blobkit.spec import UploadSpec
from blobkit_gcs.calls import Answer
from blobkit_gcs.errors import Refused

if TYPE_CHECKING:
    from blobkit_gcs.backend import GcsBackend

__all__ = ["commit", "discard", "open_session", "pending", "received"]

_ABORTS: Final = 5
_MISMATCH: Final = frozenset({"InvalidPart", "InvalidPartOrder", "EntityTooSmall"})
_MOST: Final = 16 * 1024 * 1024


def open_session(backend: GcsBackend, order: SessionOrder, now: datetime) -> SessionState:
    """Start an upload: type, metadata and class are fixed here."""
    root = _xml(_call(backend, "POST", order.key, {"uploads": ""}, headers=_headers(order.spec, order.upload_id)))
    return SessionState(
        key=order.key,
        spec=order.spec,
        plan=order.plan,
        upload_id=order.upload_id,
        provider_id=_text(root, "UploadId"),
        started=now,
    )


def received(backend: GcsBackend, state: SessionState) -> Received:
    """The parts, all pages of them; where the upload is gone, whether it has become the object."""
    try:
        return Received("open", list(_parts(backend, state)))
    except Refused as refused:
        if refused.code_name != "NoSuchUpload":
            raise
    info = backend.own(state)
    return Received("gone") if info is None else Received("committed", info=info)


def commit(backend: GcsBackend, state: SessionState, chunks: Sequence[HeldChunk], total: int) -> BlobInfo:
    """Put exactly these parts together."""
    listed = "".join(
        f"<Part><PartNumber>{chunk.number}</PartNumber><ETag>&quot;{escape(chunk.receipt or '')}&quot;</ETag></Part>"
        for chunk in chunks
    )
    body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>"
    try:
        answer = _call(backend, "POST", state.key, {"uploadId": state.provider_id}, body=body.encode())
        if (root := _xml(answer)).tag.rpartition("}")[2] == "Error":  # said after the 200 was sent already
            raise Refused(503, root.findtext("{*}Code"), answer.text[:500])
    except Refused as refused:
        if refused.code_name in _MISMATCH:
            raise ChunkMismatch(f"the parts do not fit: {refused.code_name}") from refused
        if refused.code_name != "NoSuchUpload":
            raise
        info = backend.own(state)
        if info is None:
            raise SessionNotFound("the upload is gone, and no object of it is there", http_status=404) from refused
        return info
    generation = answer.headers.get("x-goog-generation")
    made = backend.own(state) if generation is None else backend.head(state.key, version=generation)
    if made is None:
        raise SessionNotFound("the object was replaced as soon as it was made")
    return made


def discard(backend: GcsBackend, state: SessionState) -> AbortResult:
    """Abort, until nothing is listed any more."""
    for _ in range(_ABORTS):
        try:
            _call(backend, "DELETE", state.key, {"uploadId": state.provider_id})
            if next(_parts(backend, state), None) is None:
                return AbortResult(discarded=True)
        except Refused as refused:
            if refused.code_name != "NoSuchUpload":
                raise
            return AbortResult(discarded=True)
    return AbortResult(discarded=False)


def pending(backend: GcsBackend, prefix: str) -> Iterator[PendingUpload]:
    """Uploads below a prefix, all pages."""
    at: dict[str, str] = {}
    while True:
        root = _xml(_call(backend, "GET", "", {"uploads": "", "prefix": prefix, **at}))
        for upload in root.findall("{*}Upload"):
            started = datetime.fromisoformat(_text(upload, "Initiated"))
            yield PendingUpload(_text(upload, "Key"), _text(upload, "UploadId"), started)
        if root.findtext("{*}IsTruncated") != "true":
            return
        at = {"key-marker": _text(root, "NextKeyMarker"), "upload-id-marker": _text(root, "NextUploadIdMarker")}


def _parts(backend: GcsBackend, state: SessionState) -> Iterator[HeldChunk]:
    marker = 0
    while True:
        query = {"uploadId": state.provider_id, "part-number-marker": str(marker)}
        root = _xml(_call(backend, "GET", state.key, query))
        for part in root.findall("{*}Part"):
            number, size = int(_text(part, "PartNumber")), int(_text(part, "Size"))
            yield HeldChunk(number, size, _text(part, "ETag").strip('"'))
        following = int(root.findtext("{*}NextPartNumberMarker") or 0)
        if root.findtext("{*}IsTruncated") != "true" or following <= marker:
            return
        marker = following


def _headers(spec: UploadSpec, upload_id: str) -> dict[str, str]:
    values = {
        "content-type": spec.content_type,
        "cache-control": spec.cache_control,
        "content-disposition": spec.content_disposition,
        "content-encoding": spec.content_encoding,
        "x-goog-storage-class": spec.storage_class,
        f"x-goog-meta-{UPLOAD_ID_KEY}": upload_id,
        **{f"x-goog-meta-{name}": value for name, value in spec.metadata.items()},
    }
    return {name: value for name, value in values.items() if value is not None}


def _call(
    backend: GcsBackend,
    method: str,
    key: str,
    query: Mapping[str, str],
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> Answer:
    """One call of the XML API; again, where that changes nothing and it failed for a moment. Raises Refused."""
    encoded = "&".join(f"{name}={quote(value, safe='~')}" if value else name for name, value in query.items())
    project = {"x-goog-user-project": backend.config.user_project} if backend.config.user_project else {}

    def ask() -> Answer:
        answer = backend.http().request(
            method,
            f"{backend.config.control.base}{quote_key(key)}?{encoded}",
            data=body,
            headers={**(headers or {}), **project, "content-length": str(len(body))},
            timeout=backend.timeout,
            allow_redirects=False,
        )
        if answer.status_code >= 300:
            raise _refusal(answer)
        return answer

    return (ask if method == "POST" else backend.again(ask))()


def _refusal(answer: Answer) -> Refused:
    code = None
    with suppress(Unavailable):  # a proxy's page: the status says enough
        code = _xml(answer).findtext("Code")
    return Refused(answer.status_code, code, answer.text[:500])


def _xml(answer: Answer) -> ET.Element:
    """The answer as XML, without document types, and so without entities. Raises Unavailable."""
    content: bytes = answer.content
    if b"<!" in content or len(content) > _MOST:
        raise Unavailable("the service answered something that is not its XML")
    try:
        return ET.fromstring(content)  # noqa: S314 - see above
    except ET.ParseError as error:
        raise Unavailable("the service answered something that is not XML") from error


def _text(element: ET.Element, name: str) -> str:
    text = element.findtext(f"{{*}}{name}")
    if text is None:
        raise Unavailable(f"the service's answer has no {name}")
    return text
