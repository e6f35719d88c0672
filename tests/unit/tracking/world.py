"""A tracker, the stores it looks at, and the events that these told."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Self

import blobkit
from blobkit.testing.clock import FakeClock
from blobkit.tracking import Notification, Tracker, Upload


@dataclass
class World:
    """One embedded store named ``media`` and one with versions named ``kept``, in memory, and a tracker over them."""

    database: str
    clock: FakeClock
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._stack = ExitStack()
        self.events: list[blobkit.BlobEvent] = []
        self.heard: list[Notification] = []

    def __enter__(self) -> Self:
        self.media = self._open("")
        self.kept = self._open("?versioning=true")
        self.tracker = self.another_tracker(**self.options)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _open(self, query: str) -> blobkit.Store:
        store = self._stack.enter_context(blobkit.open_store(f"memory://w{uuid.uuid4().hex}{query}", clock=self.clock))
        store.subscribe(self.events.append)
        return store

    def another_tracker(self, **options: Any) -> Tracker:
        """As another process would open it."""
        stores = {"media": self.media, "kept": self.kept}
        return self._stack.enter_context(Tracker(self.database, stores=stores, clock=self.clock, **options))

    def begin(self, data: bytes = b"hello", *, store: str = "media", **more: Any) -> Upload:
        """Permission for exactly this content."""
        upload, _ = self.tracker.begin(store=store, owner="u1", size=len(data), content_type="text/plain", **more)
        return upload

    def put(self, upload: Upload, data: bytes = b"hello", content_type: str = "text/plain") -> blobkit.BlobInfo:
        """The client's bytes, as if its request had come through."""
        return self.tracker.places.store(upload.store).write(upload.key, data, content_type=content_type)

    def arrived(self, data: bytes = b"hello", **more: Any) -> Upload:
        """An upload that was begun, sent, and told of."""
        upload = self.begin(data, **more)
        self.put(upload, data)
        self.tell()
        return self.tracker.get(upload.id)

    def tell(self) -> None:
        """Apply the events that the stores told since the last time."""
        told, self.events[:] = list(self.events), []
        self.tracker.apply(told)

    def state(self, upload: Upload) -> str:
        """Its state now."""
        return self.tracker.get(upload.id).state

    def deliver(self, handler: Callable[[Notification], object] | None = None) -> list[str]:
        """Deliver what is due; returns the kinds that were heard, in order."""
        heard: list[Notification] = []
        self.tracker.outbox.deliver(handler or heard.append)
        self.heard += heard
        return [item.kind for item in heard]

    def later(self, distance: timedelta) -> None:
        """Let time pass, and reconcile."""
        self.clock.advance(distance)
        self.tracker.reconcile()
