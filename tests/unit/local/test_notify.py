"""Every change is told: to listeners at once, to a webhook at least once."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from tests.unit.local.helpers import START, Clock, begin, put, send_all

from blobkit.errors import AlreadyExists
from blobkit_local import notify
from blobkit_local.changes import SIGNATURE_HEADER, Change, signature, to_cloudevent, verify_signature
from blobkit_local.durable import FileEngine
from blobkit_local.engine import ExpiryRule, Wanted
from blobkit_local.indexed import IndexedEngine
from blobkit_local.memory import MemoryEngine
from blobkit_local.notify import Webhook, backoff

KEY = b"k" * 32


def told(engine: IndexedEngine, monkeypatch: pytest.MonkeyPatch) -> list[Change]:
    """The changes that listeners are told, before they become events."""
    changes: list[Change] = []
    monkeypatch.setattr(notify, "to_event", lambda change: change)
    engine.subscribe(changes.append)  # type: ignore[arg-type]
    return changes


# --- listeners ---


def test_listeners_hear_of_every_change_once(
    engine: IndexedEngine, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = told(engine, monkeypatch)
    info = put(engine, "k", b"data")
    engine.copy("k", "l")
    engine.delete("k")
    engine.delete("k")
    with pytest.raises(AlreadyExists):
        put(engine, "l", if_absent=True)
    state = begin(engine)
    engine.commit_session(state.upload_id, send_all(engine, state, b"0123456789"), Wanted())
    engine.set_expiry_rules([ExpiryRule("big", timedelta(seconds=1))])
    clock.tick(days=1)
    engine.sweep(now=clock.now, sessions_older_than=START, temps_older_than=START)
    assert [(change.kind, change.info.key, change.deletion) for change in changes] == [
        ("created", "k", None),
        ("created", "l", None),
        ("deleted", "k", "permanent"),
        ("created", "big", None),
        ("expired", "big", "permanent"),
    ]
    assert changes[0].info == info
    assert [change.sequence for change in changes] == sorted({change.sequence for change in changes})
    assert len({change.event_id for change in changes}) == 5


def test_deletions_say_how_much_is_gone(versioned: IndexedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = told(versioned, monkeypatch)
    one, two = put(versioned, "k", b"1"), put(versioned, "k", b"2")
    versioned.delete("k", version=one.version)
    versioned.delete("k")
    versioned.delete("k", version=two.version)
    put(versioned, "k", b"3")
    versioned.delete("k", purge_versions=True)
    put(versioned, "l", b"4")
    versioned.delete("l", version=versioned.head("l").version)
    found = [(change.info.version, change.deletion) for change in changes if change.kind == "deleted"]
    assert [scope for _, scope in found] == ["version", "marker", "version", "permanent", "permanent"]
    assert [version for version, _ in found[:3]] == [one.version, two.version, two.version]


def test_a_listener_that_fails_changes_nothing(
    engine: IndexedEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event: object) -> None:
        raise RuntimeError("mine")

    engine.subscribe(fail)
    changes = told(engine, monkeypatch)
    put(engine, "k")
    assert len(changes) == 1
    assert "a listener failed" in caplog.text


def test_a_listener_hears_until_it_stops(engine: IndexedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[object] = []
    monkeypatch.setattr(notify, "to_event", lambda change: change)
    stops = [engine.subscribe(heard.append), engine.subscribe(heard.append)]
    put(engine, "k")
    assert len(heard) == 2
    for stop in (stops[0], stops[0]):
        stop()
    put(engine, "k")
    assert len(heard) == 3


def test_engines_of_one_place_tell_each_others_listeners(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (FileEngine(tmp_path / "s", clock=clock) for _ in range(2))
    changes = told(one, monkeypatch)
    put(two, "k")
    assert [change.info.key for change in changes] == ["k"]
    one.close()
    put(two, "k")
    assert len(changes) == 1
    two.close()


# --- the webhook ---


class Receiver:
    """A server that answers as it is told, and keeps what it gets."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        self.arrived = threading.Condition()

    def wait(self, count: int) -> None:
        """Until so many requests have arrived."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.got) >= count, timeout=20)


@contextmanager
def receiving() -> Iterator[tuple[Receiver, str]]:
    """Run a receiver."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = receiver.answers.pop(0) if receiver.answers else 204
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            with receiver.arrived:
                receiver.got.append((dict(self.headers.items()), body))
                receiver.arrived.notify_all()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield receiver, f"http://127.0.0.1:{server.server_port}/hook?a=b"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def empty(engine: IndexedEngine) -> bool:
    """Whether nothing waits any more; looked at until it is, since the row goes after the answer."""
    for _ in range(2000):
        with engine.index.read() as rows:
            if rows.count_events() == 0:
                return True
        threading.Event().wait(0.005)
    return False


@pytest.mark.parametrize("kind", ["durable", "memory"])
def test_a_webhook_gets_each_change_signed(kind: str, tmp_path: Path, clock: Clock) -> None:
    with receiving() as (receiver, url):
        hook = Webhook(url, KEY)
        engine: IndexedEngine
        if kind == "durable":
            engine = FileEngine(tmp_path / "s", clock=clock, webhook=hook, bucket="b")
        else:
            engine = MemoryEngine(clock=clock, webhook=hook)
        info = put(engine, "a/\u00e9", b"data")
        engine.delete("a/\u00e9")
        receiver.wait(2)
        assert empty(engine)
        engine.close()
    events = [json.loads(body) for _, body in receiver.got]
    assert [event["type"] for event in events] == ["blobkit.object.created", "blobkit.object.deleted"]
    assert events[0]["specversion"] == "1.0"
    assert events[0]["subject"] == events[0]["data"]["key"] == "a/\u00e9"
    assert events[0]["time"] == "2030-01-01T00:00:00Z"
    assert events[0]["data"]["etag"] == info.etag
    assert events[0]["data"]["checksums"] == {"crc32c": info.checksums["crc32c"].base64}
    assert events[1]["data"]["deletion"] == "permanent"
    for headers, body in receiver.got:
        header = headers[SIGNATURE_HEADER]
        sent = int(header.partition(",")[0].removeprefix("t="))
        assert verify_signature(KEY, body, header, sent)
        assert headers["Content-Type"].startswith("application/cloudevents+json")


def test_a_webhook_that_fails_is_tried_again(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notify, "backoff", lambda attempts: 0.0)
    with receiving() as (receiver, url), caplog.at_level(logging.WARNING):
        receiver.answers = [500, 302, 404]
        engine = FileEngine(tmp_path / "s", clock=clock, webhook=Webhook(url, KEY))
        put(engine, "k")
        receiver.wait(4)
        assert empty(engine)
        engine.close()
    assert len({body for _, body in receiver.got}) == 1
    assert "HTTP 500" in caplog.text
    assert "a=b" not in caplog.text


def test_an_event_that_nobody_takes_is_given_up_and_the_log_says_so(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notify, "backoff", lambda attempts: 0.0)
    monkeypatch.setattr(notify, "MAX_ATTEMPTS", 3)
    with receiving() as (receiver, url):
        receiver.answers = [500] * 3
        engine = FileEngine(tmp_path / "s", clock=clock, webhook=Webhook(url, KEY))
        put(engine, "k")
        assert empty(engine)
        engine.close()
    assert len(receiver.got) == 3
    assert "giving up" in caplog.text


def test_events_outlive_the_process_that_made_them(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(notify.Notifier, "_wake", lambda self: None)  # a process that dies before it can deliver
        engine = FileEngine(tmp_path / "s", clock=clock, webhook=Webhook("http://127.0.0.1:9/", KEY))
        put(engine, "k")
        engine.close()
    with receiving() as (receiver, url):
        engine = FileEngine(tmp_path / "s", clock=clock, webhook=Webhook(url, KEY))
        receiver.wait(1)
        assert empty(engine)
        engine.close()


def test_a_change_that_is_rolled_back_has_no_event(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify.Notifier, "_wake", lambda self: None)
    engine = FileEngine(tmp_path / "s", clock=clock, webhook=Webhook("http://127.0.0.1:9/", KEY))
    with monkeypatch.context() as patch:

        def fail(connection: object) -> None:
            raise OSError("no")

        patch.setattr("blobkit_local.index.commit", fail)
        with pytest.raises(OSError, match="no"):
            put(engine, "k")
    with engine.index.read() as rows:
        assert rows.count_events() == 0
    engine.close()


def test_a_full_outbox_drops_no_change_and_says_what_it_drops(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notify.Notifier, "_wake", lambda self: None)
    monkeypatch.setattr(notify, "MAX_WAITING", 2)
    engine = FileEngine(tmp_path / "s", clock=clock, webhook=Webhook("http://127.0.0.1:9/", KEY))
    for number in range(3):
        put(engine, f"{number}")
    assert [item.key for item in engine.list("")] == ["0", "1", "2"]
    with engine.index.read() as rows:
        assert rows.count_events() == 2
    assert "outbox is full" in caplog.text
    engine.close()


def test_an_event_under_way_is_not_taken_twice(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify.Notifier, "_wake", lambda self: None)
    engine = FileEngine(tmp_path / "s", clock=clock, webhook=Webhook("http://127.0.0.1:9/", KEY))
    put(engine, "k")
    with engine.index.write() as rows:
        taken = rows.take_event(4e9, 4e9 + 60)
        assert taken is not None
        assert rows.take_event(4e9, 4e9 + 60) is None
        again = rows.take_event(4e9 + 61, 4e9 + 121)  # its holder died
        assert again is not None
        assert (again[0], again[1], again[2]) == (taken[0], taken[1], 1)
    engine.close()


def test_waits_grow_to_an_hour_and_no_further() -> None:
    waits = [backoff(attempts) for attempts in range(60)]
    assert all(0.375 * 2**attempts <= waits[attempts] <= 0.5 * 2**attempts for attempts in range(12))
    assert all(2700 <= wait <= 3600 for wait in waits[13:])


def test_a_signature_covers_body_and_time() -> None:
    body = to_cloudevent_of("k")
    header = signature(KEY, body, 1000)
    assert verify_signature(KEY, body, header, 1000)
    assert verify_signature(KEY, body, header, 1300)
    assert not verify_signature(KEY, body, header, 1301)
    assert not verify_signature(KEY, body, header, 699)
    assert not verify_signature(KEY, body + b" ", header, 1000)
    assert not verify_signature(b"x" * 32, body, header, 1000)
    assert not verify_signature(KEY, body, header.replace("t=1000", "t=1001"), 1000)
    for bad in (
        "",
        "t=",
        "v1=abc",
        "t=\u0661,v1=x",
        "t=99999999999999999999,v1=x",
        "t=1000,v1=\u00e9",
        header + ",v1=x",
    ):
        assert not verify_signature(KEY, body, bad, 1000)


def to_cloudevent_of(key: str) -> bytes:
    """Some event's body."""
    from blobkit.blobs import BlobInfo

    info = BlobInfo(key=key, size=1, etag="e", modified=START)
    return to_cloudevent(Change("created", "local", "b", info, START, 1, "id"))


def test_a_webhooks_url_does_not_print_its_query() -> None:
    assert "secret" not in repr(Webhook("https://u:secret@h/x?token=secret", KEY))
