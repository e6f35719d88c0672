"""What every command shares: shared options, how it ends, what it loads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from blobkit import __version__
from blobkit.cli.app import COMMANDS
from blobkit.cli.output import Output, printable
from blobkit.store import Store

from .conftest import Cli

BLOBKIT = str(Path(sys.executable).parent / "blobkit")


def test_the_version_is_the_librarys(cli: Cli) -> None:
    assert cli("--version").stdout == f"blobkit {__version__}\n"


def test_no_command_is_a_wrong_command_line_that_shows_the_help(cli: Cli) -> None:
    done = cli()
    assert done.code == 2
    for name in COMMANDS:
        assert f" {name} " in done.stdout


def test_an_unknown_command_or_option_is_status_2(cli: Cli) -> None:
    assert cli("frobnicate").code == 2
    assert cli("ls", "--frobnicate").code == 2


@pytest.mark.parametrize(
    "words",
    [
        *([name] for name in COMMANDS if name not in ("sign", "session", "events", "cdn", "uploads")),
        ["events", "parse"],
        *(["cdn", name] for name in ("sign-url", "sign-key", "sign-prefix", "sign-cookies", "sign-playlist", "verify")),
        *(["sign", name] for name in ("upload", "download", "delete")),
        *(["session", name] for name in ("start", "chunks", "status", "complete", "abort", "list", "sweep")),
    ],
    ids=" ".join,
)
def test_every_command_has_help_json_config_and_debug(cli: Cli, words: list[str]) -> None:
    shown = cli(*words, "--help")
    assert shown.code == 0
    for option in ("--json", "--config", "--debug"):
        assert option in shown.stdout


def broken(self: Store, key: str, **given: object) -> None:
    raise ZeroDivisionError("https://x/?X-Amz-Signature=abcdef0123456789")


def test_a_fault_of_blobkit_is_one_line_without_traceback_and_secrets(
    cli: Cli, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "stat", broken)
    done = cli("stat", url, "a")
    assert done.code == 70
    assert "internal error: ZeroDivisionError" in done.stderr
    assert "Traceback" not in done.stderr
    assert "abcdef" not in done.stderr


def test_debug_shows_the_traceback_without_secrets(cli: Cli, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "stat", broken)
    done = cli("stat", url, "a", "--debug")
    assert done.code == 70
    assert "Traceback" in done.stderr
    assert "abcdef" not in done.stderr


def test_an_interrupt_is_status_130(cli: Cli, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Store, key: str, **given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "stat", interrupted)
    done = cli("stat", url, "a")
    assert (done.code, done.stderr) == (130, "interrupted\n")


def test_stores_are_closed_whatever_happens(cli: Cli, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Store] = []
    real = Store.close

    def close(self: Store) -> None:
        closed.append(self)
        real(self)

    monkeypatch.setattr(Store, "close", close)
    cli("stat", url, "nope")
    assert len(closed) == 1


def test_a_reader_that_goes_away_ends_it_quietly(tmp_path: Path) -> None:
    url = f"local://{tmp_path}/files"
    subprocess.run([BLOBKIT, "put", "-", url, "a"], input=b"x" * 5_000_000, check=True, capture_output=True)
    script = f"set -o pipefail; '{BLOBKIT}' get '{url}' a - | head -c 10 >/dev/null"
    done = subprocess.run(["bash", "-c", script], check=False, capture_output=True, text=True)
    assert done.returncode == 141
    assert done.stderr == ""


def test_a_call_loads_its_own_module_and_no_other(tmp_path: Path) -> None:
    code = (
        "import sys, json; sys.argv = ['blobkit', 'plugins', '--json']\n"
        "from blobkit.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    loaded = json.loads(out.splitlines()[-1])
    ours = {name for name in loaded if name.startswith("blobkit.cli.")}
    assert "blobkit.cli.plugins" in ours
    assert not ours & {"blobkit.cli.get", "blobkit.cli.sign", "blobkit.cli.sessions", "blobkit.cli.demo.command"}


def test_the_help_loads_neither_a_plugin_nor_a_store(tmp_path: Path) -> None:
    code = (
        "import sys, json; sys.argv = ['blobkit', '--help']\n"
        "from blobkit.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    loaded = set(json.loads(out.splitlines()[-1]))
    assert not loaded & {
        "blobkit.store",
        "blobkit_local",
        "blobkit.transfer",
        "uvicorn",
        "starlette",
        "urllib3",
        "cryptography",
        "pluggy",
    }


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert printable("a\x1b[31mb\r\n\u202e\x9b") == "a\\x1b[31mb\\r\\n\\u202e\\x9b"
    assert printable("Filme/é 日本 😀.mp4") == "Filme/é 日本 😀.mp4"
    assert printable("\ud800") == "\\ud800"


def test_a_listing_in_json_is_one_document_however_long(capsys: pytest.CaptureFixture[str]) -> None:
    for count in (0, 1, 3):
        assert Output(json=True).rows(({"n": n} for n in range(count)), lambda entry: "") == count
        assert json.loads(capsys.readouterr().out) == [{"n": n} for n in range(count)]
