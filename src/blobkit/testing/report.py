"""The outcome of a conformance run, and :func:`run`, which makes one."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from blobkit.testing.harness import Harness

__all__ = ["ConformanceReport", "Note", "run"]


class Note(NamedTuple):
    """A test, and what is to be said of it."""

    test: str
    reason: str


@dataclass(frozen=True, slots=True)
class ConformanceReport:
    """What the suite found. Truthy when nothing failed and something was tested.

    Attributes:
        store: The harness's name.
        passed: How many tests passed.
        failed: Those that did not, with the end of what they said.
        not_checkable: Tests that ended because the server does not check what they test, or the harness does not offer it.
        undeclared: What the store does not claim, with the tests that then asserted the error that is due.
        missing: What this machine lacks (HTTP stacks), by name.
        seconds: How long it took.
        usage: Why nothing could be run at all; None otherwise.
    """

    store: str
    passed: int
    failed: Sequence[Note]
    not_checkable: Sequence[Note]
    undeclared: Sequence[Note]
    missing: Sequence[Note]
    seconds: float
    usage: str | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing failed and something was tested."""
        return self.usage is None and not self.failed and self.passed > 0

    def __bool__(self) -> bool:
        return self.ok

    def as_dict(self) -> dict[str, object]:
        """As JSON values."""
        return {
            "store": self.store,
            "ok": self.ok,
            "passed": self.passed,
            "failed": [{"test": note.test, "message": note.reason} for note in self.failed],
            "not_checkable": [{"test": note.test, "reason": note.reason} for note in self.not_checkable],
            "undeclared": sorted({note.reason for note in self.undeclared}),
            "missing": {note.test: note.reason for note in self.missing},
            "seconds": round(self.seconds, 2),
            "usage": self.usage,
        }

    def lines(self) -> list[str]:
        """A summary for people: counts, then what failed, what could not be checked and how often, what is not claimed."""
        counts = f"{self.passed} passed, {len(self.failed)} failed, {len(self.not_checkable)} not checkable"
        said = [f"{self.store}: {counts}, in {self.seconds:.1f} s"]
        if self.usage:
            said.append(f"nothing was tested: {self.usage}")
        said += [f"failed: {note.test}: {note.reason.strip().splitlines()[-1]}" for note in self.failed]
        said += counted(self.not_checkable)
        if self.undeclared:
            said.append("not claimed by this store: " + ", ".join(sorted({note.reason for note in self.undeclared})))
        said += [f"missing on this machine: {note.test} ({note.reason})" for note in self.missing]
        return said


def counted(notes: Sequence[Note]) -> list[str]:
    """Each reason once, with how many tests it ended, most first."""
    counts: dict[str, int] = {}
    for note in notes:
        counts[note.reason] = counts.get(note.reason, 0) + 1
    return [f"{count:4}  {reason}" for reason, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def run(
    store: str | Harness, *, cannot_check: Sequence[str] = (), args: Sequence[str] = (), quiet: bool = False
) -> ConformanceReport:
    """Run the packaged suite against a store, in this process, with pytest (the ``testing`` extra).

    Args:
        store: Its URL, or a harness.
        cannot_check: With a URL: names of :data:`blobkit.testing.CHECKS` that its server does not really check.
        args: More arguments for pytest (``["-k", "signed", "-x"]``).
        quiet: Keep pytest's own output back; it is lost.

    Raises:
        PluginMissing: pytest is not installed.
        BlobkitError: The store cannot be opened.
        ValueError: ``cannot_check`` names no check.
    """
    from blobkit.errors import PluginMissing
    from blobkit.testing.harness import Harness, everything_but

    try:
        import pytest
    except ImportError as error:
        raise PluginMissing("the conformance suite needs pytest", hint='pip install "blobkit[testing]"') from error
    from blobkit.testing.collecting import ConformancePlugin

    harness = Harness(store, enforces=everything_but(*cannot_check)) if isinstance(store, str) else store
    with harness.open(harness.new_prefix()):  # a wrong setting is the caller's error, not three hundred failed tests
        pass
    plugin = ConformancePlugin(harness)
    suite = Path(__file__).parent / "suite"
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="blobkit-conformance-") as folder:
        # A configuration of its own: what stands in the current directory is another project's.
        settings = Path(folder, "pytest.ini")
        settings.write_text("[pytest]\naddopts = --import-mode=importlib\n", encoding="utf-8")
        words = ["-c", str(settings), "--rootdir", str(suite), "-p", "no:cacheprovider", "--tb=short", "--no-header"]
        words += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # what the harness imported already
        words += ["-p", "blobkit.testing.plugin", "-q", *args, str(suite)]
        with _silence() if quiet else nullcontext():
            code = int(pytest.main(words, [plugin]))
    return plugin.report(time.monotonic() - started, code)


@contextmanager
def _silence() -> Iterator[None]:
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield
