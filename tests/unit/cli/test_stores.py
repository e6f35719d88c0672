"""serve, capabilities, plugins, conformance."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import blobkit
from blobkit import testing
from blobkit.plugins.manager import installed_cdns, installed_schemes
from blobkit.testing.clients import HttpClient
from blobkit.testing.report import ConformanceReport, Note

from .conftest import Cli


def test_capabilities_are_those_of_the_store(cli: Cli, url: str) -> None:
    with blobkit.open_store(f"{url}?unknown=sign_delete") as store:
        expected = {"provider": "local", **store.capabilities.as_dict()}
    assert cli("capabilities", f"{url}?unknown=sign_delete", "--json").json == json.loads(json.dumps(expected))


def test_capabilities_are_shown_with_who_enforces_what(cli: Cli, url: str) -> None:
    shown = cli("capabilities", f"{url}?unknown=sign_delete").stdout
    row = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.split()}
    assert row["sign_upload"] == ["yes"]
    assert row["sign_form"] == ["no"]
    assert row["sign_delete"] == ["unknown"]
    assert row["size"] == ["signature", "no", "provider"]


def test_without_a_store_all_configured_ones_are_compared(cli: Cli, url: str) -> None:
    nothing = cli("capabilities")
    assert nothing.code == 3
    assert "hint:" in nothing.stderr
    Path("blobkit.toml").write_text(f'[stores]\none = "{url}"\ntwo = "memory://two"\n')
    assert set(cli("capabilities", "--json").json) == {"one", "two"}
    row = {line.split()[0]: line.split()[1:] for line in cli("capabilities").stdout.splitlines() if line.split()}
    assert row["put.size"] == ["signature", "signature"]


def test_plugins_are_those_that_are_installed(cli: Cli) -> None:
    found = cli("plugins", "--json").json
    assert [plugin["scheme"] for plugin in found if plugin["kind"] == "store"] == installed_schemes()
    cdns = [plugin for plugin in found if plugin["kind"] == "cdn"]
    assert [plugin["scheme"] for plugin in cdns] == installed_cdns()
    assert all(plugin["ready"] for plugin in cdns)
    local = next(plugin for plugin in found if plugin["scheme"] == "local")
    assert local["provider"] == "local"
    assert local["ready"] is True
    assert "versioning" in local["options"]
    assert "local://" in cli("plugins").stdout


def test_a_plugin_that_cannot_be_loaded_says_why(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "blobkit_local.plugin", None)
    monkeypatch.setenv("COLUMNS", "300")
    local = next(plugin for plugin in cli("plugins", "--json").json if plugin["scheme"] == "local")
    assert local["ready"] is False
    assert "cannot be imported" in local["problem"]
    assert "cannot be imported" in cli("plugins").stdout


def test_a_plugin_whose_packages_are_missing_says_which(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blobkit.cli.plugins._is_installed", lambda package: package != "starlette")
    local = next(plugin for plugin in cli("plugins", "--json").json if plugin["scheme"] == "local")
    assert local["missing"] == ["starlette"]
    assert local["ready"] is False


def report(**changed: object) -> ConformanceReport:
    found: dict[str, object] = {
        "store": "x", "passed": 3, "failed": (), "not_checkable": (), "undeclared": (), "missing": (), "seconds": 1.0,
    }  # fmt: skip
    return ConformanceReport(**{**found, **changed})  # type: ignore[arg-type]


def test_conformance_runs_the_kit_and_ends_with_its_verdict(
    cli: Cli, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def run(store: str, **how: object) -> ConformanceReport:
        asked.append((store, how))
        return report(failed=(Note("test_a.py::test_b", "why it failed"),)) if "-x" in str(how) else report()

    monkeypatch.setattr(testing, "run", run)
    good = cli("conformance", url, "--cannot-check", "put.checksum", "-k", "signed", "--json")
    assert good.code == 0
    assert good.json["ok"] is True
    assert asked == [(url, {"cannot_check": ["put.checksum"], "args": ["-k", "signed"], "quiet": True})]
    bad = cli("conformance", url, "-x")
    assert bad.code == 1
    assert "failed: test_a.py::test_b: why it failed" in bad.stdout


def test_conformance_takes_a_name_and_refuses_unknown_checks(cli: Cli, url: str) -> None:
    Path("blobkit.toml").write_text(f'[stores]\nmedia = "{url}"\n')
    assert cli("conformance", "media", "--cannot-check", "gravity").code == 2


def test_serving_a_store_that_is_not_embedded_is_status_7(cli: Cli, url: str) -> None:
    assert cli("serve", f"{url}?unknown=data_plane").code == 7


def test_serving_on_a_port_that_is_taken_is_status_3(cli: Cli, url: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = cli("serve", url, "--port", str(taken.getsockname()[1]))
    assert done.code == 3
    assert "cannot listen" in done.stderr


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_serve_answers_signed_urls_until_it_is_told_to_stop(url: str, ending: signal.Signals) -> None:
    command = [str(Path(sys.executable).parent / "blobkit"), "serve", url, "--port", "0", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    ) as server:
        try:
            assert server.stdout is not None
            text = ""
            while not text.endswith("\n}\n"):
                text += server.stdout.readline() or pytest.fail("it did not come up")
            where = json.loads(text)["url"]
            with blobkit.open_store(f"{url}?public_endpoint={where}") as store:
                store.write("a", b"hello")
                link = store.sign_download("a").url.reveal()
            assert HttpClient().send("GET", link, {}).body == b"hello"
            server.send_signal(ending)
            _, said = server.communicate(timeout=30)
        finally:
            server.kill()
    assert server.returncode == 0
    assert "stopped" in said
    assert "public_endpoint" in said  # the store's own endpoint is another: it says so
    assert "bk-sig" not in text + said
