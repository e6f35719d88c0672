"""What every engine does with chunked sessions."""

from __future__ import annotations

import sqlite3
import threading
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.local.conftest import MakeEngine
from tests.unit.local.helpers import Clock, begin, get, keys, put, send, send_all

from blobkit.backend import HeldChunk
from blobkit.blobs import Checksum
from blobkit.errors import (
    AlreadyExists,
    BlobNotFound,
    ChecksumMismatch,
    ChunkMismatch,
    ConstraintViolated,
    InvalidChunk,
    PreconditionFailed,
    SessionMismatch,
    SessionNotFound,
)
from blobkit.spec import UploadSpec
from blobkit_local import chunked, index
from blobkit_local.chunked import joined
from blobkit_local.engine import Attributes, Wanted
from blobkit_local.indexed import IndexedEngine, Manners
from blobkit_local.rows import Piece

DATA = b"0123456789"


def files(engine: IndexedEngine) -> list[str]:
    """Every file there is."""
    return [name for batch in engine.extents.written_before(float("inf")) for name in batch]


def test_chunks_in_any_order_make_the_object(engine: IndexedEngine) -> None:
    spec = UploadSpec(content_type="a/b", metadata={"x": "y"})
    state = begin(engine, spec=spec)
    for number, data in ((3, b"89"), (1, b"0123"), (2, b"4567")):
        send(engine, state, number, data)
    with pytest.raises(BlobNotFound):
        engine.head("big")
    info = engine.commit_session(state.upload_id, engine.held(state.upload_id), Wanted(size=10))
    assert get(engine, "big") == DATA
    assert info.checksums["crc32c"] == Checksum.of("crc32c", DATA)
    assert (info.content_type, info.metadata, info.upload_id) == ("a/b", {"x": "y"}, state.upload_id)


def test_a_session_is_known_by_its_id_until_it_ends(engine: IndexedEngine) -> None:
    state = begin(engine)
    assert engine.session(state.upload_id) == state
    assert engine.held(state.upload_id) == []
    with pytest.raises(SessionMismatch):
        engine.open_session(state, Attributes())
    assert engine.discard_session(state.upload_id)
    assert not engine.discard_session(state.upload_id)
    for call in (engine.session, engine.held):
        with pytest.raises(SessionNotFound):
            call(state.upload_id)
    with pytest.raises(SessionNotFound):
        engine.incoming_chunk(state.upload_id, 1, 4)
    with pytest.raises(SessionNotFound):
        engine.commit_session(state.upload_id, [], Wanted())
    assert files(engine) == []


def test_a_chunk_that_is_sent_again_takes_the_place_of_the_first(engine: IndexedEngine) -> None:
    state = begin(engine)
    first = send_all(engine, state, DATA)
    again = send(engine, state, 2, b"xxxx")
    assert again.receipt != first[1].receipt
    assert [chunk.receipt for chunk in engine.held(state.upload_id)] == [
        first[0].receipt,
        again.receipt,
        first[2].receipt,
    ]
    engine.commit_session(state.upload_id, engine.held(state.upload_id), Wanted())
    assert get(engine, "big") == b"0123xxxx89"


def test_a_chunk_that_fails_half_way_leaves_the_one_that_is_held(engine: IndexedEngine) -> None:
    state = begin(engine)
    send_all(engine, state, DATA)
    with engine.incoming_chunk(state.upload_id, 2, 4) as chunk:
        chunk.write(b"xx")
    with engine.incoming_chunk(state.upload_id, 2, 4) as chunk, pytest.raises(ConstraintViolated):
        chunk.write(b"xxxxx")
    with engine.incoming_chunk(state.upload_id, 2, 4) as chunk:
        chunk.write(b"xx")
        with pytest.raises(ConstraintViolated):
            chunk.commit()
    with pytest.raises(ChecksumMismatch):
        send(engine, state, 2, b"xxxx", Checksum.of("sha256", b"4567"))
    engine.commit_session(state.upload_id, engine.held(state.upload_id), Wanted(checksum=Checksum.of("sha256", DATA)))
    assert get(engine, "big") == DATA


def test_a_chunk_that_failed_can_be_sent_again(engine: IndexedEngine) -> None:
    state = begin(engine)
    with engine.incoming_chunk(state.upload_id, 1, 4) as chunk:
        chunk.write(b"xx")
    send_all(engine, state, DATA)
    engine.commit_session(state.upload_id, engine.held(state.upload_id), Wanted())
    assert get(engine, "big") == DATA
    if engine.extents.has_regions:
        assert len(files(engine)) == 1  # the place that the first one left was taken by the second


def test_a_chunk_that_is_sent_again_while_the_object_is_made_is_noticed(
    engine: IndexedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = begin(engine)
    held = send_all(engine, state, DATA)
    whole = chunked._digest

    def meanwhile(*args: object) -> Checksum:
        found = whole(*args)  # type: ignore[arg-type]
        send(engine, state, 1, b"xxxx")
        return found

    monkeypatch.setattr(chunked, "_digest", meanwhile)
    with pytest.raises(ChunkMismatch):
        engine.commit_session(state.upload_id, held, Wanted(checksum=Checksum.of("sha256", DATA)))
    assert keys(engine) == []


def test_a_commit_whose_answer_is_lost_keeps_the_place_of_its_chunk(
    engine: IndexedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = begin(engine, size=4)
    real = index.commit
    commits: list[None] = []

    def late(connection: sqlite3.Connection) -> None:
        real(connection)
        commits.append(None)
        if len(commits) == 2:  # the first one is the claim's
            raise OSError("the answer is lost")

    with monkeypatch.context() as patch:
        patch.setattr(index, "commit", late)
        with pytest.raises(OSError, match="lost"):
            send(engine, state, 1, b"0123")
    held = engine.held(state.upload_id)
    with engine.incoming_chunk(state.upload_id, 1, 4) as chunk:
        chunk.write(b"xxx")
    engine.commit_session(state.upload_id, held, Wanted())
    assert get(engine, "big") == b"0123"


def test_two_senders_of_one_chunk_never_mix_their_bytes(engine: IndexedEngine) -> None:
    state = begin(engine, size=8, chunk=8)
    one = engine.incoming_chunk(state.upload_id, 1, 8)
    two = engine.incoming_chunk(state.upload_id, 1, 8)
    three = engine.incoming_chunk(state.upload_id, 1, 8)
    for _ in range(8):
        one.write(b"1")
        two.write(b"2")
        three.write(b"3")
    two.commit()
    held = one.commit()
    three.discard()
    engine.commit_session(state.upload_id, [held], Wanted())
    assert get(engine, "big") == b"1" * 8


def test_who_still_sends_when_the_session_is_completed_cannot_change_the_object(engine: IndexedEngine) -> None:
    state = begin(engine, size=8, chunk=8)
    late = engine.incoming_chunk(state.upload_id, 1, 8)
    late.write(b"late")
    held = send(engine, state, 1, b"in time!")
    engine.commit_session(state.upload_id, [held], Wanted())
    late.write(b"late")
    with pytest.raises(SessionNotFound):
        late.commit()
    assert get(engine, "big") == b"in time!"


def test_discarding_while_a_chunk_arrives_leaves_nothing(engine: IndexedEngine) -> None:
    state = begin(engine)
    with engine.incoming_chunk(state.upload_id, 1, 4) as chunk:
        chunk.write(b"01")
        engine.discard_session(state.upload_id)
        chunk.write(b"23")
        with pytest.raises(SessionNotFound):
            chunk.commit()
    assert files(engine) == []


def test_a_chunk_knows_its_place_and_size(engine: IndexedEngine) -> None:
    state = begin(engine)
    for number, size in ((0, 4), (4, 4), (1, 5), (3, 4), (1, -1)):
        with pytest.raises(InvalidChunk):
            engine.incoming_chunk(state.upload_id, number, size)


def test_exactly_the_named_chunks_are_assembled(engine: IndexedEngine) -> None:
    state = begin(engine)
    held = send_all(engine, state, DATA)
    send(engine, state, 1, b"xxxx")
    with pytest.raises(ChunkMismatch) as caught:
        engine.commit_session(state.upload_id, held, Wanted())
    assert caught.value.wrong == (1,)
    other = begin(engine)
    send(engine, other, 1, b"0123")
    with pytest.raises(ChunkMismatch) as caught:
        engine.commit_session(other.upload_id, held, Wanted())
    assert caught.value.missing == (2, 3)
    assert engine.held(state.upload_id)


def test_receipts_may_be_quoted_or_left_out(engine: IndexedEngine) -> None:
    state = begin(engine)
    held = send_all(engine, state, DATA)
    named = [HeldChunk(1, 4, f'"{held[0].receipt}"'), HeldChunk(2, 4), held[2]]
    engine.commit_session(state.upload_id, named, Wanted())
    assert get(engine, "big") == DATA


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        (Wanted(size=9), ConstraintViolated),
        (Wanted(max_size=9), ConstraintViolated),
        (Wanted(min_size=11), ConstraintViolated),
        (Wanted(checksum=Checksum.of("sha256", b"")), ChecksumMismatch),
        (Wanted(checksum=Checksum.of("md5", b"")), ChecksumMismatch),
        (Wanted(checksum=Checksum.of("crc32c", b"")), ChecksumMismatch),
        (Wanted(if_absent=True), AlreadyExists),
    ],
)
def test_what_is_wanted_is_checked_and_a_refusal_keeps_the_session(
    engine: IndexedEngine, wanted: Wanted, error: type[Exception]
) -> None:
    before = put(engine, "big", b"before")
    state = begin(engine)
    held = send_all(engine, state, DATA)
    with pytest.raises(error):
        engine.commit_session(state.upload_id, held, wanted)
    assert engine.head("big") == before
    assert engine.held(state.upload_id) == held


def test_a_session_replaces_only_what_was_named(engine: IndexedEngine) -> None:
    before = put(engine, "big", b"before")
    state = begin(engine)
    held = send_all(engine, state, DATA)
    put(engine, "big", b"between")
    with pytest.raises(PreconditionFailed):
        engine.commit_session(state.upload_id, held, Wanted(if_match=before.pin))


@pytest.mark.parametrize("algorithm", ["crc32c", "md5", "sha256"])
def test_a_right_checksum_of_the_whole_is_kept(engine: IndexedEngine, algorithm: str) -> None:
    state = begin(engine)
    right = Checksum.of(algorithm, DATA)
    info = engine.commit_session(state.upload_id, send_all(engine, state, DATA), Wanted(checksum=right))
    assert info.checksums[algorithm] == right


def test_an_empty_session_makes_an_empty_object(engine: IndexedEngine) -> None:
    state = begin(engine, size=0)
    info = engine.commit_session(state.upload_id, send_all(engine, state, b""), Wanted(size=0))
    assert info.size == 0
    assert get(engine, "big") == b""
    assert files(engine) == []


def test_a_session_of_unknown_size_takes_what_comes(engine: IndexedEngine) -> None:
    state = begin(engine, size=None, chunk=4)
    held = send_all(engine, state, DATA)
    engine.commit_session(state.upload_id, held, Wanted())
    assert get(engine, "big") == DATA


def test_two_sessions_on_one_key_do_not_meet(engine: IndexedEngine) -> None:
    one, two = begin(engine), begin(engine)
    ones, twos = send_all(engine, one, DATA), send_all(engine, two, b"x" * 10)
    engine.commit_session(one.upload_id, ones, Wanted())
    engine.commit_session(two.upload_id, twos, Wanted())
    assert get(engine, "big") == b"x" * 10


def test_of_two_commits_at_once_one_succeeds_and_the_other_finds_no_session(engine: IndexedEngine) -> None:
    state = begin(engine)
    held = send_all(engine, state, DATA)
    ready = threading.Barrier(2)
    outcomes: list[str] = []

    def commit() -> None:
        ready.wait()
        try:
            engine.commit_session(state.upload_id, held, Wanted())
        except SessionNotFound:
            outcomes.append("gone")
        else:
            outcomes.append("done")

    threads = [threading.Thread(target=commit) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["done", "gone"]
    assert get(engine, "big") == DATA


def test_an_object_of_many_resent_chunks_is_read_whole_and_removed_whole(engine: IndexedEngine) -> None:
    data = bytes(range(256)) * 2
    state = begin(engine, size=len(data), chunk=8)
    send_all(engine, state, b"?" * len(data))
    held = send_all(engine, state, data)
    info = engine.commit_session(state.upload_id, held, Wanted(checksum=Checksum.of("sha256", data)))
    with engine.open("big")[1] as stream:
        stream.seek(5)
        assert stream.read(300) == data[5:305]
    assert info.checksums["crc32c"] == Checksum.of("crc32c", data)
    most = engine.extents.max_files
    if most is not None:
        assert len(files(engine)) <= most
    engine.delete("big")
    assert files(engine) == []


def test_sessions_are_listed_by_key_until_they_end(engine: IndexedEngine, clock: Clock) -> None:
    a, b, c = begin(engine, "p/a"), begin(engine, "p/b"), begin(engine, "q")
    send(engine, b, 1, b"0123")
    found = list(engine.sessions("p/"))
    assert [(item.key, item.upload_id, item.received_bytes) for item in found] == [
        ("p/a", a.upload_id, 0),
        ("p/b", b.upload_id, 4),
    ]
    assert found[0].started == clock.now
    engine.discard_session(a.upload_id)
    engine.commit_session(c.upload_id, [], Wanted())
    assert [item.key for item in engine.sessions("")] == ["p/b"]


def test_a_list_of_sessions_goes_over_many_pages(engine: IndexedEngine) -> None:
    for _ in range(1001):
        begin(engine, "same")
    assert len({item.upload_id for item in engine.sessions("")}) == 1001


# --- what is played ---


def test_the_last_chunk_publishes_where_that_is_played(make: MakeEngine) -> None:
    engine = make(Manners(publish_last_chunk=True))
    state = begin(engine)
    send(engine, state, 3, b"89")
    send(engine, state, 1, b"0123")
    assert keys(engine) == []
    send(engine, state, 2, b"4567")
    assert get(engine, "big") == DATA
    assert engine.head("big").upload_id == state.upload_id
    with pytest.raises(SessionNotFound):
        engine.held(state.upload_id)


def test_the_last_chunk_is_refused_when_the_object_may_not_be(make: MakeEngine) -> None:
    engine = make(Manners(publish_last_chunk=True))
    put(engine, "big", b"before")
    state = begin(engine, spec=UploadSpec(if_absent=True))
    send(engine, state, 1, b"0123")
    send(engine, state, 2, b"4567")
    with pytest.raises(AlreadyExists):
        send(engine, state, 3, b"89")
    assert get(engine, "big") == b"before"


def test_the_last_chunk_cannot_be_told_when_the_size_is_unknown(make: MakeEngine) -> None:
    engine = make(Manners(publish_last_chunk=True))
    state = begin(engine, size=None)
    send_all(engine, state, DATA)
    assert keys(engine) == []


def test_a_sequential_session_takes_chunks_in_order_only(make: MakeEngine) -> None:
    engine = make(Manners(sequential=True))
    state = begin(engine)
    with pytest.raises(ChunkMismatch):
        engine.incoming_chunk(state.upload_id, 2, 4)
    send(engine, state, 1, b"0123")
    send(engine, state, 1, b"0123")
    send(engine, state, 2, b"4567")


# --- pieces ---


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 30), st.integers(0, 10))))
def test_joined_pieces_are_the_same_bytes(cuts: list[tuple[str, int, int]]) -> None:
    pieces = [Piece(*cut) for cut in cuts]

    def spots(some: list[Piece]) -> list[tuple[str, int]]:
        return [(piece.extent, piece.start + at) for piece in some for at in range(piece.size)]

    found = joined(pieces)
    assert spots(found) == spots(pieces)
    assert all(piece.size for piece in found)
    assert all((a.extent, a.start + a.size) != (b.extent, b.start) for a, b in pairwise(found))
