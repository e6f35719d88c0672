"""Objects through the service: write, stat, list, copy, promote, delete, and the conditions on each."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from blobkit.backend import Feature
from blobkit.blobs import BlobInfo, Checksum, Pin, Prefix
from blobkit.errors import (
    AlreadyExists,
    BlobkitError,
    BlobNotFound,
    ConstraintViolated,
    InvalidArgument,
    PreconditionFailed,
    Unsupported,
)
from blobkit.testing.trial import Trial, random_bytes

DATA: Final = random_bytes(3000, seed=4)
OTHER: Final = random_bytes(3000, seed=5)
MANY: Final = 1100


def test_what_is_written_is_described_as_it_was_asked(trial: Trial) -> None:
    before = datetime.now(UTC) - timedelta(minutes=5)
    spec = {"content_type": "image/png", "cache_control": "private, max-age=5", "metadata": {"owner": "u1", "n": "2"}}
    written = trial.store.write(
        "k", DATA, content_type="image/png", cache_control="private, max-age=5", metadata={"owner": "u1", "n": "2"}
    )
    for info in (written, trial.store.stat("k")):
        assert info.key == "k"
        assert info.size == len(DATA)
        assert info.etag
        assert '"' not in info.etag
        assert info.content_type == spec["content_type"]
        assert info.cache_control == spec["cache_control"]
        assert dict(info.metadata) == spec["metadata"], "blobkit's own mark is not the user's metadata"
        assert info.modified.tzinfo is not None
        assert before < info.modified < datetime.now(UTC) + timedelta(minutes=5)
        for checksum in info.checksums.values():
            if not checksum.composite:
                assert checksum.same_as(Checksum.of(checksum.algorithm, DATA))
    assert written.upload_id is not None
    assert trial.store.stat("k").upload_id == written.upload_id


@pytest.mark.parametrize("size", [0, 1, 70_000])
def test_bytes_and_files_are_written_whole(trial: Trial, size: int) -> None:
    data = random_bytes(size, seed=size)
    trial.store.write("bytes", data)
    trial.store.write("view", memoryview(data))
    file = io.BytesIO(b"skipped" + data)
    file.seek(7)
    trial.store.write("file", file)
    for key in ("bytes", "view", "file"):
        trial.holds(key, data)


def test_a_source_that_breaks_leaves_what_was_there(trial: Trial) -> None:
    class Breaking(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() >= 1000:
                raise OSError("the disk is gone")
            return super().read(1000)

    class Short(io.BytesIO):
        def seek(self, offset: int, whence: int = 0) -> int:
            return super().seek(offset, whence) + (500 if whence == io.SEEK_END else 0)

    trial.store.write("k", DATA)
    with pytest.raises(OSError, match="the disk is gone"):
        trial.store.write("k", Breaking(OTHER))
    trial.holds("k", DATA)
    with pytest.raises(BlobkitError):
        trial.store.write("k", Short(OTHER))
    trial.holds("k", DATA)


def test_write_refuses_data_that_break_the_spec_before_anything_is_sent(trial: Trial) -> None:
    trial.store.write("k", DATA)
    calls: tuple[Callable[[], object], ...] = (
        lambda: trial.store.write("k", OTHER, size=5),
        lambda: trial.store.write("k", OTHER, max_size=5),
        lambda: trial.store.write("k", OTHER, min_size=5000),
    )
    for call in calls:
        with pytest.raises(ConstraintViolated) as found:
            call()
        assert found.value.constraint == "size"
    with pytest.raises(BlobkitError):
        trial.store.write("k", OTHER, checksum=Checksum.of("sha256", DATA))
    trial.holds("k", DATA)


def test_write_if_absent_never_overwrites(trial: Trial) -> None:
    if not trial.declares(Feature.IF_ABSENT):
        with pytest.raises(Unsupported):
            trial.store.write("k", DATA, if_absent=True)
        trial.nothing_at("k")
        return
    trial.store.write("k", DATA, if_absent=True)
    with pytest.raises(AlreadyExists) as found:
        trial.store.write("k", OTHER, if_absent=True)
    assert isinstance(found.value, FileExistsError)
    assert found.value.key == "k"
    trial.holds("k", DATA)


def test_of_many_writers_if_absent_one_wins(trial: Trial) -> None:
    if not trial.declares(Feature.IF_ABSENT):
        with pytest.raises(Unsupported):
            trial.store.write("k", DATA, if_absent=True)
        return
    bodies = [random_bytes(2000, seed=10 + number) for number in range(6)]

    def attempt(data: bytes) -> bytes | None:
        try:
            trial.store.write("k", data, if_absent=True)
        except AlreadyExists:
            return None
        return data

    with ThreadPoolExecutor(6) as pool:
        winners = [data for data in pool.map(attempt, bodies) if data is not None]
    assert len(winners) == 1
    trial.holds("k", winners[0])


def test_write_if_match_replaces_only_what_was_seen(trial: Trial) -> None:
    seen = trial.store.write("k", DATA)
    if not trial.declares(Feature.IF_MATCH):
        with pytest.raises(Unsupported):
            trial.store.write("k", OTHER, if_match=seen.pin)
        trial.holds("k", DATA)
        return
    newer = trial.store.write("k", OTHER, if_match=seen.pin)
    with pytest.raises(PreconditionFailed):
        trial.store.write("k", b"lost update", if_match=seen.pin)
    trial.holds("k", OTHER)
    trial.store.delete("k")
    with pytest.raises((PreconditionFailed, BlobNotFound)):
        trial.store.write("k", b"of nothing", if_match=newer.pin)
    trial.nothing_at("k")
    with pytest.raises(InvalidArgument):
        trial.store.write("k", DATA, if_match=seen.pin, if_absent=True)


def test_copy_keeps_bytes_type_and_metadata(trial: Trial) -> None:
    trial.store.write("from", DATA, content_type="image/png", metadata={"owner": "u1"}, cache_control="no-store")
    if not trial.declares(Feature.COPY):
        with pytest.raises(Unsupported):
            trial.store.copy("from", "to")
        trial.nothing_at("to")
        return
    assert trial.store.copy("from", "to").key == "to"
    info = trial.holds("to", DATA)
    assert (info.content_type, dict(info.metadata), info.cache_control) == ("image/png", {"owner": "u1"}, "no-store")
    trial.holds("from", DATA)


def test_copy_to_another_place_of_the_same_provider_names_the_targets_key(trial: Trial) -> None:
    trial.store.write("from", DATA)
    tenant = trial.store.at("tenant/")
    if not trial.declares(Feature.COPY):
        with pytest.raises(Unsupported):
            trial.store.copy("from", "to", to=tenant)
        return
    assert trial.store.copy("from", "to", to=tenant).key == "to"
    assert tenant.read("to") == DATA
    assert trial.store.read("tenant/to") == DATA


def test_a_copy_of_nothing_is_not_found(trial: Trial) -> None:
    error = BlobNotFound if trial.declares(Feature.COPY) else Unsupported
    with pytest.raises(error):
        trial.store.copy("nothing", "to")
    trial.nothing_at("to")


def test_a_copy_if_absent_never_overwrites(trial: Trial) -> None:
    trial.store.write("from", DATA)
    trial.store.write("to", OTHER)
    error = AlreadyExists if trial.declares(Feature.COPY_IF_ABSENT) else Unsupported
    with pytest.raises(error):
        trial.store.copy("from", "to", if_absent=True)
    trial.holds("to", OTHER)


def test_what_was_checked_is_what_is_promoted_or_nothing_is(trial: Trial) -> None:
    """Time of check, time of use: whoever replaces the object in between never gets the replacement published."""
    checked = trial.store.write("incoming", DATA)
    trial.store.write("incoming", OTHER)
    if not trial.declares(Feature.COPY):
        with pytest.raises(Unsupported):
            trial.store.promote(checked, "public", if_absent=False)
        trial.nothing_at("public")
        return
    try:
        trial.store.promote(checked, "public", if_absent=False)
    except PreconditionFailed:
        trial.nothing_at("public")
    else:
        trial.holds("public", DATA)
        assert trial.declares(Feature.VERSIONS), "without versions the checked content is gone: it must say so"


def test_promote_publishes_what_is_unchanged_and_does_not_overwrite(trial: Trial) -> None:
    checked = trial.store.write("incoming", DATA, content_type="image/png")
    if not trial.declares(Feature.COPY_IF_ABSENT):
        with pytest.raises(Unsupported):
            trial.store.promote(checked, "public")
        return
    assert trial.store.promote(checked, "public").key == "public"
    assert trial.holds("public", DATA).content_type == "image/png"
    with pytest.raises(AlreadyExists):
        trial.store.promote(checked, "public")


def test_delete_is_idempotent(trial: Trial) -> None:
    trial.store.write("k", DATA)
    assert trial.store.delete("k").error is None
    assert trial.store.delete("k").error is None
    assert trial.store.delete("never there").error is None
    trial.nothing_at("k")


def test_a_pinned_delete_spares_what_came_after(trial: Trial) -> None:
    seen = trial.store.write("k", DATA)
    if not trial.declares(Feature.DELETE_PINNED):
        with pytest.raises(Unsupported):
            trial.store.delete("k", pin=seen.pin)
        trial.holds("k", DATA)
        return
    newer = trial.store.write("k", OTHER)
    if trial.store.capabilities.has(Feature.VERSIONS):
        with suppress(PreconditionFailed):  # or it deletes exactly the version that is pinned
            trial.store.delete("k", pin=seen.pin)
    else:
        with pytest.raises(PreconditionFailed):
            trial.store.delete("k", pin=seen.pin)
    trial.holds("k", OTHER)
    with pytest.raises(PreconditionFailed):
        trial.store.delete("k", pin=Pin(etag="0" * 32))
    trial.holds("k", OTHER)
    trial.store.delete("k", pin=newer.pin)
    trial.nothing_at("k")


def test_delete_many_answers_each_key_in_order(trial: Trial) -> None:
    for key in ("a", "b", "c"):
        trial.store.write(key, DATA)
    results = trial.store.delete_many(["c", "nothing", "a"])
    assert [(result.key, result.error) for result in results] == [("c", None), ("nothing", None), ("a", None)]
    assert [blob.key for blob in trial.store.list()] == ["b"]
    assert trial.store.delete_many([]) == []


def test_a_listing_of_more_than_a_page_is_whole_ordered_and_continues_anywhere(trial: Trial) -> None:
    keys = [f"many/{number:05}" for number in range(MANY)] + ["many", "many!", "zz/é", "zz/e", "zz/Z"]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: trial.upload(trial.sign_upload(key), b"1"), keys))
    by_bytes = sorted(keys, key=str.encode)
    listed = [blob.key for blob in trial.store.list()]
    assert len(listed) == len(set(listed))
    if trial.declares(Feature.ORDERED_LIST):
        assert listed == by_bytes
    else:
        assert sorted(listed, key=str.encode) == by_bytes
    assert sum(1 for _ in trial.store.list("many/")) == MANY
    assert sorted(blob.key for blob in trial.store.list("many/0109")) == [f"many/{n:05}" for n in range(1090, 1100)]
    assert sorted(blob.key for blob in trial.store.list("many")) == sorted(
        key for key in keys if key.startswith("many")
    )
    assert list(trial.store.list("nothing/")) == []
    if trial.declares(Feature.START_AFTER):
        after = [blob.key for blob in trial.store.list("many/", start_after="many/00989")]
        assert after == [f"many/{number:05}" for number in range(990, MANY)]
        assert [blob.key for blob in trial.store.list(start_after="many/01099")] == [
            key for key in by_bytes if key.encode() > b"many/01099"
        ]
    else:
        with pytest.raises(Unsupported):
            list(trial.store.list(start_after="many/00989"))
    if trial.declares(Feature.LIST_DIR):
        assert level(trial) == {"many", "many!", "many/*", "zz/*"}
        assert level(trial, "zz/") == {"zz/é", "zz/e", "zz/Z"}
        assert len(level(trial, "many/")) == MANY
    else:
        with pytest.raises(Unsupported):
            list(trial.store.list_dir())
    assert [result.error for result in trial.store.delete_many(keys)] == [None] * len(keys)
    assert list(trial.store.list()) == []


def level(trial: Trial, prefix: str = "", delimiter: str = "/") -> set[str]:
    """One level of a listing, with groups marked by a star; each must be told once."""
    items = list(trial.store.list_dir(prefix, delimiter=delimiter))
    found = [item.key if isinstance(item, BlobInfo) else item.key + "*" for item in items]
    assert len(found) == len(set(found))
    assert all(isinstance(item, BlobInfo | Prefix) for item in items)
    return set(found)


def test_a_directory_listing_groups_by_any_delimiter(trial: Trial) -> None:
    for key in ("a/1", "a/2", "a/b/3", "b", "a-1", "a-2", "/c", "d//e", "f/"):
        trial.store.write(key, b"1")
    if not trial.declares(Feature.LIST_DIR):
        with pytest.raises(Unsupported):
            list(trial.store.list_dir())
        return
    assert level(trial) == {"a/*", "b", "a-1", "a-2", "/*", "d/*", "f/*"}
    assert level(trial, "a/") == {"a/1", "a/2", "a/b/*"}
    assert level(trial, "d/") == {"d//*"}
    assert level(trial, "f/") == {"f/"}
    assert level(trial, "a") == {"a/*", "a-1", "a-2"}
    assert level(trial, "a", "-") == {"a-*", "a/1", "a/2", "a/b/3"}
    with pytest.raises(InvalidArgument):
        list(trial.store.list_dir(delimiter=""))


def test_blobkits_own_keys_are_in_no_listing(trial: Trial) -> None:
    """A staged session keeps its bytes below ``.blobkit/``, where no verb reaches."""
    session = trial.start("target", size=10, staging=True) if trial.store.capabilities.has(Feature.CHUNKED) else None
    trial.store.write("k", DATA)
    if session is not None:
        trial.put_all(session, DATA[:10])
    assert [blob.key for blob in trial.store.list()] == ["k"]
    assert [blob.key for blob in trial.store.list(".")] == []
    if trial.store.capabilities.has(Feature.LIST_DIR):
        assert level(trial) == {"k"}
    if session is not None:
        session.abort()


def test_a_write_larger_than_one_put_names_the_way_out(trial: Trial) -> None:
    limit = trial.store.capabilities.limits.max_put

    class Huge(io.BytesIO):
        def seek(self, offset: int, whence: int = 0) -> int:
            return limit + 1 if whence == io.SEEK_END else super().seek(offset, whence)

    with pytest.raises(InvalidArgument) as found:
        trial.store.write("k", Huge())
    assert "start_upload" in str(found.value)
    trial.nothing_at("k")
