"""The file that a download grows in, beside its target: written in any order, and found again by the next run.

A resumable one has a name that follows from the target and the source, is locked while it is written, and has a journal
beside it: what the object is (size and etag), and which of its bytes are there. The journal holds no URL and no secret. Bytes
that only the machine's memory held are not trusted after it was restarted: then the download begins anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from blobkit.transfer.sinks import FileSink

__all__ = ["Part"]

_VERSION: Final = 1
_MAX_JOURNAL: Final = 64 * 1024 * 1024
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


class Part(FileSink):
    """A file on its way. Close it with :meth:`publish`, :meth:`keep` or :meth:`discard`; what was not published is no file yet.

    Args:
        target: What it becomes.
        source: What it comes from, for one that can be resumed: a text without secrets; None for one that cannot.

    Attributes:
        fd: Open for reading and writing.
        size, etag: What an earlier run learned; None when there was none, or none that can be gone on with.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, target: Path, source: str | None) -> None:
        self._target = target
        self._journal: int | None = None
        self._done: list[tuple[int, int]] = []
        self.size: int | None = None
        self.etag: str | None = None
        name = target.name[:40]
        if source is not None:
            mark = hashlib.sha256(f"{target.resolve()}\0{source}".encode()).hexdigest()[:16]
            self._path = target.with_name(f".{name}.{mark}.part")
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            if _locked(fd, self._path):
                super().__init__(fd)
                self.fd = fd
                self._open_journal()
                return
            os.close(fd)  # another process writes it: this one fetches a copy of its own, which cannot be resumed
        self._path = target.with_name(f".{name}.{secrets.token_hex(6)}.part")
        self.fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        super().__init__(self.fd)

    @property
    def resumable(self) -> bool:
        """Whether another run can go on with it."""
        return self._journal is not None and self.etag is not None

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """What is missing, as ``[begin, end)``."""
        found, at = [], 0
        for begin, end in sorted(self._done):
            if begin > at:
                found.append((at, begin))
            at = max(at, end)
        if self.size is not None and at < self.size:
            found.append((at, self.size))
        return found

    # --- the journal ---

    def _journal_path(self) -> Path:
        return self._path.with_suffix(".json")

    def _open_journal(self) -> None:
        self._journal = os.open(self._journal_path(), os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with suppress(ValueError, KeyError, TypeError, OSError):
            self._recall(os.pread(self._journal, _MAX_JOURNAL, 0).decode("ascii"))
        if self.size is None:
            self._forget()

    def _recall(self, text: str) -> None:
        """What an earlier run wrote. Raises when it is not to be trusted."""
        head, _, rest = text.partition("\n")
        known: dict[str, Any] = json.loads(head)
        if known["v"] != _VERSION or known["boot"] != _boot() or not _boot():
            return
        size, etag = int(known["size"]), str(known["etag"])
        if os.fstat(self.fd).st_size != size:
            return
        for line in rest.splitlines()[: -1 if not rest.endswith("\n") else None]:  # a killed run may leave half a line
            begin, end = map(int, line.split())
            if 0 <= begin < end <= size:
                self._done.append((begin, end))
        self.size, self.etag = size, etag

    def _forget(self) -> None:
        self._done, self.size, self.etag = [], None, None
        if self._journal is not None:
            os.ftruncate(self._journal, 0)
        os.ftruncate(self.fd, 0)

    def start_over(self) -> None:
        """Nothing of it is of use: the object is another."""
        self._forget()

    def learn(self, size: int, etag: str | None) -> None:
        """See Sink."""
        super().learn(size, etag)
        if self._journal is None or etag is None or etag.startswith("W/"):
            return  # without a strong etag nobody could tell later whether the rest is of the same content
        self.size, self.etag, self._done = size, etag, []
        os.ftruncate(self._journal, 0)
        head = {"v": _VERSION, "size": size, "etag": etag, "boot": _boot()}
        os.write(self._journal, json.dumps(head).encode("ascii") + b"\n")
        os.fsync(self._journal)

    def arrived(self, begin: int, end: int) -> None:
        """See Sink."""
        if self._journal is not None and self.etag is not None and begin < end:
            os.write(self._journal, f"{begin} {end}\n".encode("ascii"))

    # --- how it ends ---

    def publish(self) -> None:
        """It becomes the target, in one step, durably. Raises OSError."""
        os.fsync(self.fd)
        os.replace(self._path, self._target)  # noqa: PTH105 - the system call by its name
        self._remove_journal()
        os.close(self.fd)

    def keep(self) -> None:
        """Leave it for another run."""
        if self._journal is not None:
            os.close(self._journal)
        os.close(self.fd)

    def discard(self) -> None:
        """Leave nothing behind."""
        with suppress(OSError):
            self._path.unlink()
        self._remove_journal()
        os.close(self.fd)

    def _remove_journal(self) -> None:
        if self._journal is not None:
            with suppress(OSError):
                self._journal_path().unlink()
            os.close(self._journal)


def _locked(fd: int, path: Path) -> bool:
    """Take the file for this process; it is free again when the process ends, however it ends."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(fd), os.stat(path))  # noqa: PTH116 - else it was published meanwhile
    except OSError:
        return False


def _boot() -> str:
    """Changes when the machine starts; empty where nobody knows."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""
