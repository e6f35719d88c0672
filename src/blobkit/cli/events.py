"""``blobkit events``: what a delivery of storage events says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from blobkit.cli.output import printable
from blobkit.cli.running import Run, command

if TYPE_CHECKING:
    from blobkit.events.model import BlobEvent
    from blobkit.events.parse import ParsedEvents

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Storage events of every provider.")

_COLUMNS: Final = ["kind", "provider", "bucket", "key", "size", "version", "time"]


@app.callback()
def _group() -> None:
    """Keeps ``parse`` a command of a group while it is the only one."""


@app.command()
@command
def parse(
    run: Run, file: Annotated[str, typer.Argument(metavar="FILE", help="A delivery's body; - for standard input.")]
) -> None:
    """Read a delivery: queue message, webhook body, Lambda event, whatever provider and however wrapped."""
    from blobkit.events.parse import parse_events
    from blobkit.events.shells import MAX_BYTES

    with sys.stdin.buffer if file == "-" else Path(file).open("rb") as source:
        parsed = parse_events(source.read(MAX_BYTES + 1))
    if run.out.json:
        run.out.value(_described(parsed))
        return
    run.out.table(_COLUMNS, [_row(event) for event in parsed])
    for control in parsed.controls:
        run.out.note(f"control: {type(control).__name__}")
    for error in parsed.errors:
        run.out.note(f"error: {printable(error.message)}")
    for foreign in parsed.foreign:
        run.out.note(f"foreign: {printable(foreign.reason)}")


def _row(event: BlobEvent) -> list[str]:
    values = (event.kind, event.provider, event.bucket, event.key, event.size, event.version, event.time)
    return ["" if value is None else printable(str(value)) for value in values]


def _described(parsed: ParsedEvents) -> dict[str, object]:
    return {
        "events": [{**event.to_dict(), "dedupe_key": event.dedupe_key} for event in parsed],
        "controls": [type(control).__name__ for control in parsed.controls],
        "errors": [error.message for error in parsed.errors],
        "foreign": [foreign.reason for foreign in parsed.foreign],
    }
