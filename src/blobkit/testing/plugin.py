"""The opt-in pytest plugin: ``pytest -p blobkit.testing.plugin``, or ``pytest_plugins = "blobkit.testing.plugin"``.

It gives the fixtures ``harness``, ``trial``, ``store``, ``clock`` and ``client``, the options ``--blobkit-store`` and
``--blobkit-cannot-check``, and closes the run with what could not be checked and what the store does not claim. To run
the suite as part of your own tests::

    # tests/test_conformance.py
    import pytest
    from blobkit.testing import Harness, everything_but
    from blobkit.testing.suite import *

    pytest_plugins = "blobkit.testing.plugin"

    @pytest.fixture(scope="module")
    def harness():
        return Harness("s3://bucket/?endpoint=…", enforces=everything_but("put.checksum"))
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Final

import pytest

from blobkit.store import Store
from blobkit.testing.clients import Client
from blobkit.testing.clock import FakeClock
from blobkit.testing.collecting import GIVEN, NOT_CHECKABLE, UNDECLARED, notes_of, telling_asserts
from blobkit.testing.faces import awaited
from blobkit.testing.harness import Harness, everything_but
from blobkit.testing.report import Note, counted

telling_asserts("blobkit.testing.trial", "blobkit.testing.executor")

from blobkit.testing.trial import Trial  # noqa: E402 - its assertions are rewritten first

_RUNNING: Final = pytest.StashKey[list[Harness]]()

# --- options and hooks ------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """The store may be named on the command line."""
    group = parser.getgroup("blobkit", "blobkit conformance")
    group.addoption("--blobkit-store", metavar="URL", help="the store that the conformance suite tests")
    group.addoption(
        "--blobkit-cannot-check",
        metavar="NAMES",
        default="",
        help="comma-separated checks that its server does not really make",
    )


class _Summary:
    """Closes the run with what could not be checked, counted, and what the stores do not claim."""

    def __init__(self) -> None:
        self._notes: list[tuple[str, Note]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            self._notes += notes_of(report)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        uncheckable = [note for kind, note in self._notes if kind == NOT_CHECKABLE]
        undeclared = sorted({note.reason for kind, note in self._notes if kind == UNDECLARED})
        if uncheckable:
            terminalreporter.section(f"blobkit: {len(uncheckable)} tests not checkable", sep="-", yellow=True)
            for line in counted(uncheckable):
                terminalreporter.line(line)
        if undeclared:
            terminalreporter.section("blobkit: not claimed, and proven to be refused", sep="-")
            terminalreporter.line(", ".join(undeclared))


def pytest_configure(config: pytest.Config) -> None:
    """Listen for what tests note."""
    config.pluginmanager.register(_Summary(), "blobkit-summary")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stop every harness that was started: delete what tests left, close servers."""
    for harness in session.config.stash.get(_RUNNING, []):
        harness.stop()


# --- fixtures ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def harness(pytestconfig: pytest.Config) -> Harness:
    """The store under test. Override it, or give ``--blobkit-store URL``."""
    if GIVEN in pytestconfig.stash:
        return pytestconfig.stash[GIVEN]
    url = pytestconfig.getoption("blobkit_store", None)
    if not url:
        pytest.fail("no store under test: give --blobkit-store URL, or define a fixture named harness", pytrace=False)
    names = str(pytestconfig.getoption("blobkit_cannot_check", "") or "")
    return Harness(url, enforces=everything_but(*(name.strip() for name in names.split(",") if name.strip())))


@pytest.fixture
def trial(harness: Harness, request: pytest.FixtureRequest) -> Generator[Trial]:
    """One test's place in the store under test, with clients and the kit's questions."""
    running = request.config.stash.setdefault(_RUNNING, [])
    if not any(known is harness for known in running):
        running.append(harness)
        harness.start()
    trial = Trial(harness, lambda kind, reason: request.node.user_properties.append((kind, reason)))
    yield trial
    trial.close()


@pytest.fixture
def store(trial: Trial) -> Store:
    """The store under test, at a fresh prefix."""
    return trial.store


@pytest.fixture
def client(trial: Trial) -> Client:
    """The plainest HTTP stack."""
    return trial.client


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still at the present."""
    return FakeClock()


@pytest.fixture(params=["sync", "async"])
def face(trial: Trial, request: pytest.FixtureRequest) -> Generator[Store]:
    """The store under test, and the same through AsyncStore, each verb awaited."""
    if request.param == "sync":
        yield trial.store
    else:
        with asyncio.Runner() as runner:
            yield awaited(trial.open(), runner)
