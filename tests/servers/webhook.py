"""A webhook for Ceph's pushes as a process of its own, so that it can be killed while it stores.

It writes a line for every event, as :mod:`tests.servers.consumer` does, durably and before it answers. The socket that it
listens on is the test's: where nobody listens, the gateway tries a thousand times a second, and at times comes to a halt for
good; where only nobody accepts, it waits.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from tests.servers.processes import running

__all__ = ["webhook", "webhook_that_dies"]


def _command(server: socket.socket, user: str, password: str, journal: Path, death: int) -> list[str]:
    words = (server.fileno(), user, password, journal, death)
    return [sys.executable, "-m", "tests.servers.webhook", *map(str, words)]


@contextmanager
def webhook(server: socket.socket, user: str, password: str, journal: Path) -> Iterator[None]:
    """Serve until the block ends."""
    command, port = _command(server, user, password, journal, 0), server.getsockname()[1]
    with running(command, port, journal.with_suffix(".log"), inherits=[server.fileno()]):
        yield


def webhook_that_dies(
    server: socket.socket, user: str, password: str, journal: Path, death: int, *, patience: float
) -> None:
    """Serve until it has killed itself. Raises TimeoutError when it was not given enough for that."""
    try:
        done = subprocess.run(
            _command(server, user, password, journal, death),
            capture_output=True,
            text=True,
            timeout=patience,
            check=False,
            pass_fds=[server.fileno()],
        )
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"fewer than {death} pushes came: {error.stderr!r}") from error
    assert done.returncode == -signal.SIGKILL, done.stderr


def main(descriptor: str, user: str, password: str, journal: str, death: str) -> None:
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
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[socket.socket(fileno=int(descriptor))])


if __name__ == "__main__":
    main(*sys.argv[1:])
