"""What an examiner builds on: claims with leases, verdicts of one version, and moves that bring their place with them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from tests.unit.tracking.world import World

import blobkit
from blobkit.testing.clock import FakeClock
from blobkit.tracking import Claim, State

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


@pytest.fixture
def world(database: str, clock: FakeClock) -> Iterator[World]:
    """Uploads to ``media`` are checked, and served from ``kept``."""
    with World(database, clock, {"checked": ["media"]}) as made:
        yield made


def claimed(world: World) -> Claim:
    world.arrived()
    (claim,) = world.tracker.checking.claim()
    return claim


def passed(world: World, claim: Claim) -> Claim:
    assert claim.upload.pin is not None
    return world.tracker.checking.record_verdict(claim, claim.upload.pin, ok=True)


def test_an_upload_to_a_checked_store_waits_for_its_examiner(world: World) -> None:
    upload = world.arrived()
    assert upload.state is State.UPLOADED
    assert upload.served is None
    assert world.arrived(store="kept").state is State.AVAILABLE
    assert sorted(world.deliver()) == ["available", "uploaded"]


def test_what_passed_is_served_from_its_new_place_and_its_old_one_is_swept(world: World) -> None:
    claim = claimed(world)
    claim = passed(world, claim)
    source = world.media.stat(claim.upload.key)
    copy = world.media.promote(source, "served/1", to=world.kept)
    done = world.tracker.checking.publish(claim, "kept", copy)
    assert done.state is State.AVAILABLE
    assert done.served is not None
    assert (done.served.store, done.served.key, done.served.pin) == ("kept", "served/1", copy.pin)
    world.tell()
    world.later(MINUTE)
    assert not world.media.exists(done.key)
    world.put(done, b"evil!")  # the client's URL still lives
    world.tell()
    world.later(MINUTE)
    assert not world.media.exists(done.key)
    world.put(done, b"again")  # and nobody told
    world.events.clear()
    world.later(3 * HOUR)
    assert not world.media.exists(done.key)
    assert world.kept.read("served/1") == b"hello"
    assert world.deliver() == ["uploaded", "checking", "available", "overwritten", "overwritten"]
    assert world.tracker.find("kept", "served/1") == world.tracker.get(done.id)
    world.kept.delete("served/1", purge_versions=True)
    world.tell()
    assert world.state(done) == "missing"


def test_what_was_refused_leaves_nothing_to_read(world: World) -> None:
    claim = claimed(world)
    done = world.tracker.checking.reject(claim, "a virus")
    assert (done.state, done.reason) == (State.REJECTED, "a virus")
    world.later(MINUTE)
    assert not world.media.exists(done.key)
    assert world.deliver() == ["uploaded", "checking", "rejected"]


def test_two_examiners_never_have_the_same_upload(world: World) -> None:
    for _ in range(6):
        world.arrived()
    other = world.another_tracker()
    first, second = world.tracker.checking.claim(limit=4), other.checking.claim(limit=4)
    assert (len(first), len(second)) == (4, 2)
    assert not {claim.upload.id for claim in first} & {claim.upload.id for claim in second}
    assert world.tracker.checking.claim() == []


def test_only_the_stores_that_were_asked_for_are_claimed(world: World) -> None:
    world.arrived()
    assert world.tracker.checking.claim(stores=["kept"]) == []
    assert len(world.tracker.checking.claim(stores=["media"])) == 1


def test_a_dead_examiners_upload_is_taken_over_with_its_verdict(world: World) -> None:
    claim = passed(world, claimed(world))
    world.clock.advance(2 * MINUTE)
    (again,) = world.tracker.checking.claim()
    assert again.upload.id == claim.upload.id
    assert again.verdict is not None
    assert again.verdict.ok
    for late in (
        lambda: world.tracker.checking.renew(claim),
        lambda: world.tracker.checking.reject(claim, "late"),
        lambda: world.tracker.checking.release(claim),
        lambda: world.tracker.checking.publish(claim, "media", world.media.stat(claim.upload.key)),
    ):
        with pytest.raises(blobkit.PreconditionFailed):
            late()
    done = world.tracker.checking.publish(again, "media", world.media.stat(again.upload.key))
    assert done.state is State.AVAILABLE
    assert world.deliver() == ["uploaded", "checking", "available"]


def test_a_renewed_claim_is_not_taken_over(world: World) -> None:
    claim = claimed(world)
    world.clock.advance(timedelta(seconds=50))
    claim = world.tracker.checking.renew(claim, HOUR)
    world.clock.advance(2 * MINUTE)
    assert world.tracker.checking.claim() == []
    assert world.tracker.checking.reject(claim, "no").state is State.REJECTED


def test_a_verdict_of_another_version_is_refused(world: World) -> None:
    claim = claimed(world)
    with pytest.raises(blobkit.PreconditionFailed):
        world.tracker.checking.record_verdict(claim, blobkit.Pin(etag="other"), ok=True)
    with pytest.raises(blobkit.PreconditionFailed):
        world.tracker.checking.publish(claim, "media", world.media.stat(claim.upload.key))
    claim = passed(world, claim)
    world.put(claim.upload, b"evil!")
    with pytest.raises(blobkit.PreconditionFailed):
        world.tracker.checking.publish(claim, "media", world.media.stat(claim.upload.key))


def test_checks_that_could_not_decide_come_again_later(world: World) -> None:
    claim = claimed(world)
    done = world.tracker.checking.release(claim, after=HOUR, reason="the scanner is away")
    assert done.state is State.UPLOADED
    assert world.tracker.checking.claim() == []
    world.clock.advance(HOUR)
    (again,) = world.tracker.checking.claim()
    assert again.upload.examined == 2


def test_what_was_replaced_before_it_was_examined_is_never_served(world: World) -> None:
    upload = world.arrived()
    world.put(upload, b"evil!")
    world.tell()
    assert world.state(upload) == "failed"
    assert world.tracker.checking.claim() == []
    world.later(MINUTE)
    assert not world.media.exists(upload.key)


def test_what_is_examined_is_its_examiners(world: World) -> None:
    claim = claimed(world)
    world.put(claim.upload, b"evil!")
    world.tell()
    world.later(10 * timedelta(seconds=1))
    assert world.state(claim.upload) == "checking"
    with pytest.raises(blobkit.PermissionDenied):
        world.tracker.cancel(claim.upload.id)
    assert world.tracker.checking.lose(claim, "replaced").state is State.FAILED
