"""The client: another process, which knows a service's address, a token and its own journal, and nothing else. It can be
killed, and is when the demo ends."""

from __future__ import annotations

import json
import os
import subprocess  # the client has to be a process of its own: it is killed
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from blobkit.cli.demo.service import Service
from blobkit.cli.demo.story import Unproven, prove
from blobkit.redaction import redact
from blobkit.transfer import journal
from blobkit.transfer.service import TOKEN

__all__ = ["Client", "Sent", "resuming", "uploading"]

_TOO_LONG: Final = 600.0  # seconds; a client that hangs must not hang the demo
_MAX_LINE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Sent:
    """What a client said in the end: bytes that left, and those of them that had to leave again after a failure."""

    bytes_sent: int
    bytes_resent: int
    chunks_sent: int


class Client:
    """One run of ``python -m blobkit.transfer``: ``upload FILE URL`` or ``resume ID``."""

    def __init__(self, process: subprocess.Popen[bytes], complaints: IO[bytes]) -> None:
        self._process = process
        self._complaints = complaints
        self._last: dict[str, Any] = {}

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def kill_at(self, limit: int, progress: Callable[[int], None]) -> int:
        """Read what it says until ``limit`` bytes have left, then SIGKILL it.

        Returns:
            The bytes that had left when it died, as far as it could tell.

        Raises:
            Unproven: It ended by itself, with an error.
        """
        for said in self._lines():
            progress(self._bytes(said))
            if said["event"] != "progress":
                break
            if self._bytes(said) >= limit:
                self._process.kill()
                for last in self._lines():  # what it had said before it died
                    progress(self._bytes(last))
                break
        self._process.wait(_TOO_LONG)
        if self._last.get("event") == "error":
            raise Unproven(self._why())
        return self._bytes(self._last)

    def finish(self, progress: Callable[[int], None]) -> Sent:
        """Read what it says to the end. Raises Unproven unless it did all."""
        for said in self._lines():
            if said["event"] == "progress":
                progress(self._bytes(said))
        status = self._process.wait(_TOO_LONG)
        prove(status == 0 and self._last.get("event") == "done", self._why())
        return Sent(int(self._last["bytes_sent"]), int(self._last["bytes_resent"]), int(self._last["chunks_sent"]))

    @property
    def status(self) -> int | None:
        """How it ended: an exit status, or minus the signal that killed it."""
        return self._process.poll()

    def _lines(self) -> Iterator[dict[str, Any]]:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline(_MAX_LINE):
            with suppress(ValueError):  # the last line of a killed process may be half a line
                said = json.loads(line)
                if isinstance(said, dict) and isinstance(said.get("event"), str):
                    self._last = {**self._last, **said}  # the last progress stays known after "done"
                    yield self._last

    @staticmethod
    def _bytes(said: dict[str, Any]) -> int:
        return int(said.get("bytes", 0))

    def _why(self) -> str:
        self._complaints.seek(0)
        wrote = self._complaints.read(65536).decode("utf-8", "replace").strip().splitlines()
        told = self._last.get("message") or (redact(wrote[-1]) if wrote else "it said nothing")
        return f"the client ended with status {self._process.poll()}: {told}"


def uploading(file: Path, service: Service, *, state: Path, concurrency: int) -> AbstractContextManager[Client]:
    """A client that asks the service for a plan, executes it, and keeps its journal in ``state``."""
    return _running(["upload", str(file.resolve()), service.url], service, state, concurrency)


def resuming(
    entry: journal.Entry, service: Service, *, state: Path, concurrency: int
) -> AbstractContextManager[Client]:
    """A client that goes on with what the journal in ``state`` knows."""
    return _running(["resume", entry.id], service, state, concurrency)


@contextmanager
def _running(words: Sequence[str], service: Service, state: Path, concurrency: int) -> Iterator[Client]:
    """A client while the context lasts: it is dead afterwards, however the context ends."""
    command = [sys.executable, "-P", "-m", "blobkit.transfer", *words, "--concurrency", str(concurrency)]
    known = {
        **os.environ,
        journal.ENV: str(state),
        TOKEN: service.token,
    }  # not on the command line, which anybody can read
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints, env=known
        )
        watchdog = threading.Timer(_TOO_LONG, process.kill)
        watchdog.daemon = True
        watchdog.start()
        try:
            yield Client(process, complaints)
        finally:
            watchdog.cancel()
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
