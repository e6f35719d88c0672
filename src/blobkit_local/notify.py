"""Tell of changes: to listeners in this process at once, to a webhook through an outbox that survives a crash.

The outbox row is written in the transaction that makes the change, so there is no change without its event and no event
without its change. One thread per process delivers; a row is reserved while it is under way, so that processes share the
work and a dead one's share is taken over. Delivery is at least once; the order is that of ``sequence`` in the event.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from blobkit.errors import BlobkitError, ConfigError
from blobkit.redaction import redact_url
from blobkit_local.changes import SIGNATURE_HEADER, Change, signature, to_cloudevent, to_event

if TYPE_CHECKING:
    from blobkit.events.model import BlobEvent
    from blobkit_local.index import Index
    from blobkit_local.rows import Rows

__all__ = ["MAX_ATTEMPTS", "MAX_WAITING", "Listener", "Listeners", "Notifier", "Webhook", "backoff", "post"]

Listener = Callable[["BlobEvent"], None]

MAX_WAITING: Final = 100_000
"""So many events wait for a webhook, or for one consumer, at most; further ones are refused, which the log says."""
MAX_ATTEMPTS: Final = 24
"""After so many deliveries in vain, about 18 hours, an event is given up, which the log says."""
_LEASE: Final = 60.0
_LONGEST_WAIT: Final = 3600.0
_LOOK: Final = 30.0  # how often a process looks for what another one left
_jitter: Final = random.Random()  # noqa: S311 - no secret; its own, so that a thread changes nobody's random numbers
_log = logging.getLogger("blobkit.local")


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where events are posted, and the key that signs them.

    Raises:
        ConfigError: No http or https URL.
    """

    url: str
    key: bytes
    timeout: float = 10.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError("webhook must be an http or https URL")

    def __repr__(self) -> str:
        return f"Webhook({redact_url(self.url)!r})"


class Listeners:
    """Who hears of the changes of one store in this process, whichever of its engines makes them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: tuple[tuple[object, Listener], ...] = ()

    def __bool__(self) -> bool:
        return bool(self._all)

    def add(self, listener: Listener) -> Callable[[], None]:
        """Returns how to stop hearing; may be called twice."""
        entry = (object(), listener)  # so that each subscription of one listener stops alone
        with self._lock:
            self._all = (*self._all, entry)

        def stop() -> None:
            with self._lock:
                self._all = tuple(other for other in self._all if other is not entry)

        return stop

    def tell(self, event: BlobEvent) -> None:
        """Call each. What one raises is logged, and the next is called."""
        for _, listener in self._all:
            try:
                listener(event)
            except Exception:
                _log.exception("a listener failed")


class Notifier:
    """Listeners and outbox of one engine."""

    def __init__(self, index: Index, webhook: Webhook | None, listeners: Listeners) -> None:
        self._index = index
        self._webhook = webhook
        self._listeners = listeners
        self._stops: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._courier: _Courier | None = None
        self._closed = False
        if webhook is not None:
            self._wake()  # an earlier process may have left something

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call it after each change, in the thread that made it; returns how to stop that, which may be called twice."""
        stop = self._listeners.add(listener)
        with self._lock:
            self._stops.append(stop)
        return stop

    def record(self, rows: Rows, change: Change) -> None:
        """Inside the transaction that makes the change: put it into the outbox, and into the queue of every consumer."""
        consumers = rows.queue.consumers()
        if consumers:
            body = to_cloudevent(change)
            for consumer in consumers:
                if not rows.queue.add(consumer, body, time.time(), MAX_WAITING):
                    _log.error("the queue of %r is full: event %s is not in it", consumer, change.event_id)
        if self._webhook is None:
            return
        if rows.count_events() >= MAX_WAITING:
            _log.error(
                "the webhook's outbox is full: event %s of a %s object is not sent", change.event_id, change.kind
            )
            return
        rows.add_event(to_cloudevent(change), time.time())

    def published(self, change: Change) -> None:
        """After the commit: call the listeners, and wake the courier."""
        if self._listeners:
            self._listeners.tell(to_event(change))
        if self._webhook is not None:
            self._wake()

    def close(self) -> None:
        """Stop delivering, and end the subscriptions made here; what waits stays in the outbox. Idempotent."""
        with self._lock:
            self._closed = True
            courier, self._courier = self._courier, None
            stops, self._stops = self._stops, []
        for stop in stops:
            stop()
        if courier is not None:
            courier.stop()

    def _wake(self) -> None:
        assert self._webhook is not None
        with self._lock:
            if self._closed:
                return
            if self._courier is None or self._courier.pid != os.getpid():  # threads do not survive a fork
                self._courier = _Courier(self._index, self._webhook)
            self._courier.wake()


class _Courier:
    """The thread that empties the outbox."""

    def __init__(self, index: Index, webhook: Webhook) -> None:
        self.pid = os.getpid()
        self._index = index
        self._webhook = webhook
        self._awake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="blobkit-webhook", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        self._awake.set()

    def stop(self) -> None:
        self._stopping.set()
        self._awake.set()
        if self.pid == os.getpid() and self._thread is not threading.current_thread():
            self._thread.join(self._webhook.timeout + 1)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._awake.clear()
            try:
                wait = self._deliver_due()
            except BlobkitError:
                return  # the store was closed
            except Exception:
                _log.exception("the webhook's outbox cannot be read; trying again")
                wait = _LOOK
            if wait > 0:
                self._awake.wait(wait)

    def _deliver_due(self) -> float:
        """Send one event that is due; returns how many seconds to wait before the next look."""
        now = time.time()
        with self._index.read() as rows:
            due = rows.next_event_due()
        if due is None or due > now:
            return _LOOK if due is None else min(_LOOK, due - now)
        with self._index.write() as rows:
            taken = rows.take_event(now, now + _LEASE)
        if taken is None:
            return 0.0
        event, body, attempts = taken
        problem = post(self._webhook, body, int(now))
        if problem is None:
            with self._index.write() as rows:
                rows.remove_event(event)
            return 0.0
        if attempts + 1 >= MAX_ATTEMPTS:
            _log.error(
                "the webhook %s failed %d times (%s): giving up event %d", self._webhook, attempts + 1, problem, event
            )
            with self._index.write() as rows:
                rows.remove_event(event)
            return 0.0
        wait = backoff(attempts)
        _log.warning("the webhook %s failed (%s): again in %.0f s", self._webhook, problem, wait)
        with self._index.write() as rows:
            rows.put_off_event(event, time.time() + wait)
        return 0.0


def backoff(attempts: int) -> float:
    """Seconds to wait after so many earlier failures: doubling from half a second to an hour, with a quarter of jitter."""
    return float(min(_LONGEST_WAIT, 0.5 * 2 ** min(attempts, 30)) * _jitter.uniform(0.75, 1.0))


def post(webhook: Webhook, body: bytes, now: int) -> str | None:
    """Post one event; returns None when it was taken (2xx), else what went wrong. Redirects are not followed."""
    import http.client  # lazily, with ssl: a store without a webhook opens faster
    import ssl

    parts = urlsplit(webhook.url)
    host = parts.hostname or ""
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(host, parts.port, timeout=webhook.timeout, context=context)
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=webhook.timeout)
    headers = {
        "Content-Type": "application/cloudevents+json; charset=utf-8",
        "User-Agent": "blobkit-local",
        SIGNATURE_HEADER: signature(webhook.key, body, now),
    }
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("POST", target, body=body, headers=headers)
        reply = connection.getresponse()
        reply.read(64 * 1024)
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()
    return None if 200 <= reply.status < 300 else f"HTTP {reply.status}"
