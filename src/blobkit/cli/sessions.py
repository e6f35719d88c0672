"""``blobkit session start | chunks | status | complete | abort | list | sweep``: chunked uploads, step by step.

A session is known by its token: nothing else is kept. ``-`` in its place reads it from standard input, and
``BLOBKIT_SESSION_TOKEN`` holds it out of the process list.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from blobkit.cli import shapes, units
from blobkit.cli.objects import show_blob
from blobkit.cli.options import (
    CacheControl,
    ChecksumText,
    ContentType,
    Disposition,
    Encoding,
    Expires,
    IfAbsent,
    MaxSize,
    Metadata,
    MinSize,
    Owner,
    Size,
    StorageClass,
    StoreWord,
    TargetWords,
    checksum_of,
    expiry,
    spec_of,
)
from blobkit.cli.output import printable
from blobkit.cli.running import Run, command
from blobkit.cli.targets import several_targets, store_and_prefix, store_word
from blobkit.errors import InvalidArgument

if TYPE_CHECKING:
    from blobkit.chunking import ChunkPlan
    from blobkit.session import UploadSession

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Chunked uploads, step by step: a service's side of them.")

_MAX_TOKEN: Final = 8192
Token: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="TOKEN",
        envvar="BLOBKIT_SESSION_TOKEN",
        help="What start printed; - reads it from stdin.",
        show_default=False,
    ),
]
Words: TypeAlias = Annotated[
    list[str],
    typer.Argument(metavar="STORE", help="NAME, NAME:PREFIX, or STORE-URL and perhaps PREFIX.", show_default=False),
]


@app.command()
@command
def start(
    run: Run,
    target: TargetWords,
    size: Size = None,
    chunk_size: Annotated[
        str | None, typer.Option("--chunk-size", metavar="SIZE", help="Bytes of each chunk (default: chosen).")
    ] = None,
    owner: Owner = "",
    content_type: ContentType = None,
    min_size: MinSize = None,
    max_size: MaxSize = None,
    checksum: ChecksumText = None,
    metadata: Metadata = None,
    cache_control: CacheControl = None,
    content_disposition: Disposition = None,
    content_encoding: Encoding = None,
    storage_class: StorageClass = None,
    if_absent: IfAbsent = False,
    origin: Annotated[
        str | None, typer.Option("--origin", metavar="URL", help="The browser's origin, where the provider wants it.")
    ] = None,
    staging: Annotated[
        bool | None,
        typer.Option("--staging/--no-staging", help="Assemble at a private key first (default: where needed)."),
    ] = None,
    allow_session_life: Annotated[
        bool, typer.Option("--allow-session-life", help="Accept chunk URLs that live as long as the session (GCS).")
    ] = False,
) -> None:
    """Start a session; its token is the result. Nothing is at the key before complete."""
    (wanted,) = several_targets(target, exactly=1)
    spec = spec_of(
        content_type=content_type,
        min_size=min_size,
        max_size=max_size,
        checksum=checksum,
        metadata=metadata,
        cache_control=cache_control,
        content_disposition=content_disposition,
        content_encoding=content_encoding,
        storage_class=storage_class,
        if_absent=if_absent,
    )
    session = run.store(wanted.store).start_upload(
        wanted.key,
        size=None if size is None else units.size(size),
        spec=spec,
        chunk_size=None if chunk_size is None else units.size(chunk_size),
        owner=owner,
        origin=origin,
        staging=staging,
        allow_session_life=allow_session_life,
    )
    try:
        token = session.token.reveal()
    except BaseException:
        session.abort()  # nobody could ever continue it
        raise
    if run.out.json:
        run.out.value({"token": token, **shapes.session(session)})
        return
    run.out.line(token)
    run.out.note(f"{_shown_plan(session.chunks)}, until {shapes.when(session.expires_at)}")
    for constraint, by in session.enforcement.items():
        run.out.note(f"{constraint}: enforced by {by}")


def _shown_plan(plan: ChunkPlan) -> str:
    if plan.size is None:
        return f"chunks of {units.shown_size(plan.chunk_size)}, growing, at most {len(plan)}"
    return f"{len(plan)} chunks of {units.shown_size(plan.chunk_size)}, {units.shown_size(plan.size)} in all"


def _resumed(run: Run, store: str, token: str, owner: str) -> UploadSession:
    if token == "-":  # noqa: S105 - the conventional name of standard input
        token = sys.stdin.read(_MAX_TOKEN)
    return run.store(store_word(store)).resume_upload(token.strip(), owner=owner)


@app.command()
@command
def chunks(
    run: Run,
    store: StoreWord,
    token: Token,
    numbers: Annotated[
        str | None, typer.Option("--numbers", metavar="LIST", help="Which: 1-3,7 (default: all of a known size).")
    ] = None,
    missing: Annotated[bool, typer.Option("--missing", help="Only those that the provider does not hold.")] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="The whole upload plan as JSON, for `python -m blobkit.transfer`.")
    ] = False,
    expires: Expires = None,
    owner: Owner = "",
) -> None:
    """Sign chunks: any subset, any time, as often as needed. Prints number, offset, size and URL."""
    if sum((numbers is not None, missing, plan)) > 1:
        raise InvalidArgument("only one of --numbers, --missing and --plan")
    session = _resumed(run, store, token, owner)
    if plan:
        run.out.value(session.plan(expires_in=expiry(expires)).as_dict())
        return
    wanted = None if numbers is None else _numbers(numbers)
    if missing:
        wanted = list(session.status().missing)
    signed = session.sign_chunks(wanted, expires_in=expiry(expires))
    run.out.rows((chunk.as_dict() for chunk in signed), _shown_chunk)


def _shown_chunk(chunk: Mapping[str, object]) -> str:
    return f"{chunk['n']:>6}  {chunk['offset']:>14}  {chunk['size']:>12}  {chunk['method']}  {chunk['url']}"


def _numbers(text: str) -> list[int]:
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,6})(?:-(\d{1,6}))?\s*", part)
        if match is None:
            raise InvalidArgument(f"not chunk numbers: {text!r}", hint="1-3,7")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    return found


@app.command()
@command
def status(run: Run, store: StoreWord, token: Token, owner: Owner = "") -> None:
    """What the provider holds, asked now."""
    session = _resumed(run, store, token, owner)
    found = session.status()
    if run.out.json:
        run.out.value({"key": session.key, "size": session.chunks.size, **shapes.status(found)})
        return
    of = "" if session.chunks.size is None else f" of {session.chunks.size}"
    run.out.pairs(
        {
            "key": session.key,
            "state": found.state,
            "received": f"{found.received_bytes}{of} bytes",
            "chunks": _ranges(found.received),
            "missing": _ranges(found.missing),
        }
    )


def _ranges(numbers: Iterable[int]) -> str:
    """``1-3,7`` of ascending numbers: what ``--numbers`` takes."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


@app.command()
@command
def complete(
    run: Run,
    store: StoreWord,
    token: Token,
    size: Annotated[
        str | None, typer.Option("--size", metavar="SIZE", help="The object's size, when it was unknown at the start.")
    ] = None,
    checksum: ChecksumText = None,
    receipts: Annotated[
        Path | None,
        typer.Option("--receipts", metavar="FILE", help="What the client was answered: JSON, chunk number to receipt."),
    ] = None,
    owner: Owner = "",
) -> None:
    """Make the object appear at its key, if what the provider holds is what was planned. May be repeated."""
    session = _resumed(run, store, token, owner)
    info = session.complete(
        None if receipts is None else _receipts(receipts),
        size=None if size is None else units.size(size),
        checksum=None if checksum is None else checksum_of(checksum),
    )
    show_blob(run, info)


def _receipts(path: Path) -> dict[int, str]:
    try:
        data = json.loads(path.read_bytes())
        return {int(number): str(receipt) for number, receipt in data.items()}
    except (ValueError, AttributeError) as error:
        raise InvalidArgument(f"not receipts: {str(path)!r}", hint='{"1": "etag", …}') from error


@app.command()
@command
def abort(run: Run, store: StoreWord, token: Token, owner: Owner = "") -> None:
    """Drop a session and its chunks; never an object that was completed."""
    result = _resumed(run, store, token, owner).abort()
    if run.out.json:
        run.out.value(shapes.aborted(result))
    elif result.discarded:
        run.out.line("discarded")
    else:
        run.out.line(f"what remains lapses at {shapes.when(result.lapses_at) or 'an unknown time'}")


def _shown_pending(entry: Mapping[str, object]) -> str:
    held = entry["received_bytes"]
    size = units.shown_size(held) if isinstance(held, int) else "?"
    return f"{size:>10}  {entry['started'] or '?':<20}  {entry['upload_id']}  {printable(str(entry['key']))}"


@app.command("list")
@command
def list_sessions(
    run: Run,
    store: Words,
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="SPAN", help="Only those started longer ago: 1d, 12h.")
    ] = None,
) -> None:
    """Sessions that were neither completed nor aborted."""
    named, prefix = store_and_prefix(store)
    found = run.store(named).list_uploads(prefix, older_than=expiry(older_than))
    run.out.rows(map(shapes.pending, found), _shown_pending)


@app.command()
@command
def sweep(
    run: Run,
    store: Words,
    older_than: Annotated[
        str,
        typer.Option("--older-than", metavar="SPAN", help="Longer than any upload may take: 7d.", show_default=False),
    ],
) -> None:
    """Abort every session that is older, and delete what completed ones left in staging."""
    named, prefix = store_and_prefix(store)
    swept = run.store(named).sweep_uploads(prefix, older_than=units.duration(older_than))
    count = run.out.rows(map(shapes.pending, swept), _shown_pending)
    run.out.note(f"{count} removed")
