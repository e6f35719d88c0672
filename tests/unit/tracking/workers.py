"""What a worker process does until it is killed: events from a directory, reconcile, the outbox into a file."""

from __future__ import annotations

import json
import os
import random
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path

import blobkit
from blobkit.tracking import Notification, Timing, Tracker

TIMING = Timing(first_look=timedelta(milliseconds=200), lease=timedelta(seconds=1), longest_look=timedelta(seconds=1))


class File:
    """A handler that writes one line for each notice, whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._out = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def __call__(self, item: Notification) -> None:
        os.write(self._out, f"{item.id} {item.kind}\n".encode())


class Directory:
    """A queue: one file for each event; acknowledged by removing it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, event: blobkit.BlobEvent) -> None:
        part = self._folder / f".{event.dedupe_key}"
        part.write_text(json.dumps(event.to_dict()))
        part.rename(self._folder / event.dedupe_key)

    def take(self) -> tuple[blobkit.BlobEvent, Path] | None:
        paths = [path for path in self._folder.iterdir() if not path.name.startswith(".")]
        if not paths:
            return None
        path = random.choice(paths)
        try:
            return blobkit.BlobEvent.from_dict(json.loads(path.read_text())), path
        except FileNotFoundError:
            return None


class FileMessage:
    """One message of such a queue."""

    def __init__(self, event: blobkit.BlobEvent, path: Path) -> None:
        self.events = blobkit.ParsedEvents([event])
        self._path = path

    def ack(self) -> None:
        self._path.unlink(missing_ok=True)

    def retry(self, after: timedelta | None = None) -> None:
        """It stays."""


def work(database: str, store_url: str, folder: str) -> None:
    """For ever."""
    os.close(0)
    place = Path(folder)
    handler, queue = File(place / "heard"), Directory(place / "events")
    with ExitStack() as stack:
        store = stack.enter_context(blobkit.open_store(store_url))
        tracker = stack.enter_context(Tracker(database, stores={"media": store}, timing=TIMING, migrate=False))
        while True:
            for _ in range(20):
                taken = queue.take()
                if taken is not None:
                    tracker.apply(FileMessage(*taken))
            tracker.outbox.deliver(handler, limit=20)
            with suppress(blobkit.Unavailable):
                tracker.reconcile(limit=20, sweep=False, concurrency=1)
