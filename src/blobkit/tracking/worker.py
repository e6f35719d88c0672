"""One process that keeps the records true: events, reconcile and the outbox, each in a thread, until it is told to stop.

Any number of such processes may run beside each other. A part that fails (the database is away, a queue does not answer) says
so and tries again, later and later; the others go on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from blobkit.errors import ClosedError, TransientError
from blobkit.tracking.applying import Applied
from blobkit.tracking.outbox import Delivered, Handler
from blobkit.tracking.report import ReconcileReport
from blobkit.tracking.timing import backoff
from blobkit.tracking.tracker import Delivery, Tracker

__all__ = ["EventSource", "Worker"]

_SECOND: Final = timedelta(seconds=1)
_LONGEST: Final = timedelta(minutes=1)
_GRACE: Final = 30.0
_log = logging.getLogger("blobkit.tracking.worker")


class EventSource(Protocol):
    """Deliveries as they come, until :meth:`stop`: what ``blobkit.open_events`` gives."""

    def __iter__(self) -> Iterator[Delivery]:
        """The deliveries; ends after :meth:`stop`."""
        ...

    def stop(self) -> None:
        """Let the iteration end soon. Called from another thread."""


@dataclass(frozen=True, slots=True)
class Worker:
    """What one process does for the records.

    Args:
        tracker: The records; borrowed.
        sources: Where events come from; borrowed.
        handler: Hears the outbox's notices; None leaves them to another process.
        reconcile_every: Between two runs of reconcile.
        look_every: Between two looks at an empty outbox.
        reported: Called with what each round came to (:class:`Applied`, :class:`ReconcileReport`, :class:`Delivered`).
    """

    tracker: Tracker
    sources: Sequence[EventSource] = ()
    handler: Handler | None = None
    reconcile_every: timedelta = timedelta(minutes=1)
    look_every: timedelta = _SECOND
    reported: Callable[[Applied | ReconcileReport | Delivered], object] = lambda _: None

    def once(self, stop: Callable[[], bool] = lambda: False) -> None:
        """One round of reconcile and of the outbox, here and now. Raises what they raise."""
        self._reconcile(stop)
        self._deliver(stop)

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set. What is under way is finished first: one delivery, one notice, one batch.

        Raises:
            BlobkitError: A source cannot be read for good; the other parts were stopped.
        """
        failures: list[BaseException] = []
        parts: list[tuple[str, Callable[[], None]]] = [
            ("reconcile", lambda: self._again(self._reconcile, self.reconcile_every, stop)),
            *((f"events-{number}", _take(self, source, stop)) for number, source in enumerate(self.sources, 1)),
        ]
        if self.handler is not None:
            parts.append(("outbox", lambda: self._again(self._deliver, self.look_every, stop)))
        threads = [
            threading.Thread(target=_guarded(work, failures, stop), name=f"blobkit-{name}", daemon=True)
            for name, work in parts
        ]
        for thread in threads:
            thread.start()
        stop.wait()
        for source in self.sources:
            source.stop()
        for thread in threads:
            thread.join(_GRACE)
        if failures:
            raise failures[0]

    def take(self, source: EventSource, stop: threading.Event) -> None:
        """Apply a source's deliveries until it ends. A delivery that cannot be written down comes again."""
        failed = 0
        for delivery in source:
            try:
                self.reported(self.tracker.apply(delivery))
                failed = 0
            except TransientError as error:
                failed += 1
                wait = backoff(failed - 1, first=_SECOND, longest=_LONGEST)
                _log.warning("an event was not taken (%s): on in %s", type(error).__name__, wait)
                stop.wait(wait.total_seconds())
            if stop.is_set():
                source.stop()

    def _reconcile(self, stop: Callable[[], bool]) -> None:
        self.reported(self.tracker.reconcile(stop=stop))

    def _deliver(self, stop: Callable[[], bool]) -> None:
        if self.handler is not None:
            done = self.tracker.outbox.deliver(self.handler, stop=stop)
            if done != Delivered():
                self.reported(done)

    def _again(self, work: Callable[[Callable[[], bool]], None], every: timedelta, stop: threading.Event) -> None:
        failed = 0
        while not stop.is_set():
            try:
                work(stop.is_set)
                failed, wait = 0, every
            except TransientError as error:
                failed += 1
                wait = backoff(failed - 1, first=_SECOND, longest=_LONGEST)
                _log.warning("%s: again in %s", error, wait)
            stop.wait(wait.total_seconds())


def _take(worker: Worker, source: EventSource, stop: threading.Event) -> Callable[[], None]:
    return lambda: worker.take(source, stop)


def _guarded(work: Callable[[], None], failures: list[BaseException], stop: threading.Event) -> Callable[[], None]:
    """What ends a part for good ends the worker: a process that does half its work looks healthy and is not."""

    def run() -> None:
        try:
            work()
        except ClosedError:
            return
        except BaseException as error:
            _log.exception("a part of the worker failed for good")
            failures.append(error)
            stop.set()

    return run
