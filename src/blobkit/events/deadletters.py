"""Where messages go that can never be used: kept whole, with the reason, for somebody to look at."""

from __future__ import annotations

import base64
import binascii
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol, runtime_checkable

from blobkit.errors import ConfigError, MalformedEvent

__all__ = ["DeadLetter", "DeadLetters", "DirectoryDeadLetters", "MemoryDeadLetters"]

_SUFFIX: Final = ".json"


def _nothing() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was rejected.

    Args:
        source: The queue it came from.
        message_id: The queue's own id of it.
        raw: Its bytes, as the queue held them.
        reason: Why it was rejected.
        time: When, aware UTC.
        attempt: Which delivery it was, where the queue counts.
        attributes: What the queue held beside the body.
    """

    source: str
    message_id: str
    raw: bytes = field(repr=False)
    reason: str
    time: datetime
    attempt: int | None = None
    attributes: Mapping[str, str] = field(default_factory=_nothing, repr=False)


@runtime_checkable
class DeadLetters(Protocol):
    """A place for rejected messages. Thread-safe."""

    def put(self, letter: DeadLetter) -> None:
        """Keep it durably before this returns. Whatever it raises, the message stays in its queue."""
        ...


class MemoryDeadLetters:
    """Rejected messages in this process's memory: for tests, and for stores that are themselves in memory."""

    def __init__(self) -> None:
        self._letters: list[DeadLetter] = []

    def put(self, letter: DeadLetter) -> None:
        """See :class:`DeadLetters`."""
        self._letters.append(letter)

    def __iter__(self) -> Iterator[DeadLetter]:
        return iter(tuple(self._letters))


class DirectoryDeadLetters:
    """Rejected messages as files, one for each, synced before ``put`` returns.

    A file is JSON: ``source``, ``message_id``, ``reason``, ``time``, ``attempt``, ``attributes``, and ``raw`` in base64. Only
    the owner can read it: a message may hold what is nobody else's business.

    Raises:
        ConfigError: The directory cannot be made.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"no dead letters can be kept in {str(path)!r}: {error.strerror}") from error

    def put(self, letter: DeadLetter) -> None:
        """See :class:`DeadLetters`. Raises OSError."""
        name = f"{letter.time:%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"
        body = {
            "source": letter.source,
            "message_id": letter.message_id,
            "reason": letter.reason,
            "time": letter.time.isoformat(),
            "attempt": letter.attempt,
            "attributes": dict(letter.attributes),
            "raw": base64.b64encode(letter.raw).decode("ascii"),
        }
        temporary = self._path / f".{name}"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(fd, "w", encoding="utf-8", errors="backslashreplace") as file:
                json.dump(body, file, ensure_ascii=False)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self._path / f"{name}{_SUFFIX}")
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        folder = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def __iter__(self) -> Iterator[DeadLetter]:
        """The letters, oldest first. Raises MalformedEvent for a file that is none."""
        for path in sorted(self._path.glob(f"[!.]*{_SUFFIX}")):
            yield _read(path)


def _read(path: Path) -> DeadLetter:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        return DeadLetter(
            source=body["source"],
            message_id=body["message_id"],
            raw=base64.b64decode(body["raw"], validate=True),
            reason=body["reason"],
            time=datetime.fromisoformat(body["time"]).astimezone(UTC),
            attempt=body["attempt"],
            attributes=MappingProxyType(dict(body["attributes"])),
        )
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise MalformedEvent(f"{path} is not a dead letter") from error
