"""Asking the store: the one way in which anything is learnt of an object. No database is touched, and none is locked."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime

from blobkit import ops
from blobkit.backend import Feature
from blobkit.blobs import BlobInfo
from blobkit.errors import (
    AlreadyExists,
    BlobNotFound,
    ChecksumMismatch,
    ChunkMismatch,
    ConstraintViolated,
    InvalidToken,
    NotFound,
    PreconditionFailed,
)
from blobkit.session import UploadSession
from blobkit.spec import Constraint
from blobkit.store import Store
from blobkit.tracking.judging import judge_absent, judge_arrived, judge_bound, judge_broken
from blobkit.tracking.moving import Change
from blobkit.tracking.places import Places
from blobkit.tracking.records import Upload, same_content
from blobkit.tracking.states import OPEN, State, Step
from blobkit.tracking.timing import Timing

__all__ = ["Looker", "delete_exactly", "resumed", "stat_or_none"]

_log = logging.getLogger("blobkit.tracking")


def resumed(store: Store, upload: Upload) -> UploadSession | None:
    """The upload's chunked session; None when it has none, or its token has expired with it."""
    if upload.session is None:
        return None
    try:
        return store.resume_upload(upload.session, key=upload.key, owner=upload.owner)
    except InvalidToken as error:
        if error.reason != "expired":
            raise
        return None


@dataclass(frozen=True, slots=True)
class Looker:
    """Looks at uploads where they are, and judges what it sees.

    Args:
        dry: Only look: complete no session, delete nothing.

    Every method may raise what the store raises; then nothing is known, and nothing is to be changed.
    """

    places: Places
    timing: Timing
    dry: bool = False

    def look(
        self, upload: Upload, now: datetime, *, order: str | None = None, said_done: bool = False
    ) -> Change | None:
        """What is to become of the upload, by what the store says now.

        Args:
            upload: As it was just read.
            now: Aware UTC.
            order: The order of the event that made somebody look.
            said_done: The client says that it has sent everything: a chunked session is completed, or ChunkMismatch says
                what is missing.
        """
        if upload.state in OPEN:
            return self._look_for(upload, now, order, said_done)
        if upload.place is None or upload.state is State.CHECKING:
            return None
        return self._look_at(upload, now)

    def judge_listed(self, upload: Upload, listed: BlobInfo | None, now: datetime) -> Change | None:
        """As :meth:`look`, for an upload whose key was met, or passed, in a listing.

        A listing may show that an open upload is as declared; what else it seems to show is looked at.
        """
        if upload.state in OPEN:
            if listed is None and upload.session is None and now < upload.expires_at:
                return None
            if listed is not None and self._tells_all(upload, listed):
                return judge_arrived(upload, listed, now, self.timing)
            return self.look(upload, now)
        place = None if upload.state is State.MISSING or upload.removal_at is not None else upload.place
        if place is not None and listed is not None and same_content(place.pin, listed):
            return None
        return self.look(upload, now)

    def _tells_all(self, upload: Upload, listed: BlobInfo) -> bool:
        """Whether the listing's entry alone shows that the upload is as declared, and what to bind it to."""
        store = self.places.store(upload.store)
        if listed.content_type is None or (store.capabilities.has(Feature.VERSIONS) and listed.version is None):
            return False
        spec = upload.asked
        if spec.checksum is not None and spec.checksum.algorithm not in listed.checksums:
            return False
        return self._broken(store, upload, listed) is None

    # --- while the client may still send ---

    def _look_for(self, upload: Upload, now: datetime, order: str | None, said_done: bool) -> Change | None:
        store = self.places.store(upload.store)
        info = stat_or_none(store, upload.key)
        if info is None and upload.session is not None:
            try:
                info, started = self._ask_session(store, upload, said_done)
            except (ConstraintViolated, ChecksumMismatch) as error:
                return judge_broken(upload, None, error.message, now)
            except AlreadyExists:
                info, started = stat_or_none(store, upload.key), False
            if info is None and started and now < upload.expires_at:
                return Change(Step.STARTED) if upload.state is State.PENDING else None
        if info is None:
            return judge_absent(upload, now)
        reason = self._broken(store, upload, info)
        if reason is not None:
            return judge_broken(upload, info, reason, now)
        return judge_arrived(upload, info, now, self.timing, order)

    def _ask_session(self, store: Store, upload: Upload, said_done: bool) -> tuple[BlobInfo | None, bool]:
        """The object, when all of it was there to be completed; and whether anything has arrived.

        What was sent whole is completed even if the client never came to say so.
        """
        session = resumed(store, upload)
        if session is None:
            return None, False
        status = session.status()
        whole = status.state != "gone" and not status.missing
        if self.dry or (not whole and not (said_done and status.state == "open")):
            return None, bool(status.received or status.received_bytes)
        try:
            return session.complete(), True
        except ChunkMismatch:
            if said_done:
                raise
            return None, True
        except NotFound:
            return None, False

    def _broken(self, store: Store, upload: Upload, info: BlobInfo) -> str | None:
        """In what the object is not what was declared; None when it is."""
        if upload.upload_id is not None and info.upload_id != upload.upload_id:
            return "another object than the session's is at the key"
        spec = upload.asked
        quick = ops.violations(info, spec, spec.constraints - {Constraint.CHECKSUM})
        if quick:
            return quick[0].message
        if spec.checksum is None:
            return None
        stored = info.checksums.get(spec.checksum.algorithm)
        if stored is not None and not stored.composite:
            return None if spec.checksum.same_as(stored) else "checksum is not the declared one"
        try:
            store.verify_upload(upload.key, spec, pin=info.pin)  # reads the bytes, pinned
        except ConstraintViolated as error:
            return error.message
        return None

    # --- when it is bound ---

    def _look_at(self, upload: Upload, now: datetime) -> Change | None:
        place = upload.place
        assert place is not None
        store = self.places.store(place.store)
        current = stat_or_none(store, place.key)
        bound = None
        version = place.pin.version
        if (
            version is not None
            and store.capabilities.has(Feature.VERSIONS)
            and not (current is not None and same_content(place.pin, current))
        ):
            bound = stat_or_none(store, place.key, version)
        if upload.removal_at is not None and upload.state in (State.AVAILABLE, State.MISSING):
            return self._remove(store, upload, current, bound, now)
        return judge_bound(upload, current, bound, now, self.timing)

    def _remove(
        self, store: Store, upload: Upload, current: BlobInfo | None, bound: BlobInfo | None, now: datetime
    ) -> Change:
        """Delete exactly the bound content, as the service asked; what replaced it is the sweep's."""
        place = upload.place
        assert place is not None
        try:
            if self.dry:
                pass
            elif bound is not None:
                delete_exactly(store, bound)
            elif current is not None and same_content(place.pin, current):
                delete_exactly(store, current)
        except PreconditionFailed:
            _log.warning("upload %s was replaced while it was deleted", upload.id)
        return Change(Step.REMOVED, {"reason": "asked for", "look_at": None, "sweep_at": now})


def stat_or_none(store: Store, key: str, version: str | None = None) -> BlobInfo | None:
    """The object; None when it is not there."""
    try:
        return store.stat(key, version=version)
    except BlobNotFound:
        return None


def delete_exactly(store: Store, info: BlobInfo) -> None:
    """Delete this content and no other. Raises PreconditionFailed when another is there."""
    if store.capabilities.has(Feature.VERSIONS) and info.version is not None:
        store.delete(info.key, version=info.version)
    elif store.capabilities.has(Feature.DELETE_PINNED):
        store.delete(info.key, pin=info.pin)
    elif store.stat(info.key).pin != info.pin:
        raise PreconditionFailed("the object was replaced")
    else:
        store.delete(info.key)
