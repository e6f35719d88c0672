"""``blobkit events`` shows what a delivery says, and what arrives in a queue."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

import blobkit

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


@pytest.fixture
def place(tmp_path: Path) -> str:
    """A store with two events in its queue."""
    url = f"local://{tmp_path}/store"
    with blobkit.open_events(url), blobkit.open_store(url) as store:
        store.write("a b", b"x")
        store.write("c", b"")
    return url


def test_listening_borrows_what_it_shows_and_takes_it_only_when_told(place: str) -> None:
    shown = run("events", "listen", place, "--count", "2", given=b"")
    assert shown.returncode == 0, shown.stderr
    assert b"created" in shown.stdout
    assert b"a b" in shown.stdout
    taken = run("events", "listen", place, "--count", "2", "--ack", "--json", given=b"")
    found = json.loads(taken.stdout)
    assert sorted(event["key"] for delivery in found for event in delivery["events"]) == ["a b", "c"]
    assert {delivery["attempt"] for delivery in found} == {2}
    with blobkit.open_events(place) as source:
        assert source.receive(wait=timedelta(0)) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_listening_ends_in_good_order_when_it_is_interrupted(place: str, number: int) -> None:
    words = [sys.executable, "-c", "from blobkit.cli import main; main()", "events", "listen", place]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"created" in process.stdout.readline()
        process.send_signal(number)
        assert process.wait(60) == 0
    with blobkit.open_events(place) as source:
        assert len(source.receive(wait=timedelta(seconds=20))) == 2


def test_an_unknown_source_is_a_fault_of_the_configuration() -> None:
    done = run("events", "listen", "nosuch://x", given=b"")
    assert done.returncode == 3
    assert b"sqs" in done.stderr
