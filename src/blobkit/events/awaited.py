"""The same, awaited: :class:`AsyncSource` and :class:`AsyncDelivery`, which ``blobkit.aio.open_events`` gives.

Everything is decided in :mod:`blobkit.events.sources`; every call of the queue runs in a worker thread. What a cancelled call
still receives goes back to the queue.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from datetime import timedelta
from types import TracebackType
from typing import Final, ParamSpec, Self, TypeVar

from blobkit.events.parse import ParsedEvents
from blobkit.events.sources import Delivery, Settled, Source

__all__ = ["AsyncDelivery", "AsyncSource"]

P = ParamSpec("P")
T = TypeVar("T")


class AsyncDelivery:
    """One message, to be settled once. An async context manager. See :class:`~blobkit.events.sources.Delivery`.

    Attributes:
        delivery: The same, not awaited; it has ``id``, ``attempt``, ``raw`` and ``attributes``.
    """

    __slots__ = ("delivery",)

    def __init__(self, delivery: Delivery) -> None:
        self.delivery: Final = delivery

    @property
    def events(self) -> ParsedEvents:
        """What the message says. Never raises."""
        return self.delivery.events

    @property
    def settled(self) -> Settled | None:
        """How it ended; None while it has not."""
        return self.delivery.settled

    async def ack(self) -> None:
        """Done: take it out of the queue."""
        await asyncio.to_thread(self.delivery.ack)

    async def retry(self, after: timedelta | None = None) -> None:
        """Not now: let it come again."""
        await asyncio.to_thread(self.delivery.retry, after)

    async def reject(self, reason: str) -> None:
        """Never: keep it among the dead letters."""
        await asyncio.to_thread(self.delivery.reject, reason)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.settled is None:
            if error is None:
                await self.ack()
            else:
                await self.retry()

    def __repr__(self) -> str:
        return f"Async{self.delivery!r}"


class AsyncSource:
    """A queue that is being read: an async iterator and context manager. See :class:`~blobkit.events.sources.Source`.

    Attributes:
        source: The same, not awaited.
    """

    def __init__(self, source: Source) -> None:
        self.source: Final = source

    async def receive(self, limit: int | None = None, wait: timedelta | None = None) -> list[AsyncDelivery]:
        """Up to ``limit`` deliveries as soon as there is one; none when ``wait`` has passed or the source was stopped."""
        found = await _kept(self.source.give_back, self.source.receive, limit, wait)
        return [AsyncDelivery(delivery) for delivery in found]

    async def __aiter__(self) -> AsyncIterator[AsyncDelivery]:
        """Deliveries, one after another, until :meth:`stop`. An outage is waited out; other errors are raised."""
        deliveries = iter(self.source)
        busy = False

        def left(found: Iterable[Delivery]) -> None:
            self.source.give_back(found)
            _close(deliveries)

        try:
            while not self.source.stopped:
                busy = True
                found = await _kept(left, _next, deliveries)
                busy = False
                if not found:
                    return
                yield AsyncDelivery(found[0])
        finally:
            if not busy:
                await asyncio.to_thread(_close, deliveries)

    async def run(self, handle: Callable[[AsyncDelivery], Awaitable[object]]) -> None:
        """Handle every delivery until :meth:`stop`. See :meth:`Source.run`."""
        async for delivery in self:
            error: Exception | None = None
            try:
                await handle(delivery)
            except Exception as raised:
                error = raised
            await asyncio.to_thread(self.source.conclude, delivery.delivery, error)

    def stop(self) -> None:
        """Let iteration end. See :meth:`Source.stop`."""
        self.source.stop()

    async def drain(self, patience: timedelta) -> bool:
        """Wait so long until what was handed out is settled; True when it is."""
        return await asyncio.to_thread(self.source.drain, patience)

    async def aclose(self) -> None:
        """Stop, return what is unsettled to the queue, and let go of connections. Idempotent."""
        self.source.stop()
        await asyncio.to_thread(self.source.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


async def _kept(
    left: Callable[[list[Delivery]], None], call: Callable[P, list[Delivery]], *args: P.args, **kwargs: P.kwargs
) -> list[Delivery]:
    """The call in a worker thread. What it gives after this was cancelled is for ``left``, in that thread."""
    cancelled = False

    def work() -> list[Delivery]:
        found = call(*args, **kwargs)
        if cancelled:
            left(found)
        return found

    def over(done: asyncio.Future[list[Delivery]]) -> None:
        if not done.cancelled() and done.exception() is None and done.result():
            asyncio.get_running_loop().call_soon(threading.Thread(target=left, args=(done.result(),)).start)

    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        cancelled = True  # for a call that goes on; the callback is for one that has just ended
        running.add_done_callback(over)
        raise


def _next(deliveries: Iterator[Delivery]) -> list[Delivery]:
    found = next(deliveries, None)
    return [] if found is None else [found]


def _close(deliveries: Iterator[Delivery]) -> None:
    close: Callable[[], None] | None = getattr(deliveries, "close", None)
    if close is not None:
        close()
