"""What a plugin implements so that its queue can be read: :class:`SourcePlugin` and :class:`Receiver`.

A receiver only moves messages: it takes some, and settles, extends or returns them. Leases are kept by
:class:`~blobkit.events.sources.Source`, which also parses, counts and shuts down.
"""

from __future__ import annotations

import queue
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

from blobkit.config import Location, OpenContext, Option, StoreConfig

if TYPE_CHECKING:
    from blobkit.backend import Classified
    from blobkit.events.deadletters import DeadLetters

__all__ = ["Message", "Nap", "Receiver", "SourcePlugin"]


def _no_attributes() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(slots=True, eq=False)
class Message:
    """One message as a receiver took it.

    Args:
        id: The queue's own id of it.
        body: Its bytes, as the queue holds them.
        document: What :func:`~blobkit.events.parse.parse_events` reads: the message in its shell, so that its events know
            how they came.
        receipt: What the receiver needs to settle it. It may change with every extension; only the receiver reads it.
        attempt: Which delivery this is, from 1; None where the queue does not count.
        attributes: What the queue holds beside the body.
    """

    id: str
    body: bytes
    document: object = field(repr=False)
    receipt: object = field(default=None, repr=False)
    attempt: int | None = None
    attributes: Mapping[str, str] = field(default_factory=_no_attributes)


class Receiver(ABC):
    """Takes messages from one queue and settles them. Thread-safe.

    A message that was taken is hidden from others for ``lease``; one that is neither settled nor extended comes again. So
    nothing is lost with the process, and everything may come twice.

    Attributes:
        provider: ``s3 | gcs | azure | local | memory``.
        name: The queue, for people; without secrets.
        batch: So many messages at most are taken at once.
        lease: How long a message stays hidden; None when the receiver extends by itself.
        longest_retry: The longest time that a message can be put off.
    """

    provider: str
    name: str
    batch: int = 10
    lease: timedelta | None = None
    longest_retry: timedelta = timedelta(hours=12)

    @abstractmethod
    def receive(self, limit: int, wait: float) -> Sequence[Message]:
        """Up to ``limit`` messages, as soon as there is one; none when ``wait`` seconds passed or :meth:`wake` was called.

        Raises:
            TransientError: It cannot be known now; the caller tries again.
            BlobkitError: The queue cannot be read.
        """

    @abstractmethod
    def ack(self, messages: Sequence[Message]) -> None:
        """Take them out of the queue for good. A message that somebody else has by now is not an error.

        Raises:
            TransientError: At least one of them was not taken out, and will come again.
        """

    @abstractmethod
    def retry(self, message: Message, after: float | None) -> None:
        """Let it come again, after so many seconds at the earliest; None: when the queue likes.

        Raises:
            TransientError: It comes again when its lease ends.
        """

    def extend(self, messages: Sequence[Message]) -> None:
        """Hide them for another ``lease``. Called only where ``lease`` is not None.

        Raises:
            TransientError: At least one was not extended.
        """
        raise TypeError(
            f"{type(self).__name__} has leases and does not extend them"
        )  # pragma: no cover - a plugin's fault

    @abstractmethod
    def wake(self) -> None:
        """Let a waiting :meth:`receive` return, now and from now on, as soon as it can. May be called by a signal handler."""

    def dead_letters(self) -> DeadLetters | None:
        """Where rejected messages go if the user names no place; None: nowhere."""
        return None

    def classify(self, error: Exception) -> Classified | None:
        """What an exception of these methods means; None for what is not the provider's. BlobkitErrors pass as they are."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Let go of connections. Everything that was taken is settled or returned before. Idempotent."""


class SourcePlugin(ABC):
    """The entry point of one scheme of sources, in the group ``blobkit.sources``. Its module imports no SDK.

    Attributes:
        scheme: The URL scheme.
        provider: The provider's name.
        extra: The extra that installs what it needs: ``pip install "blobkit[extra]"``.
        location: How its URLs are read.
        options: Its options beside those that every source has.
    """

    scheme: str
    provider: str
    extra: str
    location: Location
    options: Sequence[Option] = ()

    @abstractmethod
    def open(self, config: StoreConfig, context: OpenContext) -> Receiver:
        """Make the receiver. No network: a wrong credential shows at first use.

        Raises:
            ConfigError: Settings that cannot work together.
            PluginMissing: A package that it needs is not installed.
        """


class Nap:
    """Waiting that ends early when :meth:`end` is called, be it by a signal handler: ``SimpleQueue.put`` takes no lock."""

    __slots__ = ("_bell", "ended")

    def __init__(self) -> None:
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.ended = False

    def end(self) -> None:
        """End the nap, and every later one before it begins."""
        self.ended = True
        self._bell.put(None)

    def sleep(self, seconds: float) -> bool:
        """Wait so long; True when it was ended."""
        end = time.monotonic() + seconds
        while not self.ended and (left := end - time.monotonic()) > 0:
            try:
                self._bell.get(timeout=left)
            except queue.Empty:
                break
            if self.ended:
                self._bell.put(None)  # for others who sleep here
        return self.ended
