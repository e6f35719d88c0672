"""``blobkit worker``: events, reconcile, quarantine and the outbox, in one process."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, cast

import typer

from blobkit.cli import units
from blobkit.cli.importing import imported
from blobkit.cli.quarantining import (
    CheckWords,
    ClamavMax,
    ClamavUrl,
    Examiners,
    Routes,
    TimeLimit,
    checks_of,
    routes_of,
)
from blobkit.cli.records import DatabaseUrl, OwnedPrefixes, open_tracker
from blobkit.cli.running import Run, command
from blobkit.errors import ConfigError, InvalidArgument

if TYPE_CHECKING:
    from blobkit.quarantine import Quarantine
    from blobkit.tracking import Applied, Delivered, Handler, Notification, Part, ReconcileReport
    from blobkit.tracking.worker import EventSource

__all__ = ["worker"]


@command
def worker(
    run: Run,
    database: DatabaseUrl = None,
    events: Annotated[
        list[str] | None,
        typer.Option("--events", metavar="URL", help="A queue of storage events (sqs://…). May be repeated."),
    ] = None,
    handler: Annotated[
        str | None,
        typer.Option("--handler", metavar="MODULE:FUNCTION", help="Hears what happens; else that is left to another."),
    ] = None,
    shown: Annotated[
        bool, typer.Option("--print", help="Print each notice as a line of JSON, and call it done.")
    ] = False,
    every: Annotated[str, typer.Option("--every", metavar="SPAN", help="Between two runs of reconcile.")] = "1m",
    owned: OwnedPrefixes = None,
    quarantine: Routes = None,
    checks: CheckWords = None,
    clamav: ClamavUrl = None,
    clamav_max: ClamavMax = "25MiB",
    examiners: Examiners = 4,
    check_timeout: TimeLimit = "5m",
    once: Annotated[bool, typer.Option("--once", help="One round, then end; events are left alone.")] = False,
) -> None:
    """Keep the records true until Ctrl-C or SIGTERM; what is under way is finished first."""
    if handler is not None and shown:
        raise InvalidArgument("--handler goes without --print")
    if once and events:
        raise InvalidArgument("--once goes without --events")
    if (checks or clamav is not None) and not quarantine:
        raise InvalidArgument("--check and --clamav go with --quarantine", hint="--quarantine STAGING=PUBLIC")
    if quarantine and not checks and clamav is None:
        raise InvalidArgument("a quarantine without a check lets everything pass", hint="--check or --clamav")
    hears = _handler(handler) if handler is not None else None
    routes, asked = routes_of(quarantine or ()), checks_of(checks or (), clamav, clamav_max)
    tracker = open_tracker(run, database, owned, routes.staging)
    opened = routes.open(tracker, asked, workers=examiners, timeout=units.duration(check_timeout))
    from blobkit.serving import signalled
    from blobkit.tracking import Worker

    def told(item: Notification) -> None:
        line = {"id": item.id, "upload": str(item.upload), "kind": item.kind, "at": item.created_at.isoformat()}
        run.out.line(json.dumps({**line, "data": dict(item.data)}, ensure_ascii=False))

    stop = threading.Event()
    with ExitStack() as stack:
        process = Worker(
            tracker,
            sources=_sources(events or (), stack),
            handler=told if shown else hears,
            reconcile_every=units.duration(every),
            reported=partial(_note, run),
            parts={f"quarantine of {public}": _part(run, public, here) for public, here in opened.items()},
        )
        stack.enter_context(signalled(stop))
        if once:
            process.once(stop.is_set)
        else:
            run.out.note(f"working on {tracker!r}: Ctrl-C ends it")
            process.run(stop)
            run.out.note("stopped")


def _note(run: Run, what: Applied | ReconcileReport | Delivered) -> None:
    """What somebody who watches the process may want to know of a round."""
    from blobkit.tracking import ReconcileReport

    if not isinstance(what, ReconcileReport):
        return
    if what.changes or what.failures or what.swept_objects:
        run.out.note(f"reconcile: {dict(what.changes)}, {what.swept_objects} swept, {what.failures} failed")
    if what.dropped:
        run.out.note(f"reconcile: {what.dropped} events dropped: no upload has their keys, and too many waited")
    for error in what.errors:
        run.out.note(f"failed: {error}")


def _sources(urls: Sequence[str], stack: ExitStack) -> list[EventSource]:
    from blobkit.events.sources import open_events

    return [stack.enter_context(open_events(url)) for url in urls]


def _part(run: Run, public: str, quarantine: Quarantine) -> Part:
    """A round of the quarantine, and a note of what it came to."""

    def examine(stop: Callable[[], bool]) -> None:
        done = quarantine.run_once(stop=stop)
        counts = [f"{count} {name}" for name, count in asdict(done).items() if count]
        if counts:
            run.out.note(f"quarantine of {public}: {', '.join(counts)}")

    return examine


def _handler(name: str) -> Handler:
    """The function that ``module:function`` names. Raises ConfigError."""
    found = imported(name, "the handler")
    if not callable(found):
        raise ConfigError(f"the handler {name!r} cannot be called")
    return cast("Handler", found)
