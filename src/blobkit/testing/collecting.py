"""How the outcome of tests becomes a report: what tests note about themselves, and who listens."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

import pytest

from blobkit.testing.harness import Harness
from blobkit.testing.report import ConformanceReport, Note

__all__ = ["GIVEN", "NOT_CHECKABLE", "UNDECLARED", "ConformancePlugin", "notes_of", "telling_asserts"]

NOT_CHECKABLE: Final = "not checkable"
UNDECLARED: Final = "undeclared"
GIVEN: Final = pytest.StashKey[Harness]()


def telling_asserts(*modules: str) -> None:
    """Let the assertions of these modules show their values, as those of test modules do; too late for imported ones."""
    pytest.register_assert_rewrite(*(name for name in modules if name not in sys.modules))


class ConformancePlugin:
    """What :func:`blobkit.testing.run` registers: hands its harness to the tests and collects what they say."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness
        self._passed = 0
        self._failed: list[Note] = []
        self._notes: list[tuple[str, Note]] = []

    def pytest_configure(self, config: pytest.Config) -> None:
        """Hand over the harness."""
        config.stash[GIVEN] = self._harness

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how a test ended."""
        if report.failed:
            self._failed.append(Note(_short(report.nodeid), str(report.longrepr)))
        elif report.when == "call" and report.passed:
            self._passed += 1
        if report.when == "teardown":
            self._notes += notes_of(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module that cannot be imported is a failure, not an absence."""
        if report.failed:
            self._failed.append(Note(_short(report.nodeid), str(report.longrepr)))

    def report(self, seconds: float, code: int) -> ConformanceReport:
        """What was found."""
        usage = None
        if code in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED):
            usage = f"pytest ended with {pytest.ExitCode(code).name}"
        return ConformanceReport(
            store=self._harness.name,
            passed=self._passed,
            failed=tuple(self._failed),
            not_checkable=tuple(note for kind, note in self._notes if kind == NOT_CHECKABLE),
            undeclared=tuple(note for kind, note in self._notes if kind == UNDECLARED),
            missing=tuple(Note(name, why) for name, why in self._harness.missing.items()),
            seconds=seconds,
            usage=usage,
        )


def _short(nodeid: str) -> str:
    return nodeid.rpartition("/")[2]


def notes_of(report: pytest.TestReport) -> Iterator[tuple[str, Note]]:
    """What the test said of itself, by kind, each once."""
    for kind, reason in dict.fromkeys(report.user_properties):
        if kind in (NOT_CHECKABLE, UNDECLARED):
            yield kind, Note(_short(report.nodeid), str(reason))
