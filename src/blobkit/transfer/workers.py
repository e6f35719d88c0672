"""Some threads, one list of things to do; the first failure stops the others and is the one that is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

__all__ = ["Sleep", "run_all", "sleeper"]

T = TypeVar("T")
Sleep = Callable[[float], object]


def sleeper(sleep: Sleep | None, stop: threading.Event) -> Sleep:
    """How to wait: as asked, else until the time is over or the others have stopped."""
    return stop.wait if sleep is None else sleep


def run_all(work: Callable[[T], object], items: Sequence[T], concurrency: int, stop: threading.Event) -> None:
    """Call ``work`` for each item in order, ``concurrency`` at a time.

    Args:
        work: Looks at ``stop`` now and then, and ends early when it is set.
        items: What to do.
        concurrency: Most threads.
        stop: Set by the first failure, and by an interrupt.

    Raises:
        The first error that ``work`` raised, after every thread has ended.
    """
    if not items:
        return
    queue: Iterator[T] = iter(items)
    lock = threading.Lock()
    failed: list[BaseException] = []  # the first is the cause; those after it are only threads that were stopped

    def one() -> None:
        while not stop.is_set():
            with lock:
                item = next(queue, queue)
            if item is queue:
                return
            try:
                work(item)  # type: ignore[arg-type]  # the sentinel was turned away above
            except BaseException as error:
                with lock:
                    failed.append(error)
                stop.set()
                return

    workers = min(concurrency, len(items))
    with ThreadPoolExecutor(workers, thread_name_prefix="blobkit-transfer") as pool:
        futures = [pool.submit(one) for _ in range(workers)]
        try:
            wait(futures)
        except BaseException:  # Ctrl-C: the threads must end before this one may
            stop.set()
            raise
    if failed:
        raise failed[0]
