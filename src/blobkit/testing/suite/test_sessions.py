"""The laws of chunked sessions: what is readable when, which chunks count, who wins, and what remains."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Final

import pytest

from blobkit.backend import Feature
from blobkit.blobs import BlobInfo, Checksum
from blobkit.errors import (
    AlreadyExists,
    BlobkitError,
    ChecksumMismatch,
    ChunkMismatch,
    ConstraintViolated,
    InvalidArgument,
    InvalidChunk,
    InvalidExpiry,
    InvalidToken,
    SessionMismatch,
    SessionNotFound,
    UnenforceableConstraint,
    Unsupported,
)
from blobkit.sealing import ENV
from blobkit.session import UploadSession
from blobkit.spec import Constraint, Enforcement, Route, UploadSpec
from blobkit.testing.clock import FakeClock
from blobkit.testing.matrix import CONSTRAINTS, spec_of
from blobkit.testing.trial import Trial, random_bytes

BROKEN: Final = (ConstraintViolated, ChecksumMismatch)


def chunked(trial: Trial) -> bool:
    """Whether the store has sessions; when not, asserts that it refuses to start one."""
    if trial.declares(Feature.CHUNKED):
        return True
    with pytest.raises(Unsupported) as refusal:
        trial.store.start_upload("target", size=1)
    assert refusal.value.features == (Feature.CHUNKED,)
    return False


# --- when the object is there ---


@pytest.mark.parametrize("before", [None, b"what was there"], ids=["empty-key", "taken-key"])
def test_nothing_changes_at_the_key_before_complete(trial: Trial, before: bytes | None) -> None:
    if not chunked(trial):
        return
    if before is not None:
        trial.store.write("target", before)

    def unchanged() -> None:
        if before is None:
            trial.nothing_at("target")
        else:
            trial.holds("target", before)

    data = trial.body(2.5)
    session = trial.start("target", size=len(data))
    unchanged()
    for number in (1, 2, 3):
        trial.accepted(trial.send_chunks(session, data, [number]), session)
        unchanged()
        assert session.status().state == "open"
    assert session.status().missing == ()
    unchanged()
    done = session.complete()
    assert (done.key, done.size) == ("target", len(data))
    info = trial.holds("target", data)
    assert info.upload_id == session.upload_id == done.upload_id
    assert session.status().state == "committed"


@pytest.mark.parametrize("size", [0, 1])
def test_objects_of_no_byte_and_of_one_byte_go_through_a_session(trial: Trial, size: int) -> None:
    if not chunked(trial):
        return
    data = b"x" * size
    session = trial.start("target", size=size)
    trial.put_all(session, data)
    assert session.complete().size == size
    trial.holds("target", data)


def test_an_object_of_exactly_whole_chunks_has_no_empty_one(trial: Trial) -> None:
    if not chunked(trial):
        return
    data = trial.body(2)
    session = trial.start("target", size=len(data))
    assert [chunk.size for chunk in session.chunks] == [trial.chunk_size] * 2
    trial.put_all(session, data)
    session.complete()
    trial.holds("target", data)


def test_a_session_of_an_unknown_size_grows_until_it_is_said(trial: Trial) -> None:
    if not chunked(trial):
        return
    data = trial.body(2.25)
    session = trial.start("target")
    with pytest.raises(InvalidChunk):
        session.sign_chunks()
    trial.accepted(trial.send_chunks(session, data), session)
    with pytest.raises(InvalidArgument):
        session.complete()
    trial.nothing_at("target")
    with pytest.raises((ChunkMismatch, SessionMismatch, *BROKEN)):
        session.complete(size=len(data) + trial.chunk_size)
    trial.nothing_at("target")
    if trial.store.capabilities.commit == "last_chunk" and session.status().state == "gone":
        trial.undeclared("a second try after a wrong size")  # it was assembled already, and did not keep what was said
        return
    assert session.complete(size=len(data)).size == len(data)
    trial.holds("target", data)


def test_a_session_of_an_unknown_size_may_turn_out_empty(trial: Trial) -> None:
    if not chunked(trial):
        return
    session = trial.start("target")
    if len(session.chunks.resolved(0)):
        trial.accepted(trial.send_chunks(session, b"", [1]), session)
    session.complete(size=0)
    trial.holds("target", b"")


# --- which chunks count ---


def test_chunks_are_taken_in_any_order_or_the_plan_says_in_order(trial: Trial) -> None:
    if not chunked(trial):
        return
    data = trial.body(2.5)
    session = trial.start("target", size=len(data))
    if not trial.sequential:
        trial.accepted(trial.send_chunks(session, data, [3, 1, 2]), session)
        session.complete()
        trial.holds("target", data)
        return
    trial.undeclared("chunks in any order")
    trial.send_chunks(session, data, [2])
    assert 2 not in session.status().received
    with pytest.raises(ChunkMismatch):
        session.complete()
    trial.put_all(session, data)
    session.complete()
    trial.holds("target", data)


def test_chunks_arrive_in_parallel(trial: Trial) -> None:
    if not chunked(trial):
        return
    data = trial.body(4.5)
    session = trial.start("target", size=len(data))
    if trial.sequential:
        trial.undeclared("chunks in parallel")
        trial.put_all(session, data)
    else:
        with ThreadPoolExecutor(5) as pool:
            for answers in pool.map(lambda number: trial.send_chunks(session, data, [number]), range(1, 6)):
                trial.accepted(answers, session)
    session.complete()
    trial.holds("target", data)


def test_a_chunk_sent_again_replaces_the_first(trial: Trial) -> None:
    if not chunked(trial):
        return
    data = trial.body(1.5)
    wrong = bytes(reversed(data[: trial.chunk_size]))
    session = trial.start("target", size=len(data))
    trial.accepted(trial.send_chunks(session, data, [1], pieces={1: wrong}), session)
    again = trial.send_chunks(session, data, [1])
    trial.accepted(trial.send_chunks(session, data, [2]), session)
    session.complete()
    if (
        trial.sequential
    ):  # bytes below the offset are there already: the first ones stay, or the second ones do; never a mix
        assert trial.store.read("target") in (wrong + data[trial.chunk_size :], data)
    else:
        trial.accepted(again, session)
        trial.holds("target", data)


def test_a_chunk_may_be_sent_twice_at_once(trial: Trial) -> None:
    if not chunked(trial):
        return
    data = trial.body(1.5)
    session = trial.start("target", size=len(data))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: trial.send_chunks(session, data, [1]), range(4)))
    trial.accepted(trial.send_chunks(session, data), session)
    session.complete()
    trial.holds("target", data)


@pytest.mark.parametrize("lacking", [1, 2, 3])
def test_a_missing_chunk_is_named_and_can_still_be_sent(trial: Trial, lacking: int) -> None:
    if not chunked(trial):
        return
    data = trial.body(2.5)
    session = trial.start("target", size=len(data))
    sent = [number for number in (1, 2, 3) if number != lacking and (not trial.sequential or number < lacking)]
    trial.accepted(trial.send_chunks(session, data, sent), session)
    status = session.status()
    assert status.received == tuple(sent)
    assert status.received_bytes == sum(session.chunks.chunk(number).size for number in sent)
    assert lacking in status.missing
    with pytest.raises(ChunkMismatch) as found:
        session.complete()
    assert lacking in found.value.missing
    trial.nothing_at("target")
    trial.accepted(trial.send_chunks(session, data, session.status().missing), session)
    session.complete()
    trial.holds("target", data)


@pytest.mark.parametrize(("number", "change"), [(1, -1), (2, -1), (1, 1), (3, 1)])
def test_a_chunk_of_the_wrong_size_is_never_assembled(trial: Trial, number: int, change: int) -> None:
    if not chunked(trial):
        return
    data = trial.body(2.5)
    session = trial.start("target", size=len(data))
    chunk = session.chunks.chunk(number)
    piece = random_bytes(chunk.size + change, seed=9)
    trial.accepted(trial.send_chunks(session, data, [n for n in (1, 2, 3) if n < number]), session)
    trial.needs("chunk_size")
    trial.send_chunks(session, data, [number], pieces={number: piece})
    if not trial.sequential:
        trial.accepted(trial.send_chunks(session, data, [n for n in (1, 2, 3) if n > number]), session)
    if not trial.sequential:  # there, bytes beyond a chunk's end are the next one's first
        assert number not in session.status().received
    with pytest.raises((ChunkMismatch, *BROKEN)):
        session.complete()
    trial.nothing_at("target")


def test_a_chunk_of_the_wrong_size_can_be_put_right(trial: Trial) -> None:
    if not chunked(trial):
        return
    data = trial.body(1.5)
    session = trial.start("target", size=len(data))
    trial.needs("chunk_size")
    trial.send_chunks(session, data, [1], pieces={1: data[: trial.chunk_size - 1]})
    trial.send_chunks(session, data, session.status().missing)
    assert session.status().missing == ()
    session.complete()
    trial.holds("target", data)


@pytest.mark.parametrize("number", [0, -1, 4, 10**9])
def test_a_chunk_that_the_plan_has_not_is_not_signed(trial: Trial, number: int) -> None:
    if not chunked(trial):
        return
    session = trial.start("target", size=len(trial.body(2.5)))
    with pytest.raises(InvalidChunk):
        session.sign_chunks([number])


def test_a_chunk_bound_to_a_checksum_is_refused_with_other_bytes(trial: Trial) -> None:
    if not chunked(trial):
        return
    data = trial.body(1.5)
    session = trial.start("target", size=len(data))
    piece = data[: trial.chunk_size]
    checksums = {1: Checksum.of("crc32c", piece)}
    if not trial.declares(Feature.CHUNK_CHECKSUMS):
        with pytest.raises(Unsupported):
            session.sign_chunks([1], checksums=checksums)
        return
    try:
        signed = session.sign_chunks([1], checksums=checksums)[0]
    except UnenforceableConstraint:  # not of every algorithm: then of the one that all who check parts know
        trial.undeclared("a crc32c that a chunk's signature binds")
        signed = session.sign_chunks([1], checksums={1: Checksum.of("md5", piece)})[0]
    trial.needs("chunked.checksum")
    assert trial.send_chunk(signed, piece[:-1] + bytes([piece[-1] ^ 1]), len(data)).refused
    assert session.status().received == ()
    answer = trial.send_chunk(signed, piece, len(data))
    assert answer.status in signed.expected_status, answer.text


def test_receipts_are_compared_when_they_are_given(trial: Trial) -> None:
    if not chunked(trial):
        return
    data = trial.body(1.5)
    session = trial.start("target", size=len(data))
    answers = trial.send_chunks(session, data)
    receipt = session.sign_chunks([1])[0].template.receipt
    if receipt.kind != "header" or receipt.name is None:
        trial.undeclared("receipts of chunks")
        session.complete({})
        trial.holds("target", data)
        return
    receipts = {number: answer.headers[receipt.name.lower()] for number, answer in answers.items()}
    if trial.store.capabilities.commit == "last_chunk":
        trial.undeclared("receipts that are compared after the last chunk published")
        session.complete(receipts)
        trial.holds("target", data)
        return
    with pytest.raises(ChunkMismatch) as found:
        session.complete({**receipts, 2: '"0000000000000000"'})
    assert found.value.wrong == (2,)
    trial.nothing_at("target")
    session.complete(receipts)
    trial.holds("target", data)


# --- the end, once and again ---


def test_complete_twice_gives_the_same_object(trial: Trial) -> None:
    if not chunked(trial):
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
    if not chunked(trial):
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
    if not chunked(trial):
        return
    data = trial.body()
    session = trial.uploaded("target", data)
    with pytest.raises(SessionMismatch):
        session.complete(size=len(data) - 1)
    trial.nothing_at("target")
    session.complete(size=len(data))
    trial.holds("target", data)


def test_an_aborted_session_cannot_be_completed(trial: Trial) -> None:
    if not chunked(trial):
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
    if not chunked(trial):
        return
    data = trial.body()
    session = trial.uploaded("target", data)
    session.complete()
    session.abort()
    trial.holds("target", data)
    assert session.status().state == "committed"
    assert session.complete().size == len(data)


def test_chunks_sent_after_the_end_change_nothing(trial: Trial) -> None:
    if not chunked(trial):
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
    if not chunked(trial):
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
    if not chunked(trial):
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
    if not chunked(trial):
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
    if not chunked(trial):
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
    if not chunked(trial):
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
    if not chunked(trial):
        return
    trial.store.write("target", b"first")
    with pytest.raises((AlreadyExists, UnenforceableConstraint)):
        trial.start("target", size=10, spec=UploadSpec(if_absent=True))
    trial.holds("target", b"first")


def test_if_absent_an_object_that_came_meanwhile_is_not_overwritten(trial: Trial) -> None:
    if not chunked(trial) or (session := if_absent(trial, "target", trial.body())) is None:
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
    if not chunked(trial) or (session := if_absent(trial, "target", data)) is None:
        return
    first = session.complete()
    assert session.complete().etag == first.etag
    trial.holds("target", data)


@pytest.mark.parametrize("create_only", [False, True], ids=["last-wins", "first-wins"])
def test_of_two_sessions_on_one_key_one_wins_and_nothing_is_mixed(trial: Trial, create_only: bool) -> None:
    if not chunked(trial):
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
    if not chunked(trial):
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


# --- tokens ---


def test_a_token_resumes_the_session_anywhere(trial: Trial) -> None:
    if not chunked(trial):
        return
    data = trial.body(2.5)
    session = trial.start("target", size=len(data), spec=UploadSpec(content_type="image/png", metadata={"a": "1"}))
    trial.accepted(trial.send_chunks(session, data, [1]), session)
    token = session.token.reveal()
    assert len(token) <= 4096
    assert all(c.isalnum() or c in "-_" for c in token)
    resumed = trial.open().resume_upload(token, key="target")
    assert resumed.upload_id == session.upload_id
    assert list(resumed.chunks) == list(session.chunks)
    assert dict(resumed.enforcement) == dict(session.enforcement)
    assert resumed.status().received == (1,)
    trial.accepted(trial.send_chunks(resumed, data, resumed.status().missing), resumed)
    resumed.complete()
    info = trial.holds("target", data)
    assert (info.content_type, dict(info.metadata)) == ("image/png", {"a": "1"})


def test_another_process_resumes_and_completes(trial: Trial) -> None:
    if not chunked(trial):
        return
    data = trial.body(2.5)
    session = trial.start("target", size=len(data))
    trial.accepted(trial.send_chunks(session, data, [1, 2]), session)
    if trial.harness.store_url is None:
        trial.uncheckable("not checkable on this server: the harness has no store_url for another process")
    if not trial.store.capabilities.multi_process:
        trial.undeclared("multi_process")
        answer = elsewhere(trial, session)
        assert answer.get("state") == "gone" or answer.get("error"), (
            "another process sees a store that is this one's own"
        )
        trial.holds("target", finish_here(trial, session, data))
        return
    assert elsewhere(trial, session) == {"state": "open", "received": [1, 2], "missing": [3]}
    trial.nothing_at("target")
    trial.accepted(trial.send_chunks(session, data, [3]), session)
    assert elsewhere(trial, session) == {"state": "open", "received": [1, 2, 3], "missing": [], "completed": len(data)}
    trial.holds("target", data)
    assert session.complete().size == len(data)
    assert elsewhere(trial, session)["state"] == "committed"


def finish_here(trial: Trial, session: UploadSession, data: bytes) -> bytes:
    """Send the last chunk and complete; what the object then holds."""
    trial.accepted(trial.send_chunks(session, data, [3]), session)
    session.complete()
    return data


def elsewhere(trial: Trial, session: UploadSession) -> dict[str, object]:
    """Resume the session in a fresh interpreter."""
    order = {"store": trial.harness.url(trial.prefix), "token": session.token.reveal()}
    done = subprocess.run(
        [sys.executable, "-m", "blobkit.testing.elsewhere"],
        input=json.dumps(order),
        env={**os.environ, ENV: trial.harness.sealing_text, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def reason_of(call: Callable[[], object]) -> str:
    """The reason for which a token is refused; it must be."""
    with pytest.raises(InvalidToken) as found:
        call()
    return found.value.reason


def test_a_token_is_refused_to_whom_it_does_not_belong(trial: Trial) -> None:
    if not chunked(trial):
        return
    session = trial.start("target", size=10, owner="u1")
    token = session.token
    store = trial.store
    assert store.resume_upload(token, owner="u1").owner == "u1"
    assert reason_of(lambda: store.resume_upload(token)) == "foreign"
    assert reason_of(lambda: store.resume_upload(token, owner="u2")) == "foreign"
    assert reason_of(lambda: store.resume_upload(token, owner="u1", key="other")) == "foreign"
    assert reason_of(lambda: store.at("tenant/").resume_upload(token, owner="u1")) == "foreign"
    elsewhere = trial.harness.open(trial.harness.new_prefix())
    with elsewhere:
        assert reason_of(lambda: elsewhere.resume_upload(token, owner="u1")) == "foreign"
    later = trial.open(clock=FakeClock(session.expires_at + timedelta(seconds=1)))
    assert reason_of(lambda: later.resume_upload(token, owner="u1")) == "expired"
    in_time = trial.open(clock=FakeClock(session.expires_at - timedelta(seconds=5)))
    assert in_time.resume_upload(token, owner="u1").upload_id == session.upload_id
    session.abort()


def test_a_changed_token_is_refused(trial: Trial) -> None:
    if not chunked(trial):
        return
    session = trial.start("target", size=10)
    token = session.token.reveal()
    for place in {*range(0, len(token), max(1, len(token) // 40)), len(token) - 1}:
        changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        assert reason_of(partial(trial.store.resume_upload, changed)) in ("tampered", "newer")
    for text in ("", "x", token[:-4], token + "AAAA", "é", token * 40):
        assert reason_of(partial(trial.store.resume_upload, text)) == "tampered"
    session.abort()


# --- staging, expiry, what is left behind ---


def test_staging_is_used_wherever_a_client_could_publish(trial: Trial) -> None:
    if not chunked(trial):
        return
    capabilities, data = trial.store.capabilities, trial.body()
    session = trial.start("target", size=len(data))
    assert session.staged or (capabilities.commit == "service" and capabilities.chunk_grant == "chunk")
    session.abort()
    staged = trial.start("target", size=len(data), staging=True)
    assert staged.staged
    trial.put_all(staged, data)
    trial.nothing_at("target")
    staged.complete()
    trial.holds("target", data)
    direct = trial.start("direct", size=len(data), staging=False)
    assert not direct.staged
    trial.put_all(direct, data)
    direct.complete()
    trial.holds("direct", data)


def test_chunk_urls_live_as_long_as_asked_or_the_caller_agrees_to_more(trial: Trial) -> None:
    if not chunked(trial):
        return
    if trial.bearer_chunks:
        trial.undeclared("chunk URLs that expire when asked")
        with pytest.raises(InvalidExpiry):
            trial.store.start_upload("target", size=10)
        session = trial.start("target", size=10)
        assert session.sign_chunks([1], expires_in=timedelta(minutes=1))[0].expires_at == session.expires_at
        session.abort()
        return
    clock = FakeClock()
    session = trial.start("target", size=10, store=trial.open(clock=clock))
    signed = session.sign_chunks([1], expires_in=timedelta(minutes=1))[0]
    assert signed.expires_at == clock.now + timedelta(minutes=1)
    session.abort()


def test_sessions_left_behind_are_listed_and_swept(trial: Trial) -> None:
    if not chunked(trial):
        return
    data = trial.body()
    if not trial.declares(Feature.LIST_UPLOADS):
        with pytest.raises(Unsupported):
            list(trial.store.list_uploads())
        return
    old = trial.start("left/behind", size=len(data))
    trial.accepted(trial.send_chunks(old, data, [1]), old)
    done = trial.uploaded("left/done", data)
    done.complete()
    aborted = trial.start("left/aborted", size=len(data))
    aborted.abort()
    listed = list(trial.store.list_uploads())
    assert len(listed) == 1
    if not old.staged:
        assert listed[0].key == "left/behind"
        assert [pending.key for pending in trial.store.list_uploads("left/")] == ["left/behind"]
        assert list(trial.store.list_uploads("other/")) == []
    assert list(trial.store.list_uploads(older_than=timedelta(hours=1))) == []
    tomorrow = trial.open(clock=FakeClock.ago(timedelta(days=-1)))
    assert len(list(tomorrow.list_uploads(older_than=timedelta(hours=1)))) == 1
    assert trial.store.sweep_uploads(older_than=timedelta(hours=1)) == []
    assert len(tomorrow.sweep_uploads(older_than=timedelta(hours=1))) == 1
    assert tomorrow.sweep_uploads(older_than=timedelta(hours=1)) == []
    assert list(trial.store.list_uploads()) == []
    trial.holds("left/done", data)
    assert old.status().state == "gone"
    with pytest.raises(SessionNotFound):
        old.complete()


def test_a_start_that_is_refused_leaves_no_session_behind(trial: Trial) -> None:
    if not chunked(trial):
        return
    if not trial.declares(Feature.LIST_UPLOADS):
        with pytest.raises(Unsupported):
            list(trial.store.list_uploads())
        return
    trial.store.write("taken", b"1")
    attempts: list[Callable[[], object]] = [
        lambda: trial.start("taken", size=1, spec=UploadSpec(if_absent=True)),
        lambda: trial.store.start_upload("k", size=trial.store.capabilities.limits.chunks.max_object + 1),
        lambda: trial.store.start_upload("k", size=10, chunk_size=0),
        lambda: trial.store.start_upload("k", size=10, owner="x" * 300),
    ]
    for attempt in attempts:
        with pytest.raises(BlobkitError):
            attempt()
    assert list(trial.store.list_uploads()) == []


def test_upload_moves_bytes_and_files_in_one_call(trial: Trial) -> None:
    data = trial.body()
    assert trial.store.upload("k", data, content_type="image/png").size == len(data)
    assert trial.holds("k", data).content_type == "image/png"
