"""A consumer of events as a process of its own, so that it can be killed in the middle of a batch.

It writes a line for every event that it handled, ``[dedupe_key, kind, key]``, durably and before it acknowledges.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Final

__all__ = ["consume", "consume_and_die", "handled"]

_IDLE: Final = timedelta(seconds=3)


def consume(url: str, journal: Path, changes: int) -> None:
    """Consume until so many different changes are in the journal, whoever wrote them, and the queue is empty.

    It counts as empty when nothing has come for longer than the leases of the tests, which a killed consumer still holds.
    """
    _run(url, journal, changes, 0, status=0)


def consume_and_die(url: str, journal: Path, deliveries: int) -> None:
    """End like ``kill -9`` when so many deliveries are written, before the last one is acknowledged."""
    _run(url, journal, 0, deliveries, status=-signal.SIGKILL)


def handled(journal: Path) -> Counter[tuple[str, str, str]]:
    """How often each event was handled, by all consumers: (dedupe_key, kind, key)."""
    lines = journal.read_text(encoding="utf-8").splitlines() if journal.exists() else []
    return Counter(tuple(json.loads(line)) for line in lines)


def _run(url: str, journal: Path, changes: int, death: int, *, status: int) -> None:
    words = [sys.executable, "-m", "tests.servers.consumer", url, str(journal), str(changes), str(death)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == status, done.stderr


def main(url: str, journal: str, changes: str, death: str) -> None:
    """Consume."""
    import blobkit

    path, count, idle = Path(journal), 0, False
    with blobkit.open_events(url) as source, path.open("a", encoding="utf-8") as file:
        while not idle or len(handled(path)) < int(changes) or int(death):
            deliveries = source.receive(wait=_IDLE)
            idle = not deliveries
            for delivery in deliveries:
                for event in delivery.events:
                    file.write(json.dumps([event.dedupe_key, event.kind.value, event.key]) + "\n")
                file.flush()
                os.fsync(file.fileno())
                count += 1
                if count == int(death):
                    os.kill(os.getpid(), signal.SIGKILL)
                delivery.ack()


if __name__ == "__main__":
    main(*sys.argv[1:])
