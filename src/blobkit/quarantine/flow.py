"""Quarantine: from the staging key, through the checks, to where an upload is served from; or nowhere.

====================  ==============================================================================================
what happened         what becomes of the upload
====================  ==============================================================================================
all checks pass       exactly the checked version is copied, if nothing is at the target; then it is ``available``
a check says no       ``rejected``; everything at its staging key is deleted
it was replaced       ``failed``: what was bound is gone, and what is there now was never checked
a check cannot look   back to ``uploaded``; examined again later, and later each time
a check is broken     the same, and logged: an error of a check is never taken for a pass
this process dies     the lease runs out, and another goes on from the last recorded step
====================  ==============================================================================================

Every step names the version that was bound when the upload arrived: a client that uploads again with the same URL, at any
moment, changes what is at the staging key and never what readers get. The records (:mod:`blobkit.tracking`) sweep the
staging key once more after the last URL that can write to it has ended.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar

from blobkit.backend import Feature
from blobkit.blobs import BlobInfo, Checksum
from blobkit.errors import (
    AlreadyExists,
    BlobkitError,
    BlobNotFound,
    ConfigError,
    InvalidArgument,
    NotFound,
    PreconditionFailed,
    TransientError,
)
from blobkit.quarantine.checks import Check
from blobkit.quarantine.detached import detached
from blobkit.quarantine.examining import Examination, examine
from blobkit.quarantine.leasing import kept
from blobkit.quarantine.promoting import check_pair, clear, promoted
from blobkit.quarantine.subject import Declared, Subject

if TYPE_CHECKING:
    from blobkit.store import Store
    from blobkit.tracking import Claim, Tracker, Upload

__all__ = ["Examined", "Quarantine"]

Outcome = Literal["available", "rejected", "failed", "undecided", "lost"]

_log = logging.getLogger("blobkit.quarantine")


@dataclass(frozen=True, slots=True)
class Examined:
    """What one run did.

    Attributes:
        available: Passed, and served now.
        rejected: Refused by a check.
        failed: Gone or replaced before they could be served.
        undecided: Examined again later.
        lost: Another worker has them, or they were called off.
    """

    available: int = 0
    rejected: int = 0
    failed: int = 0
    undecided: int = 0
    lost: int = 0

    @property
    def total(self) -> int:
        """How many uploads were taken."""
        return self.available + self.rejected + self.failed + self.undecided + self.lost


class Quarantine:
    """Examines uploads to ``staging`` and publishes those that pass. Thread-safe; any number of processes share the work.

    Args:
        tracker: The records. Its ``checked`` must name ``staging``.
        checks: Asked in this order, until one says no: put the cheap ones first.
        staging: The store (or stores) that clients upload to. Nothing there is to be served.
        public: The store that uploads are served from; clients cannot write there.
        key: The key in ``public``; as in staging when None. Must give the same for the same upload, and another for another.
        workers: How many uploads are examined at once.
        timeout: Of one check; a longer one is left behind and the upload examined again later.
        lease: How long a worker's death goes unnoticed. A living worker renews it.

    Raises:
        ConfigError: Stores that the tracker does not know or does not hold back, or that are one place under two names.
        InvalidArgument: No checks.
        Unsupported: Nothing can be put into ``public`` only if nothing is there: neither by a copy nor by a write.
    """

    def __init__(
        self,
        tracker: Tracker,
        *,
        checks: Sequence[Check],
        staging: str | Collection[str],
        public: str,
        key: Callable[[Upload], str] | None = None,
        workers: int = 4,
        timeout: timedelta = timedelta(minutes=5),
        lease: timedelta = timedelta(minutes=1),
    ) -> None:
        if not checks:
            raise InvalidArgument("a quarantine without a check lets everything pass")
        if workers < 1 or timeout <= timedelta(0) or lease <= timedelta(0):
            raise InvalidArgument("workers, timeout and lease are positive")
        places = tracker.places
        self.staging = tuple(
            sorted({places.name(name) for name in ([staging] if isinstance(staging, str) else staging)})
        )
        self.public = places.name(public)
        if loose := [name for name in self.staging if name not in tracker.checked]:
            raise ConfigError(
                f"uploads to {', '.join(loose)} would be available without a check",
                hint="Tracker(…, checked={…}) names the stores of a quarantine",
            )
        self.checks = tuple(checks)
        self._tracker = tracker
        self._key = key
        self._workers = workers
        self._timeout = timeout
        self._lease = lease
        for name in self.staging:
            _check_pair(places.store(name), places.store(self.public), own_key=key is not None)

    def __repr__(self) -> str:
        return f"Quarantine({', '.join(self.staging)} to {self.public}, {len(self.checks)} checks)"

    def run_once(self, limit: int | None = None, *, stop: Callable[[], bool] = lambda: False) -> Examined:
        """Examine what waits, with ``workers`` at once, until nothing is due, ``limit`` uploads were taken or ``stop`` says so.

        What has begun is finished first. A :class:`~blobkit.tracking.Worker` runs it as one of its ``parts``.

        Raises:
            Unavailable: The database does not answer. What was taken is examined again when its lease has run out.
        """
        tally, lock = Counter[str](), threading.Lock()
        left = limit

        def take() -> Claim | None:
            nonlocal left
            with lock:
                if left == 0 or stop():
                    return None
                left = None if left is None else left - 1
            claims = self._tracker.checking.claim(stores=self.staging, limit=1, lease=self._lease)
            return claims[0] if claims else None

        def work(claim: Claim | None) -> None:
            while claim is not None:
                outcome = self.examine(claim)
                with lock:
                    tally[outcome] += 1
                claim = take()

        first = take()  # when nothing is due, one question finds out
        if first is None or self._workers == 1:
            work(first)
        else:
            works: list[Callable[[], None]] = [partial(work, first)]
            works += [lambda: work(take())] * (self._workers - 1)
            futures = [detached(one, f"blobkit-quarantine-{number}") for number, one in enumerate(works, 1)]
            wait(futures)
            for future in futures:
                future.result()
        return Examined(**tally)

    def run(self, stop: threading.Event, *, idle: timedelta = timedelta(seconds=2)) -> None:
        """Examine whatever comes until ``stop`` is set; what has begun is finished first.

        A database that does not answer is waited for.

        Args:
            stop: Set it from anywhere.
            idle: Between two looks when nothing is due.
        """
        while not stop.is_set():
            try:
                busy = self.run_once(stop=stop.is_set).total > 0
            except BlobkitError as error:
                if not error.retryable:
                    raise
                _log.warning("the records do not answer: %s", type(error).__name__)
                busy = False
            if not busy:
                stop.wait(idle.total_seconds())

    def examine(self, claim: Claim) -> Outcome:
        """Take one claimed upload as far as it goes.

        Returns:
            What became of it; ``lost`` when it is no longer the caller's.

        Raises:
            Unavailable: The database does not answer.
        """
        with kept(self._tracker.checking, claim, self._lease):
            try:
                return self._decide(claim)
            except _Lost:
                return "lost"

    # --- the steps ---

    def _decide(self, claim: Claim) -> Outcome:
        upload, store = claim.upload, self._tracker.places.store(claim.upload.store)
        try:
            blob = self._bound(store, upload)
            if claim.verdict is None:
                said = self._examined(store, blob, upload)
                held = claim
                claim = _ours(
                    lambda: self._tracker.checking.record_verdict(held, blob.pin, ok=bool(said), reason=said.reason)
                )
            assert claim.verdict is not None
            if not claim.verdict.ok:
                reason = claim.verdict.reason
                _ours(lambda: self._tracker.checking.reject(claim, reason))
                self._clear(store, upload)
                return "rejected"
            return self._publish(claim, store, blob)
        except (BlobNotFound, PreconditionFailed) as error:
            reason = "gone before it was served" if isinstance(error, BlobNotFound) else "replaced before it was served"
            _ours(lambda: self._tracker.checking.lose(claim, reason))
            self._clear(store, upload)
            return "failed"
        except _Lost:
            raise
        except Exception as error:
            return self._put_back(claim, error)

    def _bound(self, store: Store, upload: Upload) -> BlobInfo:
        """The content that the upload is bound to. Raises BlobNotFound, PreconditionFailed."""
        pin = upload.pin
        assert pin is not None, "an upload in checking is bound"
        versioned = store.capabilities.has(Feature.VERSIONS)
        blob = store.stat(upload.key, version=pin.version if versioned else None)
        if (pin.version, pin.etag) != (blob.version, blob.etag or None):
            raise PreconditionFailed("the object was replaced", key=upload.key)
        return blob

    def _examined(self, store: Store, blob: BlobInfo, upload: Upload) -> Examination:
        """What the checks say. Raises what they raise when they cannot look."""
        subject = Subject(store, blob, _declared(upload))
        return examine(subject, self.checks, timeout=self._timeout.total_seconds(), retries=0)

    def _publish(self, claim: Claim, store: Store, blob: BlobInfo) -> Outcome:
        upload, public = claim.upload, self._tracker.places.store(self.public)
        copy = promoted(store, blob, public, upload.key if self._key is None else self._key(upload))
        try:
            _ours(lambda: self._tracker.checking.publish(claim, self.public, copy))
        except _Lost:
            self._withdraw(upload, public, copy)
            raise
        self._clear(store, upload)
        return "available"

    def _withdraw(self, upload: Upload, public: Store, copy: BlobInfo) -> None:
        """The claim was lost after the copy. Whoever has it publishes that same copy, unless nobody ever will."""
        try:
            now = self._tracker.get(upload.id)
        except NotFound:
            return
        if now.state in ("failed", "rejected", "canceled", "expired"):
            try:
                public.delete(copy.key, pin=copy.pin)
            except BlobkitError as error:
                _log.warning("upload %s: its copy is left for the sweep: %s", upload.id, type(error).__name__)

    def _put_back(self, claim: Claim, error: Exception) -> Outcome:
        """Nothing was decided. An error of a check, or of the stores, never passes and never refuses."""
        if isinstance(error, AlreadyExists):
            _log.error("upload %s: another object is where it would be served from", claim.upload.id)
        elif not isinstance(error, BlobkitError):
            _log.error("upload %s: a check is broken", claim.upload.id, exc_info=error)
        elif not isinstance(error, TransientError):  # a missing package, a permission: waiting alone will not help
            _log.error("upload %s cannot be examined: %s", claim.upload.id, type(error).__name__)
        reason = f"could not be examined: {type(error).__name__}"
        _ours(lambda: self._tracker.checking.release(claim, reason=reason))
        return "undecided"

    def _clear(self, store: Store, upload: Upload) -> None:
        """Nothing has any business at the staging key any more. What fails here is swept by the records."""
        try:
            clear(store, upload.key)
        except BlobkitError as error:
            _log.warning("upload %s: its staging key is left for the sweep: %s", upload.id, type(error).__name__)


class _Lost(Exception):
    """The claim is no longer the caller's."""


_T = TypeVar("_T")


def _ours(step: Callable[[], _T]) -> _T:
    """A step of the records. Raises _Lost when the claim is another's by now."""
    try:
        return step()
    except PreconditionFailed as error:
        raise _Lost from error


def _declared(upload: Upload) -> Declared:
    algorithm, _, digest = (upload.declared_checksum or "").partition(":")
    return Declared(
        content_type=upload.declared_type,
        size=upload.declared_size,
        checksum=Checksum.from_hex(algorithm, digest) if digest else None,
        filename=upload.filename,
    )


def _check_pair(staging: Store, public: Store, *, own_key: bool) -> None:
    """Raises ConfigError for two names of one place, Unsupported when nothing can be put there only if nothing is there."""
    one, other = ((store.provider, dict(store.config.location), store.prefix) for store in (staging, public))
    if one == other and not own_key:
        raise ConfigError(
            "staging and public are the same place: clients could write what is served",
            hint="another bucket or prefix, or key=",
        )
    check_pair(staging, public)
