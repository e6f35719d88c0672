"""Events and claims become looks, and looks become changes.

An event is in the inbox before anybody is told that it was taken, and a worker that dies leaves it there for another, or was
not believed to have it. The store is asked outside every transaction; the change then compares the upload's version, and when
somebody was faster, all of it is done again.

Of a delivery of a few events each is looked at first, and written down together with what it changes: one transaction. A long
one is written down as it is, acknowledged, and then acted upon one by one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import update

from blobkit.errors import BlobkitError, Throttled
from blobkit.events.controls import NotAnEvent, RecordError
from blobkit.events.model import BlobEvent, EventKind
from blobkit.tracking.database import Database, DatabaseUnavailable
from blobkit.tracking.finding import find, get
from blobkit.tracking.inbox import HANDLED, Inbox, Waiting
from blobkit.tracking.judging import SWEPT
from blobkit.tracking.looking import Looker
from blobkit.tracking.moving import Change, apply_change
from blobkit.tracking.places import PREFIXES, Named, Places
from blobkit.tracking.recording import Entry, Recorder
from blobkit.tracking.records import Upload
from blobkit.tracking.schema import uploads
from blobkit.tracking.states import OPEN, State, Step
from blobkit.tracking.timing import Timing

__all__ = ["Applied", "Applier"]

_RACES: Final = 8
_FEW: Final = 10
"""So many events of one delivery are looked at before they are written down."""

_PATIENCE: Final = 2.0
"""Seconds of looking after which the rest of a delivery is written down first."""

_log = logging.getLogger("blobkit.tracking")


@dataclass(slots=True)
class Applied:
    """What became of a delivery: counts.

    Attributes:
        events: How many events it had.
        new: Of these, written down now; the others concern no upload or were known.
        duplicates: Known already.
        foreign: Of no store here.
        ignored: Of a kind that changes no upload, or blobkit's own.
        dead: Records that cannot be read, put aside.
        changed: Uploads that changed.
        parked: Events of keys that no upload has, to be tried again.
        put_off: Events whose look failed, to be tried again.
    """

    events: int = 0
    new: int = 0
    duplicates: int = 0
    foreign: int = 0
    ignored: int = 0
    dead: int = 0
    changed: int = 0
    parked: int = 0
    put_off: int = 0


class Applier:
    """From deliveries and claims to changes."""

    def __init__(
        self,
        database: Database,
        places: Places,
        looker: Looker,
        inbox: Inbox,
        recorder: Recorder,
        timing: Timing,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._places = places
        self._looker = looker
        self._inbox = inbox
        self._recorder = recorder
        self._timing = timing
        self._now = now

    # --- events ---

    def record(
        self, events: Iterable[BlobEvent], refused: Sequence[RecordError | NotAnEvent] = ()
    ) -> tuple[list[Waiting], Applied]:
        """Write a delivery down. When this returns, it may be acknowledged.

        Raises:
            Unavailable: The database did not answer: nothing may be acknowledged.
        """
        events = list(events)
        located, foreign = self._places.locate(events)
        named = [item for item in located if item.event.kind in HANDLED]
        done = Applied(events=len(events), foreign=foreign)
        done.ignored = max(0, len(events) - foreign - len({id(item.event) for item in named}))
        if not named and not refused:
            return [], done
        now = self._now()
        entries = [Entry(item) for item in named]
        if len(entries) <= _FEW:
            self._look_first(entries, now)
        unknown = sorted(entry for entry in entries if entry.outlook != "known")
        waiting: list[Waiting] = []
        if unknown or refused:
            with self._database.write(single=len(unknown) == 1 and not refused) as connection:
                written = [self._recorder.write(connection, entry, now) for entry in unknown]
                done.dead = self._inbox.bury(connection, refused, now)
            for entry, result in zip(unknown, written, strict=True):
                done.new += result.new
                done.changed += result.changed
                done.parked += result.new and entry.outlook == "parked"
                done.put_off += result.new and entry.outlook == "failed"
                if result.waiting is not None:
                    waiting.append(result.waiting)
        done.duplicates = len(named) - done.new
        return waiting, done

    def _look_first(self, entries: Sequence[Entry], now: datetime) -> None:
        """Find out what each event is to change, as the store says now. Nothing is written."""
        looked = [entry for entry in entries if entry.named.event.kind not in PREFIXES]
        if not looked:
            return
        with self._database.read() as connection:
            for entry in looked:
                self._recorder.find(connection, entry)
        until = time.monotonic() + _PATIENCE
        for entry in looked:
            if entry.outlook != "waits" or entry.upload is None:
                continue
            if time.monotonic() > until:
                return
            try:
                entry.change = self._change_for(entry.upload, entry.named, now)
                entry.outlook = "acts"
            except Exception as error:
                _tell(error, entry.named)
                entry.error, entry.outlook = error, "failed"
                return  # a store that does not answer must not keep the others from being written down

    def settle(self, waiting: Iterable[Waiting], done: Applied) -> None:
        """Act upon events that were written down. What fails is put off, and the next one's turn comes.

        Raises:
            Unavailable: The database did not answer. What is not settled stays in the inbox.
        """
        for item in waiting:
            try:
                self._settle(item, done)
            except DatabaseUnavailable:
                raise
            except Exception as error:
                _tell(error, item)
                done.put_off += 1
                with self._database.write() as connection:
                    if not self._inbox.put_off(connection, item, error, self._now()):
                        _log.error("event %d is put aside: %s", item.id, type(error).__name__)

    def _settle(self, item: Waiting, done: Applied) -> None:
        if item.event.kind in PREFIXES:
            self._wake_below(item)
            return
        for _ in range(_RACES):
            with self._database.read() as connection:
                upload = find(connection, item.store, item.key)
            now = self._now()
            if upload is None:
                with self._database.write() as connection:
                    done.parked += self._inbox.park(connection, item, now)
                return
            change = self._change_for(upload, item, now)
            with self._database.write(redone=True) as connection:
                if change is None or apply_change(connection, upload, change, now) is not None:
                    self._inbox.done(connection, item)
                    done.changed += change is not None and change.what is not None
                    return
        raise _contended()

    def _change_for(self, upload: Upload, item: Waiting | Named, now: datetime) -> Change | None:
        event = item.event
        place = upload.place
        served = place is not None and (place.store, place.key) == (item.store, item.key)
        if upload.state in SWEPT or (upload.promoted and not served):
            return Change(None, {"sweep_at": now}) if event.kind is EventKind.CREATED else None
        if event.kind is EventKind.UPLOAD_STARTED:
            there = upload.state is State.PENDING and self._places.store(item.store).exists(item.key)
            return Change(Step.STARTED) if there else None
        order = None if event.order is None else f"{event.order.shape}:{event.order.value}"
        if event.kind is EventKind.CREATED and _is_known(upload, event):
            return None
        change = self._looker.look(upload, now, order=order)
        if change is None and event.kind is EventKind.CREATED and upload.state in OPEN:
            # Deleted meanwhile, or a replica that lags behind: soon somebody looks once more.
            soon = now + self._timing.retry_after(3)
            if upload.look_at is None or soon < upload.look_at:
                return Change(None, {"look_at": soon})
        return change

    def _wake_below(self, item: Waiting) -> None:
        """Many keys changed at once: reconcile looks at each."""
        now = self._now()
        directory = "" if item.key == "" else item.key.rstrip("/") + "/"
        with self._database.write() as connection:
            for store, key in ((uploads.c.store, uploads.c.key), (uploads.c.served_store, uploads.c.served_key)):
                connection.execute(
                    update(uploads)
                    .where(
                        store == item.store, key >= directory, key < directory[:-1] + "0" if directory else key >= ""
                    )
                    .where(uploads.c.look_at.is_not(None))
                    .values(look_at=now, looks=0)
                )
            self._inbox.done(connection, item)

    # --- claims ---

    def look_now(self, upload_id: UUID, *, said_done: bool = False) -> Upload:
        """Look at an upload, make the change, and return it as it is then. Raises NotFound, and what the store raises."""
        for _ in range(_RACES):
            with self._database.read() as connection:
                upload = get(connection, upload_id)
            now = self._now()
            change = self._looker.look(upload, now, said_done=said_done)
            if change is None:
                return upload
            with self._database.write() as connection:
                changed = apply_change(connection, upload, change, now)
            if changed is not None:
                return changed
        raise _contended()


def _tell(error: Exception, item: Waiting | Named) -> None:
    if not isinstance(error, BlobkitError):
        _log.error("an event of %s in %s cannot be acted upon", item.key, item.store, exc_info=error)


def _contended() -> Throttled:
    return Throttled("others change the upload all the time", hint="try again")


def _is_known(upload: Upload, event: BlobEvent) -> bool:
    """Whether the event is of a change that is older than the one which the upload was bound by, by the provider's order."""
    if upload.order_token is None or event.order is None or event.family == "gcs":
        return False
    shape, _, value = upload.order_token.partition(":")
    return shape == event.order.shape and event.order.value <= value and upload.state not in OPEN
