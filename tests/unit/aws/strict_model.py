"""What the strict server holds: versions of objects, multipart uploads, what it was asked, and what is to go wrong."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

__all__ = ["ACCESS", "REGION", "SECRET", "SKEW", "Fault", "Refusal", "Seen", "StrictS3", "Upload", "Version"]

REGION: Final = "eu-west-1"
ACCESS, SECRET = "AKIASTRICT", "a secret of the tests"
SKEW: Final = 900


@dataclass
class Refusal(Exception):
    """An answer that is an error."""

    status: int
    code: str
    message: str = ""


@dataclass
class Seen:
    """A request as it came."""

    operation: str
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = field(repr=False)


@dataclass
class Version:
    """One version of an object, or a delete marker."""

    id: str
    data: bytes
    headers: dict[str, str]
    etag: str
    modified: datetime
    tags: str = ""
    marker: bool = False
    locked: bool = False


@dataclass
class Upload:
    """A multipart upload."""

    key: str
    headers: dict[str, str]
    tags: str
    parts: dict[int, tuple[bytes, str]] = field(default_factory=dict)


@dataclass
class Fault:
    """What goes wrong with the next request of an operation.

    Attributes:
        operation: As boto3 names it.
        status, code: The error that is answered; status 200 gives it in the body of a success.
        effect: Whether the request takes effect all the same.
        lose: The connection is closed without an answer.
        first: Called before anything else: another client that comes in between.
    """

    operation: str
    status: int = 0
    code: str = ""
    effect: bool = False
    lose: bool = False
    first: Callable[[], object] | None = None
    skip: int = 0


class StrictS3:
    """One bucket, ``media`` by default, at :attr:`endpoint`."""

    def __init__(self, *, versioned: bool = False, token: str | None = None) -> None:
        self.versioned = versioned
        self.token = token
        self.endpoint = ""
        self.objects: dict[str, list[Version]] = {}
        self.uploads: dict[str, Upload] = {}
        self.seen: list[Seen] = []
        self.faults: list[Fault] = []
        self.page = 1000
        self.late_parts = 0
        self.denied: set[str] = set()
        self.ids = 0
        self.lock = threading.RLock()

    # --- what tests use ---

    def operations(self) -> list[str]:
        """What was asked, in order."""
        return [seen.operation for seen in self.seen]

    def last(self, operation: str) -> Seen:
        """The last request of an operation."""
        return [seen for seen in self.seen if seen.operation == operation][-1]

    def current(self, key: str) -> Version | None:
        """The object at a key now."""
        versions = self.objects.get(key)
        return None if not versions or versions[-1].marker else versions[-1]

    def put(self, key: str, data: bytes, headers: Mapping[str, str] | None = None, tags: str = "") -> Version:
        """Store an object as a client would."""
        with self.lock:
            self.ids += 1
            made = Version(
                id=f"v{self.ids}" if self.versioned else "null",
                data=data,
                headers={"content-type": "binary/octet-stream", **(headers or {})},
                etag=hashlib.md5(data, usedforsecurity=False).hexdigest(),
                modified=datetime.now(UTC).replace(microsecond=0),
                tags=tags,
            )
            if not self.versioned:
                self.objects[key] = []
            self.objects.setdefault(key, []).append(made)
            return made
