"""The sync and the async store behind one face, so that a test runs over both."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TypeVar, cast

from blobkit.aio import AsyncStore, AsyncUploadSession
from blobkit.store import Store

__all__ = ["awaited"]

T = TypeVar("T")


def awaited(store: Store, runner: asyncio.Runner) -> Store:
    """An AsyncStore on ``store``, each of whose verbs is awaited before it returns. Only for tests."""
    return cast("Store", _Awaited(AsyncStore(store), runner))


class _Awaited:
    def __init__(self, inner: AsyncStore | AsyncUploadSession, runner: asyncio.Runner) -> None:
        self._inner = inner
        self._runner = runner

    def __getattr__(self, name: str) -> object:
        if name == "token":  # a coroutine there, a property here
            assert isinstance(self._inner, AsyncUploadSession)
            return self._runner.run(self._inner.token())
        value = getattr(self._inner, name)
        if not inspect.iscoroutinefunction(value) and not inspect.ismethod(value):
            return value

        def call(*args: object, **kwargs: object) -> object:
            return self._settled(value(*args, **kwargs))

        return call

    def _settled(self, result: object) -> object:
        if inspect.iscoroutine(result):
            result = self._runner.run(result)
        if isinstance(result, AsyncIterator):
            return _items(result, self._runner.run)
        if isinstance(result, AsyncStore | AsyncUploadSession):
            return _Awaited(result, self._runner)
        return result


def _items(source: AsyncIterator[T], run: Callable[..., T]) -> Iterator[T]:
    while True:
        try:
            yield run(_next(source))
        except StopAsyncIteration:
            return


async def _next(source: AsyncIterator[T]) -> T:
    return await anext(source)
