"""The quarantine: what readers get is what the checks saw, whatever a client or a crash does in between."""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import httpx
import pytest
from tests.unit.quarantine.places import CLEAN, EVIL, Died, Steps, database, world
from tests.unit.quarantine.promises import Make, any_crash, any_put, late_put, passes, refuses

import blobkit
from blobkit import Store
from blobkit.errors import ConfigError, InvalidArgument, PluginMissing, Unavailable, Unsupported
from blobkit.quarantine import Custom, Examined, MaxSize, Quarantine, Subject
from blobkit.serving import serve_in_thread
from blobkit.tracking import Notification, Tracker, Worker


def test_what_passes_is_served_and_its_staging_key_is_empty(tmp_path: Path) -> None:
    passes(lambda: world(tmp_path))


def test_what_is_refused_can_be_read_nowhere(tmp_path: Path) -> None:
    refuses(lambda: world(tmp_path, versioning=True))


def test_nothing_is_published_before_the_checks_have_spoken(tmp_path: Path) -> None:
    here = world(tmp_path)
    upload = here.arrived()
    served: list[list[bytes]] = []
    quarantine = here.quarantine(here.look(), Custom("peek", lambda subject: served.append(here.readable())))
    quarantine.run_once()
    assert served == [[]]
    assert here.tracker.get(upload.id).state == "available"


@pytest.mark.parametrize("promise", [passes, late_put, any_put, partial(any_crash, clean=True)])
def test_where_no_copy_is_conditional_the_bytes_go_through_this_process(
    tmp_path: Path, promise: Callable[[Make], None]
) -> None:
    promise(lambda: world(tmp_path, unknown="copy_if_absent"))


def test_what_goes_through_this_process_keeps_its_headers(tmp_path: Path) -> None:
    here = world(tmp_path, unknown="copy_if_absent")
    upload, _ = here.tracker.begin(store="staging")
    headers = {"content_type": "text/plain", "cache_control": "no-store", "content_disposition": "attachment"}
    metadata = {"owner": "u1"}
    here.staging.write(upload.key, CLEAN, content_encoding="identity", metadata=metadata, **headers)  # type: ignore[arg-type]
    here.tracker.confirm(upload.id)
    assert here.quarantine().run_once() == Examined(available=1)
    copy = here.public.stat(upload.key)
    assert {name: getattr(copy, name) for name in headers} == headers
    assert (copy.content_encoding, copy.metadata) == ("identity", metadata)


@pytest.mark.parametrize("versioning", [False, True])
def test_a_put_with_the_same_url_at_any_step_never_changes_what_readers_get(tmp_path: Path, versioning: bool) -> None:
    any_put(lambda: world(tmp_path, versioning=versioning))


@pytest.mark.parametrize("clean", [True, False])
def test_a_crash_at_any_step_loses_nothing_and_publishes_once(tmp_path: Path, clean: bool) -> None:
    any_crash(lambda: world(tmp_path), clean=clean)


def test_a_verdict_that_was_recorded_is_not_asked_for_again(tmp_path: Path) -> None:
    here = world(tmp_path)
    upload = here.arrived()

    def die() -> None:
        raise Died

    steps = Steps()
    here.watch(steps)
    quarantine = here.quarantine()
    here.tracker.checking.publish = lambda *_: die()  # type: ignore[method-assign, assignment]
    with pytest.raises(Died):
        quarantine.run_once()
    del here.tracker.checking.publish
    assert here.until_settled(upload, quarantine).state == "available"
    assert here.seen == [CLEAN]


def test_a_check_that_cannot_look_decides_nothing_and_is_asked_again_later(tmp_path: Path) -> None:
    here = world(tmp_path)
    upload = here.arrived()
    answers = [Unavailable("the scanner is away"), Unavailable("still"), None]

    def look(_: Subject) -> bool:
        if (error := answers.pop(0)) is not None:
            raise error
        return True

    quarantine = here.quarantine(Custom("scanner", look))
    assert quarantine.run_once() == Examined(undecided=1)
    waiting = here.tracker.get(upload.id)
    assert (waiting.state, waiting.reason) == ("uploaded", "could not be examined: Unavailable")
    assert here.readable() == []
    assert quarantine.run_once() == Examined()  # not before its time
    assert here.until_settled(upload, quarantine).state == "available"
    assert answers == []


def test_a_broken_check_never_passes_anything(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    here = world(tmp_path)
    upload = here.arrived()

    def broken(_: Subject) -> bool:
        raise ZeroDivisionError

    assert here.quarantine(Custom("broken", broken)).run_once() == Examined(undecided=1)
    assert here.tracker.get(upload.id).state == "uploaded"
    assert "a check is broken" in caplog.text


def test_a_check_that_lacks_something_for_good_is_told_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    here = world(tmp_path)
    here.arrived()

    def lacking(_: Subject) -> bool:
        raise PluginMissing("sniffing needs a package")

    assert here.quarantine(Custom("lacking", lacking)).run_once() == Examined(undecided=1)
    assert "cannot be examined: PluginMissing" in caplog.text


def test_a_verdict_of_another_content_is_refused(tmp_path: Path) -> None:
    here = world(tmp_path)
    upload = here.arrived()
    (claim,) = here.tracker.checking.claim()
    here.overwrite(upload)
    with pytest.raises(blobkit.PreconditionFailed):
        here.tracker.checking.record_verdict(claim, here.staging.stat(upload.key).pin, ok=True)


def test_another_object_at_the_served_key_is_neither_served_nor_touched(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    here = world(tmp_path)
    upload = here.arrived()
    here.public.write(upload.key, b"somebody else's, of another size")
    assert here.quarantine().run_once() == Examined(undecided=1)
    assert here.readable() == [b"somebody else's, of another size"]
    assert "another object" in caplog.text


def test_other_bytes_of_the_same_size_at_the_served_key_are_not_taken_for_ours(tmp_path: Path) -> None:
    here = world(tmp_path)
    upload = here.arrived()
    here.public.write(upload.key, bytes(len(CLEAN)))
    assert here.quarantine().run_once() == Examined(undecided=1)


def test_a_worker_that_lost_its_claim_publishes_nothing_and_breaks_nothing(tmp_path: Path) -> None:
    here = world(tmp_path)
    upload = here.arrived()
    (slow,) = here.tracker.checking.claim(lease=timedelta(seconds=30))
    here.clock.tick(minutes=1)
    quarantine = here.quarantine()
    assert quarantine.run_once() == Examined(available=1)
    assert quarantine.examine(slow) == "failed" or here.tracker.get(upload.id).state == "available"
    assert here.readable() == [CLEAN]
    assert here.notices().count("available") == 1


def test_a_copy_whose_claim_was_lost_for_good_is_taken_back(tmp_path: Path) -> None:
    here = world(tmp_path, versioning=True)
    upload = here.arrived()
    (slow,) = here.tracker.checking.claim(lease=timedelta(seconds=30))
    steps = Steps()
    publish = here.tracker.checking.publish

    def late(*given: object) -> object:
        here.clock.tick(minutes=1)
        (other,) = here.tracker.checking.claim()
        here.tracker.checking.reject(other, "an administrator said so")
        return publish(*given)  # type: ignore[arg-type]

    here.tracker.checking.publish = late  # type: ignore[method-assign, assignment]
    here.watch(steps)
    assert here.quarantine().examine(slow) == "lost"
    assert here.tracker.get(upload.id).state == "rejected"
    assert here.readable() == []


def test_many_workers_share_what_waits_and_each_upload_is_examined_once(tmp_path: Path) -> None:
    here = world(tmp_path)
    uploads = [here.arrived(CLEAN + str(number).encode()) for number in range(12)]
    lock, looked = threading.Lock(), list[str]()

    def look(subject: Subject) -> None:
        with lock:
            looked.append(subject.info.key)

    quarantine = Quarantine(here.tracker, checks=[Custom("count", look)], staging="staging", public="public", workers=4)
    assert quarantine.run_once() == Examined(available=12)
    assert sorted(looked) == sorted(upload.key for upload in uploads)
    assert len(here.readable()) == 12


def test_a_limit_is_kept(tmp_path: Path) -> None:
    here = world(tmp_path)
    for number in range(3):
        here.arrived(str(number).encode())
    assert here.quarantine().run_once(limit=2).total == 2
    assert here.quarantine().run_once().total == 1


def test_a_running_quarantine_stops_when_it_is_told_to(tmp_path: Path) -> None:
    here = world(tmp_path)
    upload = here.arrived()
    stop = threading.Event()
    here.quarantine(Custom("stop", lambda _: stop.set())).run(stop)
    assert here.tracker.get(upload.id).state == "available"  # what has begun is finished


def test_a_round_ends_when_it_is_time_to_stop(tmp_path: Path) -> None:
    here = world(tmp_path)
    for number in range(3):
        here.arrived(str(number).encode())
    quarantine = here.quarantine()
    assert quarantine.run_once(stop=lambda: bool(here.seen)) == Examined(available=1)
    assert quarantine.run_once() == Examined(available=2)


def test_a_worker_runs_a_quarantine_beside_the_rest(tmp_path: Path) -> None:
    here = world(tmp_path)
    upload = here.arrived()
    quarantine = Quarantine(here.tracker, checks=[here.look()], staging="staging", public="public")
    stop, told = threading.Event(), list[str]()

    def heard(notice: Notification) -> None:
        told.append(notice.kind)
        if notice.kind == "available":
            stop.set()

    def part(over: Callable[[], bool]) -> object:
        return quarantine.run_once(stop=over)

    late = threading.Timer(60, stop.set)  # else it would never end
    late.start()
    Worker(here.tracker, handler=heard, parts={"quarantine": part}, look_every=timedelta(milliseconds=10)).run(stop)
    late.cancel()
    assert told == ["uploaded", "checking", "available"]
    assert here.tracker.get(upload.id).state == "available"


def test_a_check_that_hangs_does_not_keep_the_process_alive(tmp_path: Path) -> None:
    program = tmp_path / "hangs.py"
    program.write_text(HANGS)
    done = subprocess.run([sys.executable, program, tmp_path], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "available=0, rejected=0, failed=0, undecided=1\n"


HANGS = """
import sys, threading
from datetime import timedelta
import blobkit
from blobkit.quarantine import Custom, Quarantine
from blobkit.tracking import Notification, Tracker, Worker

staging, public = blobkit.open_store("memory://staging"), blobkit.open_store("memory://public")
tracker = Tracker(f"sqlite:///{sys.argv[1]}/hangs.db", stores={"s": staging, "p": public}, checked={"s"})
upload, _ = tracker.begin(store="s")
staging.write(upload.key, b"data")
tracker.confirm(upload.id)
checks = [Custom("hangs", lambda _: threading.Event().wait())]
quarantine = Quarantine(tracker, checks=checks, staging="s", public="p", timeout=timedelta(milliseconds=50))
done = quarantine.run_once()
print(f"available={done.available}, rejected={done.rejected}, failed={done.failed}, undecided={done.undecided}")
"""


def test_the_served_key_can_be_the_services_choice(tmp_path: Path) -> None:
    here = world(tmp_path)
    upload = here.arrived()
    Quarantine(
        here.tracker,
        checks=[MaxSize(1000)],
        staging="staging",
        public="public",
        key=lambda upload: f"served/{upload.id}",
        workers=1,
    ).run_once()
    served = here.tracker.get(upload.id).served
    assert served is not None
    assert served.key == f"served/{upload.id}"


def test_one_store_with_two_prefixes_is_a_quarantine_too(tmp_path: Path) -> None:
    name = uuid.uuid4().hex
    with blobkit.open_store(f"memory://{name}") as store:
        stores = {"in": store.at("in/"), "out": store.at("out/")}
        with Tracker(database(tmp_path), stores=stores, checked={"in"}) as tracker:
            upload, _ = tracker.begin(store="in", owner="u1")
            stores["in"].write(upload.key, CLEAN)
            tracker.confirm(upload.id)
            Quarantine(tracker, checks=[MaxSize(100)], staging="in", public="out", workers=1).run_once()
            assert [info.key for info in store.list()] == ["out/" + upload.key]


def test_settings_that_would_let_something_through_are_refused(tmp_path: Path) -> None:
    here = world(tmp_path)
    with pytest.raises(InvalidArgument, match="without a check"):
        Quarantine(here.tracker, checks=[], staging="staging", public="public")
    with pytest.raises(ConfigError, match="without a check"):
        Quarantine(here.tracker, checks=[MaxSize(1)], staging="public", public="staging")
    with pytest.raises(ConfigError, match="same place"):
        Quarantine(here.tracker, checks=[MaxSize(1)], staging="staging", public="staging")
    with pytest.raises(ConfigError):
        Quarantine(here.tracker, checks=[MaxSize(1)], staging="staging", public="nowhere")
    with pytest.raises(InvalidArgument):
        Quarantine(here.tracker, checks=[MaxSize(1)], staging="staging", public="public", workers=0)
    with pytest.raises(Unsupported, match="if_absent"):
        world(tmp_path, unknown="copy_if_absent,if_absent").quarantine()


def test_a_staging_url_that_is_used_after_publication_reaches_nobody(tmp_path: Path) -> None:
    late_put(lambda: world(tmp_path))


@pytest.mark.parametrize("again", ["before the checks", "after them"])
def test_a_signed_url_that_can_overwrite_is_no_way_around_the_checks(tmp_path: Path, again: str) -> None:
    name = uuid.uuid4().hex

    def opened(endpoint: str) -> Store:
        # a provider whose URLs cannot be bound to create only
        return blobkit.open_store(f"memory://{name}?unknown=if_absent,put.if_absent&public_endpoint={endpoint}")

    with serve_in_thread(opened) as staging, blobkit.open_store(f"memory://public-{name}") as public:
        stores = {"staging": staging, "public": public}
        with Tracker(database(tmp_path), stores=stores, checked={"staging"}, migrate=False) as tracker:
            upload, plan = tracker.begin(store="staging", content_type="text/plain")
            assert plan.single is not None

            def put(data: bytes) -> int:
                request = plan.single
                assert request is not None
                sent = httpx.request(request.method, request.url, headers=dict(request.headers), content=data)
                return sent.status_code

            assert put(CLEAN) == 200
            quarantine = Quarantine(tracker, checks=[MaxSize(100)], staging="staging", public="public", workers=1)
            assert tracker.confirm(upload.id).state == "uploaded"
            if again == "before the checks":
                assert put(EVIL) == 200
                assert quarantine.run_once() == Examined(failed=1)
                assert list(public.list()) == []
            else:
                assert quarantine.run_once() == Examined(available=1)
                assert put(EVIL) == 200
                assert [public.read(info.key) for info in public.list()] == [CLEAN]
