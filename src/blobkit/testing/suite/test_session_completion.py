"""The laws of a session's end: once and again, who wins, and which constraints the object keeps."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest

from blobkit.blobs import BlobInfo, Checksum
from blobkit.errors import (
    AlreadyExists,
    BlobkitError,
    ChecksumMismatch,
    ChunkMismatch,
    ConstraintViolated,
    InvalidArgument,
    SessionMismatch,
    SessionNotFound,
    UnenforceableConstraint,
    Unsupported,
)
from blobkit.session import UploadSession
from blobkit.spec import Constraint, Enforcement, Route, UploadSpec
from blobkit.testing.matrix import CONSTRAINTS, spec_of
from blobkit.testing.trial import Trial, random_bytes

BROKEN: Final = (ConstraintViolated, ChecksumMismatch)


# --- the end, once and again ---


def test_complete_twice_gives_the_same_object(trial: Trial) -> None:
    if not trial.has_sessions():
        return
    data = trial.body()
    session = trial.uploaded("target", data)
    first, second = session.complete(), session.complete()
    assert (first.key, first.size, first.etag, first.upload_id) == (
        second.key,
        second.size,
        second.etag,
        second.upload_id,
    )
    again = trial.open().resume_upload(session.token).complete()
    assert again.etag == first.etag
    trial.holds("target", data)


def test_complete_from_several_places_at_once_gives_one_object(trial: Trial) -> None:
    if not trial.has_sessions():
        return
    data = trial.body()
    session = trial.uploaded("target", data)
    calls = [trial.open().resume_upload(session.token) for _ in range(4)]

    def attempt(each: UploadSession) -> BlobInfo:
        return each.complete()

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(attempt, calls))
    assert {(info.key, info.size, info.upload_id) for info in done} == {("target", len(data), session.upload_id)}
    trial.holds("target", data)


def test_complete_of_another_size_than_was_planned_is_refused(trial: Trial) -> None:
    if not trial.has_sessions():
        return
    data = trial.body()
    session = trial.uploaded("target", data)
    with pytest.raises(SessionMismatch):
        session.complete(size=len(data) - 1)
    trial.nothing_at("target")
    session.complete(size=len(data))
    trial.holds("target", data)


def test_an_aborted_session_cannot_be_completed(trial: Trial) -> None:
    if not trial.has_sessions():
        return
    trial.store.write("target", b"what was there")
    data = trial.body()
    session = trial.uploaded("target", data)
    result = session.abort()
    assert result.discarded or result.lapses_at is not None
    session.abort()
    if result.discarded:
        assert session.status().state == "gone"
        with pytest.raises((SessionNotFound, ChunkMismatch)):
            session.complete()
    trial.holds("target", b"what was there")


def test_abort_after_complete_leaves_the_object(trial: Trial) -> None:
    if not trial.has_sessions():
        return
    data = trial.body()
    session = trial.uploaded("target", data)
    session.complete()
    session.abort()
    trial.holds("target", data)
    assert session.status().state == "committed"
    assert session.complete().size == len(data)


def test_chunks_sent_after_the_end_change_nothing(trial: Trial) -> None:
    if not trial.has_sessions():
        return
    data = trial.body()
    session = trial.uploaded("target", data)
    late = session.sign_chunks([1])[0]
    session.complete()
    trial.send_chunk(late, b"\0" * late.size, len(data))
    trial.holds("target", data)


# --- constraints at completion ---


def started(trial: Trial, key: str, *, size: int | None, spec: UploadSpec) -> UploadSession | UnenforceableConstraint:
    """A session, or the refusal to start one."""
    try:
        return trial.start(key, size=size, spec=spec)
    except UnenforceableConstraint as refusal:
        return refusal


def finish(trial: Trial, session: UploadSession, data: bytes, *, size: int | None = None) -> BlobInfo:
    """Send the chunks, whatever is answered, and complete."""
    trial.send_chunks(session, data)
    return session.complete(size=size)


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=str)
def test_a_session_keeps_every_constraint_and_says_who_sees_to_it(trial: Trial, constraint: Constraint) -> None:
    if not trial.has_sessions():
        return
    data = trial.body(1.5)
    match constraint:
        case Constraint.SIZE:
            spec = UploadSpec(size=len(data))
        case Constraint.SIZE_RANGE:
            spec = UploadSpec(min_size=1, max_size=len(data))
        case Constraint.CHECKSUM:
            spec = UploadSpec(checksum=Checksum.of("sha256", data))
        case Constraint.STORAGE_CLASS:
            spec = UploadSpec(storage_class=trial.harness.storage_class)
        case _:
            spec = spec_of(constraint)
    session = started(trial, "target", size=None if constraint is Constraint.SIZE_RANGE else len(data), spec=spec)
    if isinstance(session, UnenforceableConstraint):
        assert session.constraint == constraint
        assert not trial.declares((Route.CHUNKED, constraint)), "declared, and refused"
        assert session.alternatives
        return
    assert session.enforcement[constraint] in set(Enforcement)
    info = finish(trial, session, data, size=len(data))
    for seen in (info, trial.holds("target", data)):
        if spec.content_type:
            assert seen.content_type == spec.content_type
        assert dict(seen.metadata) == dict(spec.metadata)
        for name in ("cache_control", "content_disposition", "content_encoding"):
            assert getattr(spec, name) in (None, getattr(seen, name))


@pytest.mark.parametrize("where", ["asked-at-the-start", "said-at-the-end"])
@pytest.mark.parametrize("algorithm", ["sha256", "crc32c", "md5"])
@pytest.mark.parametrize("taken", [False, True], ids=["empty-key", "taken-key"])
def test_damaged_bytes_never_reach_the_key(trial: Trial, algorithm: str, where: str, taken: bool) -> None:
    if not trial.has_sessions():
        return
    if taken:
        trial.store.write("target", b"what was there")
    data = trial.body(1.5)
    right, early = Checksum.of(algorithm, data), where == "asked-at-the-start"
    session = trial.start("target", size=len(data), spec=UploadSpec(checksum=right) if early else None)
    damaged = data[:-1] + bytes([data[-1] ^ 1])
    if early and session.enforcement[Constraint.CHECKSUM] is not Enforcement.COMPLETION:
        trial.needs("chunked.checksum")
    trial.send_chunks(session, damaged)
    due: tuple[type[BlobkitError], ...] = BROKEN
    if not early and not session.staged and not trial.declares((Route.CHUNKED, Constraint.CHECKSUM)):
        due = (Unsupported,)  # nobody could check it before the object is there: so nothing is done
    with pytest.raises(due) as found:
        session.complete(checksum=None if early else right)
    assert found.value.key == "target"
    if taken:
        trial.holds("target", b"what was there")
    else:
        trial.nothing_at("target")


@pytest.mark.parametrize("where", ["asked-at-the-start", "said-at-the-end", "both"])
def test_the_right_checksum_lets_the_object_appear(trial: Trial, where: str) -> None:
    if not trial.has_sessions():
        return
    data = trial.body(1.5)
    right = Checksum.of("sha256", data)
    spec = UploadSpec(checksum=None if where == "said-at-the-end" else right)
    session = trial.start("target", size=len(data), spec=spec)
    trial.send_chunks(session, data)
    if where == "said-at-the-end" and not session.staged and not trial.declares((Route.CHUNKED, Constraint.CHECKSUM)):
        with pytest.raises(Unsupported):
            session.complete(checksum=right)
        trial.nothing_at("target")
        session.complete()
    else:
        session.complete(checksum=None if where == "asked-at-the-start" else right)
    trial.holds("target", data)


@pytest.mark.parametrize(
    ("low", "high", "size", "good"), [(10, 20, 9, 0), (10, 20, 10, 1), (10, 20, 20, 1), (10, 20, 21, 0)]
)
def test_a_size_range_is_kept_to_the_byte(trial: Trial, low: int, high: int, size: int, good: int) -> None:
    if not trial.has_sessions():
        return
    data = random_bytes(size)
    session = trial.start("target", spec=UploadSpec(min_size=low, max_size=high))
    if good:
        finish(trial, session, data, size=size)
        trial.holds("target", data)
        return
    with pytest.raises((*BROKEN, ChunkMismatch, InvalidArgument)):
        finish(trial, session, data, size=size)
    trial.nothing_at("target")


def test_a_size_that_the_spec_forbids_is_refused_at_the_start(trial: Trial) -> None:
    if not trial.has_sessions():
        return
    with pytest.raises(ConstraintViolated):
        trial.store.start_upload("target", size=11, max_size=10, allow_session_life=True)


def if_absent(trial: Trial, key: str, data: bytes) -> UploadSession | None:
    """A session that only creates, with its chunks sent; None where the store refuses to promise it."""
    session = started(trial, key, size=len(data), spec=UploadSpec(if_absent=True))
    if isinstance(session, UnenforceableConstraint):
        assert session.constraint == Constraint.IF_ABSENT
        trial.undeclared("chunked.if_absent")
        return None
    trial.put_all(session, data)
    return session


def test_if_absent_a_taken_key_is_refused_at_the_start(trial: Trial) -> None:
    if not trial.has_sessions():
        return
    trial.store.write("target", b"first")
    with pytest.raises((AlreadyExists, UnenforceableConstraint)):
        trial.start("target", size=10, spec=UploadSpec(if_absent=True))
    trial.holds("target", b"first")


def test_if_absent_an_object_that_came_meanwhile_is_not_overwritten(trial: Trial) -> None:
    if not trial.has_sessions() or (session := if_absent(trial, "target", trial.body())) is None:
        return
    trial.store.write("target", b"came meanwhile")
    trial.needs("chunked.if_absent")
    with pytest.raises(AlreadyExists) as found:
        session.complete()
    assert found.value.key == "target"
    trial.holds("target", b"came meanwhile")
    assert session.status().state == "gone", "the chunks of a lost race are discarded"


def test_if_absent_complete_is_still_idempotent(trial: Trial) -> None:
    """Our own object is no obstacle: it is recognised."""
    data = trial.body()
    if not trial.has_sessions() or (session := if_absent(trial, "target", data)) is None:
        return
    first = session.complete()
    assert session.complete().etag == first.etag
    trial.holds("target", data)


@pytest.mark.parametrize("create_only", [False, True], ids=["last-wins", "first-wins"])
def test_of_two_sessions_on_one_key_one_wins_and_nothing_is_mixed(trial: Trial, create_only: bool) -> None:
    if not trial.has_sessions():
        return
    bodies = [trial.body(2.5, seed=21), trial.body(2.5, seed=22)]
    if create_only:
        sessions = [if_absent(trial, "target", body) for body in bodies]
        if sessions[0] is None or sessions[1] is None:
            return
        trial.needs("chunked.if_absent")
    else:
        sessions = [trial.start("target", size=len(body)) for body in bodies]
        for number in (1, 2, 3):
            for session, body in zip(sessions, bodies, strict=True):
                assert session is not None
                trial.accepted(trial.send_chunks(session, body, [number]), session)
    first, second = sessions
    assert first is not None
    assert second is not None
    first.complete()
    trial.holds("target", bodies[0])
    if create_only:
        with pytest.raises(AlreadyExists):
            second.complete()
        trial.holds("target", bodies[0])
    else:
        second.complete()
        trial.holds("target", bodies[1])


def test_of_two_sessions_that_complete_at_once_the_key_has_one_whole_object(trial: Trial) -> None:
    if not trial.has_sessions():
        return
    bodies = [trial.body(2.5, seed=seed) for seed in range(30, 34)]
    first = if_absent(trial, "target", bodies[0])
    if first is None:
        return
    sessions = [first, *(if_absent(trial, "target", body) for body in bodies[1:])]
    trial.needs("chunked.if_absent")

    def attempt(session: UploadSession | None) -> bool:
        assert session is not None
        try:
            session.complete()
        except AlreadyExists:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(attempt, sessions))
    assert won.count(True) == 1
    trial.holds("target", bodies[won.index(True)])
