"""An upload from its beginning to its end, as events, claims and reconcile drive it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.unit.local.helpers import send
from tests.unit.tracking.world import World

import blobkit
from blobkit.tracking import Quota, State, Upload

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


def test_an_upload_becomes_available_when_its_event_arrives(world: World) -> None:
    upload = world.begin()
    assert upload.state is State.PENDING
    info = world.put(upload)
    world.tell()
    done = world.tracker.get(upload.id)
    assert done.state is State.AVAILABLE
    assert done.served is not None
    assert (done.served.store, done.served.key, done.served.pin) == ("media", upload.key, info.pin)
    assert (done.size, done.content_type, done.etag) == (5, "text/plain", info.etag)
    assert world.deliver() == ["available"]
    assert world.heard[0].data["key"] == upload.key


def test_the_row_is_there_before_anybody_holds_a_url(world: World) -> None:
    seen = []

    class Looking(blobkit.Observer):
        def blobkit_signed(self, provider: str, operation: str, key: str, request: blobkit.SignedRequest) -> None:
            seen.append(world.tracker.find("media", key))

    with blobkit.open_store("memory://observed", clock=world.clock, observers=[Looking()]) as store:
        world.media = store
        world.tracker = world.another_tracker()
        upload = world.begin()
    assert [found and found.id for found in seen] == [upload.id]


def test_the_same_event_twice_changes_and_tells_once(world: World) -> None:
    upload = world.begin()
    world.put(upload)
    events = list(world.events)
    first = world.tracker.apply([*events, *events])
    second = world.tracker.apply(events)
    assert (first.new, first.duplicates, second.new, second.duplicates) == (1, 1, 0, 1)
    assert world.deliver() == ["available"]


def test_an_event_and_a_claim_and_reconcile_tell_once(world: World) -> None:
    upload = world.begin()
    world.put(upload)
    assert world.tracker.confirm(upload.id).state is State.AVAILABLE
    world.tell()
    world.later(2 * MINUTE)
    assert world.tracker.confirm(upload.id).state is State.AVAILABLE
    assert world.deliver() == ["available"]


def test_a_claim_without_an_object_changes_nothing(world: World) -> None:
    upload = world.begin()
    assert world.tracker.confirm(upload.id).state is State.PENDING
    assert world.deliver() == []


def test_a_claim_for_another_owner_is_not_found(world: World) -> None:
    upload = world.begin()
    with pytest.raises(blobkit.NotFound):
        world.tracker.confirm(upload.id, owner="u2")
    with pytest.raises(blobkit.NotFound):
        world.tracker.confirm("not-an-id")


def test_when_every_event_is_lost_reconcile_finds_the_object(world: World) -> None:
    upload = world.begin()
    world.put(upload)
    world.later(2 * MINUTE)
    assert world.state(upload) == "available"
    assert world.deliver() == ["available"]


def test_the_last_look_before_an_upload_expires_finds_a_late_object(world: World) -> None:
    upload = world.begin()
    world.clock.advance(timedelta(days=2))
    world.put(upload)
    world.tracker.reconcile()
    assert world.state(upload) == "available"


def test_what_does_not_arrive_expires_and_a_late_object_is_removed(world: World) -> None:
    upload = world.begin()
    world.later(timedelta(hours=2))
    assert world.state(upload) == "expired"
    world.put(upload)
    world.tell()
    assert world.state(upload) == "expired"
    world.later(MINUTE)
    assert not world.media.exists(upload.key)
    assert world.deliver() == ["expired", "late_upload"]
    world.later(DAY)
    assert world.deliver() == []


@pytest.mark.parametrize(
    ("data", "content_type", "reason"),
    [(b"hello!", "text/plain", "size"), (b"hello", "text/html", "content_type")],
)
def test_what_is_not_as_declared_fails_and_is_removed(
    world: World, data: bytes, content_type: str, reason: str
) -> None:
    upload = world.begin()
    world.put(upload, data, content_type)
    world.tell()
    done = world.tracker.get(upload.id)
    assert done.state is State.FAILED
    assert done.reason is not None
    assert reason in done.reason
    world.later(MINUTE)
    assert not world.media.exists(upload.key)
    assert world.deliver() == ["failed"]


def test_a_wrong_checksum_fails(world: World) -> None:
    wrong = blobkit.Checksum.of("sha256", b"other")
    upload, _ = world.tracker.begin(store="media", size=5, checksum=wrong)
    world.media.write(upload.key, b"hello")
    assert world.tracker.confirm(upload.id).state is State.FAILED
    right, _ = world.tracker.begin(store="media", size=5, checksum=blobkit.Checksum.of("sha256", b"hello"))
    world.media.write(right.key, b"hello")
    assert world.tracker.confirm(right.id).state is State.AVAILABLE


def test_an_event_before_its_upload_waits_for_it(world: World) -> None:
    """As with a replica that lags behind: the row becomes visible after the event."""
    world.media.write("uploads/elsewhere", b"x")
    event = world.events.pop()
    applied = world.tracker.apply([event])
    assert applied.parked == 1
    world.later(MINUTE)
    assert world.tracker._inbox.count("parked") == 1
    world.later(timedelta(minutes=20))
    assert world.tracker._inbox.count("orphan") == 1
    assert list(world.tracker.uploads()) == []  # an upload is never invented


def test_events_of_other_buckets_and_kinds_are_counted_and_forgotten(world: World) -> None:
    make = blobkit.BlobEvent.make
    bucket = world.media._calls.bucket
    other = make(kind=blobkit.EventKind.CREATED, provider="memory", bucket="other", key="k", native_type="t")
    tier = make(kind=blobkit.EventKind.TIER_CHANGED, provider="memory", bucket=bucket, key="k", native_type="t")
    odd = make(kind=blobkit.EventKind.CREATED, provider="memory", bucket=bucket, key="a\0b/../c", native_type="t")
    applied = world.tracker.apply([other, tier, odd])
    assert (applied.events, applied.foreign, applied.ignored, applied.new) == (3, 2, 1, 0)


def test_what_cannot_be_read_is_put_aside_and_acknowledged(world: World) -> None:
    applied = world.tracker.apply(blobkit.parse_events(b'{"Records":[{"eventSource":"aws:s3","s3":{}}]}'))
    assert applied.dead == 1
    applied = world.tracker.apply(blobkit.parse_events('{"hello": "\\u0000"}'))
    assert applied.dead == 1
    assert world.tracker._inbox.count("dead") == 2


def test_an_overwrite_after_completion_is_a_signal_and_never_bound(world: World) -> None:
    upload = world.arrived(store="kept")
    world.put(upload, b"evil!")
    world.tell()
    done = world.tracker.get(upload.id)
    assert (done.state, done.version) == (State.AVAILABLE, upload.version)
    assert world.deliver() == ["available", "overwritten"]
    assert done.served is not None
    with world.kept.open(done.served.key, pin=done.served.pin) as file:
        assert file.read() == b"hello"
    world.later(8 * DAY)
    assert world.deliver() == []  # told once


def test_an_overwrite_without_versions_takes_the_upload_away(world: World) -> None:
    upload = world.arrived()
    world.put(upload, b"evil!")
    world.tell()
    done = world.tracker.get(upload.id)
    assert (done.state, done.reason, done.etag) == (State.MISSING, "overwritten", upload.etag)
    assert world.deliver() == ["available", "missing"]


def test_a_deletion_that_nobody_asked_for_is_missing_and_the_same_content_restores_it(world: World) -> None:
    upload = world.arrived(store="kept")
    world.kept.delete(upload.key)  # a marker: the version is still there
    world.tell()
    assert world.state(upload) == "available"
    world.kept.delete(upload.key, purge_versions=True)
    world.tell()
    assert world.state(upload) == "missing"
    world.put(upload)
    world.tell()
    assert world.state(upload) == "missing"  # the same bytes, another version
    assert world.deliver() == ["available", "missing", "overwritten"]


def test_reconcile_finds_what_vanished_without_an_event(world: World) -> None:
    upload = world.arrived()
    world.media.delete(upload.key)
    world.events.clear()
    world.later(8 * DAY)
    assert world.state(upload) == "missing"


def test_a_wanted_deletion_deletes_exactly_the_bound_content(world: World) -> None:
    upload = world.arrived()
    assert world.tracker.delete(upload.id).state is State.DELETED
    assert not world.media.exists(upload.key)
    world.tell()
    assert world.tracker.delete(upload.id).state is State.DELETED
    assert world.deliver() == ["available", "deleted"]
    world.put(upload)  # the URL still lives
    world.tell()
    world.later(2 * MINUTE)
    assert not world.media.exists(upload.key)


def test_a_deletion_that_the_store_refused_is_finished_by_reconcile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = world.arrived()
    backend = world.media._calls.backend

    def down(*_: object, **__: object) -> None:
        raise blobkit.ConnectionFailed("no")

    with monkeypatch.context() as patched:
        patched.setattr(backend, "delete", down)
        with pytest.raises(blobkit.ConnectionFailed):
            world.tracker.delete(upload.id)
    assert world.state(upload) == "available"
    world.later(2 * timedelta(hours=1))
    assert world.state(upload) == "deleted"


def test_a_cancelled_upload_is_swept_and_stays_cancelled(world: World) -> None:
    upload = world.begin()
    assert world.tracker.cancel(upload.id).state is State.CANCELED
    assert world.tracker.cancel(upload.id).state is State.CANCELED
    world.put(upload)
    world.tell()
    world.later(MINUTE)
    assert world.state(upload) == "canceled"
    assert not world.media.exists(upload.key)
    available = world.arrived()
    with pytest.raises(blobkit.PermissionDenied):
        world.tracker.cancel(available.id)
    with pytest.raises(blobkit.PermissionDenied):
        world.tracker.delete(upload.id)


def test_hooks_and_quota_refuse_before_anything_is_signed_or_recorded(world: World) -> None:
    def no_pictures(asked: object) -> None:
        raise blobkit.PermissionDenied("no")

    refusing = world.another_tracker(hooks=[no_pictures])
    with pytest.raises(blobkit.PermissionDenied):
        refusing.begin(store="media", owner="u1", size=5)
    limited = world.another_tracker(quota=Quota(open_uploads=2, stored_bytes=14, size=10))
    limited.begin(store="media", owner="u1", size=5)
    limited.begin(store="media", owner="u1", max_size=4)
    for owner, spec in (
        ("u1", blobkit.UploadSpec(size=1)),
        ("u1", blobkit.UploadSpec(max_size=1)),
        ("u2", blobkit.UploadSpec(size=11)),
        ("u2", blobkit.UploadSpec()),
    ):
        with pytest.raises(blobkit.PermissionDenied) as caught:
            limited.begin(store="media", owner=owner, spec=spec)
        assert caught.value.code == "quota"
    assert (world.tracker.usage("u1").open_uploads, world.tracker.usage("u1").open_bytes) == (2, 9)
    assert world.tracker.usage("u2").open_uploads == 0


def test_keys_are_the_servers_choice_and_say_nothing(world: World) -> None:
    first, plan = world.tracker.begin(store="media", owner="u1", filename="../../etc/passwd", size=1)
    second, _ = world.tracker.begin(store="media", owner="u1", filename="../../etc/passwd", size=1)
    assert first.key != second.key
    assert "passwd" not in first.key
    assert plan.id == str(first.id)
    assert str(first.id) not in first.key
    assert plan.overwrite == "deny"


def send_chunks(world: World, upload: Upload, data: bytes, numbers: list[int]) -> None:
    """Chunks of the upload's session, as if the client's requests had come through."""
    session = world.tracker.session(upload.id)
    engine = world.media._calls.backend.engine  # type: ignore[attr-defined]
    for number in numbers:
        chunk = session.chunks.chunk(number)
        send(engine, session._state, number, data[chunk.offset : chunk.offset + chunk.size])


def begin_session(world: World) -> Upload:
    """Three chunks."""
    upload, plan = world.tracker.begin(
        store="media", owner="u1", size=20 * blobkit.MiB, single_up_to=10, content_type="text/plain"
    )
    assert plan.strategy == "parts"
    assert upload.session is not None
    assert "session" not in repr(upload).replace("session_", "")
    return upload


def test_a_session_is_completed_by_what_the_provider_holds(world: World) -> None:
    upload, data = begin_session(world), b"a" * 20 * blobkit.MiB
    count = len(world.tracker.session(upload.id).chunks)
    assert count > 1
    send_chunks(world, upload, data, [1])
    world.later(2 * MINUTE)
    assert world.state(upload) == "uploading"
    with pytest.raises(blobkit.ChunkMismatch) as caught:
        world.tracker.confirm(upload.id)
    assert caught.value.missing == tuple(range(2, count + 1))
    send_chunks(world, upload, data, list(range(2, count + 1)))
    done = world.tracker.confirm(upload.id)
    assert (done.state, done.size, done.session) == (State.AVAILABLE, len(data), None)
    with pytest.raises(blobkit.NotFound):
        world.tracker.session(upload.id)
    assert world.deliver() == ["uploading", "available"]


def test_a_session_whose_client_never_said_done_is_completed_by_reconcile(world: World) -> None:
    upload, data = begin_session(world), b"a" * 20 * blobkit.MiB
    send_chunks(world, upload, data, list(range(1, len(world.tracker.session(upload.id).chunks) + 1)))
    assert world.tracker.reconcile(dry_run=True).changes == {}  # not due yet
    world.clock.advance(2 * MINUTE)
    world.tracker.reconcile(dry_run=True)
    assert not world.media.exists(upload.key)
    world.tracker.reconcile()
    assert world.state(upload) == "available"


def test_an_expired_or_cancelled_session_is_aborted(world: World) -> None:
    upload = begin_session(world)
    send_chunks(world, upload, b"a" * 20 * blobkit.MiB, [1])
    world.tracker.cancel(upload.id)
    report = world.tracker.reconcile()
    assert report.sessions_aborted == 1
    assert list(world.media.list_uploads()) == []
    assert world.tracker.get(upload.id).session is None
    late = begin_session(world)
    world.later(timedelta(days=8))
    assert world.state(late) == "expired"


def test_another_object_at_a_sessions_key_is_not_taken_for_it(world: World) -> None:
    upload = begin_session(world)
    world.media.write(upload.key, b"a" * 20 * blobkit.MiB, content_type="text/plain")
    world.tell()
    assert world.state(upload) == "failed"


def test_an_upload_that_cannot_be_permitted_is_called_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(blobkit.InvalidExpiry):
        world.tracker.begin(store="media", size=5, expires_in=timedelta(days=30))
    (upload,) = world.tracker.uploads()
    assert (upload.state, upload.reason) == (State.CANCELED, "not begun: InvalidExpiry")
    with pytest.raises(blobkit.ConfigError):
        world.tracker.begin(store="nowhere", size=5)
    with pytest.raises(blobkit.InvalidArgument):
        world.tracker.begin(store="media", owner="a\0b", size=5)


def made(world: World, kind: blobkit.EventKind, key: str, previous: str | None = None) -> blobkit.BlobEvent:
    """An event that the embedded store never tells."""
    return blobkit.BlobEvent.make(
        kind=kind,
        provider="memory",
        bucket=world.media._calls.bucket,
        key=key,
        native_type="t",
        previous=previous,
        event_id=str(len(world.heard)) + kind + key,
    )


def test_a_placeholder_only_says_that_something_began(world: World) -> None:
    upload = world.begin()
    world.tracker.apply([made(world, blobkit.EventKind.UPLOAD_STARTED, upload.key)])
    assert world.state(upload) == "pending"  # it is not there
    world.put(upload, b"")
    second = world.begin()
    world.put(second, b"")
    world.tracker.apply([made(world, blobkit.EventKind.UPLOAD_STARTED, second.key)])
    assert world.state(second) == "uploading"


def test_what_was_superseded_is_not_deleted(world: World) -> None:
    upload = world.arrived()
    world.tracker.apply([made(world, blobkit.EventKind.SUPERSEDED, upload.key)])
    assert world.state(upload) == "available"


def test_a_rename_concerns_both_keys(world: World) -> None:
    upload = world.arrived()
    world.media.delete(upload.key)
    world.events.clear()
    world.tracker.apply([made(world, blobkit.EventKind.RENAMED, "uploads/new", upload.key)])
    assert world.state(upload) == "missing"


def test_one_event_for_many_keys_wakes_reconcile(world: World) -> None:
    inside, outside = world.arrived(), world.arrived(store="kept")
    for upload, store in ((inside, world.media), (outside, world.kept)):
        store.delete(upload.key, purge_versions=store is world.kept)
    world.events.clear()
    world.tracker.apply([made(world, blobkit.EventKind.PREFIX_DELETED, "uploads")])
    world.tracker.reconcile()
    assert (world.state(inside), world.state(outside)) == ("missing", "available")


def test_a_fault_of_ours_puts_the_event_off_and_does_not_stop_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = world.begin(), world.begin()
    for upload in (first, second):
        world.put(upload)
    head, calls = world.media._calls.backend.head, []

    def failing(key: str, **named: str | None) -> blobkit.BlobInfo:
        calls.append(key)
        if len(calls) == 1:
            raise ZeroDivisionError
        return head(key, **named)

    with monkeypatch.context() as patched:
        patched.setattr(world.media._calls.backend, "head", failing)
        assert world.tracker.apply(world.events).put_off == 1
    assert (world.state(first), world.state(second)) == ("pending", "available")
    world.later(timedelta(seconds=3))
    assert world.state(first) == "available"


def test_an_event_that_always_fails_is_put_aside_and_reconcile_still_finds_the_upload(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = world.begin()
    world.put(upload)

    def denied(*_: object, **__: object) -> None:
        raise blobkit.PermissionDenied("no")

    with monkeypatch.context() as patched:
        patched.setattr(world.media._calls.backend, "head", denied)
        world.tell()
        for _ in range(20):
            world.clock.advance(timedelta(hours=1))
            world.tracker.reconcile()
    assert world.tracker._inbox.count("dead") == 1
    assert world.state(upload) == "pending"  # nobody could look: nothing is known
    world.later(timedelta(hours=2))
    assert world.state(upload) == "available"
