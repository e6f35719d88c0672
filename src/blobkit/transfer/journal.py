"""What is left of an upload when its process is gone: enough to go on with, on this machine, and nothing that grants access.

Each upload is one file of lines in the user's state directory, 0600: the first says what is uploaded where, and holds what
grants access (the session's token, a service's links) sealed; each line after it is the receipt of a chunk. The key of the
seal is in another directory, so that a copy of the one, a backup or a bug report, gives nothing away. The file is locked
while its upload runs: one process moves a file to a target, and another one is told so. The lock ends with the process.

Receipts are hints: what the storage holds is asked of the storage.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from blobkit.errors import PluginMissing, TransientError
from blobkit.sealing import Keyring, SealingKey

__all__ = ["ENV", "Entry", "Journal", "Record", "fingerprint"]

ENV: Final = "BLOBKIT_STATE_DIR"
_VERSION: Final = 1
_MAX: Final = 64 * 1024 * 1024
_KEY_BYTES: Final = 32


def fingerprint(path: str | os.PathLike[str]) -> str:
    """What changes when a file's content does: its size, time and place on disk. Raises OSError."""
    status = os.stat(path)  # noqa: PTH116 - takes any path
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_dev}-{status.st_ino}"


@dataclass(frozen=True, slots=True)
class Entry:
    """An upload that can be resumed.

    Attributes:
        id: Names it.
        source: The file's absolute path.
        target: Where it goes, as :class:`Journal` was told; without secrets.
        size: Bytes.
        started: When it began.
        chunks: How many chunks have a receipt.
    """

    id: str
    source: str
    target: Mapping[str, str]
    size: int
    started: datetime
    chunks: int


class Journal:
    """The uploads of this user on this machine.

    Args:
        folder: Where; None for ``BLOBKIT_STATE_DIR``, else the user's state directory.

    Raises:
        PluginMissing: platformdirs is not installed, and no folder was named.
    """

    def __init__(self, folder: Path | None = None) -> None:
        named = os.environ.get(ENV)
        if folder is not None or named:
            base = folder or Path(named or "")
            self._folder, self._key_file = base / "uploads", base / "journal.key"
            return
        try:
            import platformdirs
        except ImportError as error:
            raise PluginMissing("resuming needs platformdirs", hint='pip install "blobkit[transfer]"') from error
        self._folder = platformdirs.user_state_path("blobkit") / "uploads"
        self._key_file = platformdirs.user_data_path("blobkit") / "journal.key"

    def record(self, source: str | os.PathLike[str], target: Mapping[str, str]) -> Record:
        """The record of this file's upload to this target, locked; new when there was none.

        Raises:
            TransientError: Another process is at it.
            OSError: The journal cannot be written.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = Path(source).resolve()
        name = hashlib.sha256(json.dumps([str(path), dict(sorted(target.items()))]).encode()).hexdigest()[:16]
        return Record(self, self._folder / f"{name}.jsonl", path, target)

    def entries(self) -> list[Entry]:
        """What can be resumed, oldest first."""
        found = []
        for path in self._folder.glob("*.jsonl"):
            with suppress(OSError, ValueError, KeyError, TypeError):
                head, receipts = _parse(path.read_bytes())
                started = datetime.fromtimestamp(head["started"], UTC)
                found.append(
                    Entry(path.stem, head["source"], head["target"], int(head["size"]), started, len(receipts))
                )
        return sorted(found, key=lambda entry: entry.started)

    def keyring(self) -> Keyring:
        """Keys for session tokens that only this journal keeps, for stores that have none of their own."""
        key = hashlib.sha256(b"blobkit session tokens\0" + self._key()).digest()
        return Keyring([SealingKey("journal", key)])

    def _key(self) -> bytes:
        """The key of the seals, made when it is first wanted."""
        with suppress(FileNotFoundError):
            return self._key_file.read_bytes()[:_KEY_BYTES]
        self._key_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd, name = tempfile.mkstemp(dir=self._key_file.parent)  # 0600
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(os.urandom(_KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):  # another process was first
                os.link(name, self._key_file)
        finally:
            Path(name).unlink()
        return self._key_file.read_bytes()[:_KEY_BYTES]

    def seal(self, secrets: Mapping[str, object]) -> str:
        """What grants access, as a text that says nothing."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(12)
        return (nonce + AESGCM(self._key()).encrypt(nonce, json.dumps(secrets).encode(), b"blobkit journal")).hex()

    def open(self, sealed: str) -> dict[str, Any]:
        """What was sealed; nothing when this journal's key did not seal it."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            raw = bytes.fromhex(sealed)
            found = json.loads(AESGCM(self._key()).decrypt(raw[:12], raw[12:], b"blobkit journal"))
        except (InvalidTag, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


class Record:
    """One upload, locked. A context manager: leaving it frees the lock and keeps the record, unless it was forgotten.

    Attributes:
        id: Names it.
        known: Whether an earlier run left something to go on with.
        changed: Whether the file is another than it was then.
        secrets: What grants access, in clear.
        receipts: What the storage answered, by chunk number; empty where it says nothing.
    """

    def __init__(self, journal: Journal, file: Path, source: Path, target: Mapping[str, str]) -> None:
        self._journal = journal
        self._file = file
        self._source = source
        self._target = dict(target)
        self._now = fingerprint(source)
        self.id = file.stem
        self.secrets: dict[str, Any] = {}
        self.receipts: dict[int, str] = {}
        self.known = self.changed = False
        self._fd = self._locked()
        with suppress(ValueError, KeyError, TypeError):
            head, receipts = _parse(os.pread(self._fd, _MAX, 0))
            self.secrets, self.receipts = journal.open(head["sealed"]), receipts
            self.known, self.changed = bool(self.secrets), head["fingerprint"] != self._now

    def _locked(self) -> int:
        while True:
            fd = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(fd), self._file.stat()):
                    return fd
            except BlockingIOError:
                os.close(fd)
                raise TransientError(
                    "another process is uploading this file to this place", hint="wait until it is done"
                ) from None
            except FileNotFoundError:
                pass  # it was forgotten between our opening and locking it
            os.close(fd)

    def begin(self, size: int, secrets: Mapping[str, object]) -> None:
        """A new upload of the file begins: durable when this returns."""
        head = {
            "v": _VERSION,
            "source": str(self._source),
            "target": self._target,
            "fingerprint": self._now,
            "size": size,
            "started": int(datetime.now(UTC).timestamp()),
            "sealed": self._journal.seal(secrets),
        }
        self.clear()
        os.write(self._fd, json.dumps(head).encode() + b"\n")
        os.fsync(self._fd)
        folder = os.open(self._file.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self.secrets, self.known = dict(secrets), True

    def receipt(self, number: int, receipt: str) -> None:
        """A chunk is held."""
        self.receipts[number] = receipt
        os.write(self._fd, json.dumps([number, receipt]).encode() + b"\n")

    def clear(self) -> None:
        """What an earlier run left is of no use."""
        os.ftruncate(self._fd, 0)
        self.secrets, self.receipts, self.known, self.changed = {}, {}, False, False

    def forget(self) -> None:
        """The upload is done, or can never be."""
        self.known = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.known:
            with suppress(OSError):
                self._file.unlink()
        os.close(self._fd)


def _parse(raw: bytes) -> tuple[dict[str, Any], dict[int, str]]:
    """The first line, and the receipts; a killed process may have left half a line. Raises ValueError, KeyError."""
    lines = raw.decode("utf-8").split("\n")
    head = json.loads(lines[0])
    if not isinstance(head, dict) or head["v"] != _VERSION:
        raise ValueError("not a record of this version")
    receipts = {}
    for line in lines[1:-1]:
        number, receipt = json.loads(line)
        receipts[int(number)] = str(receipt)
    return head, receipts
