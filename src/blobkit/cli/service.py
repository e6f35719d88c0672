"""``blobkit upload``: a file to a service that hands out upload plans."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from blobkit.cli.moving import Concurrency, LimitRate, ways
from blobkit.cli.options import ContentType, Metadata, metadata_of
from blobkit.cli.running import Run, command
from blobkit.errors import InvalidArgument

__all__ = ["headers_of", "upload"]


def headers_of(given: Sequence[str] | None) -> dict[str, str]:
    """What the service is told beside the request: ``--header``, and a bearer token of the environment."""
    from blobkit.transfer.service import bearer

    found = bearer()
    for line in given or ():
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise InvalidArgument("not NAME: VALUE", hint="--header 'Authorization: Bearer …'")
        found[name.strip().lower()] = value.strip()
    return found


@command
def upload(
    run: Run,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What to upload.", show_default=False)],
    service: Annotated[
        str, typer.Argument(metavar="URL", help="The service: https://api.example/uploads", show_default=False)
    ],
    content_type: ContentType = None,
    metadata: Metadata = None,
    header: Annotated[
        list[str] | None,
        typer.Option(
            "--header",
            metavar="NAME: VALUE",
            help="For the service alone; may be repeated. BLOBKIT_SERVICE_TOKEN is a bearer token.",
        ),
    ] = None,
    checksum: Annotated[
        str | None,
        typer.Option("--checksum", metavar="ALG", help="Compute it on the way and tell the service: sha256."),
    ] = None,
    concurrency: Concurrency = None,
    limit_rate: LimitRate = None,
) -> None:
    """Upload a file as a service plans it: straight to its storage. When interrupted, the same command goes on."""
    import mimetypes
    from dataclasses import replace

    from blobkit.cli.resuming import noted
    from blobkit.transfer.resumable import put_to_service

    if not service.startswith(("http://", "https://")):
        raise InvalidArgument("the service is an http or https URL", hint="`blobkit put` stores without a service")
    journal = run.journal()
    with (
        run.out.progress(file.name, file.stat().st_size) as progress,
        noted(run, journal, file, {"service": service}),
    ):
        done = put_to_service(
            file,
            service,
            journal=journal,
            content_type=content_type or mimetypes.guess_type(file.name)[0],
            metadata=metadata_of(metadata),
            headers=headers_of(header),
            checksum=checksum,
            options=replace(ways(concurrency, limit_rate), on_progress=lambda event: progress(event.bytes_done)),
        )
    result = {
        "file": str(file),
        "bytes_sent": done.bytes_sent,
        "bytes_resent": done.bytes_resent,
        "seconds": round(done.seconds, 3),
        "answer": dict(done.answer),
    }
    if run.out.json:
        run.out.value(result)
    else:
        run.out.pairs({**result, "answer": done.answer.get("key") or done.answer.get("location") or ""})
