"""``blobkit sign upload | download | delete``: one URL, with what the client must send.

The URL is the result, alone on stdout (or the whole request with ``--json``, or a curl command with ``--curl``); what goes
with it is said on stderr.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

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
    Size,
    StorageClass,
    TargetWords,
    expiry,
    spec_of,
)
from blobkit.cli.output import printable
from blobkit.cli.running import Run, command
from blobkit.cli.targets import several_targets
from blobkit.errors import InvalidArgument

if TYPE_CHECKING:
    from blobkit.ops import VerifyAfter
    from blobkit.signed import SignedRequest

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Sign one request, for a client without credentials.")

Curl: TypeAlias = Annotated[bool, typer.Option("--curl", help="A curl command instead of the URL.")]
CurlFile: TypeAlias = Annotated[
    str | None,
    typer.Option("--file", metavar="FILE", help="The file in the curl command (default: the key's last segment)."),
]


@app.command()
@command
def upload(
    run: Run,
    target: TargetWords,
    expires: Expires = None,
    content_type: ContentType = None,
    size: Size = None,
    min_size: MinSize = None,
    max_size: MaxSize = None,
    checksum: ChecksumText = None,
    metadata: Metadata = None,
    cache_control: CacheControl = None,
    content_disposition: Disposition = None,
    content_encoding: Encoding = None,
    storage_class: StorageClass = None,
    if_absent: IfAbsent = False,
    verify_after: Annotated[
        list[str] | None,
        typer.Option(
            "--verify-after",
            metavar="NAME",
            help="A constraint that you verify afterwards, where the provider cannot enforce it; 'all', or repeated.",
        ),
    ] = None,
    curl: Curl = False,
    file: CurlFile = None,
) -> None:
    """Permission to upload one object in one request. A constraint that nobody would enforce is an error."""
    (wanted,) = several_targets(target, exactly=1)
    spec = spec_of(
        content_type=content_type,
        size=size,
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
    request = run.store(wanted.store).sign_upload(
        wanted.key, spec=spec, expires_in=expiry(expires), verify_after=_verify_after(verify_after)
    )
    _show(run, request, file or wanted.key.rpartition("/")[2] or "FILE", curl)


def _verify_after(names: list[str] | None) -> VerifyAfter:
    from blobkit.spec import Constraint

    if names == ["all"]:
        return "all"
    known = {constraint.value for constraint in Constraint}
    if unknown := [name for name in names or () if name not in known]:
        raise InvalidArgument(f"no such constraint: {unknown[0]!r}", hint=", ".join(sorted(known)) + ", or all")
    return [Constraint(name) for name in names or ()]


@app.command()
@command
def download(
    run: Run,
    target: TargetWords,
    expires: Expires = None,
    version: Annotated[str | None, typer.Option("--version", metavar="ID", help="This version and no other.")] = None,
    filename: Annotated[
        str | None, typer.Option("--filename", metavar="NAME", help="The name under which a browser saves it.")
    ] = None,
    inline: Annotated[bool, typer.Option("--inline", help="A browser shows it instead of saving it.")] = False,
    content_type: Annotated[
        str | None,
        typer.Option("--content-type", metavar="TYPE", help="The media type to answer instead of the stored one."),
    ] = None,
    cache_control: Annotated[
        str | None, typer.Option("--cache-control", metavar="TEXT", help="The Cache-Control to answer.")
    ] = None,
    head: Annotated[bool, typer.Option("--head", help="A HEAD request instead of a GET.")] = False,
    stable_for: Annotated[
        str | None, typer.Option("--stable-for", metavar="SPAN", help="The same URL within such a window, for caches.")
    ] = None,
    curl: Curl = False,
    file: CurlFile = None,
) -> None:
    """Permission to read one object."""
    (wanted,) = several_targets(target, exactly=1)
    disposition: Literal["inline"] | None = "inline" if inline else None
    request = run.store(wanted.store).sign_download(
        wanted.key,
        expires_in=expiry(expires),
        version=version,
        filename=filename,
        disposition=disposition,
        content_type=content_type,
        cache_control=cache_control,
        method="HEAD" if head else "GET",
        stable_for=expiry(stable_for),
    )
    _show(run, request, file or filename or wanted.key.rpartition("/")[2] or "FILE", curl)


@app.command()
@command
def delete(run: Run, target: TargetWords, expires: Expires = None, curl: Curl = False) -> None:
    """Permission to delete one object."""
    (wanted,) = several_targets(target, exactly=1)
    _show(run, run.store(wanted.store).sign_delete(wanted.key, expires_in=expiry(expires)), "FILE", curl)


def _show(run: Run, request: SignedRequest, file: str, curl: bool) -> None:
    if run.out.json:
        run.out.value({**request.as_dict(), **({"curl": request.as_curl(file)} if curl else {})})
        return
    run.out.line(request.as_curl(file) if curl else request.url.reveal())
    statuses = " or ".join(map(str, request.expected_status))
    run.out.note(f"{request.method}, expects {statuses}, until {request.expires_at.isoformat().replace('+00:00', 'Z')}")
    for name, value in request.headers.items():
        run.out.note(f"header {printable(name)}: {printable(value)}")
    for name in request.fields or ():
        run.out.note(f"field  {printable(name)} (values with --json or --curl)")
    for constraint, by in request.enforcement.items():
        run.out.note(f"{constraint}: enforced by {by}")
