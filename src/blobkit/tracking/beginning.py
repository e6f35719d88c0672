"""How an upload begins: who may, and how much; then a row; then the permission.

The row is committed before anybody holds a URL, so that no event can come before its upload. The key is the server's and
cannot be guessed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import Connection, bindparam, func, insert, select, text

from blobkit.backend import Feature
from blobkit.errors import BlobkitError, InvalidArgument, PermissionDenied, UnenforceableConstraint
from blobkit.keys import KeyTemplate, uuid7
from blobkit.planning import single_plan
from blobkit.plans import PlanLinks, UploadPlan
from blobkit.session import UploadSession
from blobkit.signed import SignedRequest
from blobkit.spec import UploadSpec
from blobkit.store import Store
from blobkit.tracking.database import Database
from blobkit.tracking.moving import Change, apply_change
from blobkit.tracking.places import Places
from blobkit.tracking.records import Upload, checksum_text
from blobkit.tracking.schema import uploads
from blobkit.tracking.states import OPEN, State, Step
from blobkit.tracking.timing import Timing

__all__ = ["BLANK", "Beginner", "Hook", "NewUpload", "Quota", "Usage", "Wish"]

DEFAULT_EXPIRY: Final = timedelta(minutes=15)
_MAX_TEXT: Final = 1024
_MAX_OWNER: Final = 256
_log = logging.getLogger("blobkit.tracking")


@dataclass(frozen=True, slots=True)
class Usage:
    """What an owner has already.

    Attributes:
        open_uploads: Uploads that may still arrive.
        open_bytes: What was declared of them, in all.
        stored_uploads: Uploads that arrived and were not deleted, rejected or lost.
        stored_bytes: Their sizes, in all.
    """

    open_uploads: int = 0
    open_bytes: int = 0
    stored_uploads: int = 0
    stored_bytes: int = 0


@dataclass(frozen=True, slots=True)
class NewUpload:
    """What somebody asks for, before anything was signed or written.

    Attributes:
        store, owner, filename: As they were given.
        spec: All that will be asked of the object.
    """

    store: str
    owner: str
    filename: str | None
    spec: UploadSpec

    @property
    def most_bytes(self) -> int | None:
        """The greatest size that the object can have; None when it has no bound."""
        return self.spec.size if self.spec.size is not None else self.spec.max_size


Hook = Callable[[NewUpload], object]
"""Asked before anything is signed: it raises PermissionDenied to refuse. What it returns is not looked at."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What each owner may have; None is no limit. Counted in the transaction that makes the upload's row.

    Attributes:
        open_uploads: At once.
        open_bytes: Still to arrive, at most.
        stored_bytes: In all, with what is still to arrive.
        size: Of one upload.
    """

    open_uploads: int | None = None
    open_bytes: int | None = None
    stored_bytes: int | None = None
    size: int | None = None

    def check(self, most: int | None, used: Usage) -> None:
        """Raises PermissionDenied with code ``quota`` when an upload of ``most`` bytes would be too much."""
        if self.open_uploads is not None and used.open_uploads >= self.open_uploads:
            raise _over(f"{used.open_uploads} uploads are open, and no more than {self.open_uploads} may be")
        for limit, before in (
            (self.size, 0),
            (self.open_bytes, used.open_bytes),
            (self.stored_bytes, used.stored_bytes + used.open_bytes),
        ):
            if limit is None:
                continue
            if most is None:
                raise _over("an upload without a greatest size cannot be counted")
            if before + most > limit:
                raise _over(f"{before + most} bytes would be more than {limit}")


def _over(message: str) -> PermissionDenied:
    return PermissionDenied(message, code="quota", http_status=403)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How the permission is wanted. See :meth:`blobkit.tracking.Tracker.begin`."""

    expires_in: timedelta | None
    single_up_to: int
    sign: Literal["inline", "lazy"]
    links: Callable[[UUID], PlanLinks] | None
    origin: str | None
    allow_session_life: bool


class Beginner:
    """Makes uploads."""

    def __init__(
        self,
        database: Database,
        places: Places,
        timing: Timing,
        now: Callable[[], datetime],
        *,
        keys: KeyTemplate,
        hooks: Sequence[Hook],
        quota: Quota | None,
        checked: frozenset[str],
    ) -> None:
        self._database = database
        self._places = places
        self._timing = timing
        self._now = now
        self._keys = keys
        self._hooks = tuple(hooks)
        self._quota = quota
        self._checked = checked

    def begin(
        self, *, store: str, owner: str, filename: str | None, spec: UploadSpec, checks: bool | None, wish: Wish
    ) -> tuple[Upload, UploadPlan]:
        """See :meth:`blobkit.tracking.Tracker.begin`."""
        name = self._places.name(store)
        _check_text("owner", owner, _MAX_OWNER)
        _check_text("filename", filename or "", _MAX_TEXT)
        opened = self._places.store(name)
        asked = NewUpload(name, owner, filename, spec)
        for hook in self._hooks:
            hook(asked)
        chunked = spec.size is not None and spec.size > min(wish.single_up_to, opened.capabilities.limits.max_put)
        now = self._now()
        url_end = now + (wish.expires_in or DEFAULT_EXPIRY)
        upload = replace(
            BLANK,
            id=uuid7(now),
            owner=owner,
            filename=filename,
            store=name,
            key=self._keys.render(owner=owner, filename=filename or "", clock=self._now),
            declared_size=spec.size,
            most_size=asked.most_bytes,
            declared_type=spec.content_type,
            declared_checksum=None if spec.checksum is None else checksum_text(spec.checksum),
            spec=spec.to_json(),
            checks=name in self._checked if checks is None else checks,
            created_at=now,
            updated_at=now,
            expires_at=now + self._timing.session_life if chunked else url_end + self._timing.arrival,
            url_expires_at=url_end,
            look_at=now + self._timing.first_look,
        )
        with self._database.write() as connection:
            if self._quota is not None:
                self._quota.check(asked.most_bytes, self._usage(connection, owner, exclusive=True))
            connection.execute(_put, {column: getattr(upload, column) for column in _COLUMNS})
        permit = self._permit_session if chunked else self._permit_single
        return permit(opened, upload, spec, wish)

    # --- the row is there: now the permission ---

    def _permit_single(self, store: Store, upload: Upload, spec: UploadSpec, wish: Wish) -> tuple[Upload, UploadPlan]:
        try:
            request = _sign(store, upload.key, spec, wish.expires_in)
            if request.expires_at > upload.url_expires_at:  # the store goes by another clock
                end = request.expires_at
                upload = self._known(upload, {"url_expires_at": end, "expires_at": end + self._timing.arrival})
        except BaseException as error:
            self._call_off(upload, None, error)
            raise
        links = None if wish.links is None else wish.links(upload.id)
        return upload, single_plan(request, upload.key, str(upload.id), links)

    def _permit_session(self, store: Store, upload: Upload, spec: UploadSpec, wish: Wish) -> tuple[Upload, UploadPlan]:
        session: UploadSession | None = None
        try:
            session = _start(store, upload, spec, wish)
            links = None if wish.links is None else wish.links(upload.id)
            plan = session.plan(sign=wish.sign, links=links, expires_in=wish.expires_in, id=str(upload.id))
            known = {
                "session": session.token.reveal(),
                "upload_id": session.upload_id,
                "expires_at": min(session.expires_at, upload.expires_at),
                "url_expires_at": session.expires_at,
            }
            return self._known(upload, known), plan
        except BaseException as error:
            self._call_off(upload, session, error)
            raise

    def _known(self, upload: Upload, values: Mapping[str, Any]) -> Upload:
        with self._database.write() as connection:
            changed = apply_change(connection, upload, Change(None, values), self._now())
        if changed is None:
            raise PermissionDenied("the upload was called off while it began", key=upload.key)
        return changed

    def _call_off(self, upload: Upload, session: UploadSession | None, error: BaseException) -> None:
        """Nobody was told of the permission. What fails here too is found by reconcile."""
        try:
            if session is not None:
                session.abort()
            values = {"reason": f"not begun: {type(error).__name__}", "look_at": None, "sweep_at": self._now()}
            with self._database.write() as connection:
                apply_change(connection, upload, Change(Step.CALLED_OFF, values), self._now())
        except BlobkitError as second:
            _log.warning("upload %s is left for reconcile: %s", upload.id, type(second).__name__)

    # --- who has how much ---

    def usage(self, owner: str) -> Usage:
        """What the owner has already."""
        with self._database.read() as connection:
            return self._usage(connection, owner)

    def _usage(self, connection: Connection, owner: str, *, exclusive: bool = False) -> Usage:
        """``exclusive``: until the transaction ends, nobody else counts for this owner."""
        if exclusive and self._database.shared:
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:owner, 0))"), {"owner": owner})
        rows = connection.execute(_used, {"owner": owner}).all()
        still = [(row.uploads, row.expected or 0) for row in rows if row.state in OPEN]
        kept = [(row.uploads, row.stored or 0) for row in rows if row.state in _KEPT]
        return Usage(
            sum(count for count, _ in still),
            sum(int(size) for _, size in still),
            sum(count for count, _ in kept),
            sum(int(size) for _, size in kept),
        )


_KEPT: Final = (State.UPLOADED, State.CHECKING, State.AVAILABLE)
_COLUMNS: Final = tuple(column.name for column in uploads.columns)
_NEW: Final[dict[str, Any]] = {"state": State.PENDING, "state_version": 1, "looks": 0, "examined": 0}
BLANK: Final = Upload(**{**dict.fromkeys(_COLUMNS), **_NEW})
"""A new upload, of which nothing is said yet."""
_put: Final = insert(uploads)
_used: Final = (
    select(
        uploads.c.state,
        func.count().label("uploads"),
        func.sum(uploads.c.most_size).label("expected"),
        func.sum(uploads.c.size).label("stored"),
    )
    .where(uploads.c.owner == bindparam("owner"))
    .where(uploads.c.state.in_([str(state) for state in (*OPEN, *_KEPT)]))
    .group_by(uploads.c.state)
)


def _check_text(name: str, value: str, longest: int) -> None:
    if not isinstance(value, str) or len(value) > longest or "\0" in value or not value.isprintable():
        raise InvalidArgument(f"{name} is a printable text of at most {longest} characters")


def _sign(store: Store, key: str, spec: UploadSpec, expires_in: timedelta | None) -> SignedRequest:
    """The strictest request that the provider can bind; the tracker itself looks at what it cannot."""
    refused: UnenforceableConstraint | None = None
    for if_absent, late in ((True, False), (False, False), (True, True), (False, True)):
        if if_absent and not store.capabilities.has(Feature.IF_ABSENT):
            continue
        try:
            return store.sign_upload(
                key,
                spec=spec.replace(if_absent=if_absent),
                expires_in=expires_in,
                verify_after="all" if late else (),
            )
        except UnenforceableConstraint as error:
            refused = error
    assert refused is not None
    raise refused


def _start(store: Store, upload: Upload, spec: UploadSpec, wish: Wish) -> UploadSession:
    """A session that only creates, where the provider can see to that."""
    for if_absent in (True, False):
        try:
            return store.start_upload(
                upload.key,
                spec=spec.replace(if_absent=if_absent),
                owner=upload.owner,
                origin=wish.origin,
                allow_session_life=wish.allow_session_life,
            )
        except UnenforceableConstraint as error:
            if not if_absent or error.constraint != "if_absent":
                raise
    raise AssertionError("unreachable")
