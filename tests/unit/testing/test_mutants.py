"""The suite notices every check that is taken away: each crippled storage fails the very test that is there for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .mutants import MUTANTS
from .toy import Manner

ROOT = Path(__file__).parents[3]


def in_another_process(*words: str) -> object:
    """A pytest inside pytest shares too much with it: the suite runs in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # it starts pytest dozens of times
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_check_that_is_taken_away_is_noticed() -> None:
    """One test for all of them: whichever worker had a few would run them all."""
    found = in_another_process("tests.unit.testing.mutants")
    assert isinstance(found, dict)
    assert len(found) == len(MUTANTS) > 50
    missed = [
        f"without {mutant.without}, {mutant.caught_by} passes" for mutant in MUTANTS if not found["|".join(mutant)]
    ]
    assert missed == []


@pytest.mark.parametrize("manner", ["parts", "bearer", "blocks"])
def test_the_whole_suite_passes_on_a_storage_that_checks_everything(manner: Manner) -> None:
    report = in_another_process("tests.unit.testing.whole", manner)
    assert isinstance(report, dict)
    assert report["failed"] == []
    assert report["ok"] is True
    assert report["passed"] > 400
    named = {"bearer": "chunks in any order", "blocks": "put.size", "parts": "put.size_range"}
    assert named[manner] in report["undeclared"], "what is not declared is told"
