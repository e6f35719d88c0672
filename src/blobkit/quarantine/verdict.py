"""What a check says: :class:`Verdict`."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Verdict", "failed", "passed"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one check of one content. Truthy when it passed.

    Attributes:
        check: The check's name.
        ok: Whether the content may be served.
        reason: One sentence: why not, or what was found. Made of measured facts; never of the content's own words beyond a
            scanner's name for what it found.
    """

    check: str
    ok: bool
    reason: str = ""

    def __bool__(self) -> bool:
        return self.ok


def passed(check: str, reason: str = "") -> Verdict:
    """It may be served."""
    return Verdict(check, True, reason)


def failed(check: str, reason: str) -> Verdict:
    """It must not be served."""
    return Verdict(check, False, reason)
