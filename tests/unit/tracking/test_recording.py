"""How a delivery is written down: what it changes with it, in one transaction, and nobody is told before."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event
from tests.unit.tracking.world import World

import blobkit
from blobkit.tracking import State, Tracker, applying


class Message:
    """A message of a queue; ``on_ack`` looks at what is there when it is acknowledged."""

    def __init__(self, events: list[blobkit.BlobEvent], on_ack: Callable[[], object] = lambda: None) -> None:
        self.events = blobkit.ParsedEvents(events)
        self.seen: list[object] = []
        self._on_ack = on_ack

    def ack(self) -> None:
        self.seen.append(self._on_ack())

    def retry(self, after: timedelta | None = None) -> None:
        self.seen.append("retry")


def counts(tracker: Tracker) -> dict[str, int]:
    states = ("new", "parked", "done", "orphan", "dead")
    return {state: number for state in states if (number := tracker._inbox.count(state))}


def sent(world: World, number: int = 1) -> list[Any]:
    """Uploads that have arrived, and nobody has said so."""
    uploads = [world.begin() for _ in range(number)]
    for upload in uploads:
        world.put(upload)
    return uploads


@pytest.fixture
def heads(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys that the store ``media`` was asked about."""
    asked: list[str] = []
    whole = world.media._calls.backend.head

    def head(key: str, *given: Any, **named: Any) -> object:
        asked.append(key)
        return whole(key, *given, **named)

    monkeypatch.setattr(world.media._calls.backend, "head", head)
    return asked


def test_a_delivery_is_acknowledged_when_it_and_all_that_it_changed_are_committed(world: World) -> None:
    (upload,) = sent(world)
    other = world.another_tracker()
    message = Message(list(world.events), lambda: (counts(other), str(other.get(upload.id).state)))
    assert world.tracker.apply(message).changed == 1
    assert message.seen == [({"done": 1}, "available")]


def test_a_long_delivery_is_acknowledged_when_it_is_written_and_then_acted_upon(world: World, heads: list[str]) -> None:
    uploads = sent(world, applying._FEW + 1)
    message = Message(list(world.events), lambda: (counts(world.tracker), len(heads)))
    assert world.tracker.apply(message).changed == len(uploads)
    assert message.seen == [({"new": len(uploads)}, 0)]
    assert counts(world.tracker) == {"done": len(uploads)}


def test_one_event_is_one_transaction(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read, and a write; each by itself in PostgreSQL, where there are no words for a transaction then."""
    sent(world)
    said: list[str] = []

    def noted(statement: str) -> None:
        said.append(statement.split(maxsplit=1)[0])

    if world.tracker.database.shared:
        import psycopg

        def execute(cursor: Any, query: str, *given: Any) -> object:
            assert cursor.connection.autocommit
            noted(query)
            return whole(cursor, query, *given)

        whole: Any = psycopg.Cursor.execute
        monkeypatch.setattr(psycopg.Cursor, "execute", execute)
        expected = ["SELECT", "WITH"]
    else:
        event.listen(
            world.tracker.database.engine, "checkout", lambda connection, *_: connection.set_trace_callback(noted)
        )
        expected = ["SELECT", "BEGIN", "INSERT", "UPDATE", "INSERT", "COMMIT"]
    world.tracker.apply(list(world.events))
    assert said == expected


def test_what_is_known_is_not_looked_at_again(world: World, heads: list[str]) -> None:
    sent(world)
    world.tracker.apply(list(world.events))
    heads.clear()
    again = world.tracker.apply(list(world.events))
    assert (again.new, again.duplicates, heads) == (0, 1, [])


def test_a_change_between_the_look_and_the_writing_leads_to_another_look(
    world: World, heads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (upload,) = sent(world)
    other = world.another_tracker()
    write = world.tracker.database.write

    def late(**options: Any) -> Any:
        monkeypatch.setattr(world.tracker.database, "write", write)
        other.confirm(upload.id)
        return write(**options)

    monkeypatch.setattr(world.tracker.database, "write", late)
    done = world.tracker.apply(list(world.events))
    assert (done.new, done.changed, done.duplicates) == (1, 0, 0)
    assert counts(world.tracker) == {"done": 1}
    assert world.state(upload) == "available"
    assert world.deliver() == ["available"]


def test_a_change_that_can_no_longer_be_made_leads_to_another_look(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (upload,) = sent(world)
    write = world.tracker.database.write

    def late(**options: Any) -> Any:
        monkeypatch.setattr(world.tracker.database, "write", write)
        world.another_tracker().cancel(upload.id)
        return write(**options)

    monkeypatch.setattr(world.tracker.database, "write", late)
    world.tracker.apply(list(world.events))
    assert counts(world.tracker) == {"done": 1}
    assert world.state(upload) == "canceled"
    world.later(timedelta(seconds=1))
    assert not world.media.exists(upload.key)


def test_the_same_event_at_once_from_several_workers_is_new_once_and_told_once(world: World) -> None:
    uploads = sent(world, 6)
    events = list(world.events)
    trackers = [world.another_tracker() for _ in range(3)]
    start = threading.Barrier(len(trackers))
    done: list[Any] = []

    def take(tracker: Tracker) -> None:
        for item in events:
            start.wait()
            done.append(tracker.apply([item]))

    threads = [threading.Thread(target=take, args=[tracker]) for tracker in trackers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(item.new for item in done) == len(uploads)
    assert sum(item.changed for item in done) == len(uploads)
    assert counts(world.tracker) == {"done": len(uploads)}
    assert world.deliver() == ["available"] * len(uploads)


def test_the_same_events_at_once_in_another_order_do_not_wait_for_each_other(world: World) -> None:
    rounds = [(sent(world, 8), list(world.events[-8:])) for _ in range(5)]
    trackers = [world.another_tracker() for _ in range(2)]
    start = threading.Barrier(len(trackers))
    failed: list[Exception] = []

    def take(tracker: Tracker, forwards: bool) -> None:
        for _, events in rounds:
            start.wait()
            try:
                tracker.apply(events if forwards else events[::-1])
            except blobkit.BlobkitError as error:
                failed.append(error)

    threads = [threading.Thread(target=take, args=[tracker, number == 0]) for number, tracker in enumerate(trackers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert {world.state(upload) for uploads, _ in rounds for upload in uploads} == {State.AVAILABLE}
    assert world.deliver() == ["available"] * 40


def test_a_store_that_does_not_answer_is_asked_once_and_everything_is_written_down(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = sent(world, 3)
    asked: list[str] = []

    def away(key: str, *_: object, **__: object) -> None:
        asked.append(key)
        raise blobkit.ConnectionFailed("away")

    message = Message(list(world.events), lambda: (counts(world.tracker), len(asked)))
    with monkeypatch.context() as patched:
        patched.setattr(world.media._calls.backend, "head", away)
        assert world.tracker.apply(message).put_off == 3
    assert message.seen == [({"new": 3}, 1)]
    world.later(timedelta(seconds=2))
    assert {world.state(upload) for upload in uploads} == {State.AVAILABLE}
    assert counts(world.tracker) == {"done": 3}


def test_a_store_that_answers_slowly_does_not_hold_the_rest_back(
    world: World, heads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent(world, 3)
    monkeypatch.setattr(applying, "_PATIENCE", -1.0)
    message = Message(list(world.events), lambda: (counts(world.tracker), len(heads)))
    world.tracker.apply(message)
    assert message.seen == [({"new": 3}, 0)]
    assert counts(world.tracker) == {"done": 3}


def test_a_known_key_beside_an_unknown_one(world: World) -> None:
    (upload,) = sent(world)
    world.media.write("uploads/nobodys", b"x")
    done = world.tracker.apply(list(world.events))
    assert (done.new, done.changed, done.parked) == (2, 1, 1)
    assert counts(world.tracker) == {"done": 1, "parked": 1}
    assert world.state(upload) == "available"
