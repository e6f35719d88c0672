"""``blobkit resume``: uploads that were interrupted; and what ``put`` and ``upload`` say when they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blobkit.cli import shapes, units
from blobkit.cli.moving import Concurrency, Job, LimitRate, Parallel, all_of, ways
from blobkit.cli.output import printable
from blobkit.cli.running import Run, command
from blobkit.cli.service import headers_of
from blobkit.cli.targets import Target
from blobkit.errors import BlobkitError, InvalidArgument, NotFound

if TYPE_CHECKING:
    from blobkit.transfer.journal import Entry, Journal
    from blobkit.transfer.upload import Options

__all__ = ["noted", "resume", "target_of"]


def target_of(run: Run, wanted: Target) -> dict[str, str]:
    """Where an upload goes, so that a later run finds it again. Holds no secret: a URL cannot name one."""
    named = {"store": wanted.store, "key": wanted.key}
    config = run.config_file()
    if "://" not in wanted.store and config is not None:
        named["config"] = str(config.resolve())
    return named


@contextmanager
def noted(run: Run, journal: Journal, path: Path, target: Mapping[str, str]) -> Iterator[None]:
    """Say how to resume, when what happens here can be."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            for entry in journal.entries():
                if entry.source == str(path.resolve()) and dict(entry.target) == dict(target):
                    run.out.note(f"it can be resumed: blobkit resume {entry.id}")
        raise


@command
def resume(
    run: Run,
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID…]", help="Which; none lists what can be resumed.", show_default=False),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Everything that can be resumed.")] = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="Do not go on with it: drop it, here and at the store.")
    ] = False,
    header: Annotated[
        list[str] | None, typer.Option("--header", metavar="NAME: VALUE", help="For a service; may be repeated.")
    ] = None,
    concurrency: Concurrency = None,
    parallel: Parallel = 1,
    limit_rate: LimitRate = None,
) -> None:
    """Go on with uploads that were interrupted; only what is missing moves."""
    journal = run.journal()
    found = {entry.id: entry for entry in journal.entries()}
    if not ids and not every:
        run.out.rows((_shape(entry) for entry in found.values()), _shown)
        return
    if unknown := sorted(set(ids or ()) - set(found)):
        raise NotFound(f"nothing to resume is named {unknown[0]!r}", hint="`blobkit resume` lists what there is")
    chosen = list(found.values()) if every else [found[name] for name in ids or ()]
    if forget:
        run.out.rows((_forgotten(run, journal, entry) for entry in chosen), lambda row: f"forgotten  {row['id']}")
        return
    options = ways(concurrency, limit_rate)
    headers = headers_of(header)
    all_of(run, [_job(run, journal, entry, options, headers) for entry in chosen], parallel, options)


def _shape(entry: Entry) -> dict[str, object]:
    return {
        "id": entry.id,
        "file": entry.source,
        "target": dict(entry.target),
        "size": entry.size,
        "chunks": entry.chunks,
        "started": shapes.when(entry.started),
    }


def _shown(row: Mapping[str, object]) -> str:
    target = row["target"]
    assert isinstance(target, dict)
    where = target.get("service") or f"{target['store']} {target['key']}"
    size = row["size"]
    assert isinstance(size, int)
    return f"{row['id']}  {units.shown_size(size):>10}  {printable(str(row['file']))} -> {printable(where)}"


def _job(run: Run, journal: Journal, entry: Entry, options: Options, headers: Mapping[str, str]) -> Job:
    path = Path(entry.source)
    if not path.is_file():
        raise InvalidArgument(f"{entry.source!r} is not there any more", hint=f"blobkit resume --forget {entry.id}")
    from dataclasses import replace

    from blobkit.transfer.resumable import put_file, put_to_service

    def move(progress: object) -> dict[str, object]:
        assert callable(progress)
        mine = replace(options, on_progress=lambda event: progress(event.bytes_done))
        with noted(run, journal, path, entry.target):
            if "service" in entry.target:
                url = entry.target["service"]
                done = put_to_service(path, url, journal=journal, headers=headers, options=mine)
                return {"file": str(path), "key": url, "bytes_sent": done.bytes_sent, "answer": dict(done.answer)}
            store = run.resumable_store(entry.target["store"], entry.target.get("config"))
            stored = put_file(
                store, entry.target["key"], path, journal=journal, target=entry.target, options=mine, only_resume=True
            )
            return {"file": str(path), "bytes_sent": stored.result.bytes_sent, **shapes.blob(stored.info)}

    return Job(path.name, entry.size, move)


def _forgotten(run: Run, journal: Journal, entry: Entry) -> dict[str, object]:
    with journal.record(entry.source, entry.target) as record:
        if "store" in entry.target:
            with suppress(BlobkitError):  # a session that is gone already is as good
                store = run.resumable_store(entry.target["store"], entry.target.get("config"))
                store.resume_upload(str(record.secrets.get("token", ""))).abort()
        record.forget()
    return _shape(entry)
