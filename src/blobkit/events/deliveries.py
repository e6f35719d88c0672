"""One message of a queue, to be settled: :class:`Delivery`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Self

from blobkit.errors import ClosedError, ConfigError, InvalidArgument, MalformedEvent
from blobkit.events.controls import RecordError
from blobkit.events.deadletters import DeadLetter
from blobkit.events.parse import ParsedEvents, parse_events
from blobkit.events.receiving import Message

if TYPE_CHECKING:
    from blobkit.events.sources import Source

__all__ = ["Delivery", "Settled"]

Settled = Literal["acked", "retried", "rejected", "returned"]
"""How a delivery ended: as its consumer said, or returned to the queue when the source was closed."""

_LONGEST_BACKOFF: Final = 900.0


class Delivery:
    """One message, to be settled once: :meth:`ack`, :meth:`retry` or :meth:`reject`. Thread-safe. Made by :class:`Source`.

    As a context manager it acknowledges at the end of the block unless it was settled there, and lets the message come
    again when the block raises.

    Attributes:
        id: The queue's own id of the message.
        attempt: Which delivery this is, from 1; None where the queue does not count.
        raw: The message's bytes, as the queue holds them.
        attributes: What the queue holds beside them.
    """

    __slots__ = ("_events", "_source", "attempt", "attributes", "id", "lock", "message", "raw", "settled", "taken")

    def __init__(self, source: Source, message: Message) -> None:
        self._source, self.message = source, message
        self.lock: Final = (
            threading.Lock()
        )  # of settling and extending: a queue may give a new receipt with every extension
        self._events: ParsedEvents | None = None
        self.id: Final = message.id
        self.attempt: Final = message.attempt
        self.raw: Final = message.body
        self.attributes: Final = message.attributes
        self.taken: Final = time.monotonic()
        self.settled: Settled | None = None

    @property
    def events(self) -> ParsedEvents:
        """What the message says. Never raises: a message that cannot be read has no events and one of ``errors``."""
        if self._events is None:
            try:
                self._events = parse_events(self.message.document, raw_keys=self._source.raw_keys)
            except MalformedEvent as error:
                self._events = ParsedEvents(errors=[RecordError(error.message, raw=self.raw)])
        return self._events

    def ack(self) -> None:
        """Done: take it out of the queue. Call it when what it says is stored durably, not before.

        Raises:
            TransientError: The queue could not be told. The message comes again; ``ack`` may be tried again.
            InvalidArgument: It was settled otherwise.
            ClosedError: The source was closed, and the message returned.
        """

        def work() -> None:
            with self._source.calling("ack"):
                self._source.receiver.ack([self.message])

        self._settle("acked", work)

    def retry(self, after: timedelta | None = None) -> None:
        """Not now: let it come again.

        Args:
            after: At the earliest. None: a second, doubled with each delivery up to a quarter of an hour, where the queue
                counts; else as the queue likes.

        Raises:
            TransientError: It comes again when its lease ends.
            InvalidArgument: It was settled otherwise, or the queue cannot put it off so long.
            ClosedError: The source was closed, and the message returned.
        """
        longest = self._source.receiver.longest_retry
        if after is not None and not timedelta(0) <= after <= longest:
            raise InvalidArgument(f"this queue can put a message off by {longest} at most")
        if after is not None:
            seconds: float | None = after.total_seconds()
        else:
            seconds = None if self.attempt is None else min(_LONGEST_BACKOFF, 2.0 ** min(self.attempt - 1, 20))
            seconds = None if seconds is None else min(seconds, longest.total_seconds())

        def work() -> None:
            with self._source.calling("retry"):
                self._source.receiver.retry(self.message, seconds)

        self._settle("retried", work)

    def reject(self, reason: str) -> None:
        """Never: keep its bytes and the reason among the dead letters, then take it out of the queue.

        Raises:
            ConfigError: There is no place for dead letters; the message stays.
            TransientError: The queue could not be told; the letter is kept, and the message comes again.
            InvalidArgument, ClosedError: As :meth:`ack`.
        """
        place = self._source.dead_letters
        if place is None:
            raise ConfigError(
                "there is no place for rejected messages",
                provider=self._source.receiver.provider,
                hint="open_events(…, dead_letters=directory), ?dead_letters=… or BLOBKIT_DEAD_LETTERS",
            )

        def work() -> None:
            letter = DeadLetter(
                source=self._source.name,
                message_id=self.id,
                raw=self.raw,
                reason=reason,
                time=self._source.now(),
                attempt=self.attempt,
                attributes=self.attributes,
            )
            place.put(letter)
            with self._source.calling("reject"):
                self._source.receiver.ack([self.message])

        self._settle("rejected", work)

    def give_back(self) -> None:
        """For :class:`Source`: return it to the queue at once, unless it was settled."""
        with self.lock:
            if self.settled is None:
                self.settled = "returned"
                with self._source.calling("close"):
                    self._source.receiver.retry(self.message, 0.0)

    def _settle(self, how: Settled, work: Callable[[], None]) -> None:
        with self.lock:
            self.check(how)
            if self.settled is None:
                work()
                self.settled = how
        self._source.forget(self)

    def check(self, how: Settled) -> None:
        """For :class:`Source`: raise InvalidArgument or ClosedError where it cannot be settled so any more."""
        if self.settled == "returned":
            raise ClosedError("the source was closed before this delivery was settled: it comes again")
        if self.settled not in (None, how):
            raise InvalidArgument(f"the delivery is {self.settled} already")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.settled is None:
            if error is None:
                self.ack()
            else:
                self.retry()

    def __repr__(self) -> str:
        attempt = "" if self.attempt is None else f" attempt {self.attempt}"
        return f"<Delivery {self.id!r}{attempt} {self.settled or 'unsettled'}>"
