"""Whatever happens to events, clients, workers and clocks, reconcile ends in the one right state, told once.

Rules of a state machine put good and bad content, lose, double and permute events, lie, let workers die between any two
steps, and turn the clock. Then four workers at once reconcile and deliver until nothing is due, and everything is compared
with what the stores really hold. ``BLOBKIT_SCHEDULES=1000`` makes the search that long.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from sqlalchemy import Connection
from tests.unit.local.helpers import send
from tests.unit.tracking.conftest import emptied

import blobkit
from blobkit.errors import BlobkitError
from blobkit.testing.clock import FakeClock
from blobkit.tracking import Notification, State, Tracker, Upload
from blobkit.tracking.judging import SWEPT
from blobkit_gcs.testing import StrictGcs

GOOD, BAD, OTHER = b"good!", b"bad", b"other"
WORKERS = 4
EXAMPLES = int(os.environ.get("BLOBKIT_SCHEDULES", "0"))


class Died(BaseException):
    """A worker was killed here."""


@dataclass
class Fuse:
    """Counts a worker's steps, and kills it at one of them."""

    left: int | None = None

    def step(self) -> None:
        if self.left is None:
            return
        if self.left == 0:
            self.left = None
            raise Died
        self.left -= 1


@dataclass
class Told:
    """What is known of one upload beside the records."""

    upload: Upload
    session: bool
    puts: list[bytes]
    in_time: bool = True
    disturbed: bool = False
    canceled: bool = False
    deleted: bool = False
    rejected: bool = False


Opened = tuple[blobkit.Store, Callable[[Callable[[blobkit.BlobEvent], None]], object]]


@dataclass(frozen=True)
class Prepared:
    """Where the machine runs."""

    open_database: Callable[[], str]
    open_store: Callable[[ExitStack, FakeClock], Opened]
    sessions: bool


class Machine(RuleBasedStateMachine):
    """One database, one store, four workers."""

    prepared: Prepared

    @initialize()
    def start(self) -> None:
        self.stack = ExitStack()
        self.clock = FakeClock()
        self.latest = self.clock.now
        self.fuse = Fuse()
        self.store, subscribe = self.prepared.open_store(self.stack, self.clock)
        self.events: list[blobkit.BlobEvent] = []
        subscribe(self.events.append)
        url = self.prepared.open_database()
        self.workers = [
            self.stack.enter_context(Tracker(url, stores={"media": self.store}, clock=self.clock))
            for _ in range(WORKERS)
        ]
        for worker in self.workers:
            self._wire(worker)
        self._wire_store()
        self.late: list[blobkit.BlobEvent] = []
        self.told: list[Told] = []
        self.heard: list[Notification] = []
        self.lock = threading.Lock()

    def _wire(self, worker: Tracker) -> None:
        """A worker may die before, inside and after every transaction."""
        whole = worker.database.write

        @contextmanager
        def write(**options: bool) -> Iterator[Connection]:
            self.fuse.step()
            with whole(**options) as connection:
                yield connection
                self.fuse.step()
            self.fuse.step()

        worker.database.write = write  # type: ignore[method-assign]

    def _wire_store(self) -> None:
        """A worker may die before and after every call that changes the store, and before each look."""
        backend = self.store._calls.backend
        for name in ("head", "delete", "commit", "discard"):
            whole = getattr(backend, name)

            def call(*given: object, _whole: Callable[..., object] = whole, **named: object) -> object:
                self.fuse.step()
                result = _whole(*given, **named)
                self.fuse.step()
                return result

            setattr(backend, name, call)

    # --- what clients do ---

    @precondition(lambda self: len(self.told) < 5)
    @rule(worker=st.integers(0, WORKERS - 1), checks=st.booleans(), session=st.booleans(), dies=st.booleans())
    def begin(self, worker: int, checks: bool, session: bool, dies: bool) -> None:
        session = session and self.prepared.sessions
        with self._perhaps_dying(3 if dies else None):
            upload, _ = self.workers[worker].begin(
                store="media", owner="u1", size=len(GOOD), checks=checks, single_up_to=1 if session else 100
            )
            self.told.append(Told(upload, session, []))

    @precondition(lambda self: self.told)
    @rule(which=st.integers(0, 4), data=st.sampled_from([GOOD, GOOD, BAD, OTHER]))
    def put(self, which: int, data: bytes) -> None:
        item = self._pick(which)
        if item.session:
            if self._send(item, data):
                item.disturbed |= data != GOOD or bool(item.puts)
            return
        before = len(self.events)
        self.store.write(item.upload.key, data)
        if self.latest >= item.upload.url_expires_at + self.workers[0].timing.sweep_margin:
            # After the last sweep no URL lets anybody in. Whoever came by another way is found by the event, or not at all.
            self.late += self.events[before:]
        if item.puts:
            item.disturbed = True
        item.in_time &= self.latest < item.upload.expires_at
        item.puts.append(data)

    def _send(self, item: Told, data: bytes) -> bool:
        """A chunk of a session that is still open."""
        try:
            session = self.workers[0].session(item.upload.id)
        except blobkit.NotFound:
            return False
        engine = self.store._calls.backend.engine  # type: ignore[attr-defined]
        try:
            send(engine, session._state, 1, data)
        except BlobkitError:
            return False
        item.in_time &= self.latest < item.upload.expires_at
        item.puts.append(data)
        return True

    @precondition(lambda self: self.told)
    @rule(which=st.integers(0, 4), worker=st.integers(0, WORKERS - 1), dies=st.none() | st.integers(0, 6))
    def say_done(self, which: int, worker: int, dies: int | None) -> None:
        with self._perhaps_dying(dies):
            self.workers[worker].confirm(self._pick(which).upload.id)

    @rule(worker=st.integers(0, WORKERS - 1))
    def lie(self, worker: int) -> None:
        with pytest.raises(blobkit.NotFound):
            self.workers[worker].confirm(uuid.uuid4())
        if self.told:
            with pytest.raises(blobkit.NotFound):
                self.workers[worker].confirm(self.told[0].upload.id, owner="somebody else")

    @precondition(lambda self: self.told)
    @rule(which=st.integers(0, 4))
    def remove_behind_our_back(self, which: int) -> None:
        item = self._pick(which)
        item.disturbed = True
        self.store.delete(item.upload.key)

    # --- what the service does ---

    @precondition(lambda self: self.told)
    @rule(which=st.integers(0, 4), worker=st.integers(0, WORKERS - 1), dies=st.none() | st.integers(0, 4))
    def cancel(self, which: int, worker: int, dies: int | None) -> None:
        item = self._pick(which)
        item.disturbed = True
        with self._perhaps_dying(dies):
            item.canceled |= self.workers[worker].cancel(item.upload.id).state is State.CANCELED

    @precondition(lambda self: self.told)
    @rule(which=st.integers(0, 4), worker=st.integers(0, WORKERS - 1), dies=st.none() | st.integers(0, 6))
    def delete(self, which: int, worker: int, dies: int | None) -> None:
        item = self._pick(which)
        item.disturbed = True
        with self._perhaps_dying(dies):
            item.deleted |= self.workers[worker].delete(item.upload.id).state is State.DELETED

    @rule(worker=st.integers(0, WORKERS - 1), passes=st.booleans(), dies=st.none() | st.integers(0, 8))
    def examine(self, worker: int, passes: bool, dies: int | None) -> None:
        with self._perhaps_dying(dies):
            self._examine(self.workers[worker], passes)

    def _examine(self, worker: Tracker, passes: bool) -> None:
        for claim in worker.checking.claim():
            pin = claim.upload.pin
            assert pin is not None
            try:
                with self.store.open(claim.upload.key, pin=pin) as file:
                    assert file.read() in (GOOD, OTHER)  # as long as it was declared
                info = self.store.stat(claim.upload.key)
            except (blobkit.PreconditionFailed, blobkit.BlobNotFound):
                worker.checking.lose(claim, "replaced before it was examined")
                continue
            held = claim if claim.verdict is not None else worker.checking.record_verdict(claim, pin, ok=passes)
            assert held.verdict is not None
            if held.verdict.ok and info.pin == pin:
                worker.checking.publish(held, "media", info)
            elif held.verdict.ok:
                worker.checking.lose(held, "replaced while it was examined")
            else:
                worker.checking.reject(held, "refused")
                self._of(claim.upload.id).rejected = True

    # --- what the world does: what there is of events depends on more than the draws, so no rule waits for one ---

    @rule(
        which=st.integers(0, 50),
        worker=st.integers(0, WORKERS - 1),
        again=st.booleans(),
        dies=st.none() | st.integers(0, 9),
    )
    def an_event_arrives(self, which: int, worker: int, again: bool, dies: int | None) -> None:
        if not self.events:
            return
        event = self.events[which % len(self.events)]
        with self._perhaps_dying(dies):
            self.workers[worker].apply([event])
        if not again:
            self.events.remove(event)  # delivered, or lost with the worker

    @rule(which=st.integers(0, 50))
    def an_event_is_lost(self, which: int) -> None:
        if self.events:
            del self.events[which % len(self.events)]

    @rule()
    def every_worker_gets_every_event(self) -> None:
        events = list(self.events)
        self._together(lambda worker: worker.apply(reversed(events)))

    @rule(minutes=st.sampled_from([1, 10, 70, 180, 3000, -30, -600]))
    def turn_the_clock(self, minutes: int) -> None:
        self.clock.advance(timedelta(minutes=minutes))
        self.latest = max(self.latest, self.clock.now)

    @rule(worker=st.integers(0, WORKERS - 1), limit=st.none() | st.integers(1, 2), dies=st.none() | st.integers(0, 12))
    def reconcile(self, worker: int, limit: int | None, dies: int | None) -> None:
        with self._perhaps_dying(dies):
            self.workers[worker].reconcile(limit=limit, concurrency=1)

    @rule(worker=st.integers(0, WORKERS - 1), dies=st.none() | st.integers(0, 5), fails=st.booleans())
    def tell(self, worker: int, dies: int | None, fails: bool) -> None:
        def handler(item: Notification) -> None:
            if fails:
                raise OSError("the handler is away")
            self._hear(item)

        with self._perhaps_dying(dies):
            self.workers[worker].outbox.deliver(handler, limit=3, max_attempts=1000)

    # --- the end ---

    def teardown(self) -> None:
        if not hasattr(self, "told"):
            return
        with self.stack:
            self.fuse.left = None
            self.clock.now = max(self.latest, self.clock.now)
            self.workers[0].apply(self.late)
            for _ in range(3):
                self.clock.advance(timedelta(days=9))  # past every lease, expiry and margin
                self._together(self._work)
            assert self.workers[0].outbox.count("waiting") == 0
            for item in self.told:
                self._check(item)
            for upload in self.workers[0].uploads():  # also those that died while they began
                assert upload.state not in (State.PENDING, State.UPLOADING, State.UPLOADED, State.CHECKING)

    def _work(self, worker: Tracker) -> None:
        worker.reconcile()
        self._examine(worker, True)
        worker.reconcile()
        worker.outbox.deliver(self._hear)

    def _check(self, item: Told) -> None:
        upload = self.workers[0].get(item.upload.id)
        there = self._there(upload.key)
        if upload.state is State.AVAILABLE:
            assert upload.pin is not None
            assert there is not None
            assert there.pin == upload.pin
            assert there.size == len(GOOD)
        elif upload.state in SWEPT:
            assert there is None, upload.state
        else:
            assert upload.state is State.MISSING
            assert there is None or there.pin != upload.pin
        assert not item.canceled or upload.state is State.CANCELED
        assert not item.deleted or upload.state is State.DELETED
        assert not item.rejected or upload.state is State.REJECTED
        if not item.disturbed and not item.rejected:
            assert upload.state is self._expected(item)
        self._check_notices(upload)

    def _expected(self, item: Told) -> State:
        if not item.puts:
            return State.EXPIRED
        if not item.in_time:
            upload = self.workers[0].get(item.upload.id)  # by then it had expired, or a last look was still to come
            return upload.state if upload.state in (State.EXPIRED, State.AVAILABLE, State.FAILED) else State.EXPIRED
        return State.AVAILABLE if len(item.puts[0]) == len(GOOD) else State.FAILED

    def _check_notices(self, upload: Upload) -> None:
        mine = [item for item in self.heard if item.upload == upload.id]
        kinds: defaultdict[str, set[str]] = defaultdict(set)
        for item in mine:
            kinds[item.id].add(item.kind)
        assert all(len(told) == 1 for told in kinds.values())
        first = {item.id: item for item in reversed(mine)}
        told = [item.kind for item in sorted(first.values(), key=lambda item: item.seq)]
        was_available = upload.state in (State.AVAILABLE, State.MISSING, State.DELETED)
        assert told.count("available") == was_available, told
        order = [item.seq for index, item in enumerate(mine) if item.id not in {one.id for one in mine[:index]}]
        assert order == sorted(order)
        if told:
            last = max(first.values(), key=lambda item: item.seq)
            assert last.data["state"] == upload.state

    # --- helpers ---

    def _there(self, key: str) -> blobkit.BlobInfo | None:
        try:
            return self.store.stat(key)
        except blobkit.BlobNotFound:
            return None

    def _pick(self, which: int) -> Told:
        return self.told[which % len(self.told)]

    def _of(self, upload_id: uuid.UUID) -> Told:
        return next((item for item in self.told if item.upload.id == upload_id), self.told[0])

    def _hear(self, item: Notification) -> None:
        with self.lock:
            self.heard.append(item)

    @contextmanager
    def _perhaps_dying(self, steps: int | None) -> Iterator[None]:
        """Run it until it is done, is refused, or dies."""
        self.fuse.left = steps
        try:
            yield
        except (Died, BlobkitError):
            pass
        finally:
            self.fuse.left = None

    def _together(self, work: Callable[[Tracker], object]) -> None:
        failures: list[BaseException] = []

        def run(worker: Tracker) -> None:
            try:
                work(worker)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=run, args=(worker,)) for worker in self.workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]


def memory(stack: ExitStack, clock: FakeClock) -> Opened:
    """The embedded store."""
    store = stack.enter_context(blobkit.open_store(f"memory://m{uuid.uuid4().hex}", clock=clock))
    return store, store.subscribe


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StrictGcs, str]]:
    """The strict server of Google Cloud Storage."""
    folder = tmp_path_factory.mktemp("gcs")
    with StrictGcs() as server:
        key = folder / "key.json"
        key.write_text(json.dumps(server.service_account.info))
        endpoint, file = quote(server.endpoint, safe=""), quote(str(key), safe="")
        yield server, f"?endpoint={endpoint}&service_account_file={file}"


def gcs(server: StrictGcs, options: str) -> Callable[[ExitStack, FakeClock], Opened]:
    """Opens a fresh bucket of it; its notifications are parsed as they come."""

    def open_store(stack: ExitStack, clock: FakeClock) -> Opened:
        bucket = f"b{uuid.uuid4().hex}"
        server.create_bucket(bucket)
        # One clock for both: else it depends on the fraction of a second whether begin() has to correct when its URL ends.
        store = stack.enter_context(blobkit.open_store(f"gs://{bucket}/{options}", clock=clock))

        def subscribe(listener: Callable[[blobkit.BlobEvent], None]) -> object:
            def take(body: Mapping[str, object]) -> None:
                for event in blobkit.parse_events(body):
                    if event.bucket == bucket:
                        listener(event)

            stack.callback(server.subscribe(take))
            return None

        return store, subscribe

    return open_store


@pytest.mark.parametrize(
    ("kind", "store", "examples"),
    [
        ("sqlite", "memory", 8),
        ("postgresql", "memory", 3),
        ("sqlite", "gcs", 2),
        ("postgresql", "gcs", 1),
    ],
)
def test_every_history_ends_in_the_one_right_state_told_once(
    kind: str, store: str, examples: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    def database() -> str:
        if kind == "postgresql":
            return emptied(request.getfixturevalue("migrated_postgres"))
        file = tmp_path / f"{uuid.uuid4().hex}.db"
        shutil.copy(request.getfixturevalue("migrated_sqlite"), file)
        return f"sqlite:///{file}"

    opener = memory if store == "memory" else gcs(*request.getfixturevalue("strict"))

    class Here(Machine):
        prepared = Prepared(database, opener, store == "memory")

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=EXAMPLES or examples,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        ),
    )
