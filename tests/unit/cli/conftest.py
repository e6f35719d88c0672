"""The command line in this process, and a store in a temporary directory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from typer.testing import CliRunner

from blobkit.cli.app import build


@dataclass(frozen=True)
class Outcome:
    """How one command ended."""

    code: int
    stdout: str
    stderr: str
    raw: bytes

    @property
    def json(self) -> Any:
        """stdout, which must be one JSON document."""
        return json.loads(self.stdout)


class Cli(Protocol):
    def __call__(self, *words: str, stdin: bytes | None = None, env: dict[str, str] | None = None) -> Outcome: ...


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run ``blobkit WORDS`` in an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BLOBKIT_STATE_DIR", str(tmp_path / "state"))
    application = build()

    def run(*words: str, stdin: bytes | None = None, env: dict[str, str] | None = None) -> Outcome:
        done = CliRunner().invoke(application, list(words), input=stdin, env=env, prog_name="blobkit")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Outcome(done.exit_code, done.stdout, done.stderr, done.stdout_bytes)

    return run


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A local store that does not exist yet."""
    return f"local://{tmp_path}/files"


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    """A small file."""
    path = tmp_path / "hello.txt"
    path.write_bytes(b"hello")
    return path
