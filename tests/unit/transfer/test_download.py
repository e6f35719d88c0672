"""Ranged downloads: whole or not at all, and never a mixture of two objects."""

from __future__ import annotations

import os
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

from .storage import SIGNATURE, Fault, Storage, serving

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


@settings(max_examples=40)
@given(
    faults=st.lists(st.sampled_from(["503", "429", "drop", "truncate"]), max_size=10),
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


def test_only_a_get_is_downloaded(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidArgument):
        download(SignedRequest(RequestTemplate("PUT"), "http://127.0.0.1:1/", 1), tmp_path / "f")
    assert names(tmp_path) == []
