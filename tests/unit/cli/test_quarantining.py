"""worker --quarantine: uploads are examined by checks that are named on the command line, and served from another store."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import blobkit
from blobkit.cli.quarantining import checks_of, routes_of
from blobkit.errors import ConfigError, InvalidArgument
from blobkit.quarantine import (
    AllowedTypes,
    ArchiveLimits,
    ChecksumMatches,
    ClamAV,
    ContentTypeMatches,
    Custom,
    ImageLimits,
    MaxSize,
    SizeMatches,
    Subject,
)
from blobkit.tracking import Tracker, Upload

from .conftest import Cli

ROUTE = ("worker", "--quarantine", "inbox=media")
SMALL = MaxSize(1)


def refuses(subject: Subject) -> bool:
    """A check of a service's own."""
    return subject.info.size != 5


class Arrived:
    """A staging store, a public one, and records."""

    def __init__(self, folder: Path) -> None:
        stores = {name: f"local://{folder}/{name}" for name in ("inbox", "media")}
        lines = [f'{name} = "{url}"\n' for name, url in stores.items()]
        (folder / "blobkit.toml").write_text("".join(["[stores]\n", *lines]))
        self.stores = {name: blobkit.open_store(url) for name, url in stores.items()}
        self.tracker = Tracker(f"sqlite:///{folder}/uploads.db", stores=self.stores, checked={"inbox"})

    def put(self, data: bytes, content_type: str = "text/plain") -> Upload:
        """An upload of which the client said that it is done."""
        upload, _ = self.tracker.begin(store="inbox", owner="u1", content_type=content_type)
        self.stores["inbox"].write(upload.key, data, content_type=content_type)
        return self.tracker.confirm(upload.id)

    def state(self, upload: Upload) -> str:
        return self.tracker.get(upload.id).state


@pytest.fixture
def arrived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Arrived]:
    monkeypatch.setenv("BLOBKIT_DATABASE", f"sqlite:///{tmp_path}/uploads.db")
    made = Arrived(tmp_path)
    yield made
    made.tracker.close()
    for store in made.stores.values():
        store.close()


def test_one_round_serves_what_passes_and_removes_what_does_not(cli: Cli, arrived: Arrived) -> None:
    good, page, large = arrived.put(b"hello"), arrived.put(b"<html> ", "image/png"), arrived.put(b"x" * 100)
    done = cli(*ROUTE, "--check", "max_size=10", "--check", "content-type-matches", "--once", "--print")
    assert done.code == 0
    assert [arrived.state(upload) for upload in (good, page, large)] == ["available", "rejected", "rejected"]
    assert arrived.stores["media"].read(good.key) == b"hello"
    assert list(arrived.stores["inbox"].list()) == []
    assert "quarantine of media: 1 available, 2 rejected" in done.stderr
    kinds = [json.loads(line)["kind"] for line in done.stdout.splitlines()]
    assert sorted(kind for kind in kinds if kind in ("available", "rejected")) == ["available", "rejected", "rejected"]
    assert cli(*ROUTE, "--check", "max_size=10", "--once").stderr == ""


def test_a_scanner_that_is_away_decides_nothing(cli: Cli, arrived: Arrived) -> None:
    upload = arrived.put(b"hello")
    done = cli(*ROUTE, "--clamav", "unix:///nowhere/clamd.ctl", "--once")
    assert done.code == 0
    assert "1 undecided" in done.stderr
    assert arrived.state(upload) == "uploaded"


def test_a_process_examines_until_it_is_told_to_stop(cli: Cli, arrived: Arrived, tmp_path: Path) -> None:
    upload = arrived.put(b"hello")
    command = [str(Path(sys.executable).with_name("blobkit")), *ROUTE, "--check", "max_size=10", "--print"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        while json.loads(process.stdout.readline())["kind"] != "available":
            pass
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "stopped" in said
    assert arrived.state(upload) == "available"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--quarantine", "inbox=media"), 2, "lets everything pass"),
        (("--check", "size_matches"), 2, "go with --quarantine"),
        (("--clamav", "tcp://127.0.0.1"), 2, "go with --quarantine"),
        (("--quarantine", "inbox", "--check", "size_matches"), 2, "STAGING=PUBLIC"),
        (("--quarantine", "inbox=inbox", "--check", "size_matches"), 3, "same place"),
        (("--quarantine", "inbox=nowhere", "--check", "size_matches"), 3, "no store is named"),
        (("--quarantine", "inbox=media", "--check", "luck"), 2, "no check is named"),
        (("--quarantine", "inbox=media", "--check", "no.such:thing"), 3, "cannot be imported"),
        (("--quarantine", "inbox=media", "--clamav", "http://x"), 3, "not an address of clamd"),
        (("--quarantine", "inbox=media", "--check", "size_matches", "--check-timeout", "0s"), 2, "positive"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_examined(
    cli: Cli, arrived: Arrived, words: tuple[str, ...], code: int, said: str
) -> None:
    upload = arrived.put(b"hello")
    done = cli("worker", "--once", *words)
    assert (done.code, arrived.state(upload)) == (code, "uploaded")
    assert said in done.stderr


def test_checks_are_named_as_verdicts_call_them() -> None:
    words = [
        "max_size=1KiB", "size_matches", "allowed_types=image/*, text/plain", "content_type_matches", "checksum-matches",
        "image_limits", "image_limits=100", "archive_limits", "archive_limits=1MiB",
    ]  # fmt: skip
    assert checks_of(words, "tcp://127.0.0.1:3310", "2MiB") == [
        MaxSize(1024),
        SizeMatches(),
        AllowedTypes(["image/*", "text/plain"]),
        ContentTypeMatches(),
        ChecksumMatches(),
        ImageLimits(),
        ImageLimits(max_pixels=100),
        ArchiveLimits(),
        ArchiveLimits(max_unpacked=1024 * 1024),
        ClamAV("tcp://127.0.0.1:3310", max_bytes=2 * 1024 * 1024),
    ]


@pytest.mark.parametrize(
    "word", ["max_size", "max_size=", "max_size=x", "size_matches=1", "image_limits=", "image_limits=-1", "luck", ""]
)
def test_a_check_that_is_not_there_or_a_value_that_it_cannot_have_is_refused(word: str) -> None:
    with pytest.raises(InvalidArgument):
        checks_of([word], None, "1MiB")


def test_a_function_or_a_check_of_the_services_own_is_taken_and_a_class_is_not() -> None:
    assert checks_of([f"{__name__}:refuses", f"{__name__}:SMALL"], None, "1MiB") == [Custom("refuses", refuses), SMALL]
    for name in ("blobkit.quarantine:ImageLimits", f"{__name__}:ROUTE"):
        with pytest.raises(ConfigError, match="neither a function nor a check"):
            checks_of([name], None, "1MiB")


def test_several_staging_stores_may_lead_to_one_place_and_none_to_two() -> None:
    routes = routes_of(["inbox=media", "Other_Inbox=media", "third=archive"])
    assert routes.by_public == {"media": ("inbox", "other-inbox"), "archive": ("third",)}
    assert routes.staging == ("inbox", "other-inbox", "third")
    with pytest.raises(InvalidArgument, match="one place"):
        routes_of(["inbox=media", "INBOX=archive"])
    for word in ("inbox", "=media", "inbox=", ""):
        with pytest.raises(InvalidArgument, match="STAGING=PUBLIC"):
            routes_of([word])
