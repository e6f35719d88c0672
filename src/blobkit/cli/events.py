"""``blobkit events``: what a delivery of storage events says, and what arrives in a queue."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, cast

import typer

from blobkit.cli.output import printable
from blobkit.cli.running import Run, command

if TYPE_CHECKING:
    from blobkit.events.model import BlobEvent
    from blobkit.events.parse import ParsedEvents
    from blobkit.events.sources import Source

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Storage events of every provider.")

_BATCH: Final = 10
_WAIT: Final = timedelta(seconds=2)  # the longest time that Ctrl-C takes
_COLUMNS: Final = ["kind", "provider", "bucket", "key", "size", "version", "time"]


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


@app.command()
@command
def listen(
    run: Run,
    source: Annotated[
        str, typer.Argument(metavar="URL", help="sqs://queue, pubsub://project/subscription, azqueue://…")
    ],
    ack: Annotated[bool, typer.Option("--ack", help="Take what is shown out of the queue.")] = False,
    count: Annotated[int, typer.Option(min=0, help="End after so many messages; 0: when interrupted.")] = 0,
) -> None:
    """Show events as they arrive. Without --ack they are only borrowed: they go back to the queue at the end."""
    from blobkit.events.sources import open_events

    with open_events(source) as opened, _interruptible(opened):
        run.out.note(f"listening to {printable(opened.name)}")
        run.out.rows(_arriving(opened, ack=ack, count=count), _line)


@contextmanager
def _interruptible(source: Source) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the iteration in good order; the second one ends the command at once."""

    def stop(number: int, frame: object) -> None:
        source.stop()
        for name in names:
            signal.signal(name, signal.default_int_handler)

    names = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(name, stop) for name in names]
    try:
        yield
    finally:
        for name, handler in zip(names, before, strict=True):
            signal.signal(name, handler)


def _arriving(source: Source, *, ack: bool, count: int) -> Iterator[dict[str, object]]:
    seen = 0
    while not source.stopped:
        for delivery in source.receive(min(_BATCH, count - seen) if count else _BATCH, _WAIT):
            yield {"id": delivery.id, "attempt": delivery.attempt, **_described(delivery.events)}
            if ack:  # what was shown, and no sooner
                delivery.ack()
            seen += 1
            if seen == count:
                return


def _line(delivery: Mapping[str, object]) -> str:
    """One delivery for people: its events, and what came beside them."""
    lines: list[str] = []
    for event in cast("list[dict[str, object]]", delivery["events"]):
        known = (event.get(name) for name in _COLUMNS)
        lines.append("  ".join(printable(str(value)) for value in known if value is not None))
    for name in ("controls", "errors", "foreign"):
        lines += [f"{name.removesuffix('s')}: {printable(text)}" for text in cast("list[str]", delivery[name])]
    return "\n".join(lines)


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
