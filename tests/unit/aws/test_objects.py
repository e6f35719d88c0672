"""Objects at a server that has all the conditions that S3 documents: writes, deletions, versions, locks, batches."""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections.abc import Callable

import pytest

import blobkit
from blobkit.blobs import Checksum, Pin
from blobkit.errors import (
    AlreadyExists,
    BlobkitError,
    ChecksumMismatch,
    ObjectLocked,
    PermissionDenied,
    PreconditionFailed,
    SourceChanged,
)
from blobkit.store import Store

from .conftest import SEALING, Opened
from .strict import ACCESS, REGION, SECRET, Fault, StrictS3

VERSIONED = pytest.mark.parametrize("server", [{"versioned": True}], indirect=True)


# --- write ---


def test_a_checksum_that_was_given_is_sent_and_no_other(server: StrictS3, store: Store) -> None:
    store.write("k", b"12345", checksum=Checksum.of("sha256", b"12345"))
    sent = server.last("PutObject").headers
    assert sent["x-amz-checksum-sha256"] == base64.b64encode(hashlib.sha256(b"12345").digest()).decode()
    assert [name for name in sent if "checksum" in name] == ["x-amz-checksum-sha256"]
    with pytest.raises(ChecksumMismatch) as failure:
        store.write("k", b"54321", checksum=Checksum.of("sha256", b"12345"))
    assert failure.value.code == "BadDigest"
    assert store.read("k") == b"12345"


def test_a_write_whose_reply_was_lost_is_recognised(server: StrictS3, opened: Opened) -> None:
    for number, retries in enumerate((0, 2)):
        server.faults.append(Fault("PutObject", effect=True, lose=True))
        info = opened(retries=retries).write(f"k{number}", b"12345", if_absent=True)
        assert (info.size, server.operations().count("PutObject")) == (5, [1, 3][number])
    theirs = server.put("k9", b"12345")
    with pytest.raises(AlreadyExists):
        opened(retries=2).write("k9", b"12345", if_absent=True)
    assert server.current("k9") is theirs


def test_what_replaced_a_write_at_once_is_not_described(server: StrictS3, store: Store) -> None:
    server.faults.append(Fault("HeadObject", first=lambda: server.put("k", b"theirs, longer")))
    info = store.write("k", b"ours", content_type="image/png", metadata={"a": "1"})
    assert (info.size, info.content_type, dict(info.metadata)) == (4, "image/png", {"a": "1"})
    assert info.etag == hashlib.md5(b"ours", usedforsecurity=False).hexdigest()


def test_conditions_of_a_write(server: StrictS3, store: Store) -> None:
    first = store.write("k", b"1")
    second = store.write("k", b"2", if_match=first.pin)
    with pytest.raises(PreconditionFailed):
        store.write("k", b"3", if_match=first.pin)
    store.delete("k")
    with pytest.raises(PreconditionFailed):
        store.write("k", b"3", if_match=second.pin)
    assert server.current("k") is None


def test_a_retry_sends_the_body_from_where_the_file_stood(server: StrictS3, opened: Opened) -> None:
    file = io.BytesIO(b"skipped" + b"12345" * 1000)
    file.seek(7)
    server.faults.append(Fault("PutObject", 503, "SlowDown"))
    opened(retries=1).write("k", file)
    assert [seen.body for seen in server.seen if seen.operation == "PutObject"] == [b"12345" * 1000] * 2


def test_a_file_that_becomes_shorter_stores_nothing(server: StrictS3, store: Store) -> None:
    class Shrinking(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(size) if self.tell() < 10 else b""

    with pytest.raises(SourceChanged):
        store.write("k", Shrinking(b"x" * 300_000))
    assert server.current("k") is None


# --- delete ---


def test_a_deletion_of_one_content_leaves_another(server: StrictS3, store: Store) -> None:
    old = store.write("k", b"1")
    new = store.write("k", b"2")
    with pytest.raises(PreconditionFailed):
        store.delete("k", pin=old.pin)
    assert server.current("k") is not None
    store.delete("k", pin=new.pin)
    assert server.current("k") is None
    assert store.delete("k", pin=new.pin).error is None, "what is gone is gone"


@VERSIONED
def test_a_version_that_is_not_the_current_one_is_deleted_by_its_id_alone(server: StrictS3, store: Store) -> None:
    """S3 compares If-Match with the current version, whatever version is named."""
    old, new = store.write("k", b"1"), store.write("k", b"2")
    store.delete("k", version=old.version, pin=old.pin)
    assert [held.id for held in server.objects["k"]] == [new.version]
    assert "if-match" not in server.last("DeleteObject").headers
    with pytest.raises(PreconditionFailed):
        store.delete("k", version=new.version, pin=Pin(version=old.version))
    assert [held.id for held in server.objects["k"]] == [new.version]


@VERSIONED
def test_a_deletion_only_hides_and_purging_leaves_nothing(server: StrictS3, store: Store) -> None:
    server.page = 2
    for number in range(4):
        store.write("k", str(number).encode())
    store.write("k2", b"another key")
    assert store.delete("k").marker
    assert len(server.objects["k"]) == 5
    result = store.delete("k", purge_versions=True)
    assert (result.versions_left, server.objects["k"]) == (0, [])
    assert len(server.objects["k2"]) == 1


@VERSIONED
def test_purging_does_not_read_the_versions_of_every_longer_key(server: StrictS3, store: Store) -> None:
    server.page = 3
    store.write("a", b"1")
    for number in range(30):
        server.put(f"a{number:02}", b"1")
    store.delete("a", purge_versions=True)
    assert server.operations().count("ListObjectVersions") == 2


@VERSIONED
def test_purging_says_what_came_meanwhile(server: StrictS3, store: Store) -> None:
    store.write("k", b"1")
    server.faults.append(Fault("ListObjectVersions", skip=1, first=lambda: server.put("k", b"late")))
    assert store.delete("k", purge_versions=True).versions_left == 1


@VERSIONED
def test_a_lock_is_an_error_of_its_own_that_says_until_when(server: StrictS3, store: Store) -> None:
    infos = [store.write("k", str(number).encode()) for number in range(3)]
    server.objects["k"][1].locked = True
    calls: list[Callable[[], object]] = [
        lambda: store.delete("k", version=infos[1].version),
        lambda: store.delete("k", purge_versions=True),
    ]
    for call in calls:
        with pytest.raises(ObjectLocked) as failure:
            call()
        assert (failure.value.code, failure.value.http_status, failure.value.key) == ("AccessDenied", 403, "k")
        assert "retained until 2031-01-02T03:04:05+00:00 (compliance)" in str(failure.value)
        assert failure.value.request_id
    assert [held.id for held in server.objects["k"]] == [infos[1].version], "all the others were deleted"
    server.denied.add("GetObjectRetention")
    with pytest.raises(ObjectLocked):
        store.delete("k", version=infos[1].version)


def test_a_refusal_is_not_a_lock(server: StrictS3, store: Store) -> None:
    store.write("k", b"1")
    server.denied.add("DeleteObject")
    with pytest.raises(PermissionDenied) as failure:
        store.delete("k")
    assert not isinstance(failure.value, ObjectLocked)


def test_many_deletions_tell_each_failure_in_the_order_of_the_keys(server: StrictS3, store: Store) -> None:
    for key in ("a", "b locked", "c é"):
        store.write(key, b"1")
    results = store.delete_many(["c é", "b locked", "a", "nothing", "a"])
    assert [result.key for result in results] == ["c é", "b locked", "a", "nothing", "a"]
    assert [type(result.error) for result in results] == [type(None), ObjectLocked, *[type(None)] * 3]
    failure = results[1].error
    assert isinstance(failure, BlobkitError)
    assert (failure.code, bool(failure.request_id)) == ("AccessDenied", True)
    assert list(server.objects) == ["b locked"]


@pytest.mark.parametrize(
    ("profile", "operations", "header"),
    [
        ("aws", ["DeleteObjects"], "x-amz-checksum-crc32"),
        ("ceph", ["DeleteObjects"], "content-md5"),
        ("minio", ["DeleteObjects"], "content-md5"),
        ("custom", ["DeleteObject", "DeleteObject"], None),
    ],
)
def test_deletions_in_a_batch_carry_the_digest_that_the_service_knows(
    server: StrictS3, profile: str, operations: list[str], header: str | None
) -> None:
    url = f"s3://media/?profile={profile}&region={REGION}&endpoint={server.endpoint}"
    env = {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET}
    server.put("a", b"1")
    with blobkit.open_store(url, env=env, retries=0, sealing=SEALING) as store:
        assert [result.error for result in store.delete_many(["a", "b"])] == [None, None]
    assert server.operations() == operations
    if header is not None:
        digests = {
            name for name in server.seen[0].headers if name == "content-md5" or name.startswith("x-amz-checksum")
        }
        assert digests == {header}
    assert not server.objects.get("a")


# --- list ---


def test_listings_are_read_to_their_end(server: StrictS3, store: Store) -> None:
    server.page = 3
    for number in range(10):
        server.put(f"p/é {number}+", b"1")
    assert [info.key for info in store.list("p/")] == [f"p/é {number}+" for number in range(10)]
    assert [info.key for info in store.list("p/", start_after="p/é 7+")] == ["p/é 8+", "p/é 9+"]
    assert server.operations().count("ListObjectsV2") == 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this machine has no fork")
def test_a_forked_process_makes_connections_of_its_own(store: Store) -> None:
    from blobkit_aws import client

    before = client(store)
    store._calls.backend.sdk._pid -= 1  # type: ignore[attr-defined] # as if this were the child
    assert client(store) is not before
    assert client(store) is client(store)
