"""``python -m blobkit.transfer``: a client in a process of its own, which knows a plan or a service's address, nothing else.

``upload FILE PLAN`` executes a plan, which is read from a file, or from standard input for ``-``. ``upload FILE URL`` asks the
service there for one, and keeps a journal (:mod:`blobkit.transfer.journal`); ``resume ID`` goes on with what the journal knows
under that id. ``BLOBKIT_SERVICE_TOKEN`` is a bearer token for the service.

Progress goes to standard output, one JSON object a line:
``{"event": "progress", "bytes": …, "total": …, "chunks": …, "chunks_total": …}``, in the end ``{"event": "done", …}`` or
``{"event": "error", …}``. Exit status: 0 when all of it is there, 1 when not, 2 for wrong arguments,
130 when interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from blobkit.errors import BlobkitError, NotFound
from blobkit.transfer.progress import Progress
from blobkit.transfer.upload import Options, UploadResult, upload

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one transfer."""
    parser = argparse.ArgumentParser(prog="python -m blobkit.transfer", description="Execute an upload plan.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("upload", help="upload FILE as PLAN says")
    command.add_argument("file", type=Path)
    command.add_argument("plan", help="a file with the plan's JSON, - for standard input, or a service's address")
    command.add_argument("--held", default="", help="numbers of the chunks that the storage holds: 1,2,3")
    command.add_argument("--concurrency", type=int, default=4)
    command = commands.add_parser("resume", help="go on with an upload to a service")
    command.add_argument("id", help="what the journal calls it")
    command.add_argument("--concurrency", type=int, default=4)
    given = parser.parse_args(arguments)
    try:
        held = [int(number) for number in getattr(given, "held", "").split(",") if number]
    except ValueError:
        parser.error("--held takes numbers: 1,2,3")
    options = Options(on_progress=_progress, concurrency=given.concurrency)
    try:
        result = _resumed(given.id, options) if given.command == "resume" else _uploaded(given, held, options)
    except KeyboardInterrupt:
        _say("error", error="KeyboardInterrupt", message="interrupted", code=None, retryable=True)
        return 130
    except BlobkitError as error:
        _say("error", error=type(error).__name__, message=error.message, code=error.code, retryable=error.retryable)
        return 1
    except OSError as error:
        _say("error", error=type(error).__name__, message=error.strerror, code=None, retryable=False)
        return 1
    _say(
        "done",
        chunks_sent=result.chunks_sent,
        bytes_sent=result.bytes_sent,
        bytes_resent=result.bytes_resent,
        seconds=round(result.seconds, 3),
        receipts={str(number): receipt for number, receipt in result.receipts.items()},
    )
    return 0


def _uploaded(given: argparse.Namespace, held: Sequence[int], options: Options) -> UploadResult:
    if given.plan.startswith(("http://", "https://")):
        return _to_service(given.file, given.plan, options)
    text = sys.stdin.read() if given.plan == "-" else Path(given.plan).read_text(encoding="utf-8")
    return upload(given.file, text, held=held, concurrency=options.concurrency, on_progress=options.on_progress)


def _resumed(wanted: str, options: Options) -> UploadResult:
    from blobkit.transfer.journal import Journal

    for entry in Journal().entries():
        if entry.id == wanted and "service" in entry.target:
            return _to_service(Path(entry.source), entry.target["service"], options)
    raise NotFound(f"the journal has no upload to a service named {wanted!r}")


def _to_service(file: Path, url: str, options: Options) -> UploadResult:
    from blobkit.transfer.journal import Journal
    from blobkit.transfer.resumable import put_to_service
    from blobkit.transfer.service import bearer

    return put_to_service(file, url, journal=Journal(), headers=bearer(), options=options)


def _progress(now: Progress) -> None:
    _say(
        "progress",
        bytes=now.bytes_done,
        total=now.bytes_total,
        chunks=now.chunks_done,
        chunks_total=now.chunks_total,
    )


def _say(event: str, **values: object) -> None:
    sys.stdout.write(json.dumps({"event": event, **values}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
