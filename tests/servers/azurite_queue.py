"""Azurite's queues (from npm, pinned by ``package-lock.json`` beside this file). It has no Event Grid."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.servers.azurite import ACCOUNT, node
from tests.servers.processes import free_port, running

__all__ = ["azurite_queue", "lacking"]

SCRIPT: Final = Path(__file__).parent / "node_modules" / "azurite" / "dist" / "src" / "queue" / "main.js"


def lacking() -> str | None:
    """What lacks; None when it can be started."""
    if not SCRIPT.exists():
        return "Azurite: npm ci --prefix tests/servers"
    return None if node() else "Azurite needs node"


@contextmanager
def azurite_queue(folder: Path) -> Iterator[str]:
    """Serve queues from memory; gives the account's endpoint."""
    port = free_port()
    command = [
        node() or "node", str(SCRIPT), "--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck",
        "--queueHost", "127.0.0.1", "--queuePort", str(port),
    ]  # fmt: skip
    with running(command, port, folder / "azurite.log"):
        yield f"http://127.0.0.1:{port}/{ACCOUNT}"
