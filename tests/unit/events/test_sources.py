"""A source hands out every message until it is settled; what ends otherwise comes again."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

import blobkit
from blobkit.errors import BlobkitError, ClosedError, ConfigError, InvalidArgument, Unavailable, UnknownOption
from blobkit.errors import UnknownScheme as Unknown
from blobkit.events.deadletters import DirectoryDeadLetters, MemoryDeadLetters
from blobkit.events.receiving import Message, Nap, Receiver
from blobkit.events.sources import Delivery, Source

from . import samples

NOW = timedelta(0)
SOON = timedelta(seconds=20)


class Queue(Receiver):
    """A queue in a list, which tells what was done to it."""

    provider, name, lease, batch = "memory", "a queue", timedelta(seconds=3600), 3

    def __init__(self, *bodies: object) -> None:
        self.waiting = [
            Message(str(number), body if isinstance(body, bytes) else json.dumps(body).encode(), body, attempt=1)
            for number, body in enumerate(bodies)
        ]
        self.acked, self.retried = list[str](), list[tuple[str, float | None]]()
        self.extended, self.calls = threading.Event(), 0
        self.failing: list[BlobkitError] = []
        self.nap = Nap()
        self.closed = False

    def receive(self, limit: int, wait: float) -> Sequence[Message]:
        if self.failing:
            raise self.failing.pop()
        taken, self.waiting = self.waiting[:limit], self.waiting[limit:]
        if not taken:
            self.nap.sleep(wait)
        return taken

    def ack(self, messages: Sequence[Message]) -> None:
        self.calls += 1
        self.acked += [message.id for message in messages]

    def retry(self, message: Message, after: float | None) -> None:
        self.retried.append((message.id, after))

    def extend(self, messages: Sequence[Message]) -> None:
        self.extended.set()

    def wake(self) -> None:
        self.nap.end()

    def close(self) -> None:
        self.closed = True


def test_a_delivery_is_settled_once_and_the_same_again_does_no_harm() -> None:
    queue = Queue(samples.s3())
    with Source(queue) as source:
        (delivery,) = source.receive()
        delivery.ack()
        delivery.ack()
        with pytest.raises(InvalidArgument):
            delivery.retry()
    assert (queue.acked, queue.retried, delivery.settled) == (["0"], [], "acked")


def test_the_block_of_a_delivery_acknowledges_it_or_lets_it_come_again() -> None:
    queue = Queue(samples.s3(), samples.s3())
    with Source(queue) as source:
        first, second = source.receive()
        with first:
            assert [event.key for event in first.events] == ["a+b c.txt"] or first.events
        with pytest.raises(OSError, match="disk"), second:
            raise OSError("disk full")
    assert queue.acked == ["0"]
    assert queue.retried == [("1", 1.0)]


def test_closing_returns_what_was_not_settled_and_says_so_later() -> None:
    queue = Queue(samples.s3(), samples.s3())
    source = Source(queue)
    kept, done = source.receive()
    done.ack()
    source.close()
    source.close()
    assert queue.retried == [("0", 0.0)]
    assert queue.closed
    with pytest.raises(ClosedError):
        kept.ack()
    with pytest.raises(ClosedError):
        source.receive()


def test_stopping_ends_the_iteration_and_returns_the_rest_of_the_batch() -> None:
    queue = Queue(*[samples.s3()] * 3)
    with Source(queue) as source:
        for delivery in source:
            delivery.ack()
            source.stop()
        assert (queue.acked, [ident for ident, _ in queue.retried]) == (["0"], ["1", "2"])


def test_a_waiting_source_is_woken_by_stop() -> None:
    with Source(Queue(), wait=timedelta(hours=1)) as source:
        thread = threading.Thread(target=lambda: list(source))
        thread.start()
        source.stop()
        thread.join(20)
        assert not thread.is_alive()


def test_draining_waits_for_what_other_threads_work_on() -> None:
    with Source(Queue(samples.s3())) as source:
        (delivery,) = source.receive()
        assert not source.drain(NOW)
        thread = threading.Thread(target=delivery.ack)
        thread.start()
        assert source.drain(SOON)
        thread.join()


def test_unsettled_messages_are_kept_from_others() -> None:
    queue = Queue(samples.s3())
    queue.lease = timedelta(milliseconds=30)
    with Source(queue) as source:
        source.receive()
        assert queue.extended.wait(20)


def test_a_message_that_is_held_too_long_is_let_go(caplog: pytest.LogCaptureFixture) -> None:
    queue = Queue(samples.s3())
    queue.lease = timedelta(milliseconds=30)
    with caplog.at_level(logging.ERROR), Source(queue, max_hold=timedelta(microseconds=1)) as source:
        source.receive()
        assert source.drain(SOON)
    assert "unsettled for too long" in caplog.text
    assert queue.retried == []


def test_no_more_is_taken_than_may_be_unsettled() -> None:
    queue = Queue(*[samples.s3()] * 3)
    with Source(queue, max_unsettled=2) as source:
        first, _ = source.receive()
        assert source.receive(wait=NOW) == []
        first.ack()
        assert len(source.receive(wait=NOW)) == 1


def test_several_are_acknowledged_in_batches() -> None:
    queue = Queue(*[samples.s3()] * 7)
    with Source(queue) as source:
        found = [delivery for _ in range(3) for delivery in source.receive(wait=NOW)]
        found[3].ack()
        source.ack(found)
        assert sorted(queue.acked) == [str(number) for number in range(7)]
        assert queue.calls == 4
        assert source.drain(NOW)


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 1.0), (4, 8.0), (99, 900.0), (None, None)])
def test_a_retry_waits_longer_each_time(attempt: int | None, seconds: float | None) -> None:
    queue = Queue(samples.s3())
    queue.waiting[0].attempt = attempt
    with Source(queue) as source:
        (delivery,) = source.receive()
        with pytest.raises(InvalidArgument):
            delivery.retry(timedelta(days=30))
        delivery.retry()
    assert queue.retried == [("0", seconds)]


def test_an_outage_is_waited_out_and_other_errors_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    queue = Queue(samples.s3())
    queue.failing = [ConfigError("not yours"), Unavailable("down"), Unavailable("down")]
    with Source(queue) as source:
        monkeypatch.setattr(Nap, "sleep", lambda self, seconds: pauses.append(seconds))
        with pytest.raises(ConfigError):
            next(iter(source))
        monkeypatch.undo()
        assert next(iter(source)).id == "0"
    assert pauses == [0.5, 1.0]


# --- rejecting ---


def test_a_rejected_message_is_kept_whole_with_the_reason(tmp_path: Path) -> None:
    body = b"\xff\x00 no JSON"
    letters = DirectoryDeadLetters(tmp_path / "dead")
    queue = Queue(body)
    with Source(queue, dead_letters=letters) as source:
        (delivery,) = source.receive()
        assert (len(delivery.events), len(delivery.events.errors)) == (0, 1)
        delivery.reject("not JSON")
    (letter,) = letters
    assert (letter.raw, letter.reason, letter.message_id, letter.source, letter.attempt) == (
        body,
        "not JSON",
        "0",
        "a queue",
        1,
    )
    assert queue.acked == ["0"]
    (file,) = (tmp_path / "dead").iterdir()
    assert file.stat().st_mode & 0o077 == 0


def test_a_message_stays_when_it_cannot_be_kept_among_the_dead() -> None:
    class Full:
        def put(self, letter: object) -> None:
            raise OSError("disk full")

    for place, error in ((None, ConfigError), (Full(), OSError)):
        queue = Queue(b"x")
        with Source(queue, dead_letters=place) as source:
            (delivery,) = source.receive()
            with pytest.raises(error):
                delivery.reject("broken")
            assert delivery.settled is None
        assert queue.acked == []


def test_run_acknowledges_what_was_handled_rejects_what_cannot_be_read_and_retries_what_failed() -> None:
    half = samples.s3(samples.s3_record("good"), {"broken": True})
    letters = MemoryDeadLetters()
    queue = Queue(samples.s3(samples.s3_record("fine")), half, samples.s3(samples.s3_record("fails")))
    seen: list[str] = []

    def handle(delivery: Delivery) -> None:
        seen.extend(event.key for event in delivery.events)
        if seen[-1] == "fails":
            source.stop()
            raise OSError("database is down")

    with Source(queue, dead_letters=letters) as source:
        source.run(handle)
    assert seen == ["fine", "good", "fails"]
    assert sorted(queue.acked) == ["0", "1"]
    assert [letter.message_id for letter in letters] == ["1"]
    assert queue.retried == [("2", 1.0)]


# --- opening ---


def test_wrong_settings_show_when_a_source_is_opened() -> None:
    for url, error in (
        ("nosuch://x", Unknown),
        ("queue", ConfigError),
        ("memory://x?leese=3", UnknownOption),
        ("memory://x/y", ConfigError),
        ("memory://x?prefix=a/", ConfigError),
        ("memory://x?consumer=", ConfigError),
        ("memory://", ConfigError),
    ):
        with pytest.raises(error):
            blobkit.open_events(url)


def test_the_place_of_dead_letters_is_an_argument_an_option_or_in_the_environment(tmp_path: Path) -> None:
    for options, env, given in (
        ({}, {}, tmp_path / "a"),
        ({"dead_letters": str(tmp_path / "b")}, {"BLOBKIT_DEAD_LETTERS": str(tmp_path / "no")}, None),
        ({}, {"BLOBKIT_DEAD_LETTERS": str(tmp_path / "c")}, None),
    ):
        with blobkit.open_events(
            {"scheme": "memory", "name": "dead", **options}, env=env, dead_letters=given
        ) as source:
            assert isinstance(source.dead_letters, DirectoryDeadLetters)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]
    with blobkit.open_events("memory://dead", env={}) as source:
        assert isinstance(source.dead_letters, MemoryDeadLetters)


# --- the embedded store's own queue ---


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "local":
        yield f"local://{tmp_path}/store"
    else:
        from blobkit_local.memory import forget

        yield f"memory://{tmp_path.name}"
        forget(tmp_path.name)


def test_every_consumer_of_an_embedded_store_gets_every_event_in_order(place: str) -> None:
    with (
        blobkit.open_store(place) as store,
        blobkit.open_events(f"{place}?consumer=a") as first,
        blobkit.open_events(f"{place}?consumer=b") as second,
    ):
        told: list[blobkit.BlobEvent] = []
        store.subscribe(told.append)
        store.write("é +%.txt", b"hello")
        store.delete("é +%.txt")
        for source in (first, second):
            found = source.receive(wait=SOON)
            assert [event for delivery in found for event in delivery.events] == told
            source.ack(found)
            assert source.receive(wait=NOW) == []


def test_consumers_of_one_name_share_the_events_and_take_over_what_is_not_settled(place: str) -> None:
    with blobkit.open_store(place) as store, blobkit.open_events(place) as first, blobkit.open_events(place) as second:
        for name in "abc":
            store.write(name, b"")
        mine, others = first.receive(1, SOON), second.receive(wait=SOON)
        assert [event.key for delivery in (*mine, *others) for event in delivery.events] == ["a", "b", "c"]
        second.ack(others)
        assert second.receive(wait=NOW) == []
        first.close()
        (again,) = second.receive(wait=SOON)
        assert (again.events[0].key, again.attempt) == ("a", 2)


def test_a_late_extension_does_not_take_a_message_from_its_new_holder(place: str) -> None:
    with blobkit.open_store(place) as store, blobkit.open_events(place) as first, blobkit.open_events(place) as second:
        store.write("a", b"")
        (late,) = first.receive(wait=SOON)
        late.retry(NOW)
        (holder,) = second.receive(wait=SOON)
        first.receiver.retry(late.message, 0.0)
        assert first.receive(wait=NOW) == []
        holder.ack()


def test_a_store_of_the_first_schema_gets_a_queue(tmp_path: Path) -> None:
    import sqlite3

    from blobkit_local import index

    (tmp_path / "store" / ".blobkit").mkdir(parents=True)
    connection = sqlite3.connect(tmp_path / "store" / ".blobkit" / "index.db")
    connection.executescript(index._STEPS[0])
    connection.execute(f"PRAGMA application_id={index._APPLICATION_ID}")
    connection.execute("PRAGMA user_version=1")
    connection.close()
    url = f"local://{tmp_path}/store"
    with blobkit.open_store(url) as store, blobkit.open_events(url) as source:
        store.write("a", b"")
        assert len(source.receive(wait=SOON)) == 1
