"""Upload to a service that hands out plans: ask it for one, execute it, tell it of the completion.

What is asked of the service (all bodies are JSON, all links may be relative to the service's address)::

    POST   {service}                  {"filename", "size", "content_type", "metadata"}   → a plan (UploadPlan.as_dict)
    GET    {links.sign} with {n}      ?checksum=ALG:BASE64 where the plan wants it     → one chunk, as in the plan's items
    GET    {links.list}               → {"state", "received": [1, 2], "received_bytes"}
    POST   {links.complete}           {"receipts": {"1": "etag"}, "size", "checksum"}   → the object, whatever the service says
    DELETE {links.abort}

Headers that the caller gives (an authorization) go to the service's own origin alone: never to storage, nor to a link that
leads elsewhere.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urljoin, urlsplit

from blobkit.blobs import Checksum
from blobkit.errors import (
    BlobkitError,
    ChecksumMismatch,
    ChunkMismatch,
    ConstraintViolated,
    InvalidArgument,
    NotFound,
    SessionMismatch,
    SessionNotFound,
    SourceChanged,
    TransientError,
    Unsupported,
)
from blobkit.plans import PlanChunk, UploadPlan, chunk_from_dict
from blobkit.transfer.outgoing import Means
from blobkit.transfer.refusals import failure
from blobkit.transfer.source import Readable, opened

if TYPE_CHECKING:
    from blobkit.transfer.journal import Record
    from blobkit.transfer.upload import Options, UploadResult

__all__ = ["TOKEN", "Held", "Service", "bearer", "upload_to_service"]

TOKEN: Final = "BLOBKIT_SERVICE_TOKEN"  # noqa: S105 - the variable's name

_MAX_ANSWER: Final = 64 * 1024 * 1024  # a plan of many chunks
_MAX_MESSAGE: Final = 300


def bearer() -> dict[str, str]:
    """The header of the token that the environment has for services; none when it has none."""
    token = os.environ.get(TOKEN)
    return {"authorization": f"Bearer {token}"} if token else {}


@dataclass(frozen=True, slots=True)
class Held:
    """What the service says that the storage holds: ``open | committed | gone``, and the numbers of whole chunks."""

    state: str
    received: tuple[int, ...]


class Service:
    """A service's upload API.

    Args:
        means: Moves bytes, and says how often failures are tried again.
        url: Its address (``https://api.example/uploads``).
        headers: What it wants to see: an authorization.
    """

    def __init__(self, means: Means, url: str, headers: Mapping[str, str]) -> None:
        self._means = means
        self._url = url
        self._headers = headers

    def begin(self, name: str, size: int, content_type: str | None, metadata: Mapping[str, str]) -> UploadPlan:
        """Ask for a plan. Raises what the service refuses with; InvalidArgument when it answers with something else."""
        wanted = {"filename": name, "size": size, "content_type": content_type, "metadata": dict(metadata)}
        once = {"idempotency-key": uuid.uuid4().hex}  # a lost reply must not leave a second upload behind
        return UploadPlan.from_dict(self._ask("POST", self._url, wanted, once))

    def sign(self, plan: UploadPlan, numbers: Iterable[int]) -> list[PlanChunk]:
        """Fresh requests for these chunks."""
        return [self._sign(plan, number, "") for number in numbers]

    def sign_one(self, plan: UploadPlan, number: int, checksum: Checksum) -> PlanChunk:
        """A request for a chunk, with its checksum bound in the signature."""
        return self._sign(plan, number, f"{checksum.algorithm}:{checksum.base64}")

    def _sign(self, plan: UploadPlan, number: int, checksum: str) -> PlanChunk:
        link = (plan.links.sign or "").replace("{n}", str(number))
        if checksum:
            link += ("&" if "?" in link else "?") + f"checksum={quote(checksum, safe='')}"
        try:
            return chunk_from_dict(self._ask("GET", link))
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidArgument("the service answered with no signed chunk") from error

    def held(self, plan: UploadPlan) -> Held:
        """What the storage holds of an upload."""
        if plan.links.list is None:
            raise Unsupported("the service does not say what the storage holds, so nothing can be resumed")
        try:
            found = self._ask("GET", plan.links.list)
        except NotFound:
            return Held("gone", ())
        received = found.get("received")
        if not isinstance(received, list) or not all(isinstance(number, int) for number in received):
            raise InvalidArgument("the service answered with no list of chunks")
        return Held(str(found.get("state", "open")), tuple(received))

    def complete(self, plan: UploadPlan, result: UploadResult, receipts: Mapping[int, str]) -> Mapping[str, object]:
        """Tell that all of it is there; what the service makes of it. Nothing for a plan without that link."""
        if plan.links.complete is None:
            return {}
        digest = result.checksum
        said = {
            "receipts": {str(number): receipt for number, receipt in sorted(receipts.items())},
            "size": result.size,
            "checksum": None if digest is None else {"algorithm": digest.algorithm, "value": digest.base64},
        }
        return self._ask("POST", plan.links.complete, said)

    def abort(self, plan: UploadPlan) -> None:
        """Drop what was uploaded."""
        if plan.links.abort is not None:
            self._ask("DELETE", plan.links.abort)

    def _ask(
        self,
        method: str,
        link: str,
        said: Mapping[str, object] | None = None,
        more: Mapping[str, str] | None = None,
    ) -> Mapping[str, object]:
        """One question, again while it only fails for a while."""
        url = urljoin(self._url, link)
        body = b"" if said is None else json.dumps(said).encode()
        headers = {"accept": "application/json", **(more or {})}
        if said is not None:
            headers["content-type"] = "application/json"
        if _origin(url) == _origin(self._url):
            headers.update(self._headers)
        attempt = 1
        while True:
            asked: float | None = None
            try:
                answer = self._means.http.send(method, url, headers, body, len(body), limit=_MAX_ANSWER)
                if 200 <= answer.status < 300:
                    return _json(answer.body)
                error, asked = _refusal(failure(answer), answer.body), answer.asked_to_wait
            except TransientError as broken:
                error = broken
            self._means.wait_or_raise(attempt, error, asked)
            attempt += 1


def upload_to_service(
    source: Readable,
    url: str,
    options: Options,
    *,
    name: str | None = None,
    content_type: str | None = None,
    metadata: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    checksum: Checksum | str | None = None,
    record: Record | None = None,
) -> UploadResult:
    """Ask a service for a plan, execute it, and tell it of the completion.

    Args:
        source: What to upload; its size must be known.
        url: The service's address.
        options: How the bytes move.
        name: What the service is told; the path's own name when None.
        content_type, metadata: What the service is told.
        headers: What the service wants to see; never sent to storage.
        checksum: As of :func:`~blobkit.transfer.upload.upload`.
        record: Where the upload's state is kept, and found again.

    Raises:
        As :func:`~blobkit.transfer.upload.upload`, and what the service refuses with.
    """
    from blobkit.transfer.upload import upload

    given = name or (Path(source).name if isinstance(source, str | os.PathLike) else "file")
    with opened(source) as data, options.means(data.size, None) as means:
        service = Service(means, url, headers or {})
        plan, held = _resumed(service, record)
        if plan is None:
            plan = service.begin(given, data.size, content_type, metadata or {})
            if record is not None and plan.parts is not None and plan.links.list is not None:
                record.begin(data.size, {"plan": kept(plan).as_dict()})
    can_sign = plan.links.sign is not None
    with options.means(None, None) as means:
        service, bound = Service(means, url, headers or {}), plan
        if held.state == "committed" and bound.parts is not None:
            held = Held("open", tuple(range(1, bound.parts.count + 1)))
        with _aborted(service, bound):
            result = upload(
                source,
                bound,
                held=held.received,
                sign=(lambda numbers: service.sign(bound, numbers)) if can_sign else None,
                sign_one=(lambda number, value: service.sign_one(bound, number, value)) if can_sign else None,
                batch=1,
                checksum=checksum,
                on_receipt=None if record is None else record.receipt,
                on_progress=options.on_progress,
                concurrency=options.concurrency,
                bandwidth=options.bandwidth,
                timeout=options.timeout,
                patience=options.patience,
                tls=options.tls,
                stop=options.stop,
                sleep=options.sleep,
            )
            known = {} if record is None else {n: text for n, text in record.receipts.items() if text}
            receipts = {**known, **result.receipts}
            answer = service.complete(bound, result, receipts)
    return replace(result, answer=answer)


@contextmanager
def _aborted(service: Service, plan: UploadPlan) -> Iterator[None]:
    """Drop at the service what can never be finished: the source is not what was begun."""
    try:
        yield
    except (SourceChanged, ChecksumMismatch, ConstraintViolated, SessionMismatch, ChunkMismatch):
        with suppress(BlobkitError):
            service.abort(plan)
        raise


def _resumed(service: Service, record: Record | None) -> tuple[UploadPlan | None, Held]:
    """The plan of an earlier run, and what the storage holds of it; None when there is nothing to go on with."""
    if record is None or not record.known:
        return None, Held("open", ())
    try:
        plan = UploadPlan.from_dict(_mapping(record.secrets.get("plan")))
    except InvalidArgument:
        return None, Held("open", ())
    held = service.held(plan)
    if held.state == "gone":
        record.clear()
        return None, Held("open", ())
    return plan, held


def kept(plan: UploadPlan) -> UploadPlan:
    """The plan as it is kept: without URLs, which end soon, where the service signs others."""
    parts = plan.parts
    if parts is None or plan.links.sign is None or plan.size is None:
        return plan
    return replace(plan, parts=replace(parts, items=(), sign="lazy"), expires_at=None)


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _json(body: bytes) -> Mapping[str, object]:
    if not body.strip():
        return {}
    try:
        found = json.loads(body)
    except ValueError as error:
        raise InvalidArgument("the service did not answer with JSON") from error
    if not isinstance(found, dict):
        raise InvalidArgument("the service did not answer with a JSON object")
    return found


def _refusal(error: BlobkitError, body: bytes) -> BlobkitError:
    """What a service's refusal means: its own words, bounded."""
    error.message = f"the service answered {error.http_status}"
    try:
        found = json.loads(body)
        said = found.get("message") or found.get("detail") or found.get("error")
    except (ValueError, AttributeError):
        said = None
    if isinstance(said, str) and said:
        error.message += ": " + "".join(c if c.isprintable() else " " for c in said[:_MAX_MESSAGE])
    error.args = (error.message,)
    return (
        error
        if not isinstance(error, FileNotFoundError)
        else SessionNotFound(error.message, code=error.code, http_status=error.http_status, request_id=error.request_id)
    )
