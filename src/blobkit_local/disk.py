"""The file system, one function per step that a crash can come between. Tests put themselves in between exactly here."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["create", "make_dir", "open_region", "publish", "remove", "sync", "sync_dir", "write"]


def make_dir(path: Path) -> None:
    """Make a directory that only its owner can use, and make its name durable. One that is there stays as it is."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        return
    sync_dir(path.parent)


def create(path: Path) -> int:
    """A new file; the name must be free. Returns its descriptor."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def open_region(path: Path, start: int) -> int:
    """An existing file, to be written from ``start`` on."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.lseek(fd, start, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd


def write(fd: int, data: bytes | bytearray | memoryview) -> None:
    """All of ``data``."""
    written = os.write(fd, data)
    while written < len(data):  # a full disk or a signal may cut a write short
        data = memoryview(data)[written:]
        written = os.write(fd, data)


def sync(fd: int) -> None:
    """The file's bytes and size survive a loss of power after this."""
    os.fsync(fd)


def sync_dir(path: Path) -> None:
    """The names in the directory survive a loss of power after this."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def publish(source: Path, target: Path) -> None:
    """Move a finished file to its place, at once or not at all."""
    os.rename(source, target)  # noqa: PTH104 - the system call by its name


def remove(path: Path) -> int:
    """Remove a file; returns its bytes, 0 when it was not there."""
    try:
        size = path.stat().st_size
        path.unlink()
    except FileNotFoundError:
        return 0
    return size
