"""session start | chunks | status | complete | abort | list | sweep: the token is all that goes from one to the next."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import blobkit
from blobkit.serving import serve_in_thread
from blobkit.testing.clients import HttpClient
from blobkit.transfer.__main__ import main as transfer

from .conftest import Cli

DATA = b"0123456789"


@pytest.fixture
def served(url: str) -> Iterator[str]:
    """The store's URL while its data plane runs."""
    found: list[str] = []

    def opened(endpoint: str) -> blobkit.Store:
        found.append(f"{url}?public_endpoint={endpoint}")
        return blobkit.open_store(found[0])

    with serve_in_thread(opened):
        yield found[0]


def start(cli: Cli, url: str, *words: str) -> str:
    done = cli("session", "start", url, "a", "--chunk-size", "4", *words)
    assert done.code == 0, done.stderr
    (token,) = done.stdout.splitlines()
    return token


def send(cli: Cli, url: str, token: str, *words: str) -> list[int]:
    chunks = cli("session", "chunks", url, token, "--json", *words).json
    for chunk in chunks:
        body = DATA[chunk["offset"] : chunk["offset"] + chunk["size"]]
        assert HttpClient().send(chunk["method"], chunk["url"], chunk["headers"], body).status == 200
    return [chunk["n"] for chunk in chunks]


def test_an_upload_goes_on_from_its_token_alone(cli: Cli, served: str) -> None:
    token = start(cli, served, "--size", "10", "--content-type", "text/plain", "--if-absent")
    assert send(cli, served, token, "--numbers", "1,3") == [1, 3]
    status = cli("session", "status", served, token, "--json").json
    assert status == {"key": "a", "size": 10, "state": "open", "received": [1, 3], "received_bytes": 6, "missing": [2]}
    early = cli("session", "complete", served, token)
    assert early.code == 8
    assert cli("stat", served, "a").code == 4
    assert send(cli, served, token, "--missing") == [2]
    for _ in range(2):
        done = cli("session", "complete", served, token, "--json")
        assert done.json["size"] == 10
        assert done.json["content_type"] == "text/plain"
    assert cli("session", "status", served, token, "--json").json["state"] == "committed"
    assert cli("get", served, "a", "-").raw == DATA


def test_start_says_what_was_started(cli: Cli, url: str) -> None:
    data = cli("session", "start", url, "a", "--size", "100MiB", "--json").json
    assert set(data) == {
        "token",
        "key",
        "upload_id",
        "size",
        "chunk_size",
        "chunk_count",
        "staged",
        "expires_at",
        "enforcement",
    }
    assert (data["size"], data["chunk_count"]) == (100 << 20, 7)
    assert data["enforcement"] == {"size": "provider"}


def test_the_token_is_nowhere_but_in_the_result(cli: Cli, url: str) -> None:
    done = cli("session", "start", url, "a", "--size", "10")
    assert done.stdout.strip() not in done.stderr
    shown = cli("session", "status", url, done.stdout.strip())
    assert done.stdout.strip() not in shown.stdout + shown.stderr


def test_the_token_may_come_by_stdin_or_the_environment(cli: Cli, url: str) -> None:
    token = start(cli, url, "--size", "10")
    assert cli("session", "status", url, "-", "--json", stdin=f"{token}\n".encode()).json["state"] == "open"
    assert cli("session", "status", url, "--json", env={"BLOBKIT_SESSION_TOKEN": token}).json["state"] == "open"


def test_a_token_of_another_owner_or_store_or_none_is_status_6(cli: Cli, url: str) -> None:
    token = start(cli, url, "--size", "10", "--owner", "u1")
    assert cli("session", "status", url, token, "--owner", "u1").code == 0
    for words in (
        [url, token],
        [url, token, "--owner", "u2"],
        [f"{url}-other", token, "--owner", "u1"],
        [url, "rubbish"],
    ):
        done = cli("session", "status", *words)
        assert done.code == 6, done.stderr
        assert token not in done.stderr


def test_status_shows_ranges_that_chunks_takes(cli: Cli, served: str) -> None:
    token = start(cli, served, "--size", "10")
    send(cli, served, token, "--numbers", "1-2")
    shown = cli("session", "status", served, token).stdout.split()
    assert shown[shown.index("chunks") + 1] == "1-2"
    assert shown[shown.index("missing") + 1] == "3"


def test_a_size_that_was_unknown_is_given_at_the_end(cli: Cli, served: str) -> None:
    token = start(cli, served)
    assert cli("session", "chunks", served, token).code == 2
    send(cli, served, token, "--numbers", "1-2")
    chunk = cli("session", "chunks", served, token, "--numbers", "3", "--json").json[0]
    assert HttpClient().send("PUT", chunk["url"], chunk["headers"], DATA[8:]).status == 200
    assert cli("session", "complete", served, token).code == 2
    done = cli("session", "complete", served, token, "--size", "10", "--checksum", f"md5:@{_file(DATA)}")
    assert done.code == 0, done.stderr


def _file(data: bytes) -> Path:
    path = Path("data.bin")
    path.write_bytes(data)
    return path


def test_a_plan_is_executed_by_a_client_that_knows_nothing_else(
    cli: Cli, served: str, capsys: pytest.CaptureFixture[str]
) -> None:
    token = start(cli, served, "--size", "10")
    Path("plan.json").write_text(cli("session", "chunks", served, token, "--plan").stdout)
    assert transfer(["upload", str(_file(DATA)), "plan.json"]) == 0
    receipts = json.loads(capsys.readouterr().out.splitlines()[-1])["receipts"]
    Path("receipts.json").write_text(json.dumps({**receipts, "2": "wrong"}))
    assert cli("session", "complete", served, token, "--receipts", "receipts.json").code == 8
    Path("receipts.json").write_text(json.dumps(receipts))
    assert cli("session", "complete", served, token, "--receipts", "receipts.json").code == 0


def test_receipts_that_are_none_are_status_2(cli: Cli, url: str) -> None:
    token = start(cli, url, "--size", "10")
    Path("receipts.json").write_text("[1, 2]")
    assert cli("session", "complete", url, token, "--receipts", "receipts.json").code == 2


def test_an_aborted_session_is_gone(cli: Cli, url: str) -> None:
    token = start(cli, url, "--size", "10")
    assert cli("session", "abort", url, token, "--json").json == {"discarded": True, "lapses_at": None}
    assert cli("session", "abort", url, token).code == 0
    assert cli("session", "status", url, token, "--json").json["state"] == "gone"
    assert cli("session", "complete", url, token).code == 4


def test_sessions_are_listed_and_swept_by_age(cli: Cli, url: str) -> None:
    start(cli, url, "--size", "10")
    (listed,) = cli("session", "list", url, "--json").json
    assert listed["key"] == "a"
    assert set(listed) == {"key", "upload_id", "started", "received_bytes"}
    assert cli("session", "list", url, "--older-than", "1d", "--json").json == []
    assert cli("session", "list", url, "b", "--json").json == []
    assert cli("session", "sweep", url, "--older-than", "1d", "--json").json == []
    assert cli("session", "sweep", url).code == 2
    with blobkit.open_store(url) as store:
        assert len(list(store.list_uploads())) == 1


@pytest.mark.parametrize("numbers", ["x", "1-", "0", "4", "3-1-2", "9999999"])
def test_wrong_chunk_numbers_are_status_2(cli: Cli, url: str, numbers: str) -> None:
    token = start(cli, url, "--size", "10")
    assert cli("session", "chunks", url, token, "--numbers", numbers).code == 2
