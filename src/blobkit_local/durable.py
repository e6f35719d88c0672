"""The durable engine: bytes in files, the index in SQLite.

::

    directory/
        .blobkit/keys            the signing and sealing keys (mode 0600)
        .blobkit/index.db        the index (SQLite, WAL)
        incoming/<name>          bytes on their way in; nothing in the index names them
        objects/ab/<name>        bytes of objects and of open sessions

Names are random and say nothing of keys. A write goes: bytes to ``incoming/``, fsync, rename into ``objects/``, fsync of the
directory, commit in the index. A crash before the commit leaves a file that no row names, for :meth:`sweep`; a removed
object's file is unlinked after the commit that forgot it, and a crash in between leaves just such a file.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from blobkit.errors import ConfigError, Unavailable
from blobkit_local import disk
from blobkit_local.extents import Extents, Sink, Source
from blobkit_local.index import Index
from blobkit_local.indexed import IndexedEngine, Manners
from blobkit_local.notify import Listeners, Webhook

__all__ = ["FileEngine", "prepare_directory"]

_BATCH: Final = 500


class FileEngine(IndexedEngine):
    """A store in one directory. Thread-safe, process-safe, fork-safe.

    Args:
        root: An absolute path; made when its parent exists.
        clock: The time of changes.
        bucket: The store's name in events.
        manners: Versions, and what is played for tests.
        webhook: Where events go beside the subscribers in this process.

    Raises:
        ConfigError: A directory that cannot be used; the message says why.
    """

    def __init__(
        self,
        root: Path,
        *,
        clock: Callable[[], datetime],
        bucket: str = "",
        manners: Manners | None = None,
        webhook: Webhook | None = None,
    ) -> None:
        prepare_directory(root)
        self.root = root
        index = Index(root / ".blobkit" / "index.db")
        super().__init__(
            index,
            Files(root),
            clock=clock,
            bucket=bucket or str(root),
            provider="local",
            manners=manners,
            webhook=webhook,
            listeners=_listeners(root),
        )

    def same_place(self, other: IndexedEngine) -> bool:
        """Whether both share their index and files."""
        return isinstance(other, FileEngine) and other.root.samefile(self.root)


_heard: WeakValueDictionary[str, Listeners] = WeakValueDictionary()
_hearing = threading.Lock()


def _listeners(root: Path) -> Listeners:
    """The listeners of a directory, shared by all its engines in this process."""
    with _hearing:
        listeners = _heard.get(place := str(root.resolve()))
        if listeners is None:
            listeners = _heard[place] = Listeners()
        return listeners


def prepare_directory(root: Path) -> None:
    """Make the directories of a store where they lack.

    Raises:
        ConfigError: No absolute path, a file in the way, no permission, or a system without POSIX files.
    """
    if os.name != "posix":
        raise ConfigError("the durable local store needs a POSIX system", hint="memory://NAME")
    if not root.is_absolute():
        raise ConfigError(
            f"the path of a local store must be absolute, not {str(root)!r}", hint=f"local://{root.absolute()}"
        )
    try:
        for path in (root, root / ".blobkit", root / "incoming", root / "objects"):
            disk.make_dir(path)
            if not path.is_dir():
                raise ConfigError(f"{path} is a file, not a directory", hint="name another directory")
    except FileNotFoundError as error:
        raise ConfigError(f"{root.parent} does not exist", hint=f"mkdir -p {root.parent}") from error
    except NotADirectoryError as error:
        raise ConfigError(f"{root} lies below a file, not a directory", hint="name another directory") from error
    except OSError as error:
        raise ConfigError(f"{root} cannot be used: {error.strerror}", hint="check its owner and mode") from error
    if not os.access(root / "objects", os.W_OK | os.X_OK) or not os.access(root / ".blobkit", os.W_OK | os.X_OK):
        raise ConfigError(f"{root} cannot be written", hint="check its owner and mode, or chmod u+rwx")


class Files(Extents):
    """Extents as files of one directory."""

    max_files = 16  # an open object holds so many descriptors at most
    has_regions = True

    def __init__(self, root: Path) -> None:
        self._objects = root / "objects"
        self._incoming = root / "incoming"

    def create(self, name: str) -> Sink:
        """A temporary file."""
        home, temporary = self._home(name), self._incoming / name
        return _FileSink(disk.create(temporary), temporary, home)

    def allocate(self, name: str) -> None:
        """An empty file in its place, its name durable."""
        path = self._home(name)
        fd = disk.create(path)
        os.close(fd)
        disk.sync_dir(path.parent)

    def region(self, name: str, start: int) -> Sink:
        """A descriptor of its own on the session's file."""
        return _FileSink(disk.open_region(self._path(name), start), None, None)

    def open(self, name: str) -> Source:
        """A descriptor."""
        return _FileSource(os.open(self._path(name), os.O_RDONLY | os.O_CLOEXEC))

    def exists(self, name: str) -> bool:
        """One stat."""
        return self._path(name).exists()

    def remove(self, name: str) -> int:
        """Unlink; who has it open reads on."""
        return disk.remove(self._path(name))

    def written_before(self, limit: float) -> Iterator[list[str]]:
        """A walk over ``objects/``."""
        batch: list[str] = []
        for folder in sorted(path for path in self._objects.iterdir() if path.is_dir()):
            with os.scandir(folder) as entries:
                for entry in entries:
                    with suppress(FileNotFoundError):
                        if entry.stat(follow_symlinks=False).st_mtime < limit:
                            batch.append(folder.name + entry.name)
                    if len(batch) >= _BATCH:
                        yield batch
                        batch = []
        if batch:
            yield batch

    def remove_unfinished(self, limit: float) -> tuple[int, int]:
        """What lies in ``incoming/``."""
        count = total = 0
        with os.scandir(self._incoming) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if status.st_mtime < limit:
                        disk.remove(Path(entry.path))
                        count, total = count + 1, total + status.st_size
        return count, total

    def _path(self, name: str) -> Path:
        return self._objects / name[:2] / name[2:]

    def _home(self, name: str) -> Path:
        """The path, its folder made if need be."""
        path = self._path(name)
        if not path.parent.is_dir():
            disk.make_dir(path.parent)
        return path


class _FileSink(Sink):
    """A temporary file to be moved into place, or (without paths) a range of a file that is there already."""

    __slots__ = ("_fd", "_home", "_temporary")

    def __init__(self, fd: int, temporary: Path | None, home: Path | None) -> None:
        self._fd = fd
        self._temporary = temporary
        self._home = home

    def write(self, data: bytes | bytearray | memoryview) -> None:
        disk.write(self._fd, data)

    def keep(self) -> None:
        if self._fd < 0:
            return
        disk.sync(self._fd)
        self._close()
        if self._temporary is not None and self._home is not None:
            try:
                disk.publish(self._temporary, self._home)
            except FileNotFoundError as error:
                raise Unavailable("the bytes were swept before they were kept", hint="send them again") from error
            self._temporary = None
            disk.sync_dir(self._home.parent)

    def drop(self) -> None:
        self._close()
        if self._temporary is not None:
            disk.remove(self._temporary)
            self._temporary = None

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class _FileSource(Source):
    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read_at(self, start: int, size: int) -> bytes:
        return os.pread(self._fd, size, start)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
