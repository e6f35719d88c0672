"""A consumer of events as a process of its own, so that it can be killed in the middle of a batch.

``python -m tests.servers.consumer URL JOURNAL [DEATH]`` writes a line for every event that it handled, ``dedupe_key kind key``,
durably and before it acknowledges. With DEATH it ends like ``kill -9`` after so many deliveries were written and before the last
one is acknowledged; without, it ends when the queue has been empty for a while.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

__all__ = ["consume", "handled"]


def consume(url: str, journal: Path, *, death: int | None = None, env: Mapping[str, str] | None = None) -> int:
    """Run it to its end; returns its status (-9 when it was killed). Raises RuntimeError for any other failure."""
    words = [sys.executable, "-m", "tests.servers.consumer", url, str(journal), *([str(death)] if death else [])]
    done = subprocess.run(
        words, env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode not in (0, -signal.SIGKILL):
        raise RuntimeError(done.stderr)
    return done.returncode


def handled(journal: Path) -> Counter[tuple[str, str, str]]:
    """How often each event was handled, by all consumers: (dedupe_key, kind, key)."""
    lines = journal.read_text(encoding="utf-8").splitlines() if journal.exists() else []
    return Counter(tuple(json.loads(line)) for line in lines)


def main(url: str, journal: str, death: str = "0") -> None:
    """Consume."""
    import blobkit

    count = 0
    with blobkit.open_events(url) as source, Path(journal).open("a", encoding="utf-8") as file:
        while deliveries := source.receive(wait=timedelta(seconds=3)):
            for delivery in deliveries:
                file.writelines(
                    json.dumps([event.dedupe_key, event.kind.value, event.key]) + "\n" for event in delivery.events
                )
                file.flush()
                os.fsync(file.fileno())
                count += 1
                if count == int(death):
                    os.kill(os.getpid(), signal.SIGKILL)
                delivery.ack()


if __name__ == "__main__":
    main(*sys.argv[1:])
