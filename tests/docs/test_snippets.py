"""README and docs are programs: every Python block runs, every command that is shown runs, every link leads somewhere.

The blocks of one page run in order and in one namespace, in an empty directory of their own. A console block's lines that
start with ``$`` are commands of ours; ``make`` targets are looked up in the Makefile, since CI runs them anyway. A block that
is only to be read is marked ``text``, ``toml`` or ``json`` (which must then parse).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")
_KNOWN = {"python", "console", "text", "toml", "json", "mermaid"}


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [Block(m[1], m[2], text.count("\n", 0, m.start()) + 1) for m in _FENCE.finditer(text)]


@pytest.fixture(params=PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def page(request: pytest.FixtureRequest) -> Path:
    assert isinstance(request.param, Path)
    return request.param


def test_every_block_says_what_it_is(page: Path) -> None:
    for block in blocks(page):
        assert block.language in _KNOWN, f"{page.name}:{block.line}: an unmarked block is neither run nor read"
        if block.language == "toml":
            tomllib.loads(block.text)
        if block.language == "json":
            json.loads(block.text)


def test_every_python_block_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__snippet__"}
    for block in blocks(page):
        if block.language == "python":
            padded = "\n" * block.line + block.text  # so that a traceback names the page's own line
            exec(compile(padded, str(page), "exec"), namespace)


def test_every_command_runs(page: Path, tmp_path: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "100",
    }
    for block in blocks(page):
        if block.language != "console":
            continue
        for line in block.text.splitlines():
            if not line.startswith("$ "):
                continue
            command = line.removeprefix("$ ").split("  #")[0].strip()
            name, *words = command.split()
            if name == "make":
                assert words[0] in targets, f"{page.name}:{block.line}: no such target"
            elif name == "blobkit":
                shell = ["/bin/sh", "-ec", command]
                done = subprocess.run(
                    shell, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600, check=False
                )
                assert done.returncode == 0, f"{page.name}:{block.line}: {command}\n{done.stdout}{done.stderr}"
            else:
                assert name in {"pip", "git", "cd", "bash", "export", "printf"}, f"{page.name}:{block.line}: {command}"
                if name == "printf":
                    subprocess.run(["/bin/sh", "-ec", command], cwd=tmp_path, env=environment, check=True)


def test_every_link_leads_to_a_file(page: Path) -> None:
    for target in _LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: {target}"
