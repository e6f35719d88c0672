"""A source, awaited: the same promises, and nothing is kept by a call that was cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from datetime import timedelta

import pytest

import blobkit
from blobkit import aio
from blobkit.events.awaited import AsyncDelivery, AsyncSource
from blobkit.events.receiving import Message
from blobkit.events.sources import Source

from . import samples
from .test_sources import SOON, Queue


def test_deliveries_are_iterated_and_settled() -> None:
    queue = Queue(*[samples.s3()] * 4)

    async def main() -> None:
        async with AsyncSource(Source(queue)) as source:
            async for delivery in source:
                async with delivery:
                    assert delivery.events[0].bucket == "media"
                if len(queue.acked) == 2:
                    source.stop()

    asyncio.run(main())
    assert queue.acked == ["0", "1"]
    assert [ident for ident, _ in queue.retried] == ["2"]  # taken with the others, and given back
    assert queue.closed


def test_what_a_handler_leaves_open_is_settled_by_run() -> None:
    queue = Queue(samples.s3(), samples.s3())

    async def main() -> None:
        async with AsyncSource(Source(queue)) as source:

            async def handle(delivery: AsyncDelivery) -> None:
                if delivery.delivery.id == "1":
                    source.stop()
                    raise OSError("database is down")

            await source.run(handle)

    asyncio.run(main())
    assert (queue.acked, queue.retried) == (["0"], [("1", 1.0)])


class Slow(Queue):
    """Gives a message when it is told to."""

    def __init__(self) -> None:
        super().__init__(samples.s3())
        self.asked, self.go, self.returned = threading.Event(), threading.Event(), threading.Event()

    def receive(self, limit: int, wait: float) -> Sequence[Message]:
        self.asked.set()
        assert self.go.wait(20)
        return super().receive(limit, wait)

    def retry(self, message: Message, after: float | None) -> None:
        super().retry(message, after)
        self.returned.set()


@pytest.mark.parametrize("how", ["receive", "iterate"])
def test_what_a_cancelled_call_still_receives_goes_back(how: str) -> None:
    queue = Slow()

    async def main() -> None:
        async with AsyncSource(Source(queue)) as source:
            work = source.receive() if how == "receive" else anext(aiter(source))
            task: asyncio.Task[object] = asyncio.ensure_future(work)
            await asyncio.to_thread(queue.asked.wait, 20)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            queue.go.set()
            assert await asyncio.to_thread(queue.returned.wait, 20)
            assert queue.retried == [("0", 0.0)]
            assert await source.drain(SOON)

    asyncio.run(main())


def test_the_embedded_store_is_read_through_the_public_door() -> None:
    async def main() -> None:
        async with aio.open_events("memory://awaited") as source, aio.open_store("memory://awaited") as store:
            await store.write("a b", b"x")
            (delivery,) = await source.receive(wait=SOON)
            assert [event.key for event in delivery.events] == ["a b"]
            await delivery.retry(timedelta(0))
            (again,) = await source.receive(wait=SOON)
            await again.reject("not wanted")
            assert again.settled == "rejected"

    asyncio.run(main())
    with blobkit.open_events("memory://awaited") as source:
        assert source.receive(wait=timedelta(0)) == []
