"""One process for events, reconcile and the outbox: it shares, it goes on, it stops when it is told to."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

import pytest
from tests.unit.tracking.test_database import Message
from tests.unit.tracking.world import World

import blobkit
from blobkit.tracking import Handler, Notification, Worker


class Source:
    """A queue in this process."""

    def __init__(self) -> None:
        self._messages: queue.Queue[Message | None] = queue.Queue()

    def put(self, *events: blobkit.BlobEvent) -> Message:
        message = Message(list(events))
        self._messages.put(message)
        return message

    def __iter__(self) -> Iterator[Message]:
        while (message := self._messages.get(timeout=30)) is not None:
            yield message

    def stop(self) -> None:
        self._messages.put(None)


class Heard:
    """A handler that ends the worker when it has heard enough."""

    def __init__(self, stop: threading.Event, count: int) -> None:
        self.kinds: list[str] = []
        self._stop, self._count = stop, count

    def __call__(self, item: Notification) -> None:
        self.kinds.append(item.kind)
        if len(self.kinds) >= self._count:
            self._stop.set()


def run(worker: Worker, stop: threading.Event) -> None:
    """Run it; the test fails when it does not end."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            worker.run(stop)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    stop.set()
    thread.join(60)
    assert not thread.is_alive()
    if failures:
        raise failures[0]


def quick(world: World, sources: Sequence[Source] = (), handler: Handler | None = None) -> Worker:
    return Worker(
        world.tracker,
        sources=sources,
        handler=handler,
        reconcile_every=timedelta(milliseconds=50),
        look_every=timedelta(milliseconds=10),
    )


def test_events_and_reconcile_and_notices_in_one_process(local_world: World) -> None:
    told, lost = local_world.begin(), local_world.begin()
    for upload in (told, lost):
        local_world.put(upload)
    source, stop = Source(), threading.Event()
    message = source.put(local_world.events[0])
    local_world.clock.advance(timedelta(minutes=2))
    heard = Heard(stop, 2)
    run(quick(local_world, [source], heard), stop)
    assert message.ended == ["ack"]
    assert heard.kinds == ["available", "available"]


def test_a_part_that_fails_for_a_while_goes_on(local_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = local_world.begin()
    local_world.put(upload)
    local_world.clock.advance(timedelta(minutes=2))
    reconcile, tries = local_world.tracker.reconcile, []

    def failing(**given: object) -> object:
        tries.append(1)
        if len(tries) == 1:
            raise blobkit.Unavailable("the database is away")
        return reconcile(**given)  # type: ignore[arg-type]

    monkeypatch.setattr(local_world.tracker, "reconcile", failing)
    stop = threading.Event()
    heard = Heard(stop, 1)
    run(quick(local_world, handler=heard), stop)
    assert heard.kinds == ["available"]
    assert len(tries) > 1


def test_a_part_that_fails_for_good_ends_the_worker(local_world: World) -> None:
    class Broken(Source):
        def __iter__(self) -> Iterator[Message]:
            raise blobkit.PermissionDenied("no such queue for you")

    with pytest.raises(blobkit.PermissionDenied):
        run(quick(local_world, [Broken()]), threading.Event())


def test_a_part_of_the_services_own_is_run_again_and_again(local_world: World) -> None:
    stop, rounds = threading.Event(), list[bool]()

    def part(over: Callable[[], bool]) -> None:
        rounds.append(over())
        if len(rounds) == 3:
            stop.set()

    run(Worker(local_world.tracker, parts={"ours": part}, look_every=timedelta(milliseconds=1)), stop)
    assert rounds == [False] * 3


def test_a_part_of_the_services_own_that_fails_for_a_while_goes_on(
    local_world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("blobkit.tracking.worker._SECOND", timedelta(milliseconds=1))
    stop, rounds = threading.Event(), list[int]()

    def part(_: Callable[[], bool]) -> None:
        rounds.append(1)
        if len(rounds) < 3:
            raise blobkit.Unavailable("the scanner is away")
        stop.set()

    run(Worker(local_world.tracker, parts={"ours": part}), stop)
    assert len(rounds) == 3
    assert "ours: the scanner is away: again in" in caplog.text


def test_a_part_of_the_services_own_that_fails_for_good_ends_the_worker(local_world: World) -> None:
    def part(_: Callable[[], bool]) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(Worker(local_world.tracker, parts={"ours": part}), threading.Event())


def test_a_part_that_does_not_end_is_left_behind_after_the_grace(
    local_world: World, caplog: pytest.LogCaptureFixture
) -> None:
    stop, release = threading.Event(), threading.Event()

    def part(_: Callable[[], bool]) -> None:
        stop.set()
        release.wait(60)

    try:
        run(Worker(local_world.tracker, parts={"ours": part}, grace=timedelta(0)), stop)
    finally:
        release.set()
    assert "blobkit-ours did not end" in caplog.text


def test_a_part_cannot_take_the_name_of_the_workers_own(local_world: World) -> None:
    with pytest.raises(blobkit.InvalidArgument, match="outbox"):
        Worker(local_world.tracker, parts={"outbox": print})
    with pytest.raises(blobkit.InvalidArgument, match="negative"):
        Worker(local_world.tracker, grace=timedelta(seconds=-1))


def test_one_round_and_no_more(local_world: World) -> None:
    upload = local_world.begin()
    local_world.put(upload)
    local_world.clock.advance(timedelta(minutes=2))
    heard: list[Notification] = []
    Worker(local_world.tracker, handler=heard.append).once()
    assert [item.kind for item in heard] == ["available"]


def test_a_round_examines_what_reconcile_found_and_tells_what_became_of_it(local_world: World) -> None:
    order: list[str] = []
    upload = local_world.begin(checks=True)
    local_world.put(upload)
    local_world.clock.advance(timedelta(minutes=2))

    def part(_: Callable[[], bool]) -> None:
        order.append(local_world.state(upload))

    Worker(local_world.tracker, handler=lambda item: order.append(item.kind), parts={"ours": part}).once()
    assert order == ["uploaded", "uploaded"]  # its state, then the notice
