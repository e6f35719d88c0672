"""The end of a test run says what was skipped and why."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def _same_conftest(pytester: pytest.Pytester) -> None:
    pytester.makeconftest((Path(__file__).parents[1] / "conftest.py").read_text())


def test_skips_are_counted_by_reason_at_the_end_of_a_run(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.skip(reason="azurite is not installed")
        @pytest.mark.parametrize("n", [1, 2])
        def test_marked(n): ...

        def test_called(): pytest.skip("no curl on this machine")

        def test_passes(): ...
        """
    )
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=1, skipped=3)
    result.stdout.fnmatch_lines(
        ["*3 skipped, what is missing:*", "     2  azurite is not installed", "     1  no curl on this machine"]
    )


def test_a_module_skipped_as_a_whole_is_counted_too(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import pytest; pytest.importorskip('no_such_module')")
    result = pytester.runpytest_subprocess()
    result.stdout.fnmatch_lines(["*1 skipped, what is missing:*", "     1  could not import 'no_such_module':*"])


def test_a_run_without_skips_says_nothing_of_them(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_passes(): ...")
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*what is missing*")
