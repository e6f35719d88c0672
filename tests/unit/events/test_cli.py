"""``blobkit events parse`` shows what a delivery says."""

from __future__ import annotations

import json
import subprocess
import sys

from . import samples


def run(*words: str, given: bytes) -> subprocess.CompletedProcess[bytes]:
    """The command with that standard input."""
    return subprocess.run(
        [sys.executable, "-c", "from blobkit.cli import main; main()", *words],
        input=given,
        capture_output=True,
        check=False,
    )


def test_a_delivery_on_standard_input_is_shown_as_json_and_as_a_table() -> None:
    body = json.dumps(samples.s3(samples.s3_record("a+b"), {"broken": True})).encode()
    done = run("events", "parse", "-", "--json", given=body)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert [event["key"] for event in shown["events"]] == ["a b"]
    assert len(shown["errors"]) == 1
    table = run("events", "parse", "-", given=body)
    assert b"a b" in table.stdout
    assert b"error:" in table.stderr


def test_a_body_that_cannot_be_read_is_an_error() -> None:
    done = run("events", "parse", "-", given=b"{")
    assert done.returncode != 0
    assert b"Traceback" not in done.stderr
    assert b"JSON" in done.stderr
