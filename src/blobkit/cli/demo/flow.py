"""The steps of the demo. Each does one thing that a service or its client does, and proves what blobkit promises of it."""

from __future__ import annotations

import re
import signal
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from blobkit.backend import Feature
from blobkit.chunking import DEFAULT_CHUNK
from blobkit.cli.demo.client import Client, resuming, uploading
from blobkit.cli.demo.place import Place
from blobkit.cli.demo.service import Service, serving
from blobkit.cli.demo.story import Story, Unproven, prove
from blobkit.cli.demo.video import digest_of
from blobkit.cli.units import shown_size
from blobkit.errors import AlreadyExists, InvalidArgument, UnenforceableConstraint
from blobkit.redaction import redact_url
from blobkit.signed import SignedRequest
from blobkit.spec import Constraint, Route, UploadSpec

if TYPE_CHECKING:
    from blobkit.blobs import BlobInfo
    from blobkit.events.model import BlobEvent
    from blobkit.session import UploadSession
    from blobkit.store import Store

__all__ = ["Given", "Ways", "chunk_size", "tell"]

Bar = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]

_OWNER: Final = "demo"
_CHUNKS: Final = 32
_LEAST_CHUNKS: Final = 4
_LIFE: Final = timedelta(hours=1)
_SIGNATURE: Final = re.compile(r"(?i)([?&](?:bk-sig|sig|x-amz-signature|x-goog-signature|signature)=)([^&]+)")


@dataclass(frozen=True, slots=True)
class Given:
    """The file: where it is, its size in bytes, its SHA-256, its media type."""

    path: Path
    size: int
    sha256: bytes
    content_type: str
    name: str


@dataclass(slots=True)
class Ways:
    """How the demo is run.

    Attributes:
        place: The store.
        file: What is moved.
        target: Where the download goes.
        state: Where the client keeps its journal.
        concurrency: Chunks and ranges at a time.
        bar: Makes a progress bar.
        events: What the store told so far.
    """

    place: Place
    file: Given
    target: Path
    state: Path
    concurrency: int
    bar: Bar
    events: list[BlobEvent] = field(default_factory=list)


def chunk_size(size: int, place: Place) -> int:
    """Chunks so small that a client can die in the middle: a thirty-second of the file, within the provider's limits.

    Raises:
        InvalidArgument: The file is too small to be cut into four.
    """
    limits = place.store.capabilities.limits.chunks
    wanted = max(limits.min_chunk, min(DEFAULT_CHUNK, -(-size // _CHUNKS)), limits.align)
    aligned = -(-wanted // limits.align) * limits.align
    if size < aligned * _LEAST_CHUNKS or size < 4096:
        least = max(aligned * _LEAST_CHUNKS, 4096)
        raise InvalidArgument(f"{size} bytes are too few to crash in the middle", hint=f"at least {shown_size(least)}")
    if limits.max_count is not None and -(-size // aligned) > limits.max_count // 2:
        return max(aligned, -(-size // (limits.max_count // 2) // limits.align) * limits.align)
    return aligned


def tell(story: Story, ways: Ways) -> None:
    """All steps, in order. Raises Unproven at the first thing that does not hold; leaves nothing at the store."""
    store = ways.place.store
    key = f"blobkit-demo/{uuid.uuid4().hex}/{ways.file.name}"
    with ExitStack() as closing:
        stop = store.subscribe(ways.events.append)
        if stop is not None:
            closing.callback(stop)
        again = closing.enter_context(ways.place.afresh())
        service = closing.enter_context(serving())
        session, left = _begin_and_crash(story, ways, service, key)
        purge = store.capabilities.has(Feature.VERSIONS)
        closing.callback(lambda: store.delete(key, purge_versions=purge))
        closing.callback(session.abort)
        # nothing but the token is left of the first
        service.session = session = again.resume_upload(session.token.reveal(), owner=_OWNER)
        _resume(story, ways, service, session, left)
        info = _complete(story, ways, service, session)
        _event(story, ways, info, told=stop is not None)
        _download(story, ways, key)
        _refusals(story, ways, key)
        _not_twice(story, ways, info)


# --- up to the crash --------------------------------------------------------------------------------------------------


def _begin_and_crash(story: Story, ways: Ways, service: Service, key: str) -> tuple[UploadSession, int]:
    """A session whose client died at about half, and the bytes that had left it."""
    half = ways.file.size // 2
    for limit in (half, half // 2, half // 8):
        with uploading(ways.file.path, service, state=ways.state, concurrency=ways.concurrency) as client:
            session = _begin(story, ways, service, client, key)
            try:
                left = _crash(story, ways, client, session, limit)
            except BaseException:
                session.abort()
                raise
        if left is not None:
            return session, left
        session.abort()  # the client was done before the signal came: a small file, or a busy machine
    raise InvalidArgument("the client is faster than a signal", hint="a larger file: --size")


def _begin(story: Story, ways: Ways, service: Service, client: Client, key: str) -> UploadSession:
    """What the service does when the client asks for an upload; it waits for its plan meanwhile."""
    with story.step("begin an upload") as step:
        wish = service.wish(lambda: client.status is None)
        if wish is None:
            client.finish(lambda done: None)  # it tells why
            raise Unproven("the client ended before it had asked for an upload")
        store, file = ways.place.store, ways.file
        prove(wish.said.get("size") == file.size, f"the client asks for {wish.said.get('size')} bytes")
        new = _sessions_may_be_new(store)
        spec = UploadSpec(content_type=file.content_type, metadata={"owner": _OWNER}, if_absent=new)
        session = store.start_upload(
            key,
            size=file.size,
            spec=spec,
            chunk_size=chunk_size(file.size, ways.place),
            owner=_OWNER,
            allow_session_life=True,
        )
        prove(not store.exists(key), "there is an object before complete()")
        prove(set(session.enforcement) == spec.replace(size=file.size).constraints, "a constraint was dropped")
        chunks = session.chunks
        who = ", ".join(f"{name} by {by}" for name, by in session.enforcement.items())
        step.detail = f"{len(chunks)} chunks of {shown_size(chunks.chunk_size)}; enforced: {who}"
    service.session = session
    wish.plan.set_result(service.plan(session))
    return session


def _sessions_may_be_new(store: Store) -> bool:
    """Whether ``if_absent`` of a chunked session can be enforced: by its commit, or by the copy that publishes it."""
    can = store.capabilities
    return bool(can.enforcer(Route.CHUNKED, Constraint.IF_ABSENT)) or can.has(Feature.COPY_IF_ABSENT)


def _crash(story: Story, ways: Ways, client: Client, session: UploadSession, limit: int) -> int | None:
    """The bytes that had left when the client was killed; None when it had sent everything before."""
    with story.step("upload from another process, SIGKILL it") as step:
        with ways.bar("uploading", ways.file.size) as progress:
            left = client.kill_at(limit, progress)
        step.moved = left
        if client.status != -signal.SIGKILL or not session.status().missing:
            step.detail = f"process {client.pid} had sent everything before the signal came: once more"
            step.skipped = True
            return None
        percent = 100 * left / ways.file.size
        step.detail = f"process {client.pid} died after {shown_size(left)} ({percent:.0f} %) had left it"
    return left


# --- and on -----------------------------------------------------------------------------------------------------------


def _resume(story: Story, ways: Ways, service: Service, session: UploadSession, left: int) -> None:
    """The service knows its token, the client its journal."""
    from blobkit.transfer.journal import Journal

    size, total = ways.file.size, len(session.chunks)
    with story.step("ask the store, from the token alone") as step:
        status = session.status()
        prove(status.state == "open", f"the session is {status.state}")
        prove(not ways.place.store.exists(session.key), "half an object is readable")
        prove(0 < status.received_bytes < size, f"the store holds {status.received_bytes} of {size} bytes")
        prove(len(status.received) + len(status.missing) == total, "chunks are neither held nor missing")
        step.detail = (
            f"{len(status.received)} of {total} chunks are held, {len(status.missing)} missing; nothing is readable"
        )
    with story.step("resume: only what is missing moves") as step:
        journal, service.begins = Journal(ways.state), False
        entries = journal.entries()
        prove(len(entries) == 1, f"the journal knows {len(entries)} uploads, and one was interrupted")
        entry = entries[0]
        with (
            resuming(entry, service, state=ways.state, concurrency=ways.concurrency) as client,
            ways.bar("resuming", size) as progress,
        ):
            sent = client.finish(progress)
        # what the dead process had sent may have arrived since: what counts is what this one was told
        held = service.told.received if service.told is not None else ()
        due = size - sum(session.chunks.chunk(number).size for number in held)
        prove(sent.bytes_sent - sent.bytes_resent == due, f"{sent.bytes_sent} bytes moved, {due} were missing")
        prove(not session.status().missing, "chunks are missing after the client was done")
        prove(not journal.entries(), "the journal still knows an upload that is done")
        step.moved = sent.bytes_sent
        again = max(0, left + sent.bytes_sent - size)
        step.detail = (
            f"journal entry {entry.id}, {total - len(held)} chunks were still missing; {shown_size(sent.bytes_sent)} moved; "
            f"re-sent after the crash: {again} bytes ({shown_size(again)})"
        )


def _complete(story: Story, ways: Ways, service: Service, session: UploadSession) -> BlobInfo:
    store, file = ways.place.store, ways.file
    with story.step("complete: the object appears") as step:
        info = session.complete(service.receipts)  # of both processes: the journal kept those of the first
        found = store.stat(session.key)
        prove(found.etag == info.etag and found.size == file.size, "the object is not what complete() said")
        prove(found.content_type == file.content_type, f"the content type is {found.content_type}")
        prove(dict(found.metadata) == {"owner": _OWNER}, f"the metadata are {dict(found.metadata)}")
        prove(found.upload_id == session.upload_id, "the object is of another upload")
        step.detail = f"{shown_size(info.size)}, {info.content_type}, etag {info.etag}"
    with story.step("complete again: nothing happens twice") as step:
        twice = session.complete()
        prove(twice.etag == info.etag and twice.version == info.version, "a second complete() made another object")
        prove(store.stat(session.key).modified == found.modified, "a second complete() wrote again")
        step.detail = "the same object"
    return info


def _event(story: Story, ways: Ways, info: BlobInfo, *, told: bool) -> None:
    from blobkit.events.model import EventKind

    with story.step("the event") as step:
        if not told:
            step.skipped = True
            step.detail = "this provider's events come by queue or webhook, not from here"
            return
        full = ways.place.store.prefix + info.key
        mine = [event for event in ways.events if event.key == full]
        prove(len(mine) == 1, f"{len(mine)} events of one object")
        event = mine[0]
        prove(event.kind is EventKind.CREATED, f"the event is {event.kind}")
        prove((event.size, event.etag) == (info.size, info.etag), "the event is of another content")
        step.detail = f"{event.kind}: {event.key}, {event.size} bytes, order {event.order}"


def _download(story: Story, ways: Ways, key: str) -> None:
    from blobkit.transfer import download

    file = ways.file
    with story.step("download by signed URL, in parallel ranges") as step:
        request = ways.place.store.sign_download(key, expires_in=_LIFE, filename=file.name)
        found = _SIGNATURE.search(request.url.reveal())
        prove(found is None or found[2] not in f"{request} {request!r} {request.url}", "a signature prints")
        with ways.bar("downloading", file.size) as progress:
            done = download(
                request,
                ways.target,
                concurrency=ways.concurrency,
                range_size=max(1 << 16, min(16 << 20, file.size // 8)),
                on_progress=lambda now: progress(now.bytes_done),
            )
        step.moved = done.size
        step.detail = redact_url(request.url.reveal())
    with story.step("compare SHA-256") as step:
        with ways.bar("comparing", file.size) as progress:
            digest = digest_of(ways.target, progress)
        prove(digest == file.sha256, f"the bytes differ: {digest.hex()}, not {file.sha256.hex()}")
        step.moved = file.size
        step.detail = digest.hex()


# --- what must be refused ---------------------------------------------------------------------------------------------


def _ask(url: str, *, method: str = "GET", headers: dict[str, str] | None = None, body: bytes = b"") -> int:
    """The status of one request, of which at most some bytes are read."""
    from blobkit.transfer.http import Http

    with Http(30.0) as http:
        if method == "GET":
            with http.open(url, {"range": "bytes=0-15", **(headers or {})}) as answer:
                return answer.status
        return http.send(method, url, headers or {}, body, len(body)).status


def _refusals(story: Story, ways: Ways, key: str) -> None:
    store = ways.place.store
    with story.step("a tampered URL is refused") as step:
        good = store.sign_download(key, expires_in=_LIFE).url.reveal()
        prove(_ask(good) == 206, "the URL does not work even untouched")
        signature, path = _ask(_other_signature(good)), _ask(_other_key(good, key))
        prove(400 <= signature < 500, f"a changed signature was answered {signature}")
        prove(400 <= path < 500, f"another key was answered {path}")
        step.detail = f"signature changed: {signature}; key changed: {path}; untouched: 206"
    with story.step("an expired URL is refused") as step, ways.place.in_the_past(timedelta(days=1)) as past:
        status = _ask(past.sign_download(key, expires_in=timedelta(minutes=5)).url.reveal())
        prove(400 <= status < 500, f"an expired URL was answered {status}")
        step.detail = f"signed yesterday for five minutes: {status}"


def _other_signature(url: str) -> str:
    """The URL with the first character of its signature changed."""
    found = _SIGNATURE.search(url)
    prove(found is not None, "no signature was found in the URL")
    assert found is not None
    other = "1" if found[2][0] != "1" else "2"
    return url[: found.start(2)] + other + url[found.start(2) + 1 :]


def _other_key(url: str, key: str) -> str:
    """The URL for another key, with the signature of this one: the demo's own id has one digit changed."""
    digits = key.split("/")[1]
    prove(url.count(digits) >= 1, "the key is not in the URL")
    return url.replace(digits, digits[:-1] + ("0" if digits[-1] != "0" else "1"), 1)


def _not_twice(story: Story, ways: Ways, info: BlobInfo) -> None:
    store = ways.place.store
    with story.step("a second upload with if_absent is refused") as step:
        if not (_sessions_may_be_new(store) or store.capabilities.has(Feature.IF_ABSENT)):
            step.skipped = True
            step.detail = "this store cannot tell whether something is there already"
            return
        told: list[str] = []
        try:
            store.start_upload(info.key, size=ways.file.size, if_absent=True, allow_session_life=True).abort()
            prove(False, "a second session began")
        except AlreadyExists:
            told.append("session: AlreadyExists")
        except UnenforceableConstraint as error:
            prove(not _sessions_may_be_new(store), "what the first session did, the second cannot")
            told.append(f"session: {error.message}")
        told.append(_refused_put(ways, info.key))
        now = store.stat(info.key)
        prove((now.etag, now.size) == (info.etag, info.size), "the object was damaged")
        step.detail = f"{'; '.join(told)}; the object is as it was"


def _refused_put(ways: Ways, key: str) -> str:
    body = b"something else"
    try:
        request: SignedRequest = ways.place.store.sign_upload(key, size=len(body), if_absent=True, expires_in=_LIFE)
    except UnenforceableConstraint as error:
        return f"single request: {error.message}"
    status = _ask(request.url.reveal(), method=request.method, headers=dict(request.headers), body=body)
    prove(400 <= status < 500, f"a second PUT was answered {status}")
    return f"signed {request.method}: {status}"
