"""A webhook for Ceph's pushes as a process of its own, so that it can be killed while it stores.

It writes a line for every event, as :mod:`tests.servers.consumer` does, durably and before it answers.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from tests.servers.processes import running

__all__ = ["webhook", "webhook_that_dies"]


def _command(port: int, user: str, password: str, journal: Path, death: int) -> list[str]:
    return [sys.executable, "-m", "tests.servers.webhook", str(port), user, password, str(journal), str(death)]


@contextmanager
def webhook(port: int, user: str, password: str, journal: Path) -> Iterator[None]:
    """Serve until the block ends."""
    with running(_command(port, user, password, journal, 0), port, journal.with_suffix(".log")):
        yield


def webhook_that_dies(port: int, user: str, password: str, journal: Path, death: int) -> None:
    """Serve until it has killed itself."""
    done = subprocess.run(
        _command(port, user, password, journal, death), capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def main(port: str, user: str, password: str, journal: str, death: str) -> None:
    """Serve."""
    import uvicorn

    from blobkit.events import ParsedEvents, Webhook, WebhookApp
    from blobkit_aws.events import ceph_push

    counted = count(1)

    def store(parsed: ParsedEvents) -> None:  # in several threads at once
        with Path(journal).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps([event.dedupe_key, event.kind.value, event.key]) + "\n" for event in parsed)
            file.flush()
            os.fsync(file.fileno())
        if next(counted) == int(death):
            os.kill(os.getpid(), signal.SIGKILL)

    app = WebhookApp(Webhook(ceph_push(user, password)), store)
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning")


if __name__ == "__main__":
    main(*sys.argv[1:])
