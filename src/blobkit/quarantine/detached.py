"""Threads that nobody has to wait for. Those of a pool are joined when the interpreter ends, however long they take: one check
that hangs would keep a process alive for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["detached"]

T = TypeVar("T")


def detached(work: Callable[[], T], name: str) -> Future[T]:
    """Do it in a thread of its own, which ends with the process at the latest. The future has what it gives, or raises."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
