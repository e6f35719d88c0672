"""Run the checks of one content, in order, until one says no: :func:`examine`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Final

from blobkit.errors import InvalidArgument, TransientError, Unavailable
from blobkit.quarantine.checks import Check
from blobkit.quarantine.detached import detached
from blobkit.quarantine.subject import Subject
from blobkit.quarantine.verdict import Verdict

__all__ = ["Examination", "examine"]

_WAITS: Final = (0.5, 2.0, 8.0)


@dataclass(frozen=True, slots=True)
class Examination:
    """What the checks said of one content. Truthy when all of them passed.

    Attributes:
        verdicts: In the order of the checks; those after the first failure were not asked.
    """

    verdicts: tuple[Verdict, ...]

    def __bool__(self) -> bool:
        return all(self.verdicts)

    @property
    def reason(self) -> str:
        """Why not: the check's name, and what it said; empty when all passed."""
        return next((f"{verdict.check}: {verdict.reason}" for verdict in self.verdicts if not verdict), "")


def examine(
    subject: Subject,
    checks: Sequence[Check],
    *,
    timeout: float = 300.0,
    retries: int = 3,
    sleep: Callable[[float], object] | None = None,
) -> Examination:
    """Ask each check, the cheap ones first if the caller ordered them so; stop at the first that says no.

    Args:
        subject: The content; each check reads it pinned.
        checks: At least one: a content that nobody looked at has not passed.
        timeout: Seconds for each check. One that takes longer is left behind, and counts as failed for now.
        retries: How often a check that could not look is asked again.
        sleep: How to wait between, given seconds.

    Raises:
        TransientError: A check could not look, again and again: nothing is decided.
        PreconditionFailed, BlobNotFound: The content is another, or gone: nothing is decided.
        InvalidArgument: No checks.
    """
    if not checks:
        raise InvalidArgument("a quarantine without a check lets everything pass")
    wait = sleep or threading.Event().wait
    verdicts: list[Verdict] = []
    for check in checks:
        verdict = _asked(check, subject, timeout, retries, wait)
        verdicts.append(verdict)
        if not verdict:
            break
    return Examination(tuple(verdicts))


def _asked(check: Check, subject: Subject, timeout: float, retries: int, wait: Callable[[float], object]) -> Verdict:
    attempt = 0
    while True:
        try:
            verdict = _within(check, subject, timeout)
            if not isinstance(verdict, Verdict):
                raise TypeError(f"the check {check.name} gave no Verdict")
            return verdict
        except TransientError:
            if attempt >= retries:
                raise
        wait(_WAITS[min(attempt, len(_WAITS) - 1)])
        attempt += 1


def _within(check: Check, subject: Subject, timeout: float) -> Verdict:
    """The check in a thread of its own, which is left behind when it takes too long: no thread can be stopped from outside."""
    try:
        return detached(lambda: check.check(subject), f"blobkit-check-{check.name}").result(timeout)
    except FutureTimeoutError as error:
        if isinstance(error, TransientError):
            raise  # the check's own
        raise Unavailable(f"the check {check.name} did not end within {timeout:g} s") from error
