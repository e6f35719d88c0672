"""The service's own calls: rewrites in steps, generations, what is tried again, and what a session says of itself."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from tests.unit.gcs.strict import TRUST

import blobkit
from blobkit.errors import AlreadyExists, PreconditionFailed, TransientError
from blobkit.store import Store
from blobkit_gcs.testing import Call, Fault, StrictGcs
from blobkit_gcs.testing.engine import Preconditions

KIB256 = 256 * 1024


@pytest.fixture(scope="module")
def server() -> Iterator[StrictGcs]:
    with StrictGcs() as running:
        yield running


@pytest.fixture
def store(server: StrictGcs, tmp_path: Path) -> Iterator[Store]:
    server.create_bucket("media")
    server.faults.clear()
    key = tmp_path / "key.json"
    key.write_text(json.dumps(server.service_account.info))
    url = f"gs://media/?service_account_file={quote(str(key), safe='')}&endpoint={quote(server.endpoint, safe='')}"
    sealing = blobkit.Keyring.from_text("k:" + base64.b64encode(os.urandom(32)).decode())
    with blobkit.open_store(url, sealing=sealing, retries=2) as opened:
        opened.exists("warm")
        yield opened
    server.rewrite_in_steps(None)
    server.faults.clear()


def to(what: str, method: str | None = None) -> Callable[[Call], bool]:
    return lambda call: what in call.path and method in (None, call.method)


# --- copies ---


def test_a_copy_takes_as_many_rewrites_as_it_needs(server: StrictGcs, store: Store) -> None:
    server.rewrite_in_steps(300)
    seen = store.write("src", bytes(1000), metadata={"a": "b"}, content_type="video/mp4")
    before = server.calls
    copied = store.promote(seen, "dst")
    assert server.calls - before >= 4
    assert (copied.size, copied.metadata, copied.content_type) == (1000, {"a": "b"}, "video/mp4")


def test_a_source_that_is_replaced_between_two_rewrites_is_not_copied(server: StrictGcs, store: Store) -> None:
    server.rewrite_in_steps(300)
    seen = store.write("src", bytes(1000))
    stored = server.find("media", "src")
    assert stored is not None
    properties, replaced = stored.properties, list[int]()

    def meanwhile(call: Call) -> bool:
        if "rewriteTo" in call.path and call.parameter("rewriteToken") and not replaced:
            replaced.append(1)
            server._engine.put("media", "src", b"other", properties, Preconditions())
        return False

    server.faults.add(Fault("status", when=meanwhile))
    with pytest.raises((PreconditionFailed, blobkit.BlobNotFound)):
        store.promote(seen, "dst")
    assert replaced
    assert not store.exists("dst")


def test_a_copy_whose_reply_was_lost_is_recognised_and_another_is_not(server: StrictGcs, store: Store) -> None:
    seen = store.write("src", b"abc")
    server.faults.add(Fault("drop", after=True, when=to("rewriteTo")))
    assert store.promote(seen, "dst").size == 3
    assert server.faults.met == 1
    with pytest.raises(AlreadyExists):
        store.promote(seen, "dst")
    store.write("taken", b"xyz")
    server.faults.add(Fault("drop", when=to("rewriteTo")))
    with pytest.raises(AlreadyExists):
        store.promote(seen, "taken")
    assert store.read("taken") == b"xyz"


# --- what is tried again, and what not ---


def test_what_changes_nothing_twice_is_tried_again(server: StrictGcs, store: Store) -> None:
    for name, verb in (
        ("stat", lambda: store.stat("k")),
        ("read", lambda: store.read("k")),
        ("list", lambda: list(store.list())),
        ("create", lambda: store.write("new", b"1", if_absent=True)),
        ("copy", lambda: store.copy("k", "copy", if_absent=True)),
        ("start", lambda: store.start_upload("s", size=1, allow_session_life=True)),
        ("delete", lambda: store.delete("k")),
    ):
        if name == "stat":
            store.write("k", b"1")
        met = server.faults.met
        server.faults.add(Fault("status", status=503), Fault("drop"))
        verb()
        assert server.faults.met == met + 2, name


def test_an_unconditional_write_is_tried_once(server: StrictGcs, store: Store) -> None:
    met = server.faults.met
    server.faults.add(Fault("status", status=503, when=to("/upload/"), times=5))
    with pytest.raises(TransientError):
        store.write("k", b"1")
    assert server.faults.met == met + 1


def test_tries_end(server: StrictGcs, store: Store) -> None:
    met = server.faults.met
    server.faults.add(Fault("status", status=503, times=50))
    with pytest.raises(TransientError):
        store.stat("k")
    assert server.faults.met == met + 3


# --- generations ---


def test_a_delete_is_of_the_generation_that_was_seen(store: Store) -> None:
    seen = store.write("k", b"1")
    store.write("k", b"2")
    with pytest.raises(PreconditionFailed):
        store.delete("k", pin=seen.pin)
    assert store.read("k") == b"2"
    store.delete("k", pin=store.stat("k").pin)
    assert not store.exists("k")


# --- what a session says ---


def test_asking_never_finishes_a_session(store: Store) -> None:
    session = store.start_upload("k", allow_session_life=True, staging=False, chunk_size=KIB256)
    put(session.sign_chunks([1])[0].url.reveal(), bytes(KIB256), f"bytes 0-{KIB256 - 1}/*")
    for _ in range(3):
        status = session.status()
        assert (status.state, status.received_bytes) == ("open", KIB256)
    assert not store.exists("k")
    assert session.complete(size=KIB256).size == KIB256


def test_a_session_without_a_range_holds_nothing(store: Store) -> None:
    status = store.start_upload("k", size=10, allow_session_life=True).status()
    assert (status.state, status.received_bytes, status.missing) == ("open", 0, (1,))


@pytest.mark.parametrize("staging", [None, False])
def test_the_last_reply_may_be_lost(server: StrictGcs, store: Store, staging: bool | None) -> None:
    session = store.start_upload("k", size=3, allow_session_life=True, staging=staging, if_absent=True)
    server.faults.add(Fault("drop", after=True, when=to("/upload/", "PUT")))
    with pytest.raises(httpx.TransportError):
        put(session.sign_chunks([1])[0].url.reveal(), b"abc", "bytes 0-2/3")
    assert session.status().state == ("open" if session.staged else "committed")
    assert session.status().missing == ()
    assert session.complete().size == 3
    assert store.read("k") == b"abc"


def test_a_session_is_for_the_origin_that_it_was_started_with(store: Store) -> None:
    session = store.start_upload("k", size=3, origin="https://app.test", allow_session_life=True)
    url = session.sign_chunks([1])[0].url.reveal()
    for origin, allowed in (("https://app.test", True), ("https://other.test", False)):
        ask = {"content-range": "bytes */*", "origin": origin}
        answer = httpx.put(url, headers=ask, verify=TRUST)
        assert ("access-control-allow-origin" in answer.headers) is allowed


def test_the_uri_lives_for_a_week_and_says_so(store: Store) -> None:
    with pytest.raises(blobkit.InvalidExpiry):
        store.start_upload("k", size=3)
    session = store.start_upload("k", size=3, allow_session_life=True)
    [chunk] = session.sign_chunks([1], expires_in=timedelta(minutes=1))
    assert chunk.expires_at == session.expires_at
    uri = chunk.url.reveal()
    assert uri not in session.token.reveal()
    assert uri.partition("upload_id=")[2] not in f"{session!r}{session._state!r}{session.token!r}"


def put(url: str, data: bytes, content_range: str) -> None:
    httpx.put(url, content=data, headers={"content-range": content_range}, verify=TRUST)
