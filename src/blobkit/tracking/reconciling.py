"""Reconcile: the only guarantee. Whatever was lost, doubled or late, this finds it, by asking the stores.

Uploads carry when they are to be looked at next, so that a run costs as much as is due and not as much as there is. Taking
a batch moves that time on: workers share the work by it, and what a dead one had taken comes up again by itself.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import select, update

from blobkit.errors import BlobkitError, TransientError
from blobkit.tracking.applying import Applied, Applier
from blobkit.tracking.database import Database
from blobkit.tracking.inbox import Inbox, Waiting
from blobkit.tracking.listing import ASK, Listing, Seen
from blobkit.tracking.looking import Looker
from blobkit.tracking.moving import Change, apply_change
from blobkit.tracking.outbox import Outbox
from blobkit.tracking.places import PREFIXES, Places
from blobkit.tracking.records import Upload, to_upload
from blobkit.tracking.report import ReconcileReport
from blobkit.tracking.schema import uploads
from blobkit.tracking.states import OPEN, State
from blobkit.tracking.sweeping import Sweeper
from blobkit.tracking.timing import Timing

__all__ = ["Reconciler"]

BATCH: Final = 1000
_WRITE: Final = 200
_SLICE: Final = 64
_EVENTS: Final = 100
_GIVE_UP: Final = 5
"""After so many transient failures in a row, a store is left alone for the rest of the run."""

_log = logging.getLogger("blobkit.tracking")


@dataclass(frozen=True, slots=True)
class Reconciler:
    """One run over everything that is due."""

    database: Database
    places: Places
    timing: Timing
    now: Callable[[], datetime]
    looker: Looker
    applier: Applier
    inbox: Inbox
    outbox: Outbox
    sweeper: Sweeper
    max_parked: int

    def run(
        self,
        report: ReconcileReport,
        *,
        limit: int | None,
        concurrency: int,
        sweep: bool | None,
        stop: Callable[[], bool],
    ) -> None:
        """See :meth:`blobkit.tracking.Tracker.reconcile`."""
        if not report.dry_run:
            self._drop_unknown(report, stop)
            self._settle_events(report, stop)
        self._look(report, limit, concurrency, stop)
        self.sweeper.sweep_uploads(report, stop)
        if sweep is not False and not stop():
            self.sweeper.sweep_orphans(report, stop, forced=sweep is True)
        if not report.dry_run and not stop():
            self._purge(report)
        report.complete = report.complete and not stop() and not report.capped

    # --- events that were left ---

    def _drop_unknown(self, report: ReconcileReport, stop: Callable[[], bool]) -> None:
        """Events of keys that no upload has, beyond the cap, the oldest first: they were tried most often.

        Nothing but time is lost with them. An upload that is recorded later, or becomes visible later, carries when it is to
        be looked at, and is found by that; an object that never gets one is the sweep's for orphans.
        """
        for store in self.places.names:
            dropped = 0
            while gone := self.inbox.drop(store, self.max_parked, BATCH):
                dropped += gone["parked"]
                report.purged += gone["orphan"]  # these had waited their time
                if gone.total() < BATCH or stop():
                    break
            report.dropped += dropped
            if dropped:
                _log.warning(
                    "%d events of %s were dropped: no upload has their keys, and too many wait", dropped, store
                )

    def _settle_events(self, report: ReconcileReport, stop: Callable[[], bool]) -> None:
        """Events that a dead worker left, that were put off, or whose key had no upload yet.

        Each is tried once in a run: however many there are and come, the uploads have their turn.
        """
        began = self.now()
        while not stop() and (waiting := self.inbox.claim(_EVENTS, self.now(), began)):
            done = Applied()
            self.applier.settle(self._known(waiting), done)
            report.events += len(waiting)
            report.failures += done.put_off

    def _known(self, waiting: Sequence[Waiting]) -> list[Waiting]:
        """Those whose key an upload has by now. The others are parked again, all at once: there may be very many."""
        keys: defaultdict[str, set[str]] = defaultdict(set)
        for item in waiting:
            keys[item.store].add(item.key)
        with self.database.read() as connection:
            had = {
                (name, row.key)
                for name, some in keys.items()
                for place, key in ((uploads.c.store, uploads.c.key), (uploads.c.served_store, uploads.c.served_key))
                for row in connection.execute(select(key.label("key")).where(place == name, key.in_(some)))
            }
        known, unknown = list[Waiting](), list[Waiting]()
        for item in waiting:
            whose = item.event.kind in PREFIXES or (item.store, item.key) in had
            (known if whose else unknown).append(item)
        if unknown:
            now = self.now()
            with self.database.write(redone=True) as connection:
                for item in unknown:
                    self.inbox.park(connection, item, now)
        return known

    # --- uploads that are due ---

    def _look(self, report: ReconcileReport, limit: int | None, concurrency: int, stop: Callable[[], bool]) -> None:
        rounds = _Round(self, report, replace(self.looker, dry=report.dry_run))
        with ThreadPoolExecutor(max_workers=concurrency, thread_name_prefix="blobkit-look") as pool:
            try:
                for batch in self._batches(report.dry_run, limit, stop):
                    rounds.look_at(batch, pool)
            finally:
                rounds.close()
        report.complete = limit is None or report.looked < limit

    def _batches(self, dry_run: bool, limit: int | None, stop: Callable[[], bool]) -> Iterator[list[Upload]]:
        last: tuple[datetime, UUID] | None = None
        left = limit
        while not stop() and (left is None or left > 0):
            size = BATCH if left is None else min(BATCH, left)
            batch = self._next(size, last) if dry_run else self._claim(size)
            if not batch:
                return
            final = batch[-1]
            assert final.look_at is not None
            last = (final.look_at, final.id)
            left = None if left is None else left - len(batch)
            yield batch

    def _next(self, size: int, last: tuple[datetime, UUID] | None) -> list[Upload]:
        """The next due uploads, only read."""
        query = select(uploads).where(uploads.c.look_at <= self.now())
        if last is not None:
            after, number = last
            query = query.where((uploads.c.look_at > after) | ((uploads.c.look_at == after) & (uploads.c.id > number)))
        with self.database.read() as connection:
            found = connection.execute(query.order_by(uploads.c.look_at, uploads.c.id).limit(size))
            return [to_upload(row) for row in found]

    def _claim(self, size: int) -> list[Upload]:
        """The next due uploads, for this worker alone: when they are due again is written at once."""
        now = self.now()
        query = (
            select(uploads)
            .where(uploads.c.look_at <= now)
            .order_by(uploads.c.look_at, uploads.c.id)
            .limit(size)
            .with_for_update(skip_locked=True)
        )
        with self.database.write() as connection:
            found = [to_upload(row) for row in connection.execute(query)]
            together: defaultdict[tuple[datetime, int], list[UUID]] = defaultdict(list)
            for upload in found:
                together[self._again(upload, now), upload.looks + 1].append(upload.id)
            for (again, looks), numbers in together.items():
                taken = update(uploads).where(uploads.c.id.in_(numbers))
                connection.execute(taken.values(look_at=again, looks=looks))
        return found

    def _again(self, upload: Upload, now: datetime) -> datetime:
        """When an upload that did not change is looked at once more."""
        if upload.state in (State.AVAILABLE, State.MISSING) and upload.removal_at is None:
            return now + self.timing.verify
        again = now + self.timing.look_after(upload.looks + 1)
        if upload.state in OPEN and now < upload.expires_at:
            return min(again, upload.expires_at)  # the last look is not late
        return again

    # --- what is old ---

    def _purge(self, report: ReconcileReport) -> None:
        before = self.now() - self.timing.keep
        for purge in (self.inbox.purge, self.outbox.purge):
            while (gone := purge(before, BATCH)) > 0:
                report.purged += gone
                if gone < BATCH:
                    break


class _Round:
    """The looks of one run: a listing for each store, and which stores do not answer."""

    def __init__(self, owner: Reconciler, report: ReconcileReport, looker: Looker) -> None:
        self._owner = owner
        self._report = report
        self._looker = looker
        self._listings: dict[str, Listing] = {}
        self._silent: Counter[str] = Counter()

    def close(self) -> None:
        """End the listings, and count their pages."""
        for listing in self._listings.values():
            listing.close()
            self._report.pages += listing.pages

    def look_at(self, batch: Sequence[Upload], pool: ThreadPoolExecutor) -> None:
        """Look at a batch, and make the changes."""
        self._report.looked += len(batch)
        changes: list[tuple[Upload, Change]] = []
        met = self._seen(batch)
        for start in range(0, len(met), _SLICE):
            asked = [(upload, seen) for upload, seen in met[start : start + _SLICE] if self._answers(upload)]
            self._report.heads += sum(seen == ASK for _, seen in asked)
            for upload, found in pool.map(lambda pair: (pair[0], self._judged(*pair)), asked):
                if isinstance(found, Exception):
                    self._report.failed(upload, found)
                    self._silent[_place(upload)[0]] += isinstance(found, TransientError)
                    continue
                self._silent[_place(upload)[0]] = 0
                if found is not None:
                    changes.append((upload, found))
        for start in range(0, len(changes), _WRITE):
            self._write(changes[start : start + _WRITE])

    def _answers(self, upload: Upload) -> bool:
        return self._silent[_place(upload)[0]] < _GIVE_UP

    def _seen(self, batch: Sequence[Upload]) -> list[tuple[Upload, Seen]]:
        """What listings say of each upload's key, in the order of the keys."""
        by_store: defaultdict[str, list[Upload]] = defaultdict(list)
        for upload in batch:
            by_store[_place(upload)[0]].append(upload)
        found: list[tuple[Upload, Seen]] = []
        for name, members in by_store.items():
            members.sort(key=lambda upload: _place(upload)[1].encode())
            keys = [_place(upload)[1] for upload in members]
            told: list[Seen]
            try:
                if name not in self._listings:
                    self._listings[name] = Listing(self._owner.places.store(name))
                told = list(self._listings[name].look_up(keys))
            except BlobkitError as error:
                # Each is asked for by itself then; what is wrong with the store shows there.
                self._report.failed(None, error)
                told = [ASK] * len(keys)
                if name in self._listings:
                    self._listings[name].close()
            found.extend(zip(members, told, strict=True))
        return found

    def _judged(self, upload: Upload, seen: Seen) -> Change | Exception | None:
        now = self._owner.now()
        try:
            if isinstance(seen, str):
                return self._looker.look(upload, now)
            return self._looker.judge_listed(upload, seen, now)
        except Exception as error:
            if not isinstance(error, BlobkitError):
                _log.exception("upload %s cannot be looked at", upload.id)
            return error

    def _write(self, changes: Sequence[tuple[Upload, Change]]) -> None:
        if self._report.dry_run:
            for upload, change in changes:
                self._report.changed(upload, change)
            return
        now = self._owner.now()
        with self._owner.database.write() as connection:
            made = [pair for pair in changes if apply_change(connection, *pair, now) is not None]
        for upload, change in made:
            self._report.changed(upload, change)


def _place(upload: Upload) -> tuple[str, str]:
    """Store and key where the upload is to be looked at."""
    place = upload.place
    return (upload.store, upload.key) if place is None else (place.store, place.key)
