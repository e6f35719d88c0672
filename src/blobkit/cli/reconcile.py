"""``blobkit reconcile``: bring the records in line with what the stores hold."""

from __future__ import annotations

from typing import Annotated

import typer

from blobkit.cli.output import printable
from blobkit.cli.records import DatabaseUrl, OwnedPrefixes, open_tracker
from blobkit.cli.running import Run, command
from blobkit.errors import TransientError

__all__ = ["reconcile"]


@command
def reconcile(
    run: Run,
    database: DatabaseUrl = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; say what would be done.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="Look at so many at most.")] = None,
    max_deletions: Annotated[
        int, typer.Option("--max-deletions", metavar="N", min=0, help="Delete so many objects at most.")
    ] = 10_000,
    owned: OwnedPrefixes = None,
    sweep: Annotated[
        bool | None, typer.Option("--sweep/--no-sweep", help="Look for orphans now, or not; else when it is due.")
    ] = None,
) -> None:
    """Ask the stores about everything that is due, and bring the records in line."""
    tracker = open_tracker(run, database, owned)
    report = tracker.reconcile(dry_run=dry_run, limit=limit, max_deletions=max_deletions, sweep=sweep)
    if run.out.json:
        run.out.value(report.to_dict())
    else:
        if dry_run:
            for action in report.actions:
                run.out.line(printable(action))
        pairs = {name: value for name, value in report.to_dict().items() if name not in ("errors", "actions")}
        run.out.pairs({name: value for name, value in pairs.items() if value or name in ("looked", "complete")})
    for error in report.errors:
        run.out.note(f"failed: {printable(error)}")
    if report.failures:
        raise TransientError(
            f"{report.failures} items could not be dealt with", hint="they are tried again by the next run"
        )
