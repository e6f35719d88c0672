"""Tracker: the records of a service's uploads, and everything that keeps them true."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Literal, Protocol, Self, runtime_checkable
from uuid import UUID

from sqlalchemy import Engine, select

from blobkit.blobs import Checksum
from blobkit.errors import ClosedError, InvalidArgument, NotFound, PermissionDenied, TransientError
from blobkit.events.controls import NotAnEvent, RecordError
from blobkit.events.keeping import StoreEvent
from blobkit.events.model import BlobEvent
from blobkit.events.parse import Parsed
from blobkit.keys import KeyTemplate
from blobkit.plans import PlanLinks, UploadPlan
from blobkit.session import UploadSession
from blobkit.spec import UploadSpec
from blobkit.store import SINGLE_REQUEST, Store
from blobkit.tracking.applying import Applied, Applier
from blobkit.tracking.beginning import Beginner, Hook, Quota, Usage, Wish
from blobkit.tracking.checking import Checking
from blobkit.tracking.database import Database
from blobkit.tracking.finding import find, get
from blobkit.tracking.inbox import Inbox
from blobkit.tracking.looking import Looker, resumed
from blobkit.tracking.moving import Change, apply_change
from blobkit.tracking.outbox import Outbox
from blobkit.tracking.places import Places, Stores
from blobkit.tracking.reconciling import Reconciler
from blobkit.tracking.recording import Recorder
from blobkit.tracking.records import Upload, to_upload
from blobkit.tracking.report import ReconcileReport
from blobkit.tracking.schema import uploads
from blobkit.tracking.states import OPEN, State, Step
from blobkit.tracking.sweeping import Sweeper
from blobkit.tracking.tasks import Tasks
from blobkit.tracking.timing import Timing

__all__ = ["Delivery", "Tracker"]

_KEYS = KeyTemplate("uploads/{uuid7}")


@runtime_checkable
class Delivery(Protocol):
    """A message of an event source: what :func:`blobkit.open_events` yields."""

    @property
    def events(self) -> Parsed[BlobEvent]:
        """What it says."""
        ...

    def ack(self) -> None:
        """It is taken: the source may forget it."""

    def retry(self, after: timedelta | None = None) -> None:
        """It could not be taken: deliver it again."""


Told = Parsed[BlobEvent] | Parsed[StoreEvent] | Delivery | Iterable[BlobEvent | StoreEvent]
"""What :meth:`Tracker.apply` takes: a parsed delivery, a message of a source, or events."""


class Tracker:
    """Upload records in a database, and the moves that keep them true. Thread-safe, a context manager.

    The store is the truth about objects, an event a hint, the client a rumour: whatever is told, a record changes only after
    the store itself was asked, and by one conditional update that brings its notice with it. Everything that can get lost is
    found by :meth:`reconcile`.

    Args:
        database: ``sqlite:///uploads.db``, ``postgresql+psycopg://user@host/name``, or a SQLAlchemy engine of the service's
            own, which stays the service's to close.
        stores: The stores by name: a :class:`~blobkit.kit.Kit`, or a mapping. Borrowed.
        checked: Names of stores whose uploads have to pass checks before they are available (see ``checking``).
        keys: Where uploads go; must be unguessable, which :class:`~blobkit.keys.KeyTemplate` sees to.
        hooks: Asked before anything is signed; each raises PermissionDenied to refuse.
        quota: What each owner may have.
        owned: For each store's name a prefix below which every object is an upload of this tracker's: there, and nowhere
            else, reconcile removes objects that no upload knows.
        timing: The spans that rule the records.
        max_parked: How many events of keys that no upload has are kept of each store. A flood of them must not fill the
            database: reconcile drops the oldest beyond this, counts them and says so in the log.
        clock: The time, for tests; aware.
        migrate: Bring the schema to this release's version. False: ConfigError when it is another.

    Attributes:
        outbox: Notices of what happened, to be delivered.
        checking: What an examiner needs.
        checked: The names of the stores whose uploads have to pass checks.
        timing: The spans.

    Raises:
        ConfigError: A database that cannot be used, or a name in ``checked`` that no store has.
        PluginMissing: The database's driver is not installed.
        Unavailable: The database does not answer. Every method may raise it; nothing was then changed or acknowledged.
    """

    def __init__(
        self,
        database: str | Engine,
        *,
        stores: Stores | Mapping[str, Store],
        checked: Collection[str] = (),
        keys: KeyTemplate | str = _KEYS,
        hooks: Sequence[Hook] = (),
        quota: Quota | None = None,
        owned: Mapping[str, str] | None = None,
        timing: Timing | None = None,
        max_parked: int = 10_000,
        clock: Callable[[], datetime] | None = None,
        migrate: bool = True,
    ) -> None:
        if isinstance(checked, str):
            raise InvalidArgument("checked is a collection of names")
        if max_parked < 0:
            raise InvalidArgument("max_parked is not negative")
        self.timing = timing or Timing()
        self.places = Places(stores)
        self._clock = clock
        self._closed = False
        self.checked = frozenset(self.places.name(name) for name in checked)
        prefixes = {self.places.name(name): prefix for name, prefix in (owned or {}).items()}
        template = keys if isinstance(keys, KeyTemplate) else KeyTemplate(keys)
        self.database = Database(database, migrate=migrate)
        self._inbox = Inbox(self.database, self.timing)
        self._looker = Looker(self.places, self.timing)
        recorder = Recorder(self.database, self.timing)
        self._applier = Applier(self.database, self.places, self._looker, self._inbox, recorder, self.timing, self.now)
        self._beginner = Beginner(
            self.database, self.places, self.timing, self.now,
            keys=template, hooks=hooks, quota=quota, checked=self.checked,
        )  # fmt: skip
        self.outbox = Outbox(self.database, self.timing, self.now)
        self.checking = Checking(self.database, self.places, self.timing, self.now)
        sweeper = Sweeper(
            self.database, self.places, self.timing, Tasks(self.database, self.timing, self.now), prefixes, self.now
        )
        self._reconciler = Reconciler(
            self.database,
            self.places,
            self.timing,
            self.now,
            self._looker,
            self._applier,
            self._inbox,
            self.outbox,
            sweeper,
            max_parked,
        )

    def __repr__(self) -> str:
        return f"Tracker({self.database.dialect}, stores={', '.join(self.places.names)})"

    def now(self) -> datetime:
        """The time, aware UTC. Raises ClosedError."""
        if self._closed:
            raise ClosedError("the tracker is closed")
        return datetime.now(UTC) if self._clock is None else self._clock().astimezone(UTC)

    def close(self) -> None:
        """Close the database's connections. Idempotent; the stores stay open."""
        self._closed = True
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- an upload's life ---

    def begin(
        self,
        *,
        store: str,
        owner: str = "",
        filename: str | None = None,
        size: int | None = None,
        content_type: str | None = None,
        max_size: int | None = None,
        checksum: Checksum | None = None,
        spec: UploadSpec | None = None,
        checks: bool | None = None,
        expires_in: timedelta | None = None,
        single_up_to: int = SINGLE_REQUEST,
        sign: Literal["inline", "lazy"] = "inline",
        links: Callable[[UUID], PlanLinks] | None = None,
        origin: str | None = None,
        allow_session_life: bool = False,
    ) -> tuple[Upload, UploadPlan]:
        """Give permission for one upload, and record it first.

        The key is the server's choice and is only ever created, where the provider can see to that. What the provider cannot
        enforce of the constraints is looked at when the object is there.

        Args:
            store: The store's name.
            owner: Whose it is: at most 256 characters. Sessions are bound to it.
            filename: The client's name for the file: a hint for people.
            size: The exact size in bytes. Above ``single_up_to`` the upload is a chunked session.
            content_type, max_size, checksum: What the object must be.
            spec: All constraints at once, instead of the four above.
            checks: Whether it must pass checks before it is available; None goes by the store.
            expires_in: The life of the URLs; 15 minutes when None.
            sign, links: How chunks are signed; ``links`` gives the service's own routes for an upload's id.
            origin, allow_session_life: As for ``store.start_upload``.

        Returns:
            The upload, in ``pending``, and the plan for its client, whose ``id`` is the upload's.

        Raises:
            PermissionDenied: A hook or the quota refused. Nothing was signed, nothing recorded.
            InvalidArgument, UnenforceableConstraint, InvalidExpiry: As for ``store.sign_upload`` and ``start_upload``; the
                upload is then ``canceled``.
        """
        given = (size, content_type, max_size, checksum)
        if spec is not None and any(value is not None for value in given):
            raise InvalidArgument("give a spec, or the constraints one by one")
        if spec is None:
            spec = UploadSpec(size=size, content_type=content_type, max_size=max_size, checksum=checksum)
        wish = Wish(
            expires_in=expires_in,
            single_up_to=single_up_to,
            sign=sign,
            links=links,
            origin=origin,
            allow_session_life=allow_session_life,
        )
        return self._beginner.begin(store=store, owner=owner, filename=filename, spec=spec, checks=checks, wish=wish)

    def session(self, upload_id: UUID | str, *, owner: str | None = None) -> UploadSession:
        """The chunked session of an open upload: to sign more chunks, or to ask what has arrived.

        Args:
            owner: Whose it must be; None does not ask.

        Raises:
            NotFound: No such upload of this owner, or it has no session (any more).
        """
        upload = self.get(upload_id, owner=owner)
        session = resumed(self.places.store(upload.store), upload) if upload.state in OPEN else None
        if session is None:
            raise NotFound(f"upload {upload.id} has no open session")
        return session

    def apply(self, told: Told) -> Applied:
        """Take events. Raises nothing for what a single event does wrong.

        A few are looked at, and written down together with what they change; of many, the events are written down first. In
        either case nothing is acknowledged before it is written down.

        Args:
            told: What ``parse_events`` gave, after its sender was proven; a message of a source, which is acknowledged
                once its events are written down; or events.

        Returns:
            What became of them.

        Raises:
            Unavailable: The database did not answer. What was not acknowledged is to be delivered again: a webhook
                answers 503; a message of a source was already put back.
        """
        if not isinstance(told, Parsed | list) and isinstance(told, Delivery):
            try:
                waiting, done = self._applier.record(told.events, [*told.events.errors, *told.events.foreign])
            except TransientError:
                told.retry()
                raise
            told.ack()
        else:
            refused: list[RecordError | NotAnEvent] = [*told.errors, *told.foreign] if isinstance(told, Parsed) else []
            events = [item.event if isinstance(item, StoreEvent) else item for item in told]
            waiting, done = self._applier.record(events, refused)
        self._applier.settle(waiting, done)
        return done

    def confirm(self, upload_id: UUID | str, *, owner: str | None = None) -> Upload:
        """The client says that it is done: look, and return the upload as it is then.

        Nothing of what the client says is believed; a chunked session is completed by what the provider holds. Idempotent.

        Args:
            owner: Whose it must be; None does not ask.

        Raises:
            NotFound: No such upload of this owner.
            ChunkMismatch: Chunks are missing; ``missing`` names them. Nothing changed.
            TransientError, PermissionDenied: The store could not be asked. Nothing changed.
        """
        upload = self.get(upload_id, owner=owner)
        return self._applier.look_now(upload.id, said_done=True)

    def cancel(self, upload_id: UUID | str, *, owner: str | None = None) -> Upload:
        """Call an upload off before it is available. What has arrived is swept, a session aborted. Idempotent.

        Raises:
            NotFound: No such upload of this owner.
            PermissionDenied: It is being examined, or is available already: :meth:`delete` it.
        """
        return self._end(upload_id, owner, Step.CALLED_OFF, State.CANCELED)

    def delete(self, upload_id: UUID | str, *, owner: str | None = None) -> Upload:
        """Delete exactly the available content, then call the upload ``deleted``. Idempotent.

        The wish is recorded first: if the store cannot be asked now, reconcile finishes it.

        Raises:
            NotFound: No such upload of this owner.
            PermissionDenied: It is not available: :meth:`cancel` an upload that is still open.
            TransientError, ObjectLocked: The store did not delete it yet.
        """
        for _ in range(8):
            upload = self.get(upload_id, owner=owner)
            if upload.state is State.DELETED:
                return upload
            if upload.state not in (State.AVAILABLE, State.MISSING):
                raise PermissionDenied(f"an upload that is {upload.state} cannot be deleted", key=upload.key)
            now = self.now()
            if upload.removal_at is None:
                wish = Change(None, {"removal_at": now, "look_at": now})
                with self.database.write() as connection:
                    changed = apply_change(connection, upload, wish, now)
                if changed is None:
                    continue
            return self._applier.look_now(upload.id)
        raise TransientError(f"upload {upload_id} changes all the time")

    def reconcile(
        self,
        *,
        dry_run: bool = False,
        limit: int | None = None,
        max_deletions: int | None = 10_000,
        sweep: bool | None = None,
        concurrency: int = 8,
        stop: Callable[[], bool] | None = None,
    ) -> ReconcileReport:
        """Find what got lost: ask the stores about everything that is due, and bring the records in line.

        Events that wait; uploads that should have arrived (a last look before one expires); available ones now and then;
        keys that have to be swept, with their sessions; objects that no upload knows. One bad item never stops the run.
        Any number of workers may run it at once: they share what is due, and one of them sweeps for orphans, which goes on
        where it was left.

        Args:
            dry_run: Change nothing, delete nothing, complete nothing: only say what would be done.
            limit: Look at so many uploads at most.
            max_deletions: Delete so many objects at most; None is no limit.
            sweep: Look for orphans: when it is due (None), now (True), or not (False).
            concurrency: How many uploads are asked for at once.
            stop: Asked between items; true ends the run early.

        Raises:
            Unavailable: The database did not answer. What was done stays done.
        """
        report = ReconcileReport(dry_run=dry_run, max_deletions=max_deletions)
        self._reconciler.run(report, limit=limit, concurrency=concurrency, sweep=sweep, stop=stop or (lambda: False))
        return report

    def _end(self, upload_id: UUID | str, owner: str | None, step: Step, target: State) -> Upload:
        for _ in range(8):
            upload, now = self.get(upload_id, owner=owner), self.now()
            if upload.state is target:
                return upload
            values = {"look_at": None, "examine_at": None, "sweep_at": now, "reason": "asked for"}
            with self.database.write() as connection:
                changed = apply_change(connection, upload, Change(step, values), now)
            if changed is not None:
                return changed
            if upload.state not in Change(step).sources():
                raise PermissionDenied(f"an upload that is {upload.state} cannot become {target}", key=upload.key)
        raise TransientError(f"upload {upload_id} changes all the time")

    # --- reading the records ---

    def get(self, upload_id: UUID | str, *, owner: str | None = None) -> Upload:
        """The upload of an id.

        Args:
            owner: Whose it must be; another's is not found. None does not ask.

        Raises:
            NotFound.
        """
        self.now()
        with self.database.read() as connection:
            upload = get(connection, _uuid(upload_id))
        if owner is not None and upload.owner != owner:
            raise NotFound(f"there is no upload {upload.id}")
        return upload

    def find(self, store: str, key: str) -> Upload | None:
        """The upload whose client writes to this key, or that is served from it; None when there is none."""
        name = self.places.name(store)
        with self.database.read() as connection:
            return find(connection, name, key)

    def uploads(
        self,
        *,
        owner: str | None = None,
        state: State | str | None = None,
        newest: bool = True,
        limit: int | None = None,
    ) -> Iterator[Upload]:
        """Uploads by the time they began, page by page.

        Args:
            owner: Only this owner's.
            state: Only those in this state.
            newest: The newest first; else the oldest.
            limit: At most so many.
        """
        order = uploads.c.id.desc() if newest else uploads.c.id
        last: UUID | None = None
        left = limit
        while left is None or left > 0:
            page = 500 if left is None else min(500, left)
            query = select(uploads).order_by(order).limit(page)
            if owner is not None:
                query = query.where(uploads.c.owner == owner)
            if state is not None:
                query = query.where(uploads.c.state == str(State(state)))
            if last is not None:
                query = query.where(uploads.c.id < last if newest else uploads.c.id > last)
            with self.database.read() as connection:
                found = [to_upload(row) for row in connection.execute(query)]
            yield from found
            if len(found) < page:
                return
            last = found[-1].id
            left = None if left is None else left - len(found)

    def usage(self, owner: str) -> Usage:
        """What an owner has already."""
        return self._beginner.usage(owner)


def _uuid(value: UUID | str) -> UUID:
    if isinstance(value, UUID):
        return value
    try:
        return UUID(value)
    except (ValueError, AttributeError, TypeError) as error:
        raise NotFound("there is no such upload: that is no id") from error
