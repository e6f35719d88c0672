"""A backend that fails when it is told to: before a call, or after it took effect (the reply is lost), or by a crash.

store, faults = faulty(store)
faults.lose("commit")
session.complete()          # must recognise that its own commit went through
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import IO, TYPE_CHECKING, Final, Literal, TypeVar

from blobkit.backend import (
    ASGIApp,
    Backend,
    Classified,
    HeldChunk,
    Received,
    SessionOrder,
    SessionState,
    Signer,
)
from blobkit.blobs import AbortResult, BlobInfo, DeleteResult, PendingUpload, Pin, Prefix
from blobkit.errors import BlobkitError, ConnectionFailed, Unavailable
from blobkit.spec import UploadSpec
from blobkit.store import Store

if TYPE_CHECKING:
    from blobkit.cdn.base import Cdn
    from blobkit.events.model import BlobEvent

__all__ = ["CONTROL_CALLS", "Crash", "Fault", "Faults", "FaultyBackend", "faulty"]

T = TypeVar("T")
When = Literal["before", "after"]

CONTROL_CALLS: Final = (
    "signer",
    "head",
    "get",
    "put",
    "copy",
    "delete",
    "delete_many",
    "list",
    "open_session",
    "received",
    "commit",
    "discard",
    "pending",
)
"""The backend's calls that may go wrong: those that a provider answers over a network."""


class Crash(BaseException):
    """The process dies here. No handler of the library catches it: only what was done before is there afterwards."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        call: The backend's method.
        when: ``before`` it has any effect, or ``after`` (its reply is lost).
        error: What is raised; None gives ConnectionFailed.
        skip: So many calls of this method go well first.
    """

    call: str
    when: When = "before"
    error: Callable[[], BaseException] | None = None
    skip: int = 0

    def make(self) -> BaseException:
        """The exception to raise."""
        if self.error is not None:
            return self.error()
        if self.when == "before":
            return Unavailable("injected: the provider cannot answer now", http_status=503)
        return ConnectionFailed("injected: the reply is lost")


class Faults:
    """The schedule of a FaultyBackend, and the log of what was called. Thread-safe."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self._pending: list[Fault] = []
        self._random: tuple[random.Random, float, frozenset[str]] | None = None
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Let this go wrong, once."""
        if fault.call not in CONTROL_CALLS:
            raise ValueError(f"no such call {fault.call!r}")
        with self._lock:
            self._pending.append(fault)

    def fail(
        self, call: str, error: Callable[[], BlobkitError] | None = None, *, skip: int = 0, times: int = 1
    ) -> None:
        """Let the next ``times`` calls fail before they have any effect."""
        for _ in range(times):
            self.add(Fault(call, "before", error, skip))

    def lose(
        self, call: str, error: Callable[[], BlobkitError] | None = None, *, skip: int = 0, times: int = 1
    ) -> None:
        """Let the next ``times`` calls take effect and lose their replies."""
        for _ in range(times):
            self.add(Fault(call, "after", error, skip))

    def crash(self, call: str, when: When, *, skip: int = 0) -> None:
        """Let the process die before or after the next such call."""
        self.add(Fault(call, when, Crash, skip))

    def by_chance(self, seed: int, probability: float, calls: Collection[str] = CONTROL_CALLS) -> None:
        """Let each of these calls fail, before or after, with this probability; the same seed gives the same schedule."""
        self._random = (random.Random(seed), probability, frozenset(calls))  # noqa: S311 - a repeatable schedule

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        with self._lock:
            self._pending.clear()
            self._random = None

    @property
    def pending(self) -> Sequence[Fault]:
        """What was scheduled and has not happened yet."""
        return tuple(self._pending)

    def next_for(self, call: str) -> Fault | None:
        """Note the call; the fault that strikes it, if one does."""
        with self._lock:
            self.log.append(call)
            for place, fault in enumerate(self._pending):
                if fault.call != call:
                    continue
                if fault.skip:
                    self._pending[place] = Fault(call, fault.when, fault.error, fault.skip - 1)
                    return None
                return self._pending.pop(place)
            if self._random is not None and call in self._random[2] and self._random[0].random() < self._random[1]:
                return Fault(call, "before" if self._random[0].random() < 0.5 else "after")
        return None


class FaultyBackend(Backend):
    """Another backend, with faults. It overrides every method, so that nothing slips past."""

    def __init__(self, inner: Backend, faults: Faults | None = None) -> None:
        self.inner = inner
        self.faults = faults or Faults()
        self.capabilities = inner.capabilities

    def _call(self, name: str, call: Callable[[], T]) -> T:
        fault = self.faults.next_for(name)
        if fault is not None and fault.when == "before":
            raise fault.make()
        if fault is None:
            return call()
        with suppress(Exception):  # a refusal is a reply too, and as lost
            call()
        raise fault.make()

    def signer(self, until: datetime) -> Signer:
        """See Backend."""
        return self._call("signer", lambda: self.inner.signer(until))

    def ready_signer(self, until: datetime) -> Signer | None:
        """See Backend; never fails, as it never asks anybody."""
        return self.inner.ready_signer(until)

    def public_url(self, key: str) -> str:
        """See Backend."""
        return self.inner.public_url(key)

    def refuse_key(self, key: str) -> str | None:
        """See Backend."""
        return self.inner.refuse_key(key)

    def classify(self, error: Exception) -> Classified | None:
        """See Backend."""
        return self.inner.classify(error)

    def head(self, key: str, *, version: str | None = None) -> BlobInfo:
        """See Backend."""
        return self._call("head", lambda: self.inner.head(key, version=version))

    def get(
        self, key: str, *, start: int = 0, end: int | None = None, pin: Pin | None = None, version: str | None = None
    ) -> tuple[BlobInfo, IO[bytes]]:
        """See Backend."""
        return self._call("get", lambda: self.inner.get(key, start=start, end=end, pin=pin, version=version))

    def put(
        self, key: str, body: IO[bytes], size: int, *, spec: UploadSpec, upload_id: str, if_match: Pin | None = None
    ) -> BlobInfo:
        """See Backend."""
        return self._call(
            "put", lambda: self.inner.put(key, body, size, spec=spec, upload_id=upload_id, if_match=if_match)
        )

    def copy(
        self, source: str, target: str, *, pin: Pin | None, if_absent: bool, to: Backend | None = None
    ) -> BlobInfo:
        """See Backend."""
        other = to.inner if isinstance(to, FaultyBackend) else to
        return self._call("copy", lambda: self.inner.copy(source, target, pin=pin, if_absent=if_absent, to=other))

    def delete(
        self, key: str, *, pin: Pin | None = None, version: str | None = None, purge_versions: bool = False
    ) -> DeleteResult:
        """See Backend."""
        return self._call(
            "delete", lambda: self.inner.delete(key, pin=pin, version=version, purge_versions=purge_versions)
        )

    def delete_many(self, keys: Sequence[str]) -> list[DeleteResult]:
        """See Backend."""
        return self._call("delete_many", lambda: self.inner.delete_many(keys))

    def list(
        self, prefix: str, *, start_after: str | None = None, delimiter: str | None = None
    ) -> Iterator[BlobInfo | Prefix]:
        """See Backend; it fails when the first page is asked for."""
        yield from self._call("list", lambda: self.inner.list(prefix, start_after=start_after, delimiter=delimiter))

    def open_session(self, order: SessionOrder, now: datetime) -> SessionState:
        """See Backend."""
        return self._call("open_session", lambda: self.inner.open_session(order, now))

    def received(self, state: SessionState) -> Received:
        """See Backend."""
        return self._call("received", lambda: self.inner.received(state))

    def commit(self, state: SessionState, chunks: Sequence[HeldChunk], total: int) -> BlobInfo:
        """See Backend."""
        return self._call("commit", lambda: self.inner.commit(state, chunks, total))

    def discard(self, state: SessionState) -> AbortResult:
        """See Backend."""
        return self._call("discard", lambda: self.inner.discard(state))

    def pending(self, prefix: str) -> Iterator[PendingUpload]:
        """See Backend; it fails when the first page is asked for."""
        yield from self._call("pending", lambda: self.inner.pending(prefix))

    def close(self) -> None:
        """See Backend."""
        self.inner.close()

    def data_plane(self, *, edge: Cdn | None = None) -> ASGIApp | None:
        """See Backend."""
        return self.inner.data_plane(edge=edge)

    def subscribe(self, listener: Callable[[BlobEvent], None]) -> Callable[[], None] | None:
        """See Backend."""
        return self.inner.subscribe(listener)

    def sealing_key(self) -> bytes | None:
        """See Backend."""
        return self.inner.sealing_key()


def faulty(store: Store) -> tuple[Store, Faults]:
    """The same store through a FaultyBackend, and its schedule. It shares the connection: close the first one only."""
    backend = FaultyBackend(store._calls.backend)
    calls = store._calls.at(store.prefix)
    calls.backend, calls._signing = backend, None
    return Store(calls), backend.faults
