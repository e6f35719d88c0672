"""One process that keeps the records true: events, reconcile, the outbox and what a service adds, each in a thread.

Any number of such processes may run beside each other. A part that fails (the database is away, a queue does not answer) says
so and tries again, later and later; the others go on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Final, Protocol, TypeAlias

from blobkit.errors import ClosedError, InvalidArgument, TransientError
from blobkit.tracking.applying import Applied
from blobkit.tracking.outbox import Delivered, Handler
from blobkit.tracking.report import ReconcileReport
from blobkit.tracking.timing import backoff
from blobkit.tracking.tracker import Delivery, Tracker

__all__ = ["EventSource", "Part", "Worker"]

Part: TypeAlias = Callable[[Callable[[], bool]], object]
"""One round of a worker's work: whatever is due, until nothing is or the function that it is given says that it is time to
stop. What it returns is nobody's business. TransientError has it tried again; any other error ends the worker."""

_SECOND: Final = timedelta(seconds=1)
_LONGEST: Final = timedelta(minutes=1)
_OWN: Final = frozenset({"reconcile", "outbox"})
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
        look_every: Between two looks at an empty outbox, and between two rounds of each part.
        reported: Called with what each round came to (:class:`Applied`, :class:`ReconcileReport`, :class:`Delivered`).
        parts: More work for the same process, by name: a quarantine's ``run_once``, say. It is tried again, stopped and given
            up by the same rules as the rest.
        grace: How long what is under way has to end when the worker stops. What takes longer is left behind, as by a crash.

    Raises:
        InvalidArgument: A part with the name of the worker's own, or a grace that is negative.
    """

    tracker: Tracker
    sources: Sequence[EventSource] = ()
    handler: Handler | None = None
    reconcile_every: timedelta = timedelta(minutes=1)
    look_every: timedelta = _SECOND
    reported: Callable[[Applied | ReconcileReport | Delivered], object] = lambda _: None
    parts: Mapping[str, Part] = field(default_factory=dict)
    grace: timedelta = timedelta(seconds=30)

    def __post_init__(self) -> None:
        if taken := sorted(_OWN & set(self.parts)):
            raise InvalidArgument(f"the worker has a part of its own named {taken[0]}")
        if self.grace < timedelta(0):
            raise InvalidArgument("a grace is not negative")

    def once(self, stop: Callable[[], bool] = lambda: False) -> None:
        """One round of reconcile, of each part, and of the outbox, here and now. Raises what they raise."""
        for work in (self._reconcile, *self.parts.values(), self._deliver):
            work(stop)

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set. What is under way is finished first: one delivery, one notice, one batch.

        Raises:
            BlobkitError: A source cannot be read for good; the other parts were stopped.
        """
        failures: list[BaseException] = []
        rounds: list[tuple[str, Part, timedelta]] = [
            ("reconcile", self._reconcile, self.reconcile_every),
            *((name, part, self.look_every) for name, part in self.parts.items()),
        ]
        if self.handler is not None:
            rounds.append(("outbox", self._deliver, self.look_every))
        works: list[tuple[str, Callable[[], None]]] = [
            *((name, partial(self._again, name, part, every, stop)) for name, part, every in rounds),
            *((f"events-{at}", partial(self.take, source, stop)) for at, source in enumerate(self.sources, 1)),
        ]
        threads = [
            threading.Thread(target=_guarded(name, work, failures, stop), name=f"blobkit-{name}", daemon=True)
            for name, work in works
        ]
        for thread in threads:
            thread.start()
        stop.wait()
        for source in self.sources:
            source.stop()
        self._wait_for(threads)
        if failures:
            raise failures[0]

    def _wait_for(self, threads: Sequence[threading.Thread]) -> None:
        until = time.monotonic() + self.grace.total_seconds()
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                _log.warning("%s did not end within %s, and is left behind", thread.name, self.grace)

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

    def _again(self, name: str, work: Part, every: timedelta, stop: threading.Event) -> None:
        failed = 0
        while not stop.is_set():
            try:
                work(stop.is_set)
                failed, wait = 0, every
            except TransientError as error:
                failed += 1
                wait = backoff(failed - 1, first=_SECOND, longest=_LONGEST)
                _log.warning("%s: %s: again in %s", name, error, wait)
            stop.wait(wait.total_seconds())


def _guarded(
    name: str, work: Callable[[], None], failures: list[BaseException], stop: threading.Event
) -> Callable[[], None]:
    """What ends a part for good ends the worker: a process that does half its work looks healthy and is not."""

    def run() -> None:
        try:
            work()
        except ClosedError:
            return
        except BaseException as error:
            _log.exception("a part of the worker failed for good: %s", name)
            failures.append(error)
            stop.set()

    return run
