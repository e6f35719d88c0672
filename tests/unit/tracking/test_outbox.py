"""Notices: at least once, in order for each upload, later and later, and in the end put aside."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from tests.unit.tracking.world import World

from blobkit.tracking import Delivered, Notification

MINUTE = timedelta(minutes=1)


def failing(item: Notification) -> None:
    raise OSError("the handler is away")


def two_notices(world: World) -> None:
    """``available``, then ``deleted``, of one upload."""
    upload = world.arrived()
    world.tracker.delete(upload.id)


def test_a_handler_that_fails_hears_it_again_later_and_the_next_one_waits(world: World) -> None:
    two_notices(world)
    assert world.tracker.outbox.deliver(failing) == Delivered(retried=1)
    assert world.deliver() == []
    world.clock.advance(timedelta(seconds=1))
    assert world.tracker.outbox.deliver(failing).retried == 1
    world.clock.advance(timedelta(seconds=1))
    assert world.deliver() == []  # the second wait is longer
    world.clock.advance(timedelta(seconds=1))
    assert world.deliver() == ["available", "deleted"]
    assert [item.attempt for item in world.heard] == [3, 1]


def test_after_many_attempts_a_notice_is_dead_and_the_next_one_is_told(world: World) -> None:
    two_notices(world)
    for _ in range(3):
        world.tracker.outbox.deliver(failing, max_attempts=3)
        world.clock.advance(MINUTE)
    assert world.deliver() == ["deleted"]
    (dead,) = world.tracker.outbox.dead()
    assert dead.kind == "available"
    assert world.tracker.outbox.revive(dead)
    assert not world.tracker.outbox.revive(dead)
    assert world.deliver() == ["available"]


def test_what_a_dead_worker_took_is_told_by_another_with_the_same_id(world: World) -> None:
    world.arrived()
    (taken,) = world.tracker.outbox._claim("dead", 10)
    assert world.deliver() == []
    world.clock.advance(2 * MINUTE)
    assert world.deliver() == ["available"]
    assert world.heard[0].id == taken.id


def test_a_worker_that_was_too_slow_cannot_end_what_another_has(world: World) -> None:
    world.arrived()
    (taken,) = world.tracker.outbox._claim("slow", 10)
    world.clock.advance(2 * MINUTE)
    world.tracker.outbox._claim("other", 10)
    world.tracker.outbox._end(taken, "slow", {"state": "delivered", "retry_at": None})
    assert world.tracker.outbox.count("waiting") == 1


def test_stopping_gives_back_what_was_not_told(world: World) -> None:
    for _ in range(3):
        world.arrived()
    heard: list[Notification] = []
    done = world.tracker.outbox.deliver(heard.append, stop=lambda: bool(heard))
    assert done.delivered == 1
    assert world.deliver() == ["available", "available"]
    assert {item.attempt for item in world.heard} == {1}


def test_workers_share_the_notices_and_each_is_told_once(world: World) -> None:
    for _ in range(20):
        two_notices(world)
    lock, heard = threading.Lock(), list[Notification]()

    def hear(item: Notification) -> None:
        with lock:
            heard.append(item)

    trackers = [world.another_tracker() for _ in range(4)]
    threads = [threading.Thread(target=tracker.outbox.deliver, args=(hear,)) for tracker in trackers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    world.tracker.outbox.deliver(hear)
    assert len(heard) == len({item.id for item in heard}) == 40
    for upload in {item.upload for item in heard}:
        assert [item.kind for item in heard if item.upload == upload] == ["available", "deleted"]


def test_the_history_of_an_upload_is_kept(world: World) -> None:
    two_notices(world)
    world.tracker.outbox.deliver(lambda _: None, limit=1)
    (upload,) = world.tracker.uploads()
    history = world.tracker.outbox.history(upload.id)
    assert [(item.kind, state) for item, state in history] == [("available", "delivered"), ("deleted", "waiting")]


def test_an_error_with_a_nul_in_it_is_kept_all_the_same(world: World) -> None:
    world.arrived()

    def odd(item: Notification) -> None:
        raise OSError("a\0b" * 1000)

    assert world.tracker.outbox.deliver(odd).retried == 1


@pytest.mark.parametrize("count", [0, 1])
def test_an_empty_outbox_is_no_error(world: World, count: int) -> None:
    for _ in range(count):
        world.arrived()
    assert world.tracker.outbox.deliver(lambda _: None).delivered == count
