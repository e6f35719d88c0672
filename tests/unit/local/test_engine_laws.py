"""What every engine does with whole objects."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Sequence

import pytest
from tests.unit.local.conftest import MakeEngine
from tests.unit.local.helpers import WEIRD_KEYS, Clock, get, keys, put

from blobkit.blobs import BlobInfo, Checksum, Pin, Prefix
from blobkit.errors import (
    AlreadyExists,
    BlobNotFound,
    ChecksumMismatch,
    ConstraintViolated,
    PreconditionFailed,
)
from blobkit_local.engine import Attributes, Wanted
from blobkit_local.extents import PieceReader
from blobkit_local.indexed import IndexedEngine
from blobkit_local.rows import Piece

# --- reading and writing ---


@pytest.mark.parametrize("data", [b"", b"x", b"0123456789" * 1000])
def test_what_is_written_is_read(engine: IndexedEngine, data: bytes) -> None:
    info = put(engine, "k", data)
    assert get(engine, "k") == data
    assert info == engine.head("k")
    assert info.size == len(data)
    assert info.checksums["crc32c"] == Checksum.of("crc32c", data)


def test_everything_beside_the_bytes_is_kept(engine: IndexedEngine, clock: Clock) -> None:
    attributes = Attributes(
        content_type="text/plain; charset=utf-8",
        metadata={"owner": "u1", "note": "a b"},
        cache_control="no-store",
        content_disposition="inline",
        content_encoding="gzip",
        storage_class="COLD",
        upload_id="f" * 32,
    )
    put(engine, "k", attributes=attributes)
    info = engine.head("k")
    assert {name: getattr(info, name) for name in Attributes.__slots__} == {
        name: getattr(attributes, name) for name in Attributes.__slots__
    }
    assert info.modified == clock.now


def test_an_object_that_is_not_there_is_not_found(engine: IndexedEngine) -> None:
    with pytest.raises(BlobNotFound):
        engine.head("k")
    with pytest.raises(BlobNotFound):
        engine.open("k")
    with pytest.raises(BlobNotFound):
        engine.copy("k", "l")


def test_weird_keys_stay_apart_and_come_back_byte_for_byte(engine: IndexedEngine) -> None:
    for number, key in enumerate(WEIRD_KEYS):
        put(engine, key, str(number).encode())
    assert keys(engine) == sorted(WEIRD_KEYS, key=lambda key: key.encode())
    for number, key in enumerate(WEIRD_KEYS):
        assert engine.head(key).key == key
        assert get(engine, key) == str(number).encode()
        assert keys(engine, key)[0] == key
        engine.delete(key)
    assert keys(engine) == []


def test_a_reader_reads_any_range_and_stops_at_the_end(engine: IndexedEngine) -> None:
    put(engine, "k", b"0123456789")
    with engine.open("k")[1] as stream:
        assert stream.read(3) == b"012"
        assert stream.tell() == 3
        stream.seek(-2, io.SEEK_END)
        assert stream.read(100) == b"89"
        assert stream.read(1) == b""
        stream.seek(50)
        assert stream.read() == b""
        stream.seek(8)
        assert stream.seek(-4, io.SEEK_CUR) == 4
        buffer = bytearray(3)
        assert io.BufferedReader(stream).readinto(buffer) == 3  # type: ignore[type-var]
        assert bytes(buffer) == b"456"


def test_an_open_reader_survives_overwriting_and_deleting(engine: IndexedEngine) -> None:
    put(engine, "k", b"first")
    _, stream = engine.open("k")
    put(engine, "k", b"second")
    engine.delete("k")
    with stream:
        assert stream.read() == b"first"


def test_an_object_that_is_replaced_while_it_is_opened_is_opened_again(
    engine: IndexedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(engine, "k", b"first")
    reader = engine.reader
    turns = iter([b"second", b"third"])

    def meanwhile(pieces: Sequence[Piece]) -> PieceReader | None:
        if (data := next(turns, None)) is not None:
            put(engine, "k", data)
        return reader(pieces)

    monkeypatch.setattr(engine, "reader", meanwhile)
    info, stream = engine.open("k")
    with stream:
        assert stream.read() == b"third"
    assert info == engine.head("k")


def test_bytes_in_any_buffer_and_any_cut_are_the_same_object(engine: IndexedEngine) -> None:
    with engine.incoming("k", Attributes(), Wanted()) as incoming:
        incoming.write(b"ab")
        incoming.write(bytearray(b"cd"))
        incoming.write(memoryview(b"xefx")[1:3])
        incoming.write(b"")
        info = incoming.commit()
    assert get(engine, "k") == b"abcdef"
    assert info.checksums["crc32c"] == Checksum.of("crc32c", b"abcdef")


def test_etags_differ_even_for_the_same_bytes(engine: IndexedEngine) -> None:
    assert len({put(engine, "k").etag, put(engine, "k").etag, put(engine, "l").etag}) == 3


# --- what is wanted ---


def test_too_many_bytes_are_cut_off_while_they_stream_and_leave_what_was_there(engine: IndexedEngine) -> None:
    put(engine, "k", b"before")
    for wanted in (Wanted(size=4), Wanted(max_size=4), Wanted(min_size=1, max_size=4)):
        with engine.incoming("k", Attributes(), wanted) as incoming:
            incoming.write(b"1234")
            with pytest.raises(ConstraintViolated) as caught:
                incoming.write(b"5")
        assert caught.value.constraint == "size"
    assert get(engine, "k") == b"before"


@pytest.mark.parametrize("wanted", [Wanted(size=4), Wanted(min_size=4), Wanted(min_size=4, max_size=9)])
def test_too_few_bytes_are_refused_at_the_end(engine: IndexedEngine, wanted: Wanted) -> None:
    with engine.incoming("k", Attributes(), wanted) as incoming:
        incoming.write(b"123")
        with pytest.raises(ConstraintViolated):
            incoming.commit()
    assert keys(engine) == []


@pytest.mark.parametrize("algorithm", ["crc32c", "crc32", "md5", "sha1", "sha256"])
def test_a_checksum_is_checked_and_kept(engine: IndexedEngine, algorithm: str) -> None:
    right = Checksum.of(algorithm, b"data")
    assert put(engine, "k", b"data", checksum=right).checksums[algorithm] == right
    assert engine.head("k").checksums[algorithm] == right
    with pytest.raises(ChecksumMismatch):
        put(engine, "k", b"dat4", checksum=right)
    assert get(engine, "k") == b"data"


def test_only_the_checksum_that_is_wanted_is_computed_beside_crc32c(engine: IndexedEngine) -> None:
    assert set(put(engine, "k").checksums) == {"crc32c"}
    digest = Checksum("sha256", hashlib.sha256(b"data").digest())
    assert set(put(engine, "k", checksum=digest).checksums) == {"crc32c", "sha256"}


def test_if_absent_creates_and_never_overwrites(engine: IndexedEngine) -> None:
    put(engine, "k", b"first", if_absent=True)
    with pytest.raises(AlreadyExists):
        put(engine, "k", b"second", if_absent=True)
    assert get(engine, "k") == b"first"
    engine.delete("k")
    put(engine, "k", b"third", if_absent=True)
    assert get(engine, "k") == b"third"


def test_if_absent_is_decided_at_the_commit(engine: IndexedEngine) -> None:
    with engine.incoming("k", Attributes(), Wanted(if_absent=True)) as incoming:
        incoming.write(b"late")
        put(engine, "k", b"early")
        with pytest.raises(AlreadyExists):
            incoming.commit()
    assert get(engine, "k") == b"early"


def test_of_many_create_only_writers_one_wins(engine: IndexedEngine) -> None:
    writers = [engine.incoming("k", Attributes(), Wanted(if_absent=True)) for _ in range(8)]
    for number, writer in enumerate(writers):
        writer.write(bytes([number]))
    won: list[int] = []
    ready = threading.Barrier(len(writers))

    def commit(number: int) -> None:
        ready.wait()
        try:
            writers[number].commit()
        except AlreadyExists:
            return
        won.append(number)

    threads = [threading.Thread(target=commit, args=(number,)) for number in range(len(writers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert get(engine, "k") == bytes(won)


def test_if_match_replaces_only_what_was_named(engine: IndexedEngine) -> None:
    first = put(engine, "k", b"1")
    second = put(engine, "k", b"2", if_match=first.pin)
    with pytest.raises(PreconditionFailed):
        put(engine, "k", b"3", if_match=first.pin)
    assert get(engine, "k") == b"2"
    engine.delete("k")
    with pytest.raises(PreconditionFailed):
        put(engine, "k", b"3", if_match=second.pin)
    assert keys(engine) == []


def test_leaving_without_a_commit_changes_nothing(engine: IndexedEngine) -> None:
    put(engine, "k", b"before")
    with engine.incoming("k", Attributes(), Wanted()) as incoming:
        incoming.write(b"half")
    with engine.incoming("k", Attributes(), Wanted()) as incoming:
        incoming.write(b"half")
        incoming.discard()
        incoming.discard()
    assert get(engine, "k") == b"before"


def test_discarding_after_a_commit_does_nothing(engine: IndexedEngine) -> None:
    with engine.incoming("k", Attributes(), Wanted()) as incoming:
        incoming.write(b"data")
        incoming.commit()
        incoming.discard()
    assert get(engine, "k") == b"data"


# --- pins ---


def test_a_pin_opens_that_content_or_nothing(engine: IndexedEngine) -> None:
    old = put(engine, "k", b"old")
    assert get(engine, "k", pin=old.pin) == b"old"
    new = put(engine, "k", b"new")
    with pytest.raises(PreconditionFailed):
        engine.open("k", pin=old.pin)
    with pytest.raises(PreconditionFailed):
        engine.copy("k", "l", pin=old.pin)
    with pytest.raises(PreconditionFailed):
        engine.delete("k", pin=old.pin)
    assert engine.delete("k", pin=new.pin) == (False, 0)
    assert keys(engine) == []


# --- copying ---


def test_a_copy_has_the_bytes_and_everything_beside_them(engine: IndexedEngine, clock: Clock) -> None:
    attributes = Attributes(content_type="a/b", metadata={"x": "y"}, upload_id="e" * 32)
    digest = Checksum.of("sha256", b"data")
    source = put(engine, "k", b"data", attributes=attributes, checksum=digest)
    clock.tick()
    copy = engine.copy("k", "l")
    assert get(engine, "l") == b"data"
    assert (copy.content_type, copy.metadata, copy.upload_id) == ("a/b", {"x": "y"}, "e" * 32)
    assert copy.checksums == source.checksums
    assert copy.modified > source.modified
    assert copy.etag != source.etag


def test_a_copy_outlives_its_source_and_its_own_copies(engine: IndexedEngine) -> None:
    put(engine, "k", b"data")
    engine.copy("k", "l")
    engine.copy("l", "m")
    engine.delete("k")
    engine.delete("l")
    assert get(engine, "m") == b"data"


def test_a_copy_onto_itself_keeps_the_bytes(engine: IndexedEngine) -> None:
    put(engine, "k", b"data")
    engine.copy("k", "k")
    assert get(engine, "k") == b"data"


def test_a_copy_may_be_create_only(engine: IndexedEngine) -> None:
    put(engine, "k", b"data")
    put(engine, "l", b"there")
    with pytest.raises(AlreadyExists):
        engine.copy("k", "l", if_absent=True)
    assert get(engine, "l") == b"there"


def test_a_copy_to_another_engine_moves_the_bytes(make: MakeEngine) -> None:
    here, there = make(), make()
    info = put(here, "k", b"data" * 1000, attributes=Attributes(content_type="a/b"))
    copy = here.copy("k", "l", pin=info.pin, to=there)
    here.delete("k")
    assert get(there, "l") == b"data" * 1000
    assert copy.content_type == "a/b"
    assert keys(here) == []


# --- deleting ---


def test_deleting_is_idempotent_and_says_what_is_left(engine: IndexedEngine) -> None:
    put(engine, "k")
    assert engine.delete("k") == (False, 0)
    assert engine.delete("k") == (False, 0)
    assert engine.delete("k", pin=Pin(etag="x")) == (False, 0)


def test_nothing_is_left_of_deleted_and_overwritten_bytes(engine: IndexedEngine, clock: Clock) -> None:
    for _ in range(3):
        put(engine, "k", b"x" * 100)
    engine.copy("k", "l")
    for key in ("k", "l"):
        engine.delete(key)
    put(engine, "empty", b"")
    assert [name for batch in engine.extents.written_before(float("inf")) for name in batch] == []


# --- versions ---


def test_overwritten_and_deleted_objects_stay_readable_by_their_version(versioned: IndexedEngine) -> None:
    one, two = put(versioned, "k", b"1"), put(versioned, "k", b"2")
    assert one.version
    assert two.version
    assert versioned.delete("k") == (True, 2)
    with pytest.raises(BlobNotFound):
        versioned.head("k")
    assert keys(versioned) == []
    assert get(versioned, "k", version=one.version) == b"1"
    assert versioned.head("k", version=two.version) == two
    assert get(versioned, "k", pin=one.pin) == b"1"


def test_deleting_the_current_version_brings_the_one_before_back(versioned: IndexedEngine) -> None:
    put(versioned, "k", b"1")
    two = put(versioned, "k", b"2")
    assert versioned.delete("k", version=two.version) == (False, 1)
    assert get(versioned, "k") == b"1"
    with pytest.raises(BlobNotFound):
        versioned.head("k", version=two.version)


def test_purging_leaves_no_version_and_no_marker(versioned: IndexedEngine) -> None:
    one = put(versioned, "k", b"1")
    put(versioned, "k", b"2")
    versioned.delete("k")
    assert versioned.delete("k", purge_versions=True) == (False, 0)
    with pytest.raises(BlobNotFound):
        versioned.head("k", version=one.version)
    assert [name for batch in versioned.extents.written_before(float("inf")) for name in batch] == []


def test_a_create_only_write_goes_over_a_delete_marker(versioned: IndexedEngine) -> None:
    put(versioned, "k", b"1")
    versioned.delete("k")
    put(versioned, "k", b"2", if_absent=True)
    assert get(versioned, "k") == b"2"


def test_a_version_that_is_not_there_is_not_found(versioned: IndexedEngine) -> None:
    put(versioned, "k")
    with pytest.raises(BlobNotFound):
        versioned.head("k", version="0" * 32)
    assert versioned.delete("k", version="0" * 32) == (False, 1)


# --- listing ---


def test_listing_goes_by_bytes_over_many_pages(engine: IndexedEngine) -> None:
    for number in range(1203):
        put(engine, f"p/{number:04}", b"")
    put(engine, "p", b"")
    put(engine, "q", b"")
    found = keys(engine, "p/")
    assert found == [f"p/{number:04}" for number in range(1203)]
    assert [item.key for item in engine.list("p/", start_after="p/1100")] == found[1101:]
    assert [item.key for item in engine.list("p/", start_after="a")] == found
    assert [item.key for item in engine.list("p/", start_after="z")] == []


def test_a_delimiter_gathers_groups_however_large(engine: IndexedEngine) -> None:
    for number in range(1100):
        put(engine, f"a/{number:04}", b"")
    for key in ("a", "a0", "b/1/2", "b//", "c", "\U0010ffff/x"):
        put(engine, key, b"")
    found = [(type(item), item.key) for item in engine.list("", delimiter="/")]
    assert found == [
        (BlobInfo, "a"),
        (Prefix, "a/"),
        (BlobInfo, "a0"),
        (Prefix, "b/"),
        (BlobInfo, "c"),
        (Prefix, "\U0010ffff/"),
    ]
    assert [item.key for item in engine.list("b/", delimiter="/")] == ["b//", "b/1/"]
    assert [item.key for item in engine.list("a", delimiter="::")][:2] == ["a", "a/0000"]


def test_prefixes_at_the_ends_of_unicode_find_their_keys(engine: IndexedEngine) -> None:
    for key in ("\ud7ffx", "\ue000x", "\U0010ffffx"):
        put(engine, key, b"")
    for prefix in ("\ud7ff", "\ue000", "\U0010ffff"):
        assert keys(engine, prefix) == [prefix + "x"]
