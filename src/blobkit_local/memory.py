"""The engine in memory: for tests and trials. A name is one store in the whole process, until it is forgotten."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime

from blobkit_local.extents import Extents, Sink, Source
from blobkit_local.index import Index
from blobkit_local.indexed import IndexedEngine, Manners
from blobkit_local.notify import Listeners, Webhook

__all__ = ["MemoryEngine", "forget", "index_of"]


class MemoryEngine(IndexedEngine):
    """A store in this process. Thread-safe; a forked child has a copy of its own.

    Args:
        clock: The time of changes.
        name: Engines of one name share what they hold; None has its own.
        manners: Versions, and what is played for tests.
        webhook: Where events go beside the subscribers.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], datetime],
        name: str | None = None,
        manners: Manners | None = None,
        webhook: Webhook | None = None,
    ) -> None:
        self._shared = _Shared() if name is None else _shared(name)
        super().__init__(
            self._shared.index,
            self._shared.buffers,
            clock=clock,
            bucket=name or "memory",
            provider="memory",
            manners=manners,
            webhook=webhook,
            listeners=self._shared.listeners,
            owns_index=name is None,
        )

    @staticmethod
    def secret_of(name: str) -> bytes:
        """Random bytes that live as long as what the name holds: its keys are derived from them."""
        return _shared(name).secret

    def same_place(self, other: IndexedEngine) -> bool:
        """Whether both share their index and bytes."""
        return isinstance(other, MemoryEngine) and other._shared is self._shared


class _Shared:
    """What the engines of one name share."""

    def __init__(self) -> None:
        self.index = Index(None)
        self.buffers = Buffers()
        self.listeners = Listeners()
        self.secret = secrets.token_bytes(32)


def index_of(name: str) -> Index:
    """The index of the store of that name."""
    return _shared(name).index


_named: dict[str, _Shared] = {}
_naming = threading.Lock()


def _shared(name: str) -> _Shared:
    with _naming:
        if name not in _named:
            _named[name] = _Shared()
        return _named[name]


def forget(name: str) -> None:
    """Let go of what the name holds. Engines that are open keep it to themselves."""
    with _naming:
        _named.pop(name, None)


class Buffers(Extents):
    """Extents as bytes."""

    max_files = None
    has_regions = False

    def __init__(self) -> None:
        self._bytes: dict[str, tuple[bytes, float]] = {}
        self._lock = threading.Lock()

    def create(self, name: str) -> Sink:
        """A list of blocks, joined when kept."""
        return _BufferSink(self, name)

    def allocate(self, name: str) -> None:
        """An empty one: the chunks have their own."""
        self.put(name, b"")

    def region(self, name: str, start: int) -> Sink:
        """Never asked for: a chunk of its own costs nothing here."""
        raise AssertionError("buffers have no regions")

    def open(self, name: str) -> Source:
        """The bytes, which never change."""
        try:
            return _BufferSource(self._bytes[name][0])
        except KeyError:
            raise FileNotFoundError(name) from None

    def exists(self, name: str) -> bool:
        """Whether it is there."""
        return name in self._bytes

    def remove(self, name: str) -> int:
        """Forget it; who has it open reads on."""
        with self._lock:
            data, _ = self._bytes.pop(name, (b"", 0.0))
        return len(data)

    def written_before(self, limit: float) -> Iterator[list[str]]:
        """All in one batch."""
        with self._lock:
            yield [name for name, (_, written) in self._bytes.items() if written < limit]

    def remove_unfinished(self, limit: float) -> tuple[int, int]:
        """Nothing: what was not kept went with its writer."""
        return 0, 0

    def put(self, name: str, data: bytes) -> None:
        """Keep bytes."""
        with self._lock:
            self._bytes[name] = data, time.time()


class _BufferSink(Sink):
    __slots__ = ("_blocks", "_name", "_owner")

    def __init__(self, owner: Buffers, name: str) -> None:
        self._owner = owner
        self._name = name
        self._blocks: list[bytes] | None = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert self._blocks is not None
        self._blocks.append(bytes(data))

    def keep(self) -> None:
        if self._blocks is not None:
            self._owner.put(self._name, b"".join(self._blocks))
            self._blocks = None

    def drop(self) -> None:
        self._blocks = None


class _BufferSource(Source):
    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read_at(self, start: int, size: int) -> bytes:
        return self._data[start : start + size]

    def close(self) -> None:
        """Nothing to close."""
