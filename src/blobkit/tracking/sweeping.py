"""Removing what has no business being there: late and refused objects, sessions, and objects that no upload knows.

Nothing is deleted by its key alone. The key of an upload is that upload's own; what was seen there is deleted, not what may
have come since. An object without an upload is marked first, and deleted by a later sweep, if it is still the same and still
nobody's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final

from sqlalchemy import delete, select, update

from blobkit.backend import Feature
from blobkit.blobs import BlobInfo
from blobkit.errors import BlobkitError, PreconditionFailed
from blobkit.store import Store
from blobkit.tracking.database import Database, DatabaseUnavailable
from blobkit.tracking.judging import wants_sweep
from blobkit.tracking.looking import delete_exactly, resumed, stat_or_none
from blobkit.tracking.moving import Change, apply_change
from blobkit.tracking.places import Places
from blobkit.tracking.records import Upload, identity, to_upload
from blobkit.tracking.report import ReconcileReport
from blobkit.tracking.schema import orphans, uploads
from blobkit.tracking.states import SIGNALS, Signal
from blobkit.tracking.tasks import Held, Tasks
from blobkit.tracking.timing import Timing

__all__ = ["Sweeper"]

_BATCH: Final = 100
_PAGE: Final = 1000
_log = logging.getLogger("blobkit.tracking")


@dataclass(frozen=True, slots=True)
class Sweeper:
    """Sweeps the keys of uploads, and the prefixes that are the tracker's alone."""

    database: Database
    places: Places
    timing: Timing
    tasks: Tasks
    owned: Mapping[str, str]
    now: Callable[[], datetime]

    # --- the keys of uploads ---

    def sweep_uploads(self, report: ReconcileReport, stop: Callable[[], bool]) -> None:
        """Sweep the keys that are due, until none is, the report's cap is reached, or it is time to stop."""
        last: tuple[datetime, Any] | None = None
        while not report.capped and not stop():
            batch = self._due(report.dry_run, last)
            if not batch:
                return
            for at, upload in enumerate(batch):
                if report.capped or stop():
                    self._give_back(batch[at:], report.dry_run)
                    return
                try:
                    self._sweep(upload, report)
                except DatabaseUnavailable:
                    raise
                except Exception as error:
                    _unexpected(error)
                    report.failed(upload, error)
            final = batch[-1]
            assert final.sweep_at is not None
            last = (final.sweep_at, final.id)

    def _due(self, dry_run: bool, last: tuple[datetime, Any] | None) -> list[Upload]:
        """The next uploads whose key is due; taken for a lease, unless it is only a rehearsal."""
        now = self.now()
        query = (
            select(uploads).where(uploads.c.sweep_at <= now).order_by(uploads.c.sweep_at, uploads.c.id).limit(_BATCH)
        )
        if dry_run:
            if last is not None:
                after, number = last
                query = query.where(
                    (uploads.c.sweep_at > after) | ((uploads.c.sweep_at == after) & (uploads.c.id > number))
                )
            with self.database.read() as connection:
                return [to_upload(row) for row in connection.execute(query)]
        with self.database.write() as connection:
            found = [to_upload(row) for row in connection.execute(query.with_for_update(skip_locked=True))]
            if found:
                taken = update(uploads).where(uploads.c.id.in_([upload.id for upload in found]))
                connection.execute(taken.values(sweep_at=now + self.timing.longest_look))
        return found

    def _give_back(self, rest: list[Upload], dry_run: bool) -> None:
        if rest and not dry_run:
            with self.database.write() as connection:
                back = update(uploads).where(uploads.c.id.in_([upload.id for upload in rest]))
                connection.execute(back.values(sweep_at=self.now()))

    def _sweep(self, upload: Upload, report: ReconcileReport) -> None:
        store, now = self.places.store(upload.store), self.now()
        if report.dry_run:
            self._rehearse(store, upload, report)
            return
        values: dict[str, Any] = {}
        if upload.session is not None:
            if (session := resumed(store, upload)) is not None:
                session.abort()
                report.sessions_aborted += 1
            values["session"] = None
        again = upload.url_expires_at + self.timing.sweep_margin
        values["sweep_at"] = again if again > now else None
        if wants_sweep(upload):
            info = stat_or_none(store, upload.key)
            if info is not None and (signal := _signal(upload, info)) is not None:
                # The signal goes first: if this worker dies now, the next sweep deletes, and does not tell twice.
                told = self._write(upload, Change(signal, {"seen": identity(info)}))
                if told is None:
                    return
                upload = told
            if info is not None or store.capabilities.has(Feature.VERSIONS):
                if not self._remove(store, upload, info):
                    values["sweep_at"] = now  # replaced between looking and deleting
                elif info is not None:
                    report.swept(upload, info)
        self._write(upload, Change(None, values))

    def _rehearse(self, store: Store, upload: Upload, report: ReconcileReport) -> None:
        report.sessions_aborted += upload.session is not None and resumed(store, upload) is not None
        if wants_sweep(upload) and (info := stat_or_none(store, upload.key)) is not None:
            report.swept(upload, info)

    def _remove(self, store: Store, upload: Upload, info: BlobInfo | None) -> bool:
        """Delete what was seen at the upload's own key; False when it was replaced meanwhile."""
        try:
            if store.capabilities.has(Feature.VERSIONS):
                store.delete(upload.key, purge_versions=True)  # nothing of a key of ours may stay readable
            elif info is not None:
                delete_exactly(store, info)
        except PreconditionFailed:
            return False
        return True

    def _write(self, upload: Upload, change: Change) -> Upload | None:
        with self.database.write() as connection:
            return apply_change(connection, upload, change, self.now())

    # --- what no upload knows ---

    def sweep_orphans(self, report: ReconcileReport, stop: Callable[[], bool], *, forced: bool) -> None:
        """Sweep each owned prefix, when it is due or was begun, and no other worker does."""
        for name, prefix in self.owned.items():
            held = None if report.dry_run else self.tasks.take(f"orphans:{name}", even_if_not_due=forced)
            if held is None and not report.dry_run:
                continue
            try:
                if self._sweep_prefix(name, prefix, held, report, stop) and held is not None:
                    held.finish(self.now() + self.timing.sweep_every)
            except DatabaseUnavailable:
                raise
            except Exception as error:
                _unexpected(error)
                report.failed(None, error)
            finally:
                if held is not None:
                    held.release()

    def _sweep_prefix(
        self, name: str, prefix: str, held: Held | None, report: ReconcileReport, stop: Callable[[], bool]
    ) -> bool:
        """Returns whether the end was reached."""
        store = self.places.store(name)
        cursor = None if held is None else held.cursor
        resumable = store.capabilities.has(Feature.START_AFTER) and store.capabilities.has(Feature.ORDERED_LIST)
        items = store.list(prefix, start_after=cursor if resumable else None)
        before = cursor or ""
        while page := list(islice(items, _PAGE)):
            if stop() or report.capped:
                return False
            self._sweep_page(name, store, page, before if resumable else None, report)
            before = page[-1].key
            if held is not None:
                held.keep(before if resumable else None)
        if not report.dry_run:
            self._forget_marks(name, before if resumable else None, None, ())
        self._sweep_sessions(store, prefix, report)
        return True

    def _sweep_page(
        self, name: str, store: Store, page: list[BlobInfo], before: str | None, report: ReconcileReport
    ) -> None:
        now = self.now()
        old = {info.key: info for info in page if info.modified <= now - self.timing.orphan_age}
        with self.database.read() as connection:
            known = {
                row.key
                for place, key in (
                    (uploads.c.store, uploads.c.key),
                    (uploads.c.served_store, uploads.c.served_key),
                )
                for row in connection.execute(select(key.label("key")).where(place == name, key.in_(list(old))))
            }
            marks = {
                row.key: row
                for row in connection.execute(
                    select(orphans).where(orphans.c.store == name, orphans.c.key.in_(list(old)))
                )
            }
        nobodys = {key: info for key, info in old.items() if key not in known}
        ripe = [
            info
            for key, info in nobodys.items()
            if (mark := marks.get(key)) is not None
            and (mark.version, mark.etag) == (info.version, info.etag or None)
            and mark.marked_at <= now - self.timing.orphan_age
        ]
        deleted = self._delete_ripe(store, ripe, report)
        fresh = [
            info
            for key, info in nobodys.items()
            if (mark := marks.get(key)) is None or (mark.version, mark.etag) != (info.version, info.etag or None)
        ]
        report.orphans_marked += len(fresh)
        if report.dry_run:
            return
        kept = [key for key in nobodys if key not in deleted]
        with self.database.write() as connection:
            if fresh:
                gone = delete(orphans).where(orphans.c.store == name, orphans.c.key.in_([info.key for info in fresh]))
                connection.execute(gone)
                connection.execute(
                    orphans.insert(),
                    [
                        {
                            "store": name,
                            "key": info.key,
                            "version": info.version,
                            "etag": info.etag or None,
                            "size": info.size,
                            "marked_at": now,
                        }
                        for info in fresh
                    ],
                )
        self._forget_marks(name, before, page[-1].key, kept)

    def _delete_ripe(self, store: Store, ripe: list[BlobInfo], report: ReconcileReport) -> set[str]:
        deleted: set[str] = set()
        for info in ripe:
            if report.capped:
                break
            try:
                if not report.dry_run:
                    delete_exactly(store, info)
            except PreconditionFailed:
                continue  # somebody wrote it again: it is another one now
            except BlobkitError as error:
                report.failed(None, error)
                continue
            deleted.add(info.key)
            report.orphaned(info)
        return deleted

    def _forget_marks(self, name: str, before: str | None, last: str | None, kept: Collection[str]) -> None:
        """Marks of objects that are gone, or somebody's: those of this stretch of keys that were not met."""
        if before is None:
            return
        query = delete(orphans).where(orphans.c.store == name, orphans.c.key > before)
        if last is not None:
            query = query.where(orphans.c.key <= last)
        if kept:
            query = query.where(orphans.c.key.not_in(list(kept)))
        with self.database.write() as connection:
            connection.execute(query)

    def _sweep_sessions(self, store: Store, prefix: str, report: ReconcileReport) -> None:
        """Abort sessions that are older than any upload waits."""
        if not store.capabilities.has(Feature.LIST_UPLOADS):
            return
        if report.dry_run:
            report.sessions_aborted += sum(1 for _ in store.list_uploads(prefix, older_than=self.timing.session_age))
        else:
            report.sessions_aborted += len(store.sweep_uploads(prefix, older_than=self.timing.session_age))


def _signal(upload: Upload, info: BlobInfo) -> Signal | None:
    """What to tell of content that has no business at the upload's key; None of what was bound, or told of already."""
    bound = None if upload.pin is None else f"{upload.version or ''}:{upload.etag or ''}"
    if identity(info) in (upload.seen, bound):
        return None
    signal = Signal.OVERWRITTEN if upload.promoted else Signal.LATE_UPLOAD
    return signal if upload.state in SIGNALS[signal] else None


def _unexpected(error: Exception) -> None:
    """One bad item never stops the others, not even a fault of ours; but it is shown."""
    if not isinstance(error, BlobkitError):
        _log.error("a fault while sweeping", exc_info=error)
