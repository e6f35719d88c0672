"""The same transfers, awaited. They run in worker threads, where the bytes move anyway; the event loop only waits.

Cancelling one stops it at once: its connections are broken off, and it can be resumed. ``on_progress`` and ``on_receipt`` are
called in worker threads. Of an :class:`~blobkit.aio.AsyncUploadSession` give its ``session``.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

from blobkit.transfer.download import download as _download
from blobkit.transfer.download import stream as _stream
from blobkit.transfer.upload import upload as _upload
from blobkit.transfer.workers import Stop

__all__ = ["download", "stream", "upload"]

P = ParamSpec("P")
R = TypeVar("R")


def _awaited(transfer: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    """The transfer in a worker thread."""

    @functools.wraps(transfer)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        stop = kwargs.setdefault("stop", None) or Stop()
        assert isinstance(stop, Stop)
        kwargs["stop"] = stop
        running = asyncio.ensure_future(asyncio.to_thread(transfer, *args, **kwargs))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            stop.set()
            with suppress(Exception):  # it was told to end: how it did is of no interest
                await running
            raise

    return call


upload = _awaited(_upload)
download = _awaited(_download)
stream = _awaited(_stream)
