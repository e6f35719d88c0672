"""The same tracker, awaited: :class:`AsyncTracker`, :class:`AsyncOutbox`, :class:`AsyncChecking`.

Everything is decided in :mod:`blobkit.tracking.tracker`; this module only says where it runs: in worker threads, as the async
store does, so that one set of statements serves both.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Concatenate, Final, Generic, ParamSpec, Self, TypeVar

from blobkit.aio import AsyncUploadSession
from blobkit.tracking.checking import Checking
from blobkit.tracking.outbox import Delivered, Outbox
from blobkit.tracking.records import Notification, Upload
from blobkit.tracking.tracker import Tracker

__all__ = ["AsyncChecking", "AsyncOutbox", "AsyncTracker"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Inner = TypeVar("Inner")

_PAGE: Final = 256


class _Face(Generic[Inner]):
    """Something awaited, and the plain thing behind it."""

    inner: Inner


def _threaded(
    method: Callable[Concatenate[Inner, P], R],
) -> Callable[Concatenate[_Face[Inner], P], Coroutine[Any, Any, R]]:
    """The method in a worker thread."""

    @functools.wraps(method)
    async def call(self: _Face[Inner], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.to_thread(method, self.inner, *args, **kwargs)

    return call


def _paged(
    method: Callable[Concatenate[Inner, P], Iterator[T]],
) -> Callable[Concatenate[_Face[Inner], P], AsyncIterator[T]]:
    """The method's items, read in a worker thread some hundred at a time."""

    @functools.wraps(method)
    async def call(self: _Face[Inner], /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        items = method(self.inner, *args, **kwargs)
        while page := await asyncio.to_thread(lambda: list(itertools.islice(items, _PAGE))):
            for item in page:
                yield item

    return call


class AsyncOutbox(_Face[Outbox]):
    """:class:`~blobkit.tracking.Outbox`, awaited. The plain one is ``inner``."""

    def __init__(self, outbox: Outbox) -> None:
        self.inner = outbox

    async def deliver(
        self,
        handler: Callable[[Notification], Awaitable[object] | object],
        *,
        limit: int | None = None,
        max_attempts: int = 20,
        stop: Callable[[], bool] | None = None,
    ) -> Delivered:
        """As :meth:`blobkit.tracking.Outbox.deliver`; the handler runs on the event loop, and may be a coroutine function.

        Cancelling waits for the notice that is being told, and tells no further one.
        """
        loop = asyncio.get_running_loop()
        ended = False

        async def told(notification: Notification) -> None:
            """The handler, awaited where it wants to be."""
            result = handler(notification)
            if inspect.isawaitable(result):
                await result

        def tell(notification: Notification) -> None:
            """From the worker thread."""
            asyncio.run_coroutine_threadsafe(told(notification), loop).result()

        def over() -> bool:
            """Whether to tell no further notice."""
            return ended or (stop is not None and stop())

        work = asyncio.create_task(
            asyncio.to_thread(self.inner.deliver, tell, limit=limit, max_attempts=max_attempts, stop=over)
        )
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            ended = True
            await asyncio.wait([work])
            raise

    history = _threaded(Outbox.history)
    count = _threaded(Outbox.count)
    dead = _paged(Outbox.dead)
    revive = _threaded(Outbox.revive)


class AsyncChecking(_Face[Checking]):
    """:class:`~blobkit.tracking.Checking`, awaited. The plain one is ``inner``."""

    def __init__(self, checking: Checking) -> None:
        self.inner = checking

    claim = _threaded(Checking.claim)
    renew = _threaded(Checking.renew)
    record_verdict = _threaded(Checking.record_verdict)
    publish = _threaded(Checking.publish)
    reject = _threaded(Checking.reject)
    lose = _threaded(Checking.lose)
    release = _threaded(Checking.release)


class AsyncTracker(_Face[Tracker]):
    """:class:`~blobkit.tracking.Tracker`, awaited. Made of a plain one, which is ``inner`` and is closed with it.

    Example::

        async with AsyncTracker(Tracker("postgresql+psycopg://…", stores=kit)) as tracker:
            upload, plan = await tracker.begin(store="media", owner="u1", size=5)
    """

    def __init__(self, tracker: Tracker) -> None:
        self.inner = tracker
        self.outbox = AsyncOutbox(tracker.outbox)
        self.checking = AsyncChecking(tracker.checking)
        self.timing = tracker.timing

    def __repr__(self) -> str:
        return f"Async{self.inner!r}"

    begin = _threaded(Tracker.begin)
    apply = _threaded(Tracker.apply)
    confirm = _threaded(Tracker.confirm)
    cancel = _threaded(Tracker.cancel)
    delete = _threaded(Tracker.delete)
    reconcile = _threaded(Tracker.reconcile)
    get = _threaded(Tracker.get)
    find = _threaded(Tracker.find)
    uploads = _paged(Tracker.uploads)
    usage = _threaded(Tracker.usage)

    async def session(self, upload: Upload) -> AsyncUploadSession:
        """As :meth:`Tracker.session`, of an upload of this tracker."""
        return AsyncUploadSession(await asyncio.to_thread(self.inner.session, upload.id, owner=upload.owner))

    async def aclose(self) -> None:
        """Close the plain tracker. Idempotent."""
        await asyncio.to_thread(self.inner.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
