"""``blobkit uploads``: what is recorded of uploads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from blobkit.cli import units
from blobkit.cli.output import printable
from blobkit.cli.records import DatabaseUrl, open_tracker
from blobkit.cli.running import Run, command
from blobkit.errors import InvalidArgument

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="The records of uploads.")


@app.command("list")
@command
def listed(
    run: Run,
    database: DatabaseUrl = None,
    state: Annotated[str | None, typer.Option("--state", metavar="STATE", help="Only those in this state.")] = None,
    owner: Annotated[str | None, typer.Option("--owner", help="Only this owner's.")] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most so many.")] = 50,
) -> None:
    """List uploads, the newest first."""
    tracker = open_tracker(run, database)
    from blobkit.tracking import State

    if state is not None and state not in set(State):
        raise InvalidArgument(f"no state is called {state!r}", hint=", ".join(State))
    found = tracker.uploads(owner=owner, state=state, limit=limit)
    run.out.rows((upload.to_dict() for upload in found), _shown)


def _shown(row: Mapping[str, object]) -> str:
    size = row["size"] if row["size"] is not None else row["declared_size"]
    shown = units.shown_size(size) if isinstance(size, int) else "-"
    when = str(row["created_at"])[:19].replace("T", " ")
    place = printable(f"{row['store']}:{row['key']}")
    return f"{row['id']}  {row['state']:<9}  {shown:>10}  {when}  {place}"


@app.command()
@command
def show(
    run: Run,
    upload: Annotated[str, typer.Argument(metavar="ID", help="The upload's id.")],
    database: DatabaseUrl = None,
) -> None:
    """Show one upload, and what was told of it."""
    tracker = open_tracker(run, database)
    found = tracker.get(upload)
    history = [
        {"id": item.id, "kind": item.kind, "at": item.created_at.isoformat(), "delivery": state}
        for item, state in tracker.outbox.history(found.id)
    ]
    if run.out.json:
        run.out.value({**found.to_dict(), "history": history})
        return
    run.out.pairs(found.to_dict())
    for entry in history:
        run.out.line(f"  {entry['at'][:19].replace('T', ' ')}  {entry['kind']:<12}  {entry['delivery']}")
