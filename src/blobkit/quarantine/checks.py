"""The protocol of a check, and those that need little more than the object's description.

A check looks at one :class:`~blobkit.quarantine.subject.Subject` and says a verdict. It raises only when it could not look:
a store or a scanner that is away (``TransientError``: tried again), or a content that was replaced meanwhile. Anything else
it raises is its own fault and is told, never taken for a pass.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Protocol, runtime_checkable

from blobkit.errors import InvalidArgument
from blobkit.hashing import hasher
from blobkit.quarantine.subject import Subject
from blobkit.quarantine.verdict import Verdict, failed, passed

__all__ = ["AllowedTypes", "Check", "ChecksumMatches", "Custom", "MaxSize", "SizeMatches", "media_type"]


@runtime_checkable
class Check(Protocol):
    """What :class:`~blobkit.quarantine.Quarantine` runs. Thread-safe: one instance serves many contents at once."""

    @property
    def name(self) -> str:
        """How verdicts and logs call it."""
        ...

    def check(self, subject: Subject) -> Verdict:
        """Look, and say."""
        ...


def media_type(value: str | None) -> str | None:
    """``type/subtype`` in lower case, without parameters (RFC 9110 section 8.3.1); None for nothing."""
    return (value.partition(";")[0].strip().lower() or None) if value else None


@dataclass(frozen=True, slots=True)
class MaxSize:
    """No more than so many bytes, whatever the client said.

    Args:
        most: Bytes.
    """

    most: int
    name: str = field(default="max_size", init=False)

    def __post_init__(self) -> None:
        if self.most < 0:
            raise InvalidArgument("a size is not negative")

    def check(self, subject: Subject) -> Verdict:
        """Compare with the size that the store says."""
        if subject.info.size > self.most:
            return failed(self.name, f"{subject.info.size} bytes, {self.most} are allowed")
        return passed(self.name)


@dataclass(frozen=True, slots=True)
class SizeMatches:
    """Exactly the size that was declared, where one was."""

    name: str = field(default="size_matches", init=False)

    def check(self, subject: Subject) -> Verdict:
        """Compare with the size that the store says."""
        if subject.declared.size is not None and subject.declared.size != subject.info.size:
            return failed(self.name, f"{subject.info.size} bytes, {subject.declared.size} were declared")
        return passed(self.name)


@dataclass(frozen=True, slots=True)
class AllowedTypes:
    """Only these media types, as they are stored and so will be served.

    Args:
        allowed: ``image/png``, or with a wildcard: ``image/*``.
    """

    allowed: Collection[str]
    name: str = field(default="allowed_types", init=False)

    def __post_init__(self) -> None:
        if isinstance(self.allowed, str) or not self.allowed:
            raise InvalidArgument("name the media types that are allowed, as a list")
        object.__setattr__(self, "allowed", frozenset(item.strip().lower() for item in self.allowed))

    def check(self, subject: Subject) -> Verdict:
        """Compare with the type that is stored."""
        found = media_type(subject.info.content_type)
        if found is None or not any(fnmatchcase(found, pattern) for pattern in self.allowed):
            return failed(self.name, f"stored as {found or 'no media type'}, which is not allowed")
        return passed(self.name)


@dataclass(frozen=True, slots=True)
class ChecksumMatches:
    """The content has the checksum that was declared, where one was. What the store vouches for is believed.

    Only when the store has no such checksum is the content read.
    """

    name: str = field(default="checksum_matches", init=False)

    def check(self, subject: Subject) -> Verdict:
        """Compare with the store's checksum, or read the content."""
        declared = subject.declared.checksum
        if declared is None:
            return passed(self.name, "none was declared")
        known = subject.info.checksums.get(declared.algorithm)
        if known is not None and not known.composite:
            same = known.same_as(declared)
        else:
            digest = hasher(declared.algorithm)
            for block in subject.blocks():
                digest.update(block)
            same = digest.digest() == declared.digest
        return passed(self.name) if same else failed(self.name, f"its {declared.algorithm} is another than declared")


@dataclass(frozen=True, slots=True)
class Custom:
    """Any function as a check.

    Args:
        name: How verdicts call it.
        look: Given the subject, gives a Verdict, a bool, or None for a pass. Thread-safe.
    """

    name: str
    look: Callable[[Subject], Verdict | bool | None]

    def check(self, subject: Subject) -> Verdict:
        """Call it."""
        said = self.look(subject)
        if isinstance(said, Verdict):
            return Verdict(self.name, said.ok, said.reason)
        return passed(self.name) if said is None or said else failed(self.name, "refused")
