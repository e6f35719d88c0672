"""sign upload | download | delete: the URL alone on stdout, and nothing secret anywhere else."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import blobkit
from blobkit.serving import serve_in_thread
from blobkit.testing.clients import HttpClient

from .conftest import Cli


@pytest.fixture
def served(url: str) -> Iterator[str]:
    """The store's URL while its data plane runs."""
    found: list[str] = []

    def opened(endpoint: str) -> blobkit.Store:
        found.append(f"{url}?public_endpoint={endpoint}")
        return blobkit.open_store(found[0])

    with serve_in_thread(opened) as store:
        store.write("a.txt", b"hello")
        yield found[0]


def test_a_download_url_is_alone_on_stdout_and_works(cli: Cli, served: str) -> None:
    done = cli("sign", "download", served, "a.txt", "--filename", "b.txt", "--expires", "5m")
    (link,) = done.stdout.splitlines()
    answer = HttpClient().send("GET", link, {})
    assert (answer.status, answer.body) == (200, b"hello")
    assert "b.txt" in answer.headers["content-disposition"]
    assert "GET, expects 200" in done.stderr


def test_no_signature_is_printed_beside_the_result(cli: Cli, url: str) -> None:
    done = cli("sign", "upload", url, "a", "--content-type", "image/png", "--size", "5", "--metadata", "owner=u1")
    signature = done.stdout.partition("bk-sig=")[2].strip()
    assert len(signature) == 64
    assert signature not in done.stderr
    assert "header content-type: image/png" in done.stderr.lower()
    assert "size: enforced by signature" in done.stderr


def test_an_upload_is_bound_by_its_constraints(cli: Cli, served: str) -> None:
    request = cli(
        "sign", "upload", served, "b", "--size", "3", "--content-type", "text/plain", "--if-absent", "--json"
    ).json
    assert request["method"] == "PUT"
    assert request["enforcement"] == {"size": "signature", "content_type": "signature", "if_absent": "signature"}
    client = HttpClient()
    assert client.send("PUT", request["url"], request["headers"], b"four").refused
    assert client.send("PUT", request["url"], request["headers"], b"abc").status == 200
    assert client.send("PUT", request["url"], request["headers"], b"abc").refused


def test_a_curl_command_runs(cli: Cli, served: str, hello: Path) -> None:
    up = cli("sign", "upload", served, "c", "--content-type", "text/plain", "--curl", "--file", "hello.txt").stdout
    down = cli("sign", "download", served, "c", "--curl", "--file", "back.txt").stdout
    for line in (up, down):
        try:
            subprocess.run(shlex.split(line), check=True, timeout=60)
        except FileNotFoundError:
            pytest.skip("curl is not installed")
    assert Path("back.txt").read_bytes() == b"hello"


def test_a_delete_url_deletes(cli: Cli, served: str) -> None:
    link = cli("sign", "delete", served, "a.txt").stdout.strip()
    assert HttpClient().send("DELETE", link, {}).status == 204
    assert cli("stat", served, "a.txt").code == 4


def test_a_head_url_serves_head_only(cli: Cli, served: str) -> None:
    link = cli("sign", "download", served, "a.txt", "--head").stdout.strip()
    assert HttpClient().send("HEAD", link, {}).status == 200
    assert HttpClient().send("GET", link, {}).refused


def test_a_constraint_that_nobody_enforces_is_status_7_unless_it_is_verified_after(cli: Cli, url: str) -> None:
    weak = f"{url}?unknown=put.checksum"
    refused = cli("sign", "upload", weak, "a", "--checksum", f"sha256:{'0' * 64}")
    assert refused.code == 7
    assert refused.stdout == ""
    assert "hint:" in refused.stderr
    agreed = cli(
        "sign", "upload", weak, "a", "--checksum", f"sha256:{'0' * 64}", "--verify-after", "checksum", "--json"
    )
    assert agreed.json["enforcement"] == {"checksum": "completion"}
    assert cli("sign", "upload", weak, "a", "--verify-after", "all").code == 0
    assert cli("sign", "upload", weak, "a", "--verify-after", "colour").code == 2


@pytest.mark.parametrize(
    "words",
    [
        ("--expires", "soon"),
        ("--expires", "0"),
        ("--expires", "400d"),
        ("--size", "big"),
        ("--size", "5", "--max-size", "6"),
        ("--content-type", "png"),
        ("--metadata", "owner"),
        ("--metadata", "a=1", "--metadata", "a=2"),
        ("--checksum", "sha256"),
        ("--checksum", "sha257:00"),
        ("--checksum", "sha256:zz"),
    ],
)
def test_bad_options_are_status_2_before_anything_is_signed(cli: Cli, url: str, words: tuple[str, ...]) -> None:
    done = cli("sign", "upload", url, "a", *words)
    assert done.code == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_a_checksum_may_be_computed_of_a_file(cli: Cli, url: str, hello: Path) -> None:
    given = cli("sign", "upload", url, "a", "--checksum", "md5:@hello.txt", "--json").json
    assert given["enforcement"] == {"checksum": "signature"}
    assert cli("sign", "upload", url, "a", "--checksum", "md5:@nowhere").code == 10
