"""Which subjects of the suite a variant of a store runs: all of them, or those that its difference can change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pytest

from blobkit.testing import suite

__all__ = ["CHUNKS", "KEEPING", "SIGNING", "SUBJECTS", "run_each", "runs", "subject_of"]

_SESSIONS: Final = frozenset({"test_sessions", "test_session_completion", "test_session_tokens", "test_session_faults"})
KEEPING: Final = frozenset({"test_objects", "test_constraints", "test_downloads"}) | _SESSIONS
"""What changes with how objects and their versions are kept."""
SIGNING: Final = frozenset({"test_signed", "test_faces", "test_plans", "test_browser"})
"""What changes with how, and with which keys, requests are signed."""
CHUNKS: Final = frozenset({"test_plans", "test_faces", "test_browser"}) | _SESSIONS
"""What changes with how chunked sessions work."""


def subject_of(test: object) -> str:
    """The module of the suite that a test is from."""
    return str(getattr(test, "__module__", "")).rpartition(".")[2]


SUBJECTS: Final = frozenset(subject_of(getattr(suite, name)) for name in suite.__all__)
"""Every subject of the suite."""


def runs(subjects: frozenset[str] | None, subject: str) -> bool:
    """Whether a variant that runs these (None: all) runs this one. Raises LookupError for one that the suite has not."""
    if subjects is not None and not subjects <= SUBJECTS:
        raise LookupError(f"no such subject: {', '.join(sorted(subjects - SUBJECTS))}")
    return subjects is None or subject in subjects


def run_each(metafunc: pytest.Metafunc, variants: Mapping[str, frozenset[str] | None]) -> None:
    """What ``pytest_generate_tests`` does: a test of the suite runs against each variant that runs its subject."""
    if "harness" in metafunc.fixturenames:
        subject = subject_of(metafunc.function)
        names = [name for name, subjects in variants.items() if runs(subjects, subject)]
        metafunc.parametrize("harness", names, indirect=True, scope="module")
