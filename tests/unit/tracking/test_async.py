"""The awaited tracker: the same verbs, the same outcome, an event loop that is never blocked."""

from __future__ import annotations

import asyncio
import inspect
import threading

import pytest
from tests.unit.local.helpers import send
from tests.unit.tracking.world import World

import blobkit
from blobkit.tracking import AsyncTracker, Checking, Notification, Outbox, State, Tracker
from blobkit.tracking.aio import AsyncChecking, AsyncOutbox


def test_the_whole_life_awaited(local_world: World) -> None:
    async def live() -> None:
        async with AsyncTracker(local_world.tracker) as tracker:
            upload, plan = await tracker.begin(store="media", owner="u1", size=5, checks=True)
            assert plan.id == str(upload.id)
            local_world.media.write(upload.key, b"hello")
            assert (await tracker.apply(list(local_world.events))).changed == 1
            assert (await tracker.confirm(upload.id)).state is State.UPLOADED
            (claim,) = await tracker.checking.claim()
            assert claim.upload.pin is not None
            claim = await tracker.checking.record_verdict(claim, claim.upload.pin, ok=True)
            await tracker.checking.publish(claim, "media", local_world.media.stat(upload.key))
            assert [found.id async for found in tracker.uploads()] == [upload.id]
            assert (await tracker.usage("u1")).stored_bytes == 5
            heard: list[str] = []

            async def hear(item: Notification) -> None:
                await asyncio.sleep(0)
                heard.append(item.kind)

            assert (await tracker.outbox.deliver(hear)).delivered == 3
            assert heard == ["uploaded", "checking", "available"]
            assert (await tracker.outbox.deliver(lambda item: heard.append(item.kind))).delivered == 0
            assert (await tracker.reconcile()).complete
            assert (await tracker.delete(upload.id)).state is State.DELETED
        with pytest.raises(blobkit.ClosedError):
            await tracker.get(upload.id)

    asyncio.run(live())


def test_a_session_awaited(local_world: World) -> None:
    async def live() -> None:
        tracker = AsyncTracker(local_world.tracker)
        upload, _ = await tracker.begin(store="media", owner="u1", size=4, single_up_to=1)
        session = await tracker.session(upload)
        assert (await session.status()).missing == (1,)
        send(local_world.media._calls.backend.engine, session.session._state, 1, b"abcd")  # type: ignore[attr-defined]
        assert (await tracker.confirm(upload.id)).state is State.AVAILABLE

    asyncio.run(live())


def test_cancelling_a_delivery_finishes_the_notice_and_tells_no_other(local_world: World) -> None:
    for _ in range(3):
        local_world.arrived()

    async def live() -> list[str]:
        tracker, heard, began, go = AsyncTracker(local_world.tracker), list[str](), asyncio.Event(), asyncio.Event()

        async def hear(item: Notification) -> None:
            began.set()
            await go.wait()
            heard.append(item.id)

        work = asyncio.create_task(tracker.outbox.deliver(hear))
        await began.wait()
        work.cancel()
        asyncio.get_running_loop().call_later(0.01, go.set)
        with pytest.raises(asyncio.CancelledError):
            await work
        return heard

    assert len(asyncio.run(live())) == 1
    assert local_world.tracker.outbox.count("delivered") == 1
    assert len(local_world.deliver()) == 2


def test_the_database_is_never_touched_on_the_event_loop(local_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: set[int] = set()
    connect = local_world.tracker.database.engine.connect

    def seen() -> object:
        threads.add(threading.get_ident())
        return connect()

    monkeypatch.setattr(local_world.tracker.database.engine, "connect", seen)

    async def live() -> None:
        tracker = AsyncTracker(local_world.tracker)
        await tracker.begin(store="media", size=5)
        await tracker.reconcile()
        await tracker.outbox.deliver(print)
        _ = [upload async for upload in tracker.uploads()]

    asyncio.run(live())
    assert threads
    assert threading.get_ident() not in threads


@pytest.mark.parametrize(
    ("plain", "awaited", "only_plain"),
    [
        (Tracker, AsyncTracker, {"now", "close"}),
        (Outbox, AsyncOutbox, {"purge"}),
        (Checking, AsyncChecking, set[str]()),
    ],
)
def test_both_faces_have_the_same_verbs(plain: type, awaited: type, only_plain: set[str]) -> None:
    def verbs(kind: type) -> set[str]:
        return {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}

    assert verbs(plain) - only_plain == verbs(awaited) - {"aclose"}
