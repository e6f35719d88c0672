"""put, get and upload of much: interrupted, resumed, many files at once; over HTTP, as with a store that is not embedded."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import blobkit
from blobkit import errors
from blobkit.serving import data_plane, listening, running

from .conftest import Cli

DATA = os.urandom(3_000_000)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blobkit.store.SINGLE_REQUEST", 1000)
    monkeypatch.setattr("blobkit.chunking.DEFAULT_CHUNK", 1 << 20)
    monkeypatch.setattr("blobkit.cli.get._BLOCK", 1000)
    monkeypatch.setattr("blobkit.cli.put._BLOCK", 1000)


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def cloud(url: str, port: int) -> str:
    """The store as if its bytes could only be moved through URLs; nobody answers them yet."""
    return f"{url}?unknown=data_plane&public_endpoint=http://127.0.0.1:{port}"


@contextmanager
def served(url: str, port: int) -> Iterator[blobkit.Store]:
    with (
        listening("127.0.0.1", port) as sock,
        blobkit.open_store(f"{url}?public_endpoint=http://127.0.0.1:{port}") as store,
        running(data_plane(store), sock),
    ):
        yield store


def interrupted(cli: Cli, cloud: str, key: str = "a") -> str:
    """An upload to a storage that does not answer; gives what names it."""
    Path("big.bin").write_bytes(DATA)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("blobkit.transfer.retry.Patience.wait", lambda *args: None)
        done = cli("put", "big.bin", cloud, key, "--content-type", "x/y")
    assert done.code == 9, done.stderr
    found = re.search(r"it can be resumed: blobkit resume ([0-9a-f]{16})", done.stderr)
    assert found is not None, done.stderr
    return found[1]


def test_what_was_interrupted_is_listed_and_resumed(cli: Cli, url: str, cloud: str, port: int) -> None:
    name = interrupted(cli, cloud)
    (listed,) = cli("resume", "--json").json
    assert (listed["id"], listed["size"], listed["target"]["key"]) == (name, len(DATA), "a")
    assert cli("resume").stdout.startswith(f"{name}  ")
    with served(url, port) as store:
        done = cli("resume", name, "--json")
        assert done.code == 0, done.stderr
        assert (done.json[0]["content_type"], done.json[0]["bytes_sent"]) == ("x/y", len(DATA))
        assert store.read("a") == DATA
        assert list(store.list_uploads()) == []
    assert cli("resume", "--json").json == []


def test_the_same_command_resumes_too(cli: Cli, url: str, cloud: str, port: int) -> None:
    interrupted(cli, cloud)
    with served(url, port) as store:
        (before,) = store.list_uploads()
        done = cli("put", "big.bin", cloud, "a", "--json")
        assert done.json["upload_id"] == before.upload_id, "the same session"
        assert store.read("a") == DATA


def test_a_file_that_has_changed_since_is_begun_anew(cli: Cli, url: str, cloud: str, port: int) -> None:
    name = interrupted(cli, cloud)
    Path("big.bin").write_bytes(DATA[::-1])
    with served(url, port) as store:
        assert cli("resume", name).code == 4
        interrupted_again = cli("put", "big.bin", cloud, "a")
        assert interrupted_again.code == 0
        assert store.read("a") == DATA[::-1]
        assert list(store.list_uploads()) == []


def test_what_is_forgotten_is_gone_here_and_there(cli: Cli, url: str, cloud: str) -> None:
    name = interrupted(cli, cloud)
    assert cli("resume", name, "--forget").stdout == f"forgotten  {name}\n"
    assert cli("session", "list", url, "--json").json == []
    assert cli("resume", "--json").json == []
    assert cli("resume", name).code == 4


def test_the_journal_grants_nothing(cli: Cli, cloud: str, tmp_path: Path) -> None:
    interrupted(cli, cloud)
    (path,) = (tmp_path / "state" / "uploads").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "state" / "journal.key").stat().st_mode) == 0o600
    head = json.loads(path.read_text().splitlines()[0])
    assert set(head) == {"v", "source", "target", "fingerprint", "size", "started", "sealed"}
    with blobkit.open_store(cloud) as store, pytest.raises(errors.InvalidToken):
        store.resume_upload(head["sealed"])
    assert "bk-sig" not in path.read_text()


def test_ctrl_c_leaves_what_can_be_resumed_and_says_how(
    cli: Cli, url: str, cloud: str, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("big.bin").write_bytes(DATA)

    def interrupt(futures: object) -> None:
        raise KeyboardInterrupt

    with served(url, port) as store:
        with monkeypatch.context() as patch:
            patch.setattr("blobkit.transfer.workers.wait", interrupt)
            done = cli("put", "big.bin", cloud, "a")
        assert done.code == 130
        assert "it can be resumed: blobkit resume" in done.stderr
        assert not store.exists("a")
        assert cli("resume", "--all").code == 0
        assert store.read("a") == DATA


def test_standard_input_of_any_length_goes_in_chunks(cli: Cli, url: str, cloud: str, port: int) -> None:
    with served(url, port) as store:
        done = cli("put", "-", cloud, "a", stdin=DATA)
        assert done.code == 0, done.stderr
        assert store.read("a") == DATA
        assert cli("put", "-", cloud, "b", stdin=b"short").code == 0
        assert store.read("b") == b"short"
        assert cli("get", cloud, "a", "-").raw == DATA


def test_directories_and_patterns_go_and_come(cli: Cli, url: str, cloud: str, port: int) -> None:
    names = ["a.jpg", "sub/b.jpg", "sub/deep/c.txt"]
    for name in names:
        Path("photos", name).parent.mkdir(parents=True, exist_ok=True)
        Path("photos", name).write_bytes(name.encode() * 2000)
    with served(url, port) as store:
        done = cli("put", "--recursive", "photos", cloud, "in/", "--parallel", "3", "--json")
        assert done.code == 0, done.stderr
        assert [entry["key"] for entry in done.json] == [f"in/{name}" for name in names]
        assert cli("put", "photos/*.jpg", "photos/sub/b.jpg", cloud, "flat/").code == 0
        assert [info.key for info in store.list("flat/")] == ["flat/a.jpg", "flat/b.jpg"]
        back = cli("get", "-r", cloud, "in/", "back", "--json")
        assert back.code == 0, back.stderr
        for name in names:
            assert Path("back", name).read_bytes() == name.encode() * 2000
        assert cli("get", cloud, "in/*.jpg", "some").code == 0
        assert sorted(str(path) for path in Path("some").rglob("*.jpg")) == ["some/a.jpg", "some/sub/b.jpg"]
        assert cli("get", cloud, "in/nothing*", "some").code == 2
        assert cli("put", "photos", cloud, "in/").code == 2
        assert cli("put", "photos/a.jpg", "photos/sub/b.jpg", cloud, "one-key").code == 2
        assert cli("put", "-r", "photos", cloud, "x/", "--checksum", "md5:x").code == 2


def test_one_file_that_fails_does_not_stop_the_others(cli: Cli, url: str, cloud: str, port: int) -> None:
    for name in ("a", "b"):
        Path(name).write_bytes(name.encode())
    with served(url, port) as store:
        store.write("b", b"there")
        done = cli("put", "a", "b", cloud, "", "--if-absent")
        assert done.code == 5
        assert "failed   b: AlreadyExists" in done.stderr
        assert (store.read("a"), store.read("b")) == (b"a", b"there")


def test_a_key_never_leaves_the_directory(tmp_path: Path) -> None:
    from blobkit.cli.get import _below

    assert _below(tmp_path, "a/b") == tmp_path / "a" / "b"
    for name in ("../x", "/etc/passwd", "a/../../x", "a//b", "", "a\\..\\b", "a/"):
        with pytest.raises(errors.InvalidKey):
            _below(tmp_path, name)


def test_a_fetch_that_broke_off_goes_on(cli: Cli, url: str, cloud: str, port: int) -> None:
    Path("data").mkdir()
    with served(url, port) as store:
        store.write("a", DATA)
        with pytest.MonkeyPatch.context() as patch:
            from blobkit.transfer.http import Incoming

            real = Incoming.readinto
            left = [5]

            def failing(self: Incoming, buffer: memoryview) -> int:
                left[0] -= 1
                if left[0] < 0:
                    raise errors.ConnectionFailed("injected")
                return real(self, buffer[:65536])

            patch.setattr(Incoming, "readinto", failing)
            patch.setattr("blobkit.transfer.retry.Patience.wait", lambda *args: None)
            assert cli("get", cloud, "a", "data/back").code == 9
        kept = sorted(path.suffix for path in Path("data").iterdir())
        assert kept == [".json", ".part"]
        done = cli("get", cloud, "a", "data/back")
        assert done.code == 0, done.stderr
        assert Path("data/back").read_bytes() == DATA
        assert [path.name for path in Path("data").iterdir()] == ["back"]
