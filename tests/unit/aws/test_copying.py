"""Copies: pinned, with everything that the source has, of any size, and nothing half made."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

import blobkit
from blobkit.blobs import BlobInfo, Pin
from blobkit.errors import (
    AlreadyExists,
    BlobNotFound,
    ConnectionFailed,
    InvalidArgument,
    PermissionDenied,
    PreconditionFailed,
    Unavailable,
    Unsupported,
)
from blobkit.store import Store
from blobkit_aws import client
from blobkit_aws.copying import Place, copy

from .conftest import Opened
from .strict import Fault, StrictS3, Version

HEADERS = {
    "content-type": "image/png",
    "cache-control": "no-store",
    "content-disposition": "attachment",
    "content-encoding": "gzip",
    "content-language": "de",
    "expires": "Thu, 01 Jan 2032 00:00:00 GMT",
    "x-amz-website-redirect-location": "/elsewhere",
    "x-amz-storage-class": "STANDARD_IA",
    "x-amz-meta-owner": "u1",
    "x-amz-meta-blobkitupload": "f" * 32,
}
DATA = bytes(range(256)) * 5
ByParts = Callable[..., BlobInfo]


@pytest.fixture
def by_parts(store: Store) -> ByParts:
    """Copies in parts of 500 bytes whatever has more than 1,000: the code that takes over above 5 GiB."""

    def run(source: str, target: str, *, pin: Pin | None = None, if_absent: bool = False, **more: Any) -> BlobInfo:
        places = Place("media", source), Place("media", target)
        settings = {"own": {}, "single": 1000, "part": 500, **more}
        return copy(client(store), *places, pin=pin, if_absent=if_absent, **settings)

    return run


def kept(made: Version | None) -> dict[str, str]:
    assert made is not None
    return {name: value for name, value in made.headers.items() if name in HEADERS}


def test_a_small_object_is_copied_by_one_request_with_all_that_it_has(server: StrictS3, store: Store) -> None:
    source = server.put("a b/é", DATA, HEADERS, "x=1&y=%C3%BC")
    info = store.copy("a b/é", "target")
    made = server.current("target")
    assert made is not None
    assert (made.data, kept(made), made.tags) == (DATA, HEADERS, source.tags)
    assert (info.key, info.size, info.etag, info.content_type) == ("target", len(DATA), made.etag, "image/png")
    assert "CreateMultipartUpload" not in server.operations()
    assert server.last("CopyObject").headers["x-amz-copy-source-if-match"].strip('"') == source.etag


def test_a_large_object_is_copied_in_parts_with_all_that_it_has(server: StrictS3, by_parts: ByParts) -> None:
    server.put("source", DATA, HEADERS, "x=1&y=%C3%BC+z")
    info = by_parts("source", "target")
    made = server.current("target")
    assert made is not None
    assert (made.data, kept(made), made.tags) == (DATA, HEADERS, "x=1&y=%C3%BC+z")
    assert (info.size, info.upload_id) == (len(DATA), "f" * 32)
    assert server.operations().count("UploadPartCopy") == 3
    assert server.uploads == {}


@pytest.mark.parametrize("large", [False, True])
def test_the_targets_own_settings_win_but_for_the_tags(server: StrictS3, opened: Opened, large: bool) -> None:
    server.put("source", DATA, HEADERS)
    target = opened("&sse=AES256&acl=private&tagging=own=1")
    own = {"ServerSideEncryption": "AES256", "ACL": "private", "Tagging": "own=1"}
    limits = {"single": 1000, "part": 500} if large else {}
    places = Place("media", "source"), Place("media", "target")
    copy(client(target), *places, pin=None, if_absent=False, own=own, **limits)  # type: ignore[arg-type]
    made = server.current("target")
    assert made is not None
    assert (made.headers["x-amz-server-side-encryption"], made.tags) == ("AES256", "")
    store_copy = target.copy("source", "third")
    assert store_copy.size == len(DATA)
    assert server.last("CopyObject").headers.get("x-amz-server-side-encryption") == "AES256"


@pytest.mark.parametrize("large", [False, True])
def test_the_source_is_pinned_by_its_etag(server: StrictS3, by_parts: ByParts, large: bool) -> None:
    data = DATA if large else DATA[:900]
    pin = Pin(etag=server.put("source", data).etag)
    operation = "UploadPartCopy" if large else "CopyObject"
    server.faults.append(Fault(operation, skip=1 if large else 0, first=lambda: server.put("source", data + b"!")))
    with pytest.raises(Exception, match="PreconditionFailed") as failure:
        by_parts("source", "target", pin=pin)
    assert not isinstance(failure.value, AlreadyExists)
    with pytest.raises(PreconditionFailed):  # now it shows at once
        by_parts("source", "target", pin=pin)
    assert server.current("target") is None
    assert server.uploads == {}, "the copy that failed was aborted"


@pytest.mark.parametrize("server", [{"versioned": True}], indirect=True)
@pytest.mark.parametrize("size", [900, 1280])
def test_a_pinned_version_is_copied_though_it_is_not_the_current_one(
    server: StrictS3, by_parts: ByParts, size: int
) -> None:
    old = server.put("source", DATA[:size])
    server.put("source", b"new")
    info = by_parts("source", "target", pin=Pin(etag=old.etag, version=old.id))
    made = server.current("target")
    assert made is not None
    assert (made.data, info.version) == (DATA[:size], made.id)


@pytest.mark.parametrize("size", [900, 1280])
def test_a_target_that_must_be_absent_and_is_not_is_left_alone(server: StrictS3, by_parts: ByParts, size: int) -> None:
    server.put("source", DATA[:size])
    theirs = server.put("target", b"theirs")
    with pytest.raises(AlreadyExists) as failure:
        by_parts("source", "target", if_absent=True)
    assert failure.value.key == "target"
    assert server.current("target") is theirs
    assert server.uploads == {}


@pytest.mark.parametrize("size", [900, 1280])
@pytest.mark.parametrize("if_absent", [False, True])
def test_a_copy_whose_reply_was_lost_is_recognised(
    server: StrictS3, opened: Opened, size: int, if_absent: bool
) -> None:
    server.put("source", DATA[:size], HEADERS)
    operation = "CopyObject" if size < 1000 else "CompleteMultipartUpload"
    server.faults.append(Fault(operation, effect=True, lose=True))
    info = copy(
        client(opened(retries=2)),
        Place("media", "source"),
        Place("media", "target"),
        pin=None,
        if_absent=if_absent,
        own={},
        single=1000,
        part=500,
    )
    assert (info.key, info.size) == ("target", size)
    assert server.uploads == {}


@pytest.mark.parametrize("size", [900, 1280])
def test_an_error_in_a_200_is_an_error(server: StrictS3, store: Store, by_parts: ByParts, size: int) -> None:
    server.put("source", DATA[:size])
    server.faults.append(Fault("CopyObject" if size < 1000 else "UploadPartCopy", 200, "InternalError"))
    with pytest.raises(Exception, match="InternalError") as failure:
        by_parts("source", "target")
    known = store._calls.translate(failure.value)
    assert isinstance(known, Unavailable)
    assert server.current("target") is None
    assert server.uploads == {}


@pytest.mark.parametrize("broken", ["UploadPartCopy", "CompleteMultipartUpload"])
def test_a_copy_that_breaks_off_is_aborted(server: StrictS3, by_parts: ByParts, broken: str) -> None:
    server.put("source", DATA)
    server.faults.append(Fault(broken, lose=True))
    server.late_parts = 2
    with pytest.raises(Exception, match="Connection"):
        by_parts("source", "target")
    assert server.uploads == {}
    assert server.current("target") is None


def test_what_replaced_the_copy_at_once_is_not_described(server: StrictS3, store: Store) -> None:
    source = server.put("source", DATA, HEADERS)
    server.faults.append(Fault("HeadObject", skip=1, first=lambda: server.put("target", b"theirs")))
    info = store.copy("source", "target")
    assert (info.key, info.etag, info.size) == ("target", source.etag, len(DATA))


@pytest.mark.parametrize(
    ("code", "status"), [("NotImplemented", 501), ("MethodNotAllowed", 405), ("NoSuchTagSet", 404)]
)
def test_a_service_without_tags_copies_without_them(
    server: StrictS3, by_parts: ByParts, code: str, status: int
) -> None:
    server.put("source", DATA)
    server.faults.append(Fault("GetObjectTagging", status, code))
    assert by_parts("source", "target").size == len(DATA)


def test_tags_that_may_not_be_read_are_not_lost_in_silence(server: StrictS3, store: Store, by_parts: ByParts) -> None:
    server.put("source", DATA, tags="a=1")
    server.denied.add("GetObjectTagging")
    with pytest.raises(Exception, match="AccessDenied") as failure:
        by_parts("source", "target")
    assert isinstance(store._calls.translate(failure.value), PermissionDenied)
    assert server.uploads == {}


def test_the_parts_of_the_largest_objects_are_not_too_many(store: Store) -> None:
    """48.8 TiB in 512 MiB would be a hundred thousand."""
    asked: list[dict[str, Any]] = []

    class Fake:
        def head_object(self, **params: Any) -> dict[str, Any]:
            from datetime import UTC, datetime

            size = store.capabilities.limits.max_copy
            return {"ContentLength": size, "ETag": '"e"', "LastModified": datetime.now(UTC), "Metadata": {}}

        def get_object_tagging(self, **params: Any) -> dict[str, Any]:
            return {}

        def create_multipart_upload(self, **params: Any) -> dict[str, Any]:
            return {"UploadId": "u"}

        def upload_part_copy(self, **params: Any) -> dict[str, Any]:
            asked.append(params)
            return {"CopyPartResult": {"ETag": "e"}}

        def complete_multipart_upload(self, **params: Any) -> dict[str, Any]:
            assert len(params["MultipartUpload"]["Parts"]) == len(asked)
            return {"ETag": "e"}

    fake: Any = Fake()
    info = copy(fake, Place("b", "s"), Place("b", "t"), pin=None, if_absent=False, own={})
    assert info.size == 10_000 * 5 * blobkit.GiB
    assert len(asked) == 10_000
    ends = sorted(tuple(map(int, one["CopySourceRange"].removeprefix("bytes=").split("-"))) for one in asked)
    assert ends[0][0] == 0
    assert all(before[1] + 1 == after[0] for before, after in pairwise(ends))
    assert ends[-1][1] == info.size - 1


def test_services_that_copy_less_say_so_before_anything_is_copied(server: StrictS3, by_parts: ByParts) -> None:
    server.put("source", DATA)
    with pytest.raises(InvalidArgument, match="1280 bytes are more than this service copies"):
        by_parts("source", "target", parts=False)
    env = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    with (
        blobkit.open_store("s3://one/?profile=hetzner&region=fsn1", env=env) as one,
        blobkit.open_store("s3://two/?profile=hetzner&region=fsn1", env=env) as two,
        pytest.raises(Unsupported, match="between buckets"),
    ):
        one.copy("a", "b", to=two)
    assert "CopyObject" not in server.operations()


def test_a_source_that_is_not_there_and_a_server_that_is_gone(server: StrictS3, store: Store) -> None:
    with pytest.raises(BlobNotFound) as failure:
        store.copy("nothing", "target")
    assert failure.value.key == "nothing"
    server.put("source", DATA)
    server.faults.append(Fault("CopyObject", lose=True))
    with pytest.raises(ConnectionFailed):
        store.copy("source", "target")
