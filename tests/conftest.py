"""What every test shares: hypothesis profiles, and a count of what was skipped for want of something."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import settings

# A deadline fails on a busy machine, not on a wrong program. In CI the same commit gives the same examples.
settings.register_profile("blobkit", deadline=None)
settings.register_profile("blobkit-ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("blobkit-ci" if os.environ.get("CI") else "blobkit")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Close the run with what was skipped and why: a skipped test is a promise that nobody checked."""
    reasons = Counter(_reasons(terminalreporter.getreports("skipped")))
    if reasons:
        terminalreporter.section(f"{reasons.total()} skipped, what is missing:", sep="-", yellow=True)
        for reason, count in reasons.most_common():
            terminalreporter.line(f"{count:6}  {reason}")


def _reasons(reports: Iterable[pytest.TestReport | pytest.CollectReport]) -> Iterable[str]:
    for report in reports:
        # A skip is reported as (path, line, "Skipped: why"); a marker without a reason says "unconditional skip".
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        yield text.removeprefix("Skipped: ")
