"""put, get, ls, stat, cp, rm on a local store, without a server."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

import blobkit
from blobkit.cli import get as transfers

from .conftest import Cli


def test_a_file_comes_back_as_it_was(cli: Cli, url: str, tmp_path: Path) -> None:
    data = os.urandom(300_000)
    Path("clip.mp4").write_bytes(data)
    assert cli("put", "clip.mp4", url, "videos/a.mp4").code == 0
    got = cli("get", url, "videos/a.mp4", "back.mp4")
    assert (got.code, got.stdout) == (0, "back.mp4\n")
    assert Path("back.mp4").read_bytes() == data
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back.mp4", "clip.mp4", "files"]


def test_put_guesses_the_type_and_takes_constraints(cli: Cli, url: str, hello: Path) -> None:
    digest = hashlib.sha256(b"hello").hexdigest()
    done = cli(
        "put",
        "hello.txt",
        url,
        "--metadata",
        "owner=u1",
        "--checksum",
        f"sha256:{digest}",
        "--cache-control",
        "no-cache",
        "--json",
    )
    assert done.code == 0
    assert done.json["key"] == "hello.txt"
    assert done.json["size"] == 5
    assert done.json["content_type"] == "text/plain"
    assert done.json["metadata"] == {"owner": "u1"}
    assert done.json["cache_control"] == "no-cache"


def test_put_refuses_bytes_that_break_the_checksum_and_leaves_nothing(cli: Cli, url: str, hello: Path) -> None:
    done = cli("put", "hello.txt", url, "a", "--checksum", f"sha256:{'0' * 64}")
    assert done.code == 8
    assert cli("stat", url, "a").code == 4


def test_put_if_absent_never_overwrites(cli: Cli, url: str, hello: Path) -> None:
    assert cli("put", "hello.txt", url, "a", "--if-absent").code == 0
    done = cli("put", "-", url, "a", "--if-absent", stdin=b"other")
    assert done.code == 5
    assert done.stdout == ""
    assert cli("get", url, "a", "-").raw == b"hello"


def test_standard_input_and_output_are_dashes(cli: Cli, url: str) -> None:
    data = bytes(range(256)) * 5000
    assert cli("put", "-", url, "a", stdin=data).code == 0
    assert cli("get", url, "a", "-").raw == data


def test_standard_input_needs_a_key(cli: Cli, url: str) -> None:
    assert cli("put", "-", url, stdin=b"x").code == 2


def test_an_empty_file_is_a_file(cli: Cli, url: str) -> None:
    assert cli("put", "-", url, "a", stdin=b"").code == 0
    assert cli("get", url, "a", "out").code == 0
    assert Path("out").read_bytes() == b""


def test_a_missing_local_file_is_told_as_such(cli: Cli, url: str) -> None:
    done = cli("put", "nowhere.txt", url)
    assert done.code == 10
    assert done.stderr == "blobkit: No such file or directory: 'nowhere.txt'\n"


def test_get_into_a_directory_keeps_the_name(cli: Cli, url: str, hello: Path) -> None:
    cli("put", "hello.txt", url, "x/y/hello.txt")
    Path("sub").mkdir()
    assert cli("get", url, "x/y/hello.txt", "sub").code == 0
    assert Path("sub/hello.txt").read_bytes() == b"hello"


def test_get_of_damaged_bytes_leaves_no_file(cli: Cli, url: str, hello: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("put", "hello.txt", url, "a")
    before = Path("out")
    before.write_bytes(b"precious")
    real = transfers._digest

    def other(info: blobkit.BlobInfo) -> object:
        digest, expected = real(info)
        assert digest is not None
        digest.update(b"damage")
        return digest, expected

    monkeypatch.setattr(transfers, "_digest", other)
    done = cli("get", url, "a", "out")
    assert done.code == 8
    assert before.read_bytes() == b"precious"
    assert not list(Path().glob(".blobkit*"))


def test_get_to_stdout_goes_without_json(cli: Cli, url: str, hello: Path) -> None:
    cli("put", "hello.txt", url)
    assert cli("get", url, "hello.txt", "-", "--json").code == 2
    assert cli("get", url, "hello.txt", "--json").json["file"] == "hello.txt"


def test_stat_says_what_is_there(cli: Cli, url: str, hello: Path) -> None:
    cli("put", "hello.txt", url)
    shown = cli("stat", url, "hello.txt")
    assert "5 (5 B)" in shown.stdout
    data = cli("stat", url, "hello.txt", "--json").json
    assert set(data) == {
        "key", "size", "etag", "version", "modified", "content_type", "metadata", "checksums", "cache_control",
        "content_disposition", "content_encoding", "storage_class", "upload_id",
    }  # fmt: skip
    assert data["checksums"]["crc32c"]["hex"] == "9a71bb4c"


def test_stat_of_nothing_is_one_line_and_status_4(cli: Cli, url: str) -> None:
    done = cli("stat", url, "nope")
    assert done.code == 4
    assert done.stdout == ""
    assert done.stderr.startswith("blobkit: ")
    assert "'nope'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_ls_lists_one_level_and_everything_with_recursive(cli: Cli, url: str) -> None:
    for key in ("a.txt", "b/1", "b/2", "c/d/e"):
        cli("put", "-", url, key, stdin=b"x")
    level = cli("ls", url, "--json").json
    assert [(entry["type"], entry["key"]) for entry in level] == [
        ("object", "a.txt"),
        ("prefix", "b/"),
        ("prefix", "c/"),
    ]
    assert [entry["key"] for entry in cli("ls", url, "-r", "--json").json] == ["a.txt", "b/1", "b/2", "c/d/e"]
    assert [entry["key"] for entry in cli("ls", url, "b/", "--json").json] == ["b/1", "b/2"]
    assert [
        entry["key"] for entry in cli("ls", url, "-r", "--limit", "2", "--start-after", "a.txt", "--json").json
    ] == ["b/1", "b/2"]
    assert cli("ls", url).stdout.splitlines()[1].split() == ["-", "-", "b/"]


def test_ls_of_an_empty_store_is_an_empty_list(cli: Cli, url: str) -> None:
    assert cli("ls", url, "--json").json == []
    assert cli("ls", url).stdout == ""


def test_a_key_cannot_command_the_terminal(cli: Cli, url: str) -> None:
    cli("put", "-", url, "a\u202e\u00a0b", stdin=b"x")  # a right-to-left override, a no-break space
    assert "a\\u202e\\xa0b" in cli("ls", url).stdout
    assert cli("ls", url, "--json").json[0]["key"] == "a\u202e\u00a0b"


def test_cp_copies_within_and_between_stores(cli: Cli, url: str, hello: Path) -> None:
    cli("put", "hello.txt", url, "a", "--metadata", "owner=u1")
    assert cli("cp", url, "a", url, "b/").code == 0
    assert cli("cp", url, "a", f"{url}-other", "c", "--json").json["metadata"] == {"owner": "u1"}
    assert cli("get", url, "b/a", "-").raw == b"hello"
    assert cli("get", f"{url}-other", "c", "-").raw == b"hello"
    assert cli("cp", url, "a", url, "b/a", "--if-absent").code == 5
    assert cli("cp", url, "nope", url, "d").code == 4


def test_rm_is_idempotent_and_takes_several(cli: Cli, url: str) -> None:
    for key in ("a", "b"):
        cli("put", "-", url, key, stdin=b"x")
    done = cli("rm", url, "a", url, "b", url, "never", "--json")
    assert done.code == 0
    assert [(each["key"], each["deleted"]) for each in done.json] == [("a", True), ("b", True), ("never", True)]
    assert cli("ls", url, "-r").stdout == ""


def test_rm_recursive_asks_first(cli: Cli, url: str) -> None:
    for key in ("tmp/1", "tmp/2", "keep"):
        cli("put", "-", url, key, stdin=b"x")
    refused = cli("rm", "-r", url, "tmp/")
    assert refused.code == 2
    assert "--yes" in refused.stderr
    assert len(cli("ls", url, "-r", "--json").json) == 3
    assert cli("rm", "-r", "--yes", url, "tmp/", "--json").code == 0
    assert [entry["key"] for entry in cli("ls", url, "-r", "--json").json] == ["keep"]


def test_versions_can_be_read_and_purged(cli: Cli, url: str) -> None:
    kept = f"{url}?versioning=on"
    first = cli("put", "-", kept, "a", "--json", stdin=b"1").json["version"]
    cli("put", "-", kept, "a", stdin=b"22")
    assert cli("stat", kept, "a", "--version", first, "--json").json["size"] == 1
    assert cli("rm", kept, "a", "--json").json[0]["marker"] is True
    assert cli("rm", kept, "a", "--purge-versions", "--json").json[0]["versions_left"] == 0
    assert cli("rm", kept, "a", "--version", first, "--recursive").code == 2
    assert cli("stat", url, "a", "--version", first).code == 7


def test_names_come_from_the_file_here_from_config_and_from_the_environment(cli: Cli, url: str, tmp_path: Path) -> None:
    Path("blobkit.toml").write_text(f'[stores]\nmedia = "{url}"\n')
    Path("other.toml").write_text(f'[stores]\nthere = "{url}-there"\n')
    assert cli("put", "-", "media:a", stdin=b"1").code == 0
    assert cli("put", "-", "there:a", "--config", "other.toml", stdin=b"22").code == 0
    here = cli("put", "-", "my-env:a", stdin=b"333", env={"BLOBKIT_STORE_MY_ENV": f"{url}-env"})
    assert here.code == 0
    for store, size in (("files", 1), ("files-there", 2), ("files-env", 3)):
        assert cli("stat", f"local://{tmp_path}/{store}", "a", "--json").json["size"] == size


def test_an_unknown_name_says_which_there_are(cli: Cli, url: str) -> None:
    none = cli("ls", "media")
    assert none.code == 3
    assert "BLOBKIT_STORE_MEDIA" in none.stderr
    Path("blobkit.toml").write_text(f'[stores]\nimages = "{url}"\n')
    some = cli("ls", "media")
    assert some.code == 3
    assert "configured: images" in some.stderr


def test_a_wrong_url_names_the_nearest_option_and_the_missing_plugin(cli: Cli, url: str) -> None:
    wrong = cli("ls", f"{url}?versionning=on")
    assert wrong.code == 3
    assert "versioning" in wrong.stderr
    missing = cli("ls", "gopher://bucket/")
    assert missing.code == 3
    assert "installed: " in missing.stderr


def test_a_key_that_no_store_may_hold_is_a_wrong_command_line(cli: Cli, url: str) -> None:
    assert cli("stat", url, "../etc/passwd").code == 2
    assert cli("stat", url, "a\x1b[2Jb").code == 2
    assert "\x1b" not in cli("stat", url, "a\x1b[2Jb").stderr


def cloud(url: str, endpoint: str) -> str:
    """The same store without the short way: as if its bytes could only be moved through URLs."""
    return f"{url}?unknown=data_plane&public_endpoint={endpoint}"


def test_a_large_file_goes_and_comes_in_parts_where_the_store_is_not_embedded(
    cli: Cli, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from blobkit.serving import serve_in_thread

    data = os.urandom(5_000_000)
    Path("big.bin").write_bytes(data)
    monkeypatch.setattr("blobkit.store.SINGLE_REQUEST", 1000)
    monkeypatch.setattr("blobkit.chunking.DEFAULT_CHUNK", 1 << 20)
    monkeypatch.setattr(transfers, "_BLOCK", 1000)
    monkeypatch.setattr(blobkit.Store, "open", lambda *_: pytest.fail("it was read through the service"))
    endpoints: list[str] = []

    def opened(endpoint: str) -> blobkit.Store:
        endpoints.append(endpoint)
        return blobkit.open_store(f"{url}?public_endpoint={endpoint}")

    with serve_in_thread(opened) as store:
        there = cloud(url, endpoints[0])
        done = cli("put", "big.bin", there, "--metadata", "owner=u1", "--json")
        assert done.code == 0, done.stderr
        assert done.json["metadata"] == {"owner": "u1"}
        assert store.read("big.bin") == data
        assert cli("get", there, "big.bin", "back.bin").code == 0
        assert Path("back.bin").read_bytes() == data
        assert list(store.list_uploads()) == []


def test_errors_are_one_json_object_with_json(cli: Cli, url: str) -> None:
    done = cli("stat", url, "nope", "--json")
    assert done.stdout == ""
    error = json.loads(done.stderr)["error"]
    assert error["type"] == "BlobNotFound"
    assert error["exit_code"] == done.code == 4
    assert error["key"] == "nope"
    assert error["retryable"] is False
