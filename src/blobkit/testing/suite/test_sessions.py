"""The laws of chunked sessions: what is readable when, which chunks count, and what remains."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Final

import pytest

from blobkit.backend import Feature
from blobkit.blobs import Checksum
from blobkit.errors import (
    BlobkitError,
    ChecksumMismatch,
    ChunkMismatch,
    ConstraintViolated,
    InvalidArgument,
    InvalidChunk,
    InvalidExpiry,
    SessionMismatch,
    SessionNotFound,
    UnenforceableConstraint,
    Unsupported,
)
from blobkit.spec import UploadSpec
from blobkit.testing.clock import FakeClock
from blobkit.testing.trial import Trial, random_bytes

BROKEN: Final = (ConstraintViolated, ChecksumMismatch)


# --- when the object is there ---


@pytest.mark.parametrize("before", [None, b"what was there"], ids=["empty-key", "taken-key"])
def test_nothing_changes_at_the_key_before_complete(trial: Trial, before: bytes | None) -> None:
    if not trial.has_sessions():
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
    if not trial.has_sessions():
        return
    data = b"x" * size
    session = trial.start("target", size=size)
    trial.put_all(session, data)
    assert session.complete().size == size
    trial.holds("target", data)


def test_an_object_of_exactly_whole_chunks_has_no_empty_one(trial: Trial) -> None:
    if not trial.has_sessions():
        return
    data = trial.body(2)
    session = trial.start("target", size=len(data))
    assert [chunk.size for chunk in session.chunks] == [trial.chunk_size] * 2
    trial.put_all(session, data)
    session.complete()
    trial.holds("target", data)


def test_a_session_of_an_unknown_size_grows_until_it_is_said(trial: Trial) -> None:
    if not trial.has_sessions():
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
    if not trial.has_sessions():
        return
    session = trial.start("target")
    if len(session.chunks.resolved(0)):
        trial.accepted(trial.send_chunks(session, b"", [1]), session)
    session.complete(size=0)
    trial.holds("target", b"")


# --- which chunks count ---


def test_chunks_are_taken_in_any_order_or_the_plan_says_in_order(trial: Trial) -> None:
    if not trial.has_sessions():
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
    if not trial.has_sessions():
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
    if not trial.has_sessions():
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
    if not trial.has_sessions():
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
    if not trial.has_sessions():
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
    if not trial.has_sessions():
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
    if not trial.has_sessions():
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
    if not trial.has_sessions():
        return
    session = trial.start("target", size=len(trial.body(2.5)))
    with pytest.raises(InvalidChunk):
        session.sign_chunks([number])


def test_a_chunk_bound_to_a_checksum_is_refused_with_other_bytes(trial: Trial) -> None:
    if not trial.has_sessions():
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
    if not trial.has_sessions():
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


# --- staging, expiry, what is left behind ---


def test_staging_is_used_wherever_a_client_could_publish(trial: Trial) -> None:
    if not trial.has_sessions():
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
    if not trial.has_sessions():
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
    if not trial.has_sessions():
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
    if not trial.has_sessions():
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
