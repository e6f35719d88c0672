"""What SQLite and the file system say, in blobkit's words."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import pytest

import blobkit
from blobkit.errors import (
    BlobkitError,
    BlobNotFound,
    BucketNotFound,
    PermissionDenied,
    Throttled,
    TransientError,
    Unavailable,
)
from blobkit_local.errors import classify


@pytest.mark.parametrize(
    ("number", "error", "retryable"),
    [
        (errno.ENOSPC, Unavailable, False),
        (errno.EDQUOT, Unavailable, False),
        (errno.EROFS, PermissionDenied, False),
        (errno.EACCES, PermissionDenied, False),
        (errno.EIO, Unavailable, False),
        (errno.EMFILE, Unavailable, True),
    ],
)
def test_errors_of_the_file_system_have_their_class(number: int, error: type[BlobkitError], retryable: bool) -> None:
    known = classify(OSError(number, "x"))
    assert known is not None
    assert (known.error, known.retryable, known.code) == (error, retryable, errno.errorcode[number])


def test_what_is_nobodys_passes_unchanged() -> None:
    assert classify(ValueError("x")) is None
    assert classify(FileNotFoundError(errno.ENOENT, "the caller's own file")) is None
    assert classify(BlobNotFound("x")) is None


def test_errors_of_sqlite_have_their_class(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    one = sqlite3.connect(path, isolation_level=None)
    one.execute("CREATE TABLE t (x)")
    two = sqlite3.connect(path, timeout=0)
    one.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError) as busy:
        two.execute("INSERT INTO t VALUES (1)")
    one.execute("ROLLBACK")
    read_only = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    with pytest.raises(sqlite3.OperationalError) as denied:
        read_only.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(sqlite3.OperationalError) as gone:
        sqlite3.connect(tmp_path / "no" / "x.db")
    one.execute("PRAGMA max_page_count=2")
    one.execute("CREATE TABLE IF NOT EXISTS t (x)")
    with pytest.raises(sqlite3.OperationalError) as full:
        one.execute("INSERT INTO t VALUES (zeroblob(100000))")
    for caught, error in ((busy, Throttled), (denied, PermissionDenied), (gone, BucketNotFound), (full, Unavailable)):
        known = classify(caught.value)
        assert known is not None
        assert known.error is error
        assert known.retryable is issubclass(error, Throttled)
    for connection in (one, two, read_only):
        connection.close()


def test_a_full_disk_is_said_clearly_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with blobkit.open_store(f"local://{tmp_path / 's'}") as store:
        store.write("k", b"before")

        def full(fd: int, data: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("blobkit_local.disk.write", full)
            with pytest.raises(TransientError, match="the disk is full") as caught:
                store.write("k", b"after")
        assert caught.value.code == "ENOSPC"
        assert caught.value.provider == "local"
        assert caught.value.retryable is False
        assert store.read("k") == b"before"
        assert list((tmp_path / "s/incoming").iterdir()) == []


def test_a_damaged_store_is_said_not_hidden(tmp_path: Path) -> None:
    with blobkit.open_store(f"local://{tmp_path / 's'}") as store:
        store.write("k", b"data")
        for path in (tmp_path / "s/objects").rglob("*"):
            if path.is_file():
                path.unlink()
        with pytest.raises(Unavailable, match="not there") as caught:
            store.read("k")
        assert caught.value.retryable is False
