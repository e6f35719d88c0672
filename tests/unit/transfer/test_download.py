"""Ranged downloads: whole or not at all, and never a mixture of two objects."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blobkit import Checksum, errors
from blobkit.redaction import Secret
from blobkit.signed import RequestTemplate, SignedRequest
from blobkit.transfer import Progress, download
from blobkit.transfer.retry import Patience

from .storage import SIGNATURE, Fault, Handler, Storage, serving

DATA = os.urandom(100_000)


@pytest.fixture
def storage() -> Iterator[Storage]:
    with serving() as served:
        served.object = DATA
        yield served


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def url(storage: Storage) -> str:
    return f"{storage.url}/k?sig={SIGNATURE}"


def test_ranges_in_parallel_make_the_file(storage: Storage, tmp_path: Path) -> None:
    seen: list[Progress] = []
    result = download(Secret(url(storage)), tmp_path / "f", range_size=7_000, on_progress=seen.append)
    assert (tmp_path / "f").read_bytes() == DATA
    assert (result.size, result.etag) == (100_000, '"v1"')
    assert seen[-1].bytes_done == seen[-1].bytes_total == 100_000
    assert all(headers.get("if-match") == '"v1"' for _, _, headers in storage.requests[1:])
    assert names(tmp_path) == ["f"]


def test_the_others_are_asked_for_before_the_first_has_arrived(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second, real = threading.Event(), Handler.do_GET

    class Late:
        """A body that leaves when another range was asked for."""

        def __init__(self, handler: Handler) -> None:
            self._out = handler.wfile

        def write(self, data: bytes) -> None:
            if not data.startswith(b"HTTP/"):
                assert second.wait(60)
            self._out.write(data)

        def __getattr__(self, name: str) -> object:
            return getattr(self._out, name)

    def do_get(self: Handler) -> None:
        if self.headers["range"] == "bytes=0-9999":
            self.wfile = Late(self)  # type: ignore[assignment]  # it writes as the other does
        else:
            second.set()
        real(self)

    monkeypatch.setattr(Handler, "do_GET", do_get)
    download(url(storage), tmp_path / "f", range_size=10_000)
    assert (tmp_path / "f").read_bytes() == DATA


def test_what_fits_in_one_range_is_one_request(storage: Storage, tmp_path: Path) -> None:
    download(url(storage), tmp_path / "f", range_size=len(DATA))
    assert len(storage.requests) == 1
    storage.object = b""
    download(url(storage), tmp_path / "f", range_size=len(DATA))
    assert (tmp_path / "f").read_bytes() == b""


def test_the_whole_instead_of_the_first_range_is_no_part_of_what_is_under_way(storage: Storage, tmp_path: Path) -> None:
    storage.object = b"abc"
    storage.faults.extend(["truncate", "whole"])  # half of one byte is none: the first range is asked for again
    with pytest.raises(errors.SourceChanged):
        download(url(storage), tmp_path / "f", range_size=1, concurrency=1, sleep=lambda seconds: None)
    assert names(tmp_path) == []


@settings(max_examples=40)
@given(
    faults=st.lists(st.sampled_from(["503", "429", "drop", "truncate", "short", "weak"]), max_size=10),
    range_size=st.integers(1_000, 200_000),
    concurrency=st.integers(1, 5),
)
def test_any_order_of_failures_ends_in_the_right_bytes(
    faults: list[Fault], range_size: int, concurrency: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("d")
    with serving() as storage:
        storage.object = DATA
        storage.faults.extend(faults)
        download(
            url(storage),
            folder / "f",
            range_size=range_size,
            concurrency=concurrency,
            patience=Patience(retries=20),
            sleep=lambda seconds: None,
        )
    assert (folder / "f").read_bytes() == DATA


def test_a_range_that_breaks_off_goes_on_where_it_was(storage: Storage, tmp_path: Path) -> None:
    storage.faults.append("truncate")
    download(url(storage), tmp_path / "f", range_size=200_000, sleep=lambda seconds: None)
    assert storage.requests[1][2]["range"] == "bytes=50000-199999"
    assert (tmp_path / "f").read_bytes() == DATA


def test_an_object_that_is_replaced_meanwhile_is_never_mixed(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"what was there")
    storage.faults.extend(["truncate", "changed"])
    with pytest.raises(errors.SourceChanged):
        download(url(storage), tmp_path / "f", range_size=10_000, sleep=lambda seconds: None, concurrency=1)
    assert (tmp_path / "f").read_bytes() == b"what was there"
    assert names(tmp_path) == ["f"]


def test_a_storage_that_ignores_ranges_is_read_in_one_piece(storage: Storage, tmp_path: Path) -> None:
    storage.faults.append("whole")
    assert download(url(storage), tmp_path / "f", range_size=10).size == 100_000
    assert (tmp_path / "f").read_bytes() == DATA


def test_an_empty_object_makes_an_empty_file(storage: Storage, tmp_path: Path) -> None:
    storage.object = b""
    assert download(url(storage), tmp_path / "f").size == 0
    assert (tmp_path / "f").read_bytes() == b""


def test_wrong_bytes_never_become_the_file(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(errors.ChecksumMismatch):
        download(url(storage), tmp_path / "f", checksum=Checksum.of("sha256", b"other"))
    assert names(tmp_path) == []
    download(url(storage), tmp_path / "f", checksum=Checksum.of("sha256", DATA))


@pytest.mark.parametrize(
    ("fault", "error"), [("403", errors.PermissionDenied), ("404", errors.BlobNotFound), ("503", errors.Unavailable)]
)
def test_a_refusal_leaves_nothing_and_shows_no_signature(
    storage: Storage, tmp_path: Path, fault: Fault, error: type[errors.BlobkitError]
) -> None:
    storage.faults.extend((fault, fault, fault))
    with pytest.raises(error) as caught:
        download(url(storage), tmp_path / "f", patience=Patience(retries=2), sleep=lambda seconds: None)
    assert SIGNATURE not in repr(caught.value) + repr(vars(caught.value))
    assert names(tmp_path) == []


def test_a_disk_without_room_is_an_early_error(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, offset: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        download(url(storage), tmp_path / "f")
    assert names(tmp_path) == []


@pytest.mark.parametrize("fault", ["whole-cut", "chunked-cut"])
def test_a_storage_without_ranges_is_read_again_from_the_start(storage: Storage, tmp_path: Path, fault: Fault) -> None:
    storage.faults.extend([fault, "chunked" if fault == "chunked-cut" else "whole"])
    seen: list[Progress] = []
    done = download(url(storage), tmp_path / "f", sleep=lambda seconds: None, on_progress=seen.append)
    assert (tmp_path / "f").read_bytes() == DATA
    assert (done.size, seen[-1].bytes_done, seen[-1].bytes_total) == (100_000, 100_000, 100_000)


def test_an_object_that_is_replaced_between_two_readings_of_all_is_no_mixture(storage: Storage, tmp_path: Path) -> None:
    storage.faults.extend(["whole-cut", "changed", "whole"])
    replaced: list[bool] = []

    def replace(seconds: float) -> None:
        storage.object, storage.etag = b"shorter", '"v2"'
        storage.faults.clear()
        storage.faults.append("whole")
        replaced.append(True)

    done = download(url(storage), tmp_path / "f", sleep=replace)
    assert (replaced, done.etag) == ([True], '"v2"')
    assert (tmp_path / "f").read_bytes() == b"shorter"


def test_an_answer_without_length_or_end_is_not_taken_for_the_whole(storage: Storage, tmp_path: Path) -> None:
    storage.faults.append("endless")
    with pytest.raises(errors.Unsupported):
        download(url(storage), tmp_path / "f")
    assert names(tmp_path) == []


def test_an_empty_object_that_has_no_range_is_asked_for_without(storage: Storage, tmp_path: Path) -> None:
    storage.object = b""
    storage.faults.append("bare-416")
    assert download(url(storage), tmp_path / "f").size == 0
    assert "range" not in storage.requests[-1][2]
    assert (tmp_path / "f").read_bytes() == b""


def test_headers_that_were_signed_are_sent(storage: Storage, tmp_path: Path) -> None:
    template = RequestTemplate("GET", headers={"x-signed": "yes"})
    download(SignedRequest(template, url(storage), 2**31), tmp_path / "f", range_size=30_000)
    assert [headers.get("x-signed") for _, _, headers in storage.requests] == ["yes"] * 4


@pytest.mark.parametrize("etag", ["v1", '"v1"'])
def test_what_the_caller_knows_of_the_object_is_held_against_it(storage: Storage, tmp_path: Path, etag: str) -> None:
    assert download(url(storage), tmp_path / "f", size=100_000, etag=etag).etag == '"v1"'
    assert storage.requests[0][2]["if-match"] == '"v1"', "pinned from the first request on"
    with pytest.raises(errors.SourceChanged):
        download(url(storage), tmp_path / "g", etag="v0")
    with pytest.raises(errors.SourceChanged):
        download(url(storage), tmp_path / "g", size=99_999)
    assert names(tmp_path) == ["f"]


def test_the_digest_is_told_when_it_is_asked_for(storage: Storage, tmp_path: Path) -> None:
    assert download(url(storage), tmp_path / "f", checksum="sha256").checksum == Checksum.of("sha256", DATA)
    assert download(url(storage), tmp_path / "f").checksum is None
    requests = len(storage.requests)
    with pytest.raises(errors.InvalidArgument):
        download(url(storage), tmp_path / "f", checksum="rot13")
    assert len(storage.requests) == requests, "said before anything moved"


def test_a_directory_is_no_target_and_a_long_name_is_one(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidArgument):
        download(url(storage), tmp_path)
    assert storage.requests == []
    download(url(storage), tmp_path / ("n" * 255))
    assert names(tmp_path) == ["n" * 255]


def test_a_file_system_that_reserves_nothing_is_good_enough(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(fd: int, offset: int, size: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", cannot)
    download(url(storage), tmp_path / "f", range_size=9_000)
    assert (tmp_path / "f").read_bytes() == DATA


def test_only_a_get_is_downloaded(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidArgument):
        download(SignedRequest(RequestTemplate("PUT"), "http://127.0.0.1:1/", 1), tmp_path / "f")
    assert names(tmp_path) == []
