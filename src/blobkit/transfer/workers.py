"""Some threads, one list of things to do; the first failure stops the others and is the one that is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Final, TypeVar

from blobkit.errors import ConnectionFailed
from blobkit.transfer.pace import Climb

__all__ = ["Gate", "Sleep", "Stop", "run_all", "sleeper"]

T = TypeVar("T")
Sleep = Callable[[float], object]
_END: Final = object()


class Stop:
    """A flag that ends a transfer: those who wait wake up, and what was asked to be told is told. Thread-safe."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._told: list[Callable[[], object]] = []

    def set(self) -> None:
        """Stop."""
        with self._lock:
            first = not self._event.is_set()
            self._event.set()
            told = list(self._told) if first else []
        for call in told:
            with suppress(Exception):  # whoever stops is not the one to handle what they have to say
                call()

    def is_set(self) -> bool:
        """Whether it was."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep so long, or until it is set; returns whether it is."""
        return self._event.wait(seconds)

    def also(self, call: Callable[[], object]) -> None:
        """Call this once it is set; at once when it is set already."""
        with self._lock:
            if not self._event.is_set():
                self._told.append(call)
                return
        call()


def sleeper(sleep: Sleep | None, stop: Stop) -> Sleep:
    """How to wait: as asked, else until the time is over or the others have stopped."""
    return stop.wait if sleep is None else sleep


class Gate:
    """Lets as many threads move bytes as the climb allows now. Who only waits for another attempt takes no place."""

    def __init__(self, climb: Climb, stop: Stop) -> None:
        self._climb = climb
        self._stop = stop
        self._inside: set[int] = set()
        self._changed = threading.Condition()
        stop.also(self._wake)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def enter(self) -> bool:
        """Wait for a place; False when there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._stop.is_set() or len(self._inside) < self._climb.limit)
            if self._stop.is_set():
                return False
            self._inside.add(threading.get_ident())
            self._climb.begun(time.monotonic())
            return True

    def leave(self, size: int | None) -> None:
        """Free the place, after ``size`` bytes; None when it did nothing."""
        with self._changed:
            self._inside.discard(threading.get_ident())
            if size is not None:
                self._climb.finished(size, time.monotonic())
            self._changed.notify_all()

    def aside(self, sleep: Sleep, seconds: float) -> None:
        """Sleep before another attempt, after a refusal, without a place; and take one again."""
        with self._changed:
            self._climb.refused()
            inside = threading.get_ident() in self._inside
        if not inside:
            sleep(seconds)
            return
        self.leave(None)
        sleep(seconds)
        self.enter()


def run_all(work: Callable[[T], int], items: Iterable[T], gate: Gate, most: int, stop: Stop) -> None:
    """Call ``work`` for each item in order, as many at a time as the gate lets through.

    Args:
        work: Returns the bytes that it moved. Looks at ``stop`` now and then, and ends early when it is set.
        items: What to do; taken one at a time, when a thread is free for it.
        gate: How many at once.
        most: How many threads there may ever be.
        stop: Set by the first failure, and by an interrupt.

    Raises:
        The first error that ``work`` raised, after every thread has ended.
        ConnectionFailed: It was stopped before all was done.
    """
    queue: Iterator[T] = iter(items)
    taking = threading.Lock()
    failed: list[BaseException] = []  # the first is the cause; those after it are only threads that were stopped

    taken, ended = 0, False

    def step() -> bool:
        nonlocal taken, ended
        if not gate.enter():
            return False
        moved: int | None = None
        try:
            with taking:
                item = next(queue, _END) if not stop.is_set() else _END
                taken += item is not _END
            if item is _END:
                ended = ended or not stop.is_set()
                return False
            moved = work(item)  # type: ignore[arg-type]  # the sentinel was turned away above
        finally:
            gate.leave(moved)
        return True

    def one() -> None:
        try:
            while step():
                pass
        except BaseException as error:
            with taking:
                failed.append(error)
            stop.set()

    with ThreadPoolExecutor(most, thread_name_prefix="blobkit-transfer") as pool:
        futures = [pool.submit(one) for _ in range(most)]
        try:
            wait(futures)
        except BaseException:  # Ctrl-C: the threads must end before this one may
            stop.set()
            raise
    if failed:
        raise failed[0]
    if stop.is_set() and not ended and not (isinstance(items, Sequence) and taken == len(items)):
        raise ConnectionFailed("stopped", retryable=False)
