"""``blobkit conformance STORE``: does the store do what it declares, and refuse what it does not?"""

from __future__ import annotations

from typing import Annotated

import typer

from blobkit.cli.exitcodes import FAILED
from blobkit.cli.output import printable
from blobkit.cli.running import Run, command
from blobkit.cli.targets import store_word
from blobkit.errors import InvalidArgument

__all__ = ["conformance"]


@command
def conformance(
    run: Run,
    store: Annotated[
        str, typer.Argument(metavar="STORE-URL", help="The store; the kit works below a prefix of its own there.")
    ],
    cannot_check: Annotated[
        list[str] | None,
        typer.Option(
            "--cannot-check", metavar="NAME", help="A check that this server is known not to make; may be repeated."
        ),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option("-k", "--only", metavar="EXPRESSION", help="Only tests whose names match, as pytest's -k."),
    ] = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", "-x", help="Stop at the first failure.")] = False,
) -> None:
    """Run the conformance kit against a store. What a store declares must work; what it does not must be refused."""
    from blobkit.testing import run as run_kit

    url = store_word(store)
    if "://" not in url:
        url = run.store(url).config.to_url()
    args = [*(("-k", only) if only else ()), *(("-x",) if fail_fast else ())]
    try:
        report = run_kit(url, cannot_check=cannot_check or (), args=args, quiet=run.out.json)
    except ValueError as error:
        if isinstance(error, InvalidArgument):
            raise
        raise InvalidArgument(str(error)) from error
    if run.out.json:
        run.out.value(report.as_dict())
    else:
        for line in report.lines():
            run.out.line(printable(line))
    if not report.ok:
        raise typer.Exit(FAILED)
