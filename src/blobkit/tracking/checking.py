"""What an examiner needs of the records: take uploads that wait for checks, record a verdict, and move them on.

The examiner (:mod:`blobkit.quarantine`) keeps to this order, so that it may die between any two steps and another goes on::

    claim                uploaded → checking, for as long as the lease
    record_verdict       bound to the version that was examined; a claim that comes later finds it and need not look again
    (promote)            copy exactly that version to where it is served from, only if nothing is there
    publish | reject     checking → available, with its place | checking → rejected; the upload's own key is due to be swept

Sweeping is the tracker's: at once, and again after the last URL that could write to the key has ended.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from blobkit.blobs import BlobInfo, Pin
from blobkit.errors import PreconditionFailed
from blobkit.tracking.database import Database
from blobkit.tracking.finding import get
from blobkit.tracking.moving import Change, apply_change
from blobkit.tracking.places import Places
from blobkit.tracking.records import Upload, to_upload
from blobkit.tracking.schema import uploads
from blobkit.tracking.states import State, Step
from blobkit.tracking.timing import Timing

__all__ = ["Checking", "Claim", "RecordedVerdict"]


@dataclass(frozen=True, slots=True)
class RecordedVerdict:
    """What the checks said of one exact content.

    Attributes:
        ok: Whether it may be served.
        reason: One sentence.
        pin: What was examined.
    """

    ok: bool
    reason: str
    pin: Pin


@dataclass(frozen=True, slots=True)
class Claim:
    """One upload, somebody's to examine until the lease runs out. Use the claim that the last call returned.

    Attributes:
        upload: In ``checking``; ``upload.pin`` is the content to examine, at ``upload.store`` and ``upload.key``.
        until: The lease's end, aware UTC.
        verdict: What an earlier examiner recorded of this very content before it died; None when nobody did.
    """

    upload: Upload
    until: datetime
    verdict: RecordedVerdict | None = None
    lease: str = field(default="", repr=False)


class Checking:
    """The primitives. Made by the tracker: ``tracker.checking``.

    Every method that takes a claim raises PreconditionFailed when it is no longer the caller's: its lease ran out and
    another has the upload, or it was called off. What the caller copied meanwhile has then to be removed.
    """

    def __init__(self, database: Database, places: Places, timing: Timing, now: Callable[[], datetime]) -> None:
        self._database = database
        self._places = places
        self._timing = timing
        self._now = now

    def claim(
        self, *, stores: Collection[str] | None = None, limit: int = 10, lease: timedelta | None = None
    ) -> list[Claim]:
        """Take uploads to examine: those in ``uploaded`` that are due, and those whose examiner's lease ran out.

        No two callers get the same one; in PostgreSQL they do not wait for each other.

        Args:
            stores: Only uploads to these stores.
            limit: At most so many.
            lease: How long each is the caller's; ``Timing.lease`` when None. :meth:`renew` makes it longer.
        """
        now = self._now()
        until = now + (lease or self._timing.lease)
        due = select(uploads).where(uploads.c.examine_at <= now)
        if stores is not None:
            due = due.where(uploads.c.store.in_([self._places.name(name) for name in stores]))
        due = due.order_by(uploads.c.examine_at, uploads.c.id).limit(limit).with_for_update(skip_locked=True)
        claims = []
        with self._database.write() as connection:
            for row in connection.execute(due).all():
                upload, token = to_upload(row), secrets.token_hex(16)
                step = Step.RECLAIMED if upload.state is State.CHECKING else Step.CLAIMED
                values = {"lease": token, "examine_at": until, "examined": upload.examined + 1}
                changed = apply_change(connection, upload, Change(step, values), now)
                if changed is not None:
                    claims.append(Claim(changed, until, _verdict(changed), token))
        return claims

    def renew(self, claim: Claim, lease: timedelta | None = None) -> Claim:
        """Have the upload for longer: ``lease`` from now."""
        until = self._now() + (lease or self._timing.lease)
        statement = (
            update(uploads)
            .where(
                uploads.c.id == bindparam("this"),
                uploads.c.lease == bindparam("ours"),
                uploads.c.state == str(State.CHECKING),
            )
            .values(examine_at=bindparam("until"))
        )
        with self._database.write() as connection:
            given = {"this": claim.upload.id, "ours": claim.lease, "until": until}
            if connection.execute(statement, given).rowcount != 1:
                raise _lost()
        return replace(claim, until=until)

    def record_verdict(self, claim: Claim, pin: Pin, *, ok: bool, reason: str = "") -> Claim:
        """Record what the checks said of the content that they read.

        Args:
            claim: The caller's.
            pin: What was examined.
            ok: Whether it may be served.
            reason: One sentence, for people.

        Raises:
            PreconditionFailed: ``pin`` is not the content that the upload is bound to, or the claim is lost.
        """
        self._same(claim, pin)
        text = json.dumps({"ok": ok, "reason": reason, "etag": pin.etag, "version": pin.version})
        changed = self._change(claim, Change(None, {"verdict": text}))
        return replace(claim, upload=changed, verdict=RecordedVerdict(ok, reason, pin))

    def publish(self, claim: Claim, store: str, blob: BlobInfo) -> Upload:
        """``checking`` → ``available``: what was examined is served from this place.

        Args:
            claim: The caller's, with a verdict that passed.
            store: The name of the store that serves it.
            blob: The copy there, as ``promote`` described it. The same store and key as the upload's: it is served from
                where it is.

        Raises:
            PreconditionFailed: No verdict of the bound content says that it may be served, or the claim is lost.
        """
        verdict = claim.verdict
        if verdict is None or not verdict.ok:
            raise PreconditionFailed("no check has passed it")
        self._same(claim, verdict.pin)
        upload, now, store = claim.upload, self._now(), self._places.name(store)
        values: dict[str, Any] = {"lease": None, "examine_at": None, "reason": None, "looks": 0}
        if (store, blob.key) == (upload.store, upload.key):
            self._same(claim, blob.pin)
            values["look_at"] = self._timing.next_verify(upload.url_expires_at, now)
        else:
            values |= {
                "served_store": store,
                "served_key": blob.key,
                "served_version": blob.version,
                "served_etag": blob.etag or None,
                "look_at": now + self._timing.verify,
                "sweep_at": now,
            }
        return self._change(claim, Change(Step.PASSED, values))

    def reject(self, claim: Claim, reason: str) -> Upload:
        """``checking`` → ``rejected``: nothing of it may be read; its key is swept. Raises PreconditionFailed."""
        return self._end(claim, Step.REFUSED, reason)

    def lose(self, claim: Claim, reason: str) -> Upload:
        """``checking`` → ``failed``: the bound content is gone or replaced. Raises PreconditionFailed."""
        return self._end(claim, Step.LOST, reason)

    def _end(self, claim: Claim, step: Step, reason: str) -> Upload:
        over = {"reason": reason, "lease": None, "examine_at": None, "look_at": None, "sweep_at": self._now()}
        return self._change(claim, Change(step, over))

    def release(self, claim: Claim, *, after: timedelta | None = None, reason: str = "") -> Upload:
        """``checking`` → ``uploaded``: the checks could not decide (a scanner is away); again ``after`` that long.

        Args:
            claim: The caller's.
            after: When None, it grows with the number of examinations (``claim.upload.examined``).
            reason: Why, for people.

        Raises:
            PreconditionFailed: The claim is lost.
        """
        wait = after if after is not None else self._timing.retry_after(claim.upload.examined)
        values = {"lease": None, "examine_at": self._now() + wait, "reason": reason or None}
        return self._change(claim, Change(Step.RELEASED, values))

    def _change(self, claim: Claim, change: Change) -> Upload:
        with self._database.write() as connection:
            upload = self._held(connection, claim)
            changed = apply_change(connection, upload, change, self._now())
        if changed is None:
            raise _lost()
        return changed

    def _held(self, connection: Connection, claim: Claim) -> Upload:
        """The upload as it is, which is still the caller's. A renewal may have changed nothing that matters here."""
        upload = get(connection, claim.upload.id)
        if upload.state is not State.CHECKING or upload.lease != claim.lease:
            raise _lost()
        return upload

    def _same(self, claim: Claim, pin: Pin) -> None:
        bound = claim.upload.pin
        if bound is None or (pin.version, pin.etag) != (bound.version, bound.etag):
            raise PreconditionFailed("that is not the content which the upload is bound to", key=claim.upload.key)


def _verdict(upload: Upload) -> RecordedVerdict | None:
    if upload.verdict is None:
        return None
    said = json.loads(upload.verdict)
    pin = Pin(said["etag"], said["version"])
    return RecordedVerdict(said["ok"], said["reason"], pin) if pin == upload.pin else None


def _lost() -> PreconditionFailed:
    return PreconditionFailed("the claim is lost: its lease ran out, or the upload was called off")
