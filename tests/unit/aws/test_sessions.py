"""Multipart uploads at a server that fails as S3 documents: lost replies, errors in a 200, conflicts, parts that come late."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest

import blobkit
from blobkit.errors import (
    AlreadyExists,
    BlobkitError,
    ChecksumMismatch,
    ConnectionFailed,
    ConstraintViolated,
    PermissionDenied,
    PreconditionFailed,
    SessionNotFound,
    Throttled,
    Unavailable,
)
from blobkit.session import UploadSession
from blobkit.store import Store

from .conftest import Opened
from .strict import Fault, StrictS3

PART = 5 * blobkit.MiB
DATA = b"all that there is"


def sent(store: Store, key: str = "k", *, data: bytes = DATA, **more: object) -> UploadSession:
    """A session whose chunks have all arrived."""
    session = store.start_upload(key, size=len(data), chunk_size=PART, **more)  # type: ignore[arg-type]
    with httpx.Client(trust_env=False) as client:
        for chunk in session.sign_chunks():
            body = data[chunk.offset : chunk.offset + chunk.size]
            assert client.put(chunk.url.reveal(), content=body).status_code == 200
    return session


def test_everything_is_said_at_the_start_and_the_size_at_the_end(server: StrictS3, opened: Opened) -> None:
    store = opened("&sse=AES256&acl=private&tagging=a=1")
    session = sent(
        store, content_type="image/png", metadata={"owner": "u1"}, storage_class="STANDARD_IA", if_absent=True
    )
    begun = server.last("CreateMultipartUpload").headers
    assert begun["content-type"] == "image/png"
    assert begun["x-amz-meta-owner"] == "u1"
    assert begun["x-amz-meta-blobkitupload"] == session.upload_id
    assert begun["x-amz-storage-class"] == "STANDARD_IA"
    assert begun["x-amz-server-side-encryption"] == "AES256"
    assert (begun["x-amz-acl"], begun["x-amz-tagging"]) == ("private", "a=1")
    info = session.complete()
    ended = server.last("CompleteMultipartUpload").headers
    assert ended["x-amz-mp-object-size"] == str(len(DATA))
    assert ended["if-none-match"] == "*"
    assert (info.size, info.content_type, dict(info.metadata)) == (len(DATA), "image/png", {"owner": "u1"})
    assert info.upload_id == session.upload_id
    assert session.complete() == info, "a second call finds what the first made"


def test_no_request_carries_a_checksum_that_nobody_asked_for(server: StrictS3, store: Store) -> None:
    sent(store).complete()
    store.write("small", b"12345")
    store.copy("small", "copied")
    with store.open("small") as file:
        file.read()
    for seen in server.seen:
        added = [
            name for name in seen.headers if name.startswith(("x-amz-checksum", "x-amz-sdk-checksum", "content-md5"))
        ]
        added = [name for name in added if name != "x-amz-checksum-mode"]  # asks for the stored ones
        assert added == [], seen.operation
        assert "aws-chunked" not in seen.headers.get("content-encoding", "")
        assert "x-amz-trailer" not in seen.headers


def test_the_list_of_parts_is_read_to_its_end(server: StrictS3, store: Store) -> None:
    server.page = 2
    session = store.start_upload("k", size=6 * PART + 1, chunk_size=PART)
    (upload,) = server.uploads.values()
    for chunk in session.chunks:
        upload.parts[chunk.number] = (b"p" * chunk.size, f"etag{chunk.number}")
    del upload.parts[5]
    status = session.status()
    assert (status.received, status.missing) == ((1, 2, 3, 4, 6, 7), (5,))
    assert server.operations().count("ListParts") == 3
    upload.parts[5] = (b"p" * PART, "etag5")
    assert session.complete().size == 6 * PART + 1


def test_all_pages_of_unfinished_uploads_are_read(server: StrictS3, store: Store) -> None:
    server.page = 2
    for number in range(5):
        store.start_upload(f"p/{number}", size=1)
    store.start_upload("other", size=1)
    assert [pending.key for pending in store.list_uploads("p/")] == [f"p/{number}" for number in range(5)]
    assert len(store.sweep_uploads(older_than=timedelta(0))) == 6
    assert server.uploads == {}


# --- complete ---


def test_an_error_in_a_200_is_an_error_and_complete_can_be_called_again(server: StrictS3, store: Store) -> None:
    session = sent(store)
    server.faults.append(Fault("CompleteMultipartUpload", 200, "InternalError"))
    with pytest.raises(Unavailable) as failure:
        session.complete()
    assert (failure.value.code, failure.value.retryable) == ("InternalError", True)
    assert failure.value.request_id
    assert server.current("k") is None
    assert session.complete().size == len(DATA)


def test_an_error_in_a_200_is_tried_again_by_the_sdk(server: StrictS3, opened: Opened) -> None:
    session = sent(opened(retries=2))
    server.faults.append(Fault("CompleteMultipartUpload", 200, "InternalError"))
    assert session.complete().size == len(DATA)
    assert server.operations().count("CompleteMultipartUpload") == 2


@pytest.mark.parametrize("if_absent", [False, True])
@pytest.mark.parametrize("retries", [0, 2], ids=["no-retry", "retried"])
@pytest.mark.parametrize("how", ["lost", "error-after-commit"])
def test_a_lost_reply_is_recognised(server: StrictS3, opened: Opened, if_absent: bool, retries: int, how: str) -> None:
    session = sent(opened(retries=retries), if_absent=if_absent)
    fault = Fault("CompleteMultipartUpload", effect=True, lose=True)
    if how == "error-after-commit":
        fault = Fault("CompleteMultipartUpload", 500, "InternalError", effect=True)
    server.faults.append(fault)
    info = session.complete()
    assert (info.size, info.upload_id) == (len(DATA), session.upload_id)
    assert "DeleteObject" not in server.operations()


def test_an_object_of_somebody_else_is_not_taken_for_ours(server: StrictS3, store: Store) -> None:
    session = sent(store)
    server.faults.append(Fault("CompleteMultipartUpload", lose=True, first=lambda: server.put("k", DATA)))
    with pytest.raises(ConnectionFailed):
        session.complete()
    session.abort()
    with pytest.raises(SessionNotFound):
        session.complete()
    assert server.current("k") is not None


def test_a_412_of_complete_is_already_exists_and_the_upload_is_aborted(server: StrictS3, store: Store) -> None:
    session = sent(store, if_absent=True)
    theirs = server.put("k", b"theirs")
    with pytest.raises(AlreadyExists) as failure:
        session.complete()
    assert (failure.value.http_status, failure.value.key) == (412, "k")
    assert server.uploads == {}, "the upload stays open after a 412: it was aborted"
    assert server.current("k") is theirs


def test_a_409_of_complete_says_to_start_over_and_leaves_nothing_open(server: StrictS3, store: Store) -> None:
    session = sent(store, if_absent=True)
    server.faults.append(Fault("CompleteMultipartUpload", 409, "ConditionalRequestConflict"))
    with pytest.raises(PreconditionFailed) as failure:
        session.complete()
    assert failure.value.http_status == 409
    assert "start over" in str(failure.value)
    assert server.uploads == {}
    assert session.status().state == "gone"


def test_the_object_that_replaced_ours_at_once_is_neither_described_nor_deleted(server: StrictS3, store: Store) -> None:
    session = sent(store, metadata={"owner": "u1"})
    ours = len(DATA)
    server.faults.append(Fault("HeadObject", first=lambda: server.put("k", b"theirs, and of another size")))
    info = session.complete()
    assert (info.size, info.upload_id, dict(info.metadata)) == (ours, session.upload_id, {"owner": "u1"})
    assert info.etag.endswith("-1")
    theirs = server.current("k")
    assert theirs is not None
    assert theirs.data.startswith(b"theirs")


@pytest.mark.parametrize("server", [{"versioned": True}], indirect=True)
def test_where_versions_are_kept_the_version_that_was_made_is_described(server: StrictS3, store: Store) -> None:
    session = sent(store)
    server.faults.append(Fault("HeadObject", first=lambda: server.put("k", b"theirs")))
    info = session.complete()
    assert info.size == len(DATA)
    assert server.objects["k"][0].id == info.version


def test_a_checksum_of_the_whole_is_verified_before_the_object_appears(server: StrictS3, store: Store) -> None:
    before = server.put("k", b"before")
    wrong = sent(store, checksum=blobkit.Checksum.of("sha256", b"other bytes"))
    assert wrong.staged
    with pytest.raises((ChecksumMismatch, ConstraintViolated)):
        wrong.complete()
    assert server.current("k") is before
    assert [key for key, held in server.objects.items() if held] == ["k"]
    right = sent(store, checksum=blobkit.Checksum.of("sha256", DATA))
    assert right.complete().size == len(DATA)
    assert [key for key, held in server.objects.items() if held] == ["k"], "nothing is left in the staging area"


# --- abort ---


def test_abort_is_repeated_until_no_part_is_left(server: StrictS3, store: Store) -> None:
    session = sent(store)
    server.late_parts = 3
    assert session.abort().discarded
    assert server.uploads == {}
    assert server.operations().count("AbortMultipartUpload") == 4
    assert session.abort().discarded, "idempotent"


def test_parts_that_never_stop_are_told(server: StrictS3, store: Store) -> None:
    session = sent(store)
    server.late_parts = 100
    assert not session.abort().discarded


def test_abort_never_touches_what_was_completed(server: StrictS3, store: Store) -> None:
    session = sent(store)
    session.complete()
    assert session.abort().discarded
    assert server.current("k") is not None


# --- start ---


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault("CreateMultipartUpload", 403, "AccessDenied"), PermissionDenied),
        (Fault("CreateMultipartUpload", 503, "SlowDown"), Throttled),
        (Fault("CreateMultipartUpload", lose=True), ConnectionFailed),
    ],
    ids=["denied", "throttled", "lost"],
)
def test_a_start_that_failed_leaves_nothing_behind(
    server: StrictS3, store: Store, fault: Fault, kind: type[BlobkitError]
) -> None:
    server.faults.append(fault)
    with pytest.raises(kind):
        store.start_upload("k", size=1)
    assert server.uploads == {}
    assert server.objects == {}


def test_a_token_that_would_be_too_long_leaves_no_upload_behind(server: StrictS3, store: Store) -> None:
    spec = blobkit.UploadSpec(
        metadata={"a": "x" * 1900}, content_disposition="y" * 900, cache_control="z" * 900, content_encoding="w" * 900
    )
    with pytest.raises(BlobkitError):
        store.start_upload("k" * 1000, size=1, spec=spec)
    assert "CreateMultipartUpload" in server.operations()
    assert server.uploads == {}


def test_an_upload_that_must_be_new_is_refused_before_it_is_started(server: StrictS3, store: Store) -> None:
    server.put("k", b"there")
    with pytest.raises(AlreadyExists):
        store.start_upload("k", size=1, if_absent=True)
    assert "CreateMultipartUpload" not in server.operations()
