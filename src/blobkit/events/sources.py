"""Queues of storage events, all alike: :func:`open_events`, :class:`Source`, :class:`Delivery`.

::

    with blobkit.open_events("sqs://uploads?region=eu-west-1") as source:
        for delivery in source:
            with delivery:                  # acknowledged at its end; comes again if this raises
                remember(delivery.events)   # durably, and each dedupe_key once

What is promised: a message leaves its queue only by ``ack`` or ``reject``. Everything else, be it an exception, ``kill -9`` or
a lost reply, lets it come again. So every event is handled at least once, perhaps twice, in any order.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from blobkit.config import Kind, OpenContext, Option, parse
from blobkit.errors import BlobkitError, ClosedError, ConfigError, InvalidArgument, TransientError
from blobkit.events.deadletters import DeadLetters, DirectoryDeadLetters
from blobkit.events.deliveries import Delivery, Settled
from blobkit.events.receiving import Nap, Receiver

if TYPE_CHECKING:
    from blobkit.redaction import Secret

__all__ = ["SOURCE_OPTIONS", "Delivery", "Settled", "Source", "open_events"]

SOURCE_OPTIONS: Final = (
    Option("batch", Kind.NUMBER, "So many messages are taken at once; the queue's own limit when more."),
    Option("wait", Kind.SECONDS, "How long one call waits for a message: the longest time that stop() takes.", "20"),
    Option("max_hold", Kind.SECONDS, "How long an unsettled message is kept from other consumers at most.", "3600"),
    Option("max_unsettled", Kind.NUMBER, "No more is taken while so many are unsettled.", "1000"),
    Option("dead_letters", Kind.TEXT, "A directory for rejected messages; else BLOBKIT_DEAD_LETTERS."),
    Option("raw_keys", Kind.TEXT, "Comma-separated providers whose keys arrive unencoded here (aws, minio)."),
)
"""The options that every source has."""

_LONGEST_PAUSE: Final = 30.0
_log: Final = logging.getLogger("blobkit.events")


def open_events(
    source: str | Mapping[str, str | Secret],
    *,
    dead_letters: DeadLetters | str | os.PathLike[str] | None = None,
    clock: Callable[[], datetime] | None = None,
    timeout: timedelta = timedelta(seconds=30),
    retries: int = 3,
    env: Mapping[str, str] | None = None,
) -> Source:
    """Open a queue of storage events. No network: a wrong setting shows here, a wrong credential at the first message.

    Args:
        source: ``sqs://queue?region=…``, ``pubsub://project/subscription``, ``azqueue://account/queue``,
            ``local:///directory``, ``memory://name``; or a dict with ``scheme``.
        dead_letters: Where ``reject`` puts messages: a directory, or an object of yours. Else the option
            ``dead_letters``, else ``BLOBKIT_DEAD_LETTERS``, else the source's own place; SQS, Pub/Sub and Azure have none.
        clock: The time, for tests; aware.
        timeout: Of one network call, beside the time that it waits for messages.
        retries: Of a call that may be repeated.
        env: Instead of the process's environment.

    Raises:
        UnknownScheme, UnknownOption, PluginMissing, CredentialsMissing, ConfigError.
    """
    from blobkit.plugins.sources import find_source_plugin

    env = os.environ if env is None else env
    scheme = source.partition("://")[0] if isinstance(source, str) and "://" in source else ""
    if not isinstance(source, str):
        scheme = str(source.get("scheme") or "")
    if not scheme:
        raise ConfigError(
            "a source is named by a URL or a dict with scheme", hint="sqs://queue, pubsub://project/subscription"
        )
    plugin = find_source_plugin(scheme)
    config = parse(
        source,
        scheme=plugin.scheme,
        provider=plugin.provider,
        location=plugin.location,
        options=plugin.options,
        env=env,
        common=SOURCE_OPTIONS,
    )
    if config.prefix:
        raise ConfigError("a source has no prefix", hint="store.parse_events keeps what is a store's own")
    if timeout <= timedelta(0) or retries < 0:
        raise InvalidArgument("timeout is positive, and retries are 0 or more")
    now = clock or (lambda: datetime.now(UTC))
    if dead_letters is None:
        dead_letters = config.text("dead_letters") or env.get("BLOBKIT_DEAD_LETTERS") or None
    if isinstance(dead_letters, str | os.PathLike):
        dead_letters = DirectoryDeadLetters(dead_letters)
    receiver = plugin.open(config, OpenContext(clock=now, timeout=timeout, retries=retries, env=env))
    try:
        return Source(
            receiver,
            dead_letters=dead_letters if dead_letters is not None else receiver.dead_letters(),
            batch=config.number("batch"),
            wait=config.seconds("wait") or timedelta(seconds=20),
            max_hold=config.seconds("max_hold") or timedelta(hours=1),
            max_unsettled=config.number("max_unsettled") or 1000,
            raw_keys=[name for part in (config.text("raw_keys") or "").split(",") if (name := part.strip())],
            clock=now,
        )
    except BaseException:
        receiver.close()
        raise


class Source:
    """A queue that is being read: an iterator of :class:`Delivery`, and a context manager. Thread-safe.

    While a delivery is unsettled a thread keeps it hidden from other consumers, up to ``max_hold``.

    To end: :meth:`stop` (from anywhere, also from a signal handler) lets the iteration end; :meth:`drain` waits for what other
    threads still work on; :meth:`close` returns what is unsettled to the queue.

    Attributes:
        receiver: What reads the queue.
        dead_letters: Where ``reject`` puts messages; None: nowhere, and ``reject`` raises.
    """

    def __init__(
        self,
        receiver: Receiver,
        *,
        dead_letters: DeadLetters | None = None,
        batch: int | None = None,
        wait: timedelta = timedelta(seconds=20),
        max_hold: timedelta = timedelta(hours=1),
        max_unsettled: int = 1000,
        raw_keys: Iterable[str] = (),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.receiver: Final = receiver
        self.dead_letters: Final = dead_letters
        self.raw_keys: Final = frozenset(raw_keys)
        self.now: Final = clock
        self._batch = max(1, min(batch or receiver.batch, receiver.batch))
        self._wait, self._max_hold = wait.total_seconds(), max_hold.total_seconds()
        self._max_unsettled = max_unsettled
        self._unsettled: dict[int, Delivery] = {}
        self._changed = threading.Condition()
        self._keeper: threading.Thread | None = None
        self._nap = Nap()
        self._resting = Nap()  # the keeper's: it works until the source is closed
        self._closed = False

    @property
    def name(self) -> str:
        """The queue, for people."""
        return self.receiver.name

    @property
    def stopped(self) -> bool:
        """Whether :meth:`stop` was called."""
        return self._nap.ended

    def receive(self, limit: int | None = None, wait: timedelta | None = None) -> list[Delivery]:
        """Up to ``limit`` deliveries as soon as there is one; none when ``wait`` has passed or the source was stopped.

        Raises:
            TransientError: The queue cannot be read now.
            ClosedError: The source is closed.
            BlobkitError: The queue cannot be read: it is not there, or not yours.
        """
        if self._closed:
            raise ClosedError("the source is closed")
        seconds = self._wait if wait is None else wait.total_seconds()
        room = self._room(seconds)
        if self._nap.ended or room <= 0:
            return []
        count = max(1, min(room, self._batch if limit is None else limit, self._batch))
        with self.calling("receive"):
            taken = [Delivery(self, message) for message in self.receiver.receive(count, seconds)]
        with self._changed:
            for delivery in taken:
                self._unsettled[id(delivery)] = delivery
        if taken and self.receiver.lease is not None:
            self._keep()
        if taken and (self._closed or self._nap.ended):
            self.give_back(taken)
            return []
        return taken

    def __iter__(self) -> Iterator[Delivery]:
        """Deliveries, one after another, until :meth:`stop`. An outage is waited out; other errors are raised."""
        failures = 0
        while not self._nap.ended:
            try:
                batch = self.receive()
                failures = 0
            except TransientError as error:
                if not error.retryable:
                    raise
                pause = min(_LONGEST_PAUSE, 0.5 * 2**failures)
                failures = min(failures + 1, 10)
                _log.warning("%s cannot be read (%s): again in %.1f s", self.name, error, pause)
                self._nap.sleep(pause)
                continue
            handed = 0
            try:
                for delivery in batch:
                    if self._nap.ended:
                        break
                    handed += 1
                    yield delivery
            finally:
                self.give_back(batch[handed:])

    def run(self, handle: Callable[[Delivery], None]) -> None:
        """Handle every delivery until :meth:`stop`: acknowledge it when ``handle`` returns, let it come again when it raises.

        A message of which something cannot be read is rejected after ``handle`` has seen the rest; without a place for dead
        letters it comes again, until the queue itself has enough of it (a redrive policy).
        """
        for delivery in self:
            error: Exception | None = None
            try:
                handle(delivery)
            except Exception as raised:
                error = raised
            self.conclude(delivery, error)

    def conclude(self, delivery: Delivery, error: Exception | None) -> None:
        """Settle what a handler left open, as :meth:`run` does; ``error`` is what it raised. Raises ClosedError."""
        try:
            if error is not None:
                raise error
            if delivery.settled is not None:
                return
            errors = delivery.events.errors
            if not errors:
                delivery.ack()
            elif self.dead_letters is not None:
                delivery.reject("; ".join(sorted({error.message for error in errors})))
            else:
                _log.error("%s holds a message that cannot be read: %s", self.name, errors[0].message)
                delivery.retry()
        except ClosedError:
            raise
        except Exception:
            _log.exception("%s: a delivery was not handled, and comes again", self.name)
            try:
                if delivery.settled is None:
                    delivery.retry()
            except BlobkitError as error:
                _log.warning("%s: %s: it comes again when its lease ends", self.name, error)

    def ack(self, deliveries: Iterable[Delivery]) -> None:
        """Acknowledge several at once, which costs fewer calls. Raises what :meth:`Delivery.ack` raises."""
        for part in _parts(deliveries, self.receiver.batch):
            with _locked(part):
                for delivery in part:
                    delivery.check("acked")
                open_ones = [delivery for delivery in part if delivery.settled is None]
                with self.calling("ack"):
                    self.receiver.ack([delivery.message for delivery in open_ones])
                for delivery in open_ones:
                    delivery.settled = "acked"
            for delivery in part:
                self.forget(delivery)

    def stop(self) -> None:
        """Let iteration and :meth:`receive` end, within the option ``wait`` at most. Idempotent; fit for signal handlers."""
        self._nap.end()
        self.receiver.wake()

    def drain(self, patience: timedelta) -> bool:
        """Wait so long until what was handed out is settled; True when it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._unsettled, patience.total_seconds())

    def close(self) -> None:
        """Stop, return what is unsettled to the queue, and let go of connections. Idempotent."""
        self.stop()
        with self._changed:
            if self._closed:
                return
            self._closed = True
            left = list(self._unsettled.values())
            keeper = self._keeper
        self.give_back(left)
        self._resting.end()
        if keeper is not None and keeper is not threading.current_thread():
            keeper.join()
        self.receiver.close()

    @contextmanager
    def calling(self, operation: str) -> Iterator[None]:
        """For :class:`Delivery`: around every call of the receiver; wraps what it raises, once."""
        try:
            yield
        except Exception as error:
            if isinstance(error, BlobkitError):
                error.located(provider=self.receiver.provider, operation=operation)
                raise
            known = self.receiver.classify(error)
            if known is None:
                raise
            wrapped = known.as_error()
            wrapped.located(provider=self.receiver.provider, operation=operation)
            raise wrapped from error

    def forget(self, delivery: Delivery) -> None:
        """For :class:`Delivery`: it was settled."""
        with self._changed:
            self._unsettled.pop(id(delivery), None)
            self._changed.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Source {self.name}>"

    def _room(self, seconds: float) -> int:
        """How many may be taken; waits until there is room for one. A stop is noticed within a second."""
        end = time.monotonic() + seconds
        with self._changed:
            while len(self._unsettled) >= self._max_unsettled and not self._nap.ended:
                left = end - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(min(left, 1.0))
            return self._max_unsettled - len(self._unsettled)

    def give_back(self, deliveries: Iterable[Delivery]) -> None:
        """Return those that are unsettled to the queue, at once. What the queue says against it is logged."""
        for delivery in deliveries:
            try:
                delivery.give_back()
            except BlobkitError as error:
                _log.warning(
                    "%s: a message was not returned (%s): it comes again when its lease ends", self.name, error
                )
            self.forget(delivery)

    # --- leases ---

    def _keep(self) -> None:
        with self._changed:
            if self._keeper is None and not self._closed:
                self._keeper = threading.Thread(target=self._extend_all, name="blobkit-leases", daemon=True)
                self._keeper.start()

    def _extend_all(self) -> None:
        lease = self.receiver.lease
        assert lease is not None
        while not self._resting.sleep(lease.total_seconds() / 3):
            now = time.monotonic()
            with self._changed:
                held = list(self._unsettled.values())
            for delivery in held:
                if now - delivery.taken > self._max_hold:
                    _log.error("%s: %r is unsettled for too long, and comes again", self.name, delivery)
                    self.forget(delivery)
            for part in _parts((item for item in held if now - item.taken <= self._max_hold), self.receiver.batch):
                self._extend(part)

    def _extend(self, deliveries: list[Delivery]) -> None:
        with _locked(deliveries):  # settling waits: some queues give a new receipt with every extension
            messages = [delivery.message for delivery in deliveries if delivery.settled is None]
            try:
                if messages:
                    with self.calling("extend"):
                        self.receiver.extend(messages)
            except BlobkitError as error:
                _log.warning("%s: messages could not be kept: %s", self.name, error)
            except Exception:
                _log.exception("%s: messages could not be kept", self.name)


@contextmanager
def _locked(deliveries: Iterable[Delivery]) -> Iterator[None]:
    with ExitStack() as held:
        for delivery in sorted(deliveries, key=id):  # in one order, so that two of these never wait for each other
            held.enter_context(delivery.lock)
        yield


def _parts(deliveries: Iterable[Delivery], size: int) -> Iterator[list[Delivery]]:
    rest = iter(deliveries)
    while part := list(islice(rest, size)):
        yield part
