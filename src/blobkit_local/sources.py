"""The events of an embedded store as a queue: ``local:///directory?consumer=NAME`` and ``memory://name?consumer=NAME``.

The queue lies in the store's own index. An event is put there, for every consumer that is known, in the transaction that makes
the change: there is no change without its event. A consumer is known from the first time that it was opened on; processes that
open the same one share its events.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from blobkit.config import Kind, Location, OpenContext, Option, StoreConfig
from blobkit.errors import ConfigError, PluginMissing
from blobkit.events.deadletters import DeadLetters, DirectoryDeadLetters, MemoryDeadLetters
from blobkit.events.receiving import Message, Nap, Receiver, SourcePlugin
from blobkit_local.index import Index

__all__ = ["LocalReceiver", "LocalSourcePlugin", "MemorySourcePlugin", "memory_plugin", "plugin"]

_SHORTEST_LOOK: Final = 0.01
_LONGEST_LOOK: Final = 0.25  # other processes write too, and ring no bell

_OPTIONS: Final = (
    Option("consumer", Kind.TEXT, "Who reads: each consumer gets every event, its processes share them.", "default"),
    Option("lease", Kind.SECONDS, "How long a message is hidden from others before it is extended.", "30"),
)


class LocalReceiver(Receiver):
    """Reads the queue of one consumer. See :class:`blobkit.events.receiving.Receiver`.

    Args:
        index: The store's index.
        consumer: Its name; registered here.
        close: What closes the index, where it is this receiver's own.
    """

    batch = 100
    longest_retry = timedelta(days=14)

    def __init__(
        self,
        index: Index,
        *,
        provider: str,
        name: str,
        consumer: str,
        lease: timedelta,
        letters: DeadLetters,
        close: Callable[[], None] | None = None,
    ) -> None:
        self.provider, self.name, self.lease = provider, name, lease
        self._index, self._consumer, self._letters, self._close = index, consumer, letters, close
        self._seconds = lease.total_seconds()
        self._nap = Nap()
        with index.write() as rows:
            rows.queue.register(consumer)

    def receive(self, limit: int, wait: float) -> Sequence[Message]:
        """Looks often at first, then four times a second: other processes write too."""
        end = time.monotonic() + wait
        pause = _SHORTEST_LOOK
        while not self._nap.ended:
            now = time.time()
            with self._index.read() as rows:
                due = rows.queue.next_due(self._consumer)
            if due is not None and due <= now and (found := self._take(limit, now)):
                return found
            left = end - time.monotonic()
            if left <= 0 or self._nap.sleep(min(pause, left)):
                break
            pause = min(2 * pause, _LONGEST_LOOK)
        return []

    def _take(self, limit: int, now: float) -> list[Message]:
        lease = secrets.token_hex(8)
        with self._index.write(durable=False) as rows:
            taken = rows.queue.take(self._consumer, now, now + self._seconds, lease, limit)
        return [
            Message(str(item.id), item.body, item.body, receipt=(item.id, lease), attempt=item.attempts)
            for item in taken
        ]

    def ack(self, messages: Sequence[Message]) -> None:
        """Removes them, whoever holds them by now: they were handled."""
        ids = [_held(message)[0] for message in messages]
        with self._index.write(durable=False) as rows:
            rows.queue.remove(ids)

    def retry(self, message: Message, after: float | None) -> None:
        """Puts it off, if it was not taken by somebody else."""
        self._hold([message], after or 0.0)

    def extend(self, messages: Sequence[Message]) -> None:
        """Puts them off by a lease, if they were not taken by somebody else."""
        self._hold(messages, self._seconds)

    def _hold(self, messages: Sequence[Message], seconds: float) -> None:
        leases: dict[str, list[int]] = {}
        for message in messages:
            ident, lease = _held(message)
            leases.setdefault(lease, []).append(ident)
        due = time.time() + seconds
        with self._index.write(durable=False) as rows:
            for lease, ids in leases.items():
                rows.queue.hold(ids, lease, due)

    def wake(self) -> None:
        """See Receiver."""
        self._nap.end()

    def dead_letters(self) -> DeadLetters:
        """Beside the store: rejected messages are part of its records."""
        return self._letters

    def close(self) -> None:
        """See Receiver."""
        if self._close is not None:
            self._close()


def _held(message: Message) -> tuple[int, str]:
    receipt = message.receipt
    assert isinstance(receipt, tuple)
    ident, lease = receipt
    return ident, lease


class LocalSourcePlugin(SourcePlugin):
    """``local:///directory``: the events of the store in that directory."""

    scheme = "local"
    provider = "local"
    extra = "local"
    location = Location(authority=None, rest="path")
    options = _OPTIONS

    def open(self, config: StoreConfig, context: OpenContext) -> Receiver:
        """Make the store's directory if its parent exists, and register the consumer."""
        from blobkit_local.durable import prepare_directory

        path = Path(config.location["path"])
        prepare_directory(path)
        index = Index(path / ".blobkit" / "index.db")
        return LocalReceiver(
            index,
            provider=self.provider,
            name=str(path),
            consumer=_consumer(config),
            lease=config.seconds("lease") or timedelta(seconds=30),
            letters=DirectoryDeadLetters(path / ".blobkit" / "dead-letters"),
            close=index.close,
        )


class MemorySourcePlugin(SourcePlugin):
    """``memory://name``: the events of the store of that name in this process."""

    scheme = "memory"
    provider = "memory"
    extra = "local"
    location = Location(authority="name", rest="nothing")
    options = _OPTIONS

    def open(self, config: StoreConfig, context: OpenContext) -> Receiver:
        """Register the consumer."""
        try:
            from blobkit_local.memory import index_of
        except ImportError as error:
            raise PluginMissing(f"the local store needs {error.name}", hint='pip install "blobkit[local]"') from error
        name = config.location["name"]
        return LocalReceiver(
            index_of(name),
            provider=self.provider,
            name=f"memory://{name}",
            consumer=_consumer(config),
            lease=config.seconds("lease") or timedelta(seconds=30),
            letters=MemoryDeadLetters(),
        )


def _consumer(config: StoreConfig) -> str:
    name = config.text("consumer") or ""
    if not name or len(name) > 100:
        raise ConfigError("a consumer's name has 1 to 100 characters")
    return name


plugin = LocalSourcePlugin()
memory_plugin = MemorySourcePlugin()
