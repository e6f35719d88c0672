"""``blobkit ls | stat | cp | rm``: what a store holds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from blobkit.cli import shapes, units
from blobkit.cli.options import TargetWords
from blobkit.cli.output import printable
from blobkit.cli.running import Run, command
from blobkit.cli.targets import Target, several_targets, store_and_prefix, take_target
from blobkit.errors import InvalidArgument

if TYPE_CHECKING:
    from blobkit.blobs import BlobInfo, DeleteResult, Prefix
    from blobkit.store import Store

__all__ = ["cp", "ls", "rm", "stat"]


@command
def ls(
    run: Run,
    store: Annotated[
        list[str],
        typer.Argument(metavar="STORE", help="NAME, NAME:PREFIX, or STORE-URL and perhaps PREFIX.", show_default=False),
    ],
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Every object below, not only one level.")
    ] = False,
    start_after: Annotated[
        str | None, typer.Option("--start-after", metavar="KEY", help="Only keys after this one.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="At most so many.")] = None,
) -> None:
    """List objects: one level, as a directory, unless --recursive."""
    named, prefix = store_and_prefix(store)
    if start_after is not None and not recursive:
        raise InvalidArgument("--start-after needs --recursive", hint="one level is listed as a whole")
    opened = run.store(named)
    found: Iterator[BlobInfo | Prefix]
    found = opened.list(prefix, start_after=start_after) if recursive else opened.list_dir(prefix)
    run.out.rows(map(_entry, itertools.islice(found, limit)), _shown_entry)


def _entry(item: BlobInfo | Prefix) -> dict[str, object]:
    from blobkit.blobs import Prefix

    if isinstance(item, Prefix):
        return {"type": "prefix", "key": item.key}
    return {"type": "object", **shapes.blob(item)}


def _shown_entry(entry: Mapping[str, object]) -> str:
    key = printable(str(entry["key"]))
    if entry["type"] == "prefix":
        return f"{'-':>10}  {'-':>19}  {key}"
    size, time = entry["size"], str(entry["modified"])
    assert isinstance(size, int)
    return f"{units.shown_size(size):>10}  {time[:10]} {time[11:19]}  {key}"


@command
def stat(
    run: Run,
    target: TargetWords,
    version: Annotated[str | None, typer.Option("--version", metavar="ID", help="This version of it.")] = None,
) -> None:
    """Describe an object."""
    (wanted,) = several_targets(target, exactly=1)
    show_blob(run, run.store(wanted.store).stat(wanted.key, version=version))


def show_blob(run: Run, info: BlobInfo) -> None:
    """An object, as JSON or in two columns."""
    data = shapes.blob(info)
    if run.out.json:
        run.out.value(data)
        return
    checksums = {
        name: value.hex + (" (composite)" if value.composite else "") for name, value in info.checksums.items()
    }
    run.out.pairs({**data, "size": f"{info.size} ({units.shown_size(info.size)})", "checksums": checksums})


@command
def cp(
    run: Run,
    targets: Annotated[
        list[str], typer.Argument(metavar="SOURCE DESTINATION", help="Two targets: each NAME:KEY, or STORE-URL KEY.")
    ],
    if_absent: Annotated[bool, typer.Option("--if-absent", help="Only create; never overwrite.")] = False,
) -> None:
    """Copy an object, within a store or to another; pinned to what the source is when the copy starts."""
    source, destination = several_targets(targets, exactly=2, last_key_optional=True)
    destination = destination.named(source.key.rpartition("/")[2])
    origin = run.store(source.store)
    to = origin if destination.store == source.store else run.store(destination.store)
    info = origin.stat(source.key)
    show_blob(run, origin.copy(source.key, destination.key, pin=info.pin, if_absent=if_absent, to=to))


@command
def rm(
    run: Run,
    targets: TargetWords,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Every object whose key starts so.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before a recursive deletion.")] = False,
    version: Annotated[
        str | None, typer.Option("--version", metavar="ID", help="This version, leaving the others.")
    ] = None,
    purge_versions: Annotated[
        bool, typer.Option("--purge-versions", help="Every version, so that nothing is left to restore.")
    ] = False,
) -> None:
    """Delete objects; one that is not there is no error. Several targets may be given."""
    if version is not None and (purge_versions or recursive):
        raise InvalidArgument("--version goes without --recursive and --purge-versions")
    if recursive:
        _remove_below(run, targets, yes, purge_versions)
        return
    results = [
        run.store(each.store).delete(each.key, version=version, purge_versions=purge_versions)
        for each in several_targets(targets)
    ]
    run.out.rows(map(shapes.deleted, results), _shown_deletion)


def _remove_below(run: Run, words: list[str], yes: bool, purge_versions: bool) -> None:
    wanted, rest = take_target(words, key_optional=True)
    if rest:
        raise InvalidArgument("--recursive takes one target", hint="a key's start: media:tmp/")
    store = run.store(wanted.store)
    if not yes:
        _confirm(wanted, sum(1 for _ in store.list(wanted.key)))
    results = list(_removed(store, wanted.key, purge_versions))
    run.out.rows(map(shapes.deleted, results), _shown_deletion)
    for result in results:
        if result.error is not None:
            raise result.error


def _confirm(wanted: Target, count: int) -> None:
    import sys

    if not sys.stdin.isatty():
        raise InvalidArgument("a recursive deletion is not confirmed", hint="--yes")
    where = printable(f"{wanted.store.partition('?')[0]} {wanted.key!r}")
    if not typer.confirm(f"Delete {count} objects below {where}?", err=True):
        raise typer.Exit(1)


def _removed(store: Store, prefix: str, purge_versions: bool) -> Iterator[DeleteResult]:
    keys = [info.key for info in store.list(prefix)]  # all of them first: a listing that is deleted from may skip
    if purge_versions:
        for key in keys:
            yield store.delete(key, purge_versions=True)
    else:
        for start in range(0, len(keys), 1000):
            yield from store.delete_many(keys[start : start + 1000])


def _shown_deletion(result: Mapping[str, object]) -> str:
    key = printable(str(result["key"]))
    return f"deleted  {key}" if result["deleted"] else f"failed   {key}: {result['error']}"
