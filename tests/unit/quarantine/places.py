"""A staging store, a public store, records, and a hand that reaches in before any step."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import blobkit
from blobkit import Store
from blobkit.quarantine import Check, Custom, Quarantine, Subject
from blobkit.tracking import Tracker, Upload

CLEAN = b"clean bytes, as the check saw them"
EVIL = b"EVIL"


class Clock:
    """A time that stands until it is moved."""

    def __init__(self, now: datetime = datetime(2030, 1, 1, tzinfo=UTC)) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def tick(self, **by: float) -> None:
        self.now += timedelta(**by)


class Died(BaseException):
    """The process is gone: nothing more of it happens."""


class Steps:
    """Every call to the stores and the records, counted; before one of them something else may happen."""

    def __init__(self, at: int | None = None, happens: Callable[[], object] | None = None) -> None:
        self.count = 0
        self.names: list[str] = []
        self._at = at
        self._happens = happens
        self._watched: list[tuple[object, str]] = []

    def over(self) -> None:
        """Nothing happens any more, and nothing is counted."""
        for thing, name in self._watched:
            delattr(thing, name)  # what is below is the method of its class
        self._watched.clear()

    def watch(self, thing: object, names: Sequence[str]) -> None:
        """Count these methods of an object from now on."""
        for name in names:
            setattr(thing, name, self._counted(name, getattr(thing, name)))
            self._watched.append((thing, name))

    def _counted(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            number, self.count = self.count, self.count + 1
            self.names.append(name)
            if number == self._at and self._happens is not None:
                self._happens()
            return method(*args, **kwargs)

        return call


BACKEND = ("head", "get", "put", "copy", "delete")
RECORDS = ("record_verdict", "publish", "reject", "lose", "release")


@dataclass
class World:
    """Two stores and records; ``client`` is the staging store as a client has it, whose calls nobody counts."""

    staging: Store
    public: Store
    client: Store
    tracker: Tracker
    clock: Clock
    seen: list[bytes] = field(default_factory=list)

    def close(self) -> None:
        """End the records; the stores are whoever opened them's."""
        self.tracker.close()

    def quarantine(self, *checks: Check) -> Quarantine:
        return Quarantine(self.tracker, checks=checks or [self.look()], staging="staging", public="public", workers=1)

    def look(self) -> Custom:
        """A check that reads all of it, remembers what it read, and refuses evil."""

        def look(subject: Subject) -> bool:
            data = b"".join(subject.blocks(16))
            self.seen.append(data)
            return EVIL not in data

        return Custom("look", look)

    def arrived(self, data: bytes = CLEAN) -> Upload:
        """An upload whose object is there and bound."""
        upload, _ = self.tracker.begin(store="staging", owner="u1", filename="a.txt", content_type="text/plain")
        self.staging.write(upload.key, data, content_type="text/plain")
        return self.tracker.confirm(upload.id)

    def overwrite(self, upload: Upload) -> None:
        """What a client does who kept a URL that can overwrite."""
        self.client.write(upload.key, EVIL, content_type="text/html")

    def watch(self, steps: Steps) -> None:
        """Count what the quarantine does from now on."""
        for store in (self.staging, self.public):
            steps.watch(store._calls.backend, BACKEND)
        steps.watch(self.tracker.checking, RECORDS)

    def readable(self) -> list[bytes]:
        """All that readers could get from where uploads are served."""
        return [self.public.read(info.key) for info in self.public.list()]

    def notices(self) -> list[str]:
        """What the outbox tells, in order."""
        told: list[str] = []
        self.tracker.outbox.deliver(lambda notice: told.append(notice.kind))
        return told

    def until_settled(self, upload: Upload, quarantine: Quarantine) -> Upload:
        """Run, and wait for leases and retries, until the upload is not waiting any more."""
        for _ in range(20):
            now = self.tracker.get(upload.id)
            if now.state not in ("uploaded", "checking"):
                return now
            with suppress(Died):
                quarantine.run_once()
            self.clock.tick(minutes=2)
        raise AssertionError("it never settles")


@cache
def _fresh() -> bytes:
    """A database with every table and no row: made once, for it takes longer than most tests."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "fresh.db"
        Tracker(f"sqlite:///{path}", stores={}).close()
        return path.read_bytes()


def database(folder: Path) -> str:
    """A database of one's own, with every table and no row."""
    path = folder / f"{uuid.uuid4().hex}.db"
    path.write_bytes(_fresh())
    return f"sqlite:///{path}"


def world(folder: Path, *, versioning: bool = False, unknown: str = "") -> World:
    """Two stores in memory, and records; of ``unknown`` features they do not say that they have them."""
    name, clock = uuid.uuid4().hex, Clock()
    options = f"?unknown={unknown}" if unknown else ""
    kept = "?versioning=on" if versioning else options
    staging = blobkit.open_store(f"memory://staging-{name}{kept}", clock=clock)
    client = blobkit.open_store(f"memory://staging-{name}{kept}")
    public = blobkit.open_store(f"memory://public-{name}{options}", clock=clock)
    return recorded(folder, staging, public, client, clock)


def recorded(folder: Path, staging: Store, public: Store, client: Store, clock: Clock) -> World:
    """Records of these stores."""
    stores = {"staging": staging, "public": public}
    tracker = Tracker(database(folder), stores=stores, checked={"staging"}, clock=clock, migrate=False)
    return World(staging, public, client, tracker, clock)
