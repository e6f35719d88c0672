"""The backend as the core uses it, on disk and in memory."""

from __future__ import annotations

import io
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.local.helpers import LIMITS, Clock, keys, put, send_all

import blobkit
from blobkit.backend import DownloadOrder, HeldChunk, SessionOrder
from blobkit.blobs import Pin
from blobkit.chunking import plan
from blobkit.config import OpenContext
from blobkit.errors import (
    AlreadyExists,
    BlobNotFound,
    ChecksumMismatch,
    ChunkMismatch,
    ConfigError,
    ConstraintViolated,
    InvalidArgument,
    PreconditionFailed,
    SourceChanged,
    Throttled,
)
from blobkit.events.model import BlobEvent, EventKind
from blobkit.spec import UploadSpec
from blobkit_local.backend import LocalBackend, open_directory, open_memory
from blobkit_local.config import LocalConfig
from blobkit_local.engine import ExpiryRule
from blobkit_local.signing import LocalSigner

Open = Callable[..., LocalBackend]
DATA = b"0123456789"


@pytest.fixture(params=["durable", "memory"])
def opened(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Open]:
    """Opens backends of one kind, each in a place of its own unless it is named."""
    made: list[LocalBackend] = []

    def build(config: LocalConfig | None = None, name: str | None = None) -> LocalBackend:
        name = name or uuid.uuid4().hex
        context, config = OpenContext(clock=clock), config or LocalConfig()
        if request.param == "durable":
            made.append(open_directory(tmp_path / name, config, context))
        else:
            made.append(open_memory(name, config, context))
        return made[-1]

    yield build
    for backend in made:
        backend.close()


@pytest.fixture
def backend(opened: Open) -> LocalBackend:
    """One with default options."""
    return opened()


def store(backend: LocalBackend, key: str, data: bytes, spec: UploadSpec | None = None, pin: Pin | None = None) -> Pin:
    """Put through the backend."""
    made = backend.put(key, io.BytesIO(data), len(data), spec=spec or UploadSpec(), upload_id="0" * 32, if_match=pin)
    return made.pin


def order(key: str = "k", spec: UploadSpec | None = None, size: int | None = 10) -> SessionOrder:
    """A session of three chunks."""
    return SessionOrder(key, spec or UploadSpec(), plan(size, LIMITS, chunk_size=4), uuid.uuid4().hex)


# --- objects ---


def test_a_put_stores_what_the_spec_says(backend: LocalBackend) -> None:
    spec = UploadSpec(content_type="a/b", metadata={"x": "y"}, cache_control="no-store", if_absent=True)
    store(backend, "k", DATA, spec)
    info = backend.head("k")
    assert (info.content_type, info.metadata, info.cache_control, info.upload_id) == (
        "a/b",
        {"x": "y"},
        "no-store",
        "0" * 32,
    )
    with pytest.raises(AlreadyExists):
        store(backend, "k", b"", spec)


def test_a_body_that_ends_early_or_breaks_leaves_what_was_there(backend: LocalBackend) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise ConnectionResetError("the client went away")

    store(backend, "k", b"before")
    with pytest.raises(SourceChanged):
        backend.put("k", io.BytesIO(b"123"), 4, spec=UploadSpec(), upload_id="")
    with pytest.raises(ConnectionResetError):
        backend.put("k", Broken(), 4, spec=UploadSpec(), upload_id="")
    assert backend.get("k")[1].read() == b"before"


def test_no_more_is_read_than_was_said(backend: LocalBackend) -> None:
    body = io.BytesIO(DATA)
    backend.put("k", body, 4, spec=UploadSpec(), upload_id="")
    assert body.tell() == 4
    assert backend.get("k")[1].read() == b"0123"


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0, None, DATA), (0, 10, DATA), (2, 5, b"234"), (9, 100, b"9"), (10, None, b""), (99, None, b""), (5, 5, b"")],
)
def test_a_range_is_a_file_of_its_own(backend: LocalBackend, start: int, end: int | None, expected: bytes) -> None:
    store(backend, "k", DATA)
    info, stream = backend.get("k", start=start, end=end)
    with stream:
        assert info.size == 10
        assert stream.read(1) + stream.read() == expected
        assert stream.tell() == len(expected)
        stream.seek(0)
        assert stream.read(100) == expected
        assert stream.seek(0, io.SEEK_END) == len(expected)
        with pytest.raises(ValueError, match="negative"):
            stream.seek(-1)
    assert stream.closed


def test_a_copy_goes_to_another_store_of_any_local_kind(opened: Open, tmp_path: Path, clock: Clock) -> None:
    here, there = opened(), open_directory(tmp_path / "there", LocalConfig(), OpenContext(clock=clock))
    pin = store(here, "k", DATA, UploadSpec(content_type="a/b"))
    here.copy("k", "l", pin=pin, if_absent=True, to=there)
    assert there.head("l").content_type == "a/b"
    with pytest.raises(AlreadyExists):
        here.copy("k", "l", pin=None, if_absent=True, to=there)
    with pytest.raises(PreconditionFailed):
        here.copy("k", "m", pin=Pin(etag="x"), if_absent=False, to=there)
    assert keys(there.engine) == ["l"]
    with pytest.raises(InvalidArgument):
        here.copy("k", "l", pin=None, if_absent=False, to=object())  # type: ignore[arg-type]
    there.close()


def test_many_deletes_go_on_after_one_that_fails(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in "abc":
        store(backend, key, b"")
    delete = backend.engine.delete

    def sometimes(key: str, **how: object) -> tuple[bool, int]:
        if key == "b":
            busy = sqlite3.OperationalError("database is locked")
            busy.sqlite_errorname = "SQLITE_BUSY"
            raise busy
        return delete(key)

    monkeypatch.setattr(backend.engine, "delete", sometimes)
    results = backend.delete_many(["a", "b", "c", "none"])
    assert [result.key for result in results] == ["a", "b", "c", "none"]
    assert [type(result.error) for result in results] == [type(None), Throttled, type(None), type(None)]
    assert keys(backend.engine) == ["b"]


# --- sessions ---


def test_a_session_goes_from_open_to_committed(backend: LocalBackend, clock: Clock) -> None:
    state = backend.open_session(order(), clock.now)
    assert backend.received(state).state == "open"
    assert [item.upload_id for item in backend.pending("")] == [state.upload_id]
    held = send_all(backend.engine, state, DATA)
    assert list(backend.received(state).chunks) == held
    info = backend.commit(state, held, 10)
    found = backend.received(state)
    assert (found.state, found.info) == ("committed", info)
    assert backend.commit(state, held, 10) == info
    assert backend.discard(state).discarded
    assert backend.head("k") == info
    store(backend, "k", b"another")
    assert backend.received(state).state == "gone"


def test_the_store_itself_refuses_what_the_spec_forbids(backend: LocalBackend, clock: Clock) -> None:
    from blobkit.blobs import Checksum

    for spec, error in (
        (UploadSpec(checksum=Checksum.of("sha256", b"")), ChecksumMismatch),
        (UploadSpec(max_size=9), ConstraintViolated),
    ):
        state = backend.open_session(order(spec=spec), clock.now)
        held = send_all(backend.engine, state, DATA)
        with pytest.raises(error):
            backend.commit(state, held, 10)
        assert keys(backend.engine) == []
    empty = backend.open_session(order(), clock.now)
    with pytest.raises(ChunkMismatch):
        backend.commit(empty, [HeldChunk(1, 4)], 10)


def test_the_last_chunk_commits_where_that_is_played(opened: Open, clock: Clock) -> None:
    backend = opened(LocalConfig(commit="last_chunk"))
    state = backend.open_session(order(), clock.now)
    send_all(backend.engine, state, DATA)
    found = backend.received(state)
    assert found.state == "committed"
    assert found.info == backend.head("k")
    assert backend.commit(state, (), 10) == found.info


def test_a_sequential_session_tells_its_offset(opened: Open, clock: Clock) -> None:
    backend = opened(LocalConfig(sequential=True))
    state = backend.open_session(order(), clock.now)
    assert backend.received(state).offset == 0
    with backend.engine.incoming_chunk(state.upload_id, 1, 4) as chunk:
        chunk.write(b"0123")
        chunk.commit()
    assert backend.received(state).offset == 4


@pytest.mark.parametrize("options", ["", "?commit=last_chunk", "?sequential=true", "?chunk_grant=object"])
def test_a_session_of_the_core_ends_at_its_key_on_whatever_is_played(options: str, tmp_path: Path) -> None:
    url = f"local://{tmp_path / 's'}{options}"
    with blobkit.open_store(url) as first:
        session = first.start_upload("videos/k", size=10, chunk_size=4, content_type="a/b", if_absent=True)
        token = session.token
        staged = session.staged
    assert staged is (options in ("?commit=last_chunk", "?chunk_grant=object"))
    with open_backend(tmp_path / "s", options) as backend:
        state = backend.engine.session(session.upload_id)
        assert state.key.startswith(".blobkit/staging/") is staged
        send_all(backend.engine, state, DATA)
        with pytest.raises(BlobNotFound):
            backend.head("videos/k")
    with blobkit.open_store(url) as second:
        resumed = second.resume_upload(token)
        info = resumed.complete()
        assert (info.key, info.size, info.content_type) == ("videos/k", 10, "a/b")
        assert resumed.complete() == info
        assert second.read("videos/k") == DATA
        assert list(second.list_uploads()) == []
    with open_backend(tmp_path / "s", "") as backend:
        assert keys(backend.engine) == ["videos/k"]


class open_backend:  # noqa: N801 - used as a function
    """The same directory, as another process would open it."""

    def __init__(self, root: Path, options: str) -> None:
        config = LocalConfig(
            commit="last_chunk" if "last_chunk" in options else "service", sequential="sequential" in options
        )
        self._backend = open_directory(root, config, OpenContext())

    def __enter__(self) -> LocalBackend:
        return self._backend

    def __exit__(self, *exc: object) -> None:
        self._backend.close()


# --- signing ---


def test_a_signer_needs_no_io_unless_that_is_played(opened: Open, clock: Clock) -> None:
    plain = opened()
    assert plain.ready_signer(clock.now) is plain.signer(clock.now)
    played = opened(LocalConfig(signing_io=True))
    assert played.ready_signer(clock.now) is None
    end = int(clock.now.timestamp()) + 60
    same = LocalSigner(played.signing_key, played.config.endpoint)
    for signed, expected in (
        (played.signer(clock.now).delete("k", end - 60, end), same.delete("k", end - 60, end)),
        (
            played.signer(clock.now).download("k", DownloadOrder(), end - 60, end),
            same.download("k", DownloadOrder(), end - 60, end),
        ),
    ):
        assert signed.url.reveal() == expected.url.reveal()


def test_a_played_signer_reads_its_key_for_every_signature(tmp_path: Path, clock: Clock) -> None:
    backend = open_directory(tmp_path / "s", LocalConfig(signing_io=True), OpenContext(clock=clock))
    signer = backend.signer(clock.now)
    signer.delete("k", 0, 60)
    (tmp_path / "s/.blobkit/keys").chmod(0o644)
    with pytest.raises(ConfigError, match="read by others"):
        signer.delete("k", 0, 60)
    backend.close()


def test_a_public_url_is_the_data_planes(opened: Open) -> None:
    backend = opened(LocalConfig(public=True, endpoint="https://x.example", base_path="/files"))
    assert backend.public_url("a b/é") == "https://x.example/files/o/a%20b/%C3%A9"


def test_the_data_plane_is_an_application(backend: LocalBackend) -> None:
    assert callable(backend.data_plane())


# --- clean-up and events ---


def test_a_sweep_takes_ages_and_counts(backend: LocalBackend, clock: Clock) -> None:
    state = backend.open_session(order(), clock.now)
    store(backend, "tmp/k", DATA)
    rules = [ExpiryRule("tmp/", timedelta(days=1))]
    backend.set_expiry_rules(rules)
    assert list(backend.expiry_rules()) == rules
    assert backend.sweep(temps_older_than=timedelta(days=99999))["sessions"] == 0
    clock.tick(days=8)
    assert backend.sweep(temps_older_than=timedelta(days=99999)) == {
        "sessions": 1,
        "files": 0,
        "objects": 1,
        "bytes": 10,
    }
    assert backend.received(state).state == "gone"


def test_subscribers_get_events(backend: LocalBackend, clock: Clock) -> None:
    events: list[BlobEvent] = []
    stop = backend.subscribe(events.append)
    pin = store(backend, "a/é", DATA, UploadSpec(content_type="a/b"))
    backend.delete("a/é")
    stop()
    store(backend, "b", DATA)
    created, deleted = events
    assert (created.kind, deleted.kind, deleted.deletion) == (EventKind.CREATED, EventKind.DELETED, "permanent")
    assert (created.key, created.size, created.etag, created.content_type) == ("a/é", 10, pin.etag, "a/b")
    assert created.time == clock.now
    assert created.provider in ("local", "memory")
    assert set(created.checksums) == {"crc32c"}
    assert created.order is not None
    assert deleted.order is not None
    assert created.order < deleted.order
    assert created.event_id != deleted.event_id


def test_a_closed_backend_closes_again(backend: LocalBackend) -> None:
    put(backend.engine, "k")
    backend.close()
    backend.close()


def test_states_of_other_stores_are_gone_here(backend: LocalBackend, clock: Clock) -> None:
    state = backend.open_session(order(), clock.now)
    other = replace(state, upload_id="f" * 32)
    assert backend.received(other).state == "gone"
    assert backend.discard(other).discarded
