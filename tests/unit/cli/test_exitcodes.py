"""Exit statuses are a table, complete and documented."""

from __future__ import annotations

import pytest

from blobkit import errors
from blobkit.cli.exitcodes import INTERNAL, TABLE, code_of

from .conftest import Cli

ALL = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize(
    "kind",
    [kind for kind in ALL if kind not in (errors.BlobkitError, errors.ClosedError)],
    ids=lambda kind: kind.__name__,
)
def test_every_error_of_the_library_has_a_status_of_its_own_kind(kind: type[errors.BlobkitError]) -> None:
    error = kind.__new__(kind)
    assert code_of(error) not in (0, 11, INTERNAL)


def test_an_error_with_a_builtin_parent_is_told_by_what_blobkit_says_of_it() -> None:
    assert code_of(errors.BlobNotFound("x")) == 4
    assert code_of(errors.AlreadyExists("x")) == 5
    assert code_of(errors.InvalidKey("x")) == 2
    assert code_of(FileNotFoundError("x")) == 10
    assert code_of(BrokenPipeError()) == 141


def test_what_nobody_foresaw_is_a_fault_of_blobkit() -> None:
    assert code_of(ZeroDivisionError()) == INTERNAL
    assert code_of(ValueError()) == INTERNAL
    assert code_of(errors.ClosedError()) == INTERNAL


def test_a_refusal_without_a_class_of_its_own_is_no_fault_of_blobkit() -> None:
    assert code_of(errors.BlobkitError("the storage answered 418")) == 11


def test_no_status_and_no_error_is_listed_twice() -> None:
    codes = [row.code for row in TABLE]
    kinds = [kind for row in TABLE for kind in row.errors]
    assert codes == sorted(set(codes))
    assert len(kinds) == len(set(kinds))


def test_the_help_documents_every_status(cli: Cli) -> None:
    shown = cli("--help")
    assert shown.code == 0
    for row in TABLE:
        assert f" {row.code}  {row.meaning[:40]}" in shown.stdout
