"""``python -m blobkit.transfer upload FILE PLAN``: a client in a process of its own, which knows a plan and nothing else.

The plan is read from a file, or from standard input for ``-``. Progress goes to standard output, one JSON object a line:
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

from blobkit.errors import BlobkitError
from blobkit.transfer.progress import Progress
from blobkit.transfer.upload import upload

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one transfer."""
    parser = argparse.ArgumentParser(prog="python -m blobkit.transfer", description="Execute an upload plan.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("upload", help="upload FILE as PLAN says")
    command.add_argument("file", type=Path)
    command.add_argument("plan", help="a file with the plan's JSON, or - for standard input")
    command.add_argument("--held", default="", help="numbers of the chunks that the storage holds: 1,2,3")
    command.add_argument("--concurrency", type=int, default=4)
    given = parser.parse_args(arguments)
    try:
        held = [int(number) for number in given.held.split(",") if number]
    except ValueError:
        parser.error("--held takes numbers: 1,2,3")

    def say(event: str, **values: object) -> None:
        sys.stdout.write(json.dumps({"event": event, **values}) + "\n")
        sys.stdout.flush()

    def progress(now: Progress) -> None:
        say(
            "progress",
            bytes=now.bytes_done,
            total=now.bytes_total,
            chunks=now.chunks_done,
            chunks_total=now.chunks_total,
        )

    try:
        text = sys.stdin.read() if given.plan == "-" else Path(given.plan).read_text(encoding="utf-8")
        result = upload(given.file, text, held=held, concurrency=given.concurrency, on_progress=progress)
    except KeyboardInterrupt:
        say("error", error="KeyboardInterrupt", message="interrupted", code=None, retryable=True)
        return 130
    except BlobkitError as error:
        say("error", error=type(error).__name__, message=error.message, code=error.code, retryable=error.retryable)
        return 1
    except OSError as error:
        say("error", error=type(error).__name__, message=error.strerror, code=None, retryable=False)
        return 1
    say(
        "done",
        chunks_sent=result.chunks_sent,
        bytes_sent=result.bytes_sent,
        bytes_resent=result.bytes_resent,
        seconds=round(result.seconds, 3),
        receipts={str(number): receipt for number, receipt in result.receipts.items()},
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
