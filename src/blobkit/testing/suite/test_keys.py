"""Keys that break naive code, through every HTTP stack: sign, upload, list, stat, download, delete; and keys refused by all."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from blobkit.backend import Feature
from blobkit.errors import InvalidKey
from blobkit.store import Store
from blobkit.testing.corpus import KEYS, REFUSED_KEYS, WeirdKey
from blobkit.testing.trial import Trial

LIFE: Final = timedelta(minutes=5)


@pytest.mark.parametrize("weird", KEYS, ids=lambda weird: weird.name)
def test_a_weird_key_makes_the_whole_way_through_every_http_stack(trial: Trial, weird: WeirdKey) -> None:
    store, key = trial.store, weird.key
    try:
        store.sign_upload(key, expires_in=LIFE)
    except InvalidKey:
        assert weird.name in trial.harness.refuses, f"{key!r} is refused, and the harness does not say that it may be"
        trial.undeclared(f"the key {key!r}")
        for verb in (store.stat, store.exists, store.read, store.delete):
            with pytest.raises(InvalidKey):
                verb(key)
        return
    for number, client in enumerate(trial.clients):
        data = f"{client.name}: {key}".encode()
        trial.upload(store.sign_upload(key, expires_in=LIFE), data, client=client)
        assert [blob.key for blob in store.list()] == [key], f"uploaded with {client.name}"
        assert [blob.key for blob in store.list(key)] == [key]
        info = store.stat(key)
        assert (info.key, info.size) == (key, len(data))
        answer = trial.download(store.sign_download(key, expires_in=LIFE), client=client)
        assert answer.body == data, f"downloaded with {client.name}"
        if number % 2 and trial.store.capabilities.has(Feature.SIGN_DELETE):
            gone = trial.send(store.sign_delete(key, expires_in=LIFE), client=client)
            assert gone.status < 300, f"deleted with {client.name}: {gone.status} {gone.text}"
        else:
            store.delete(key)
        assert not store.exists(key)
        assert list(store.list()) == []


def test_weird_keys_stay_distinct(trial: Trial) -> None:
    """Nothing is normalised: case, Unicode composition, slashes and encodings tell keys apart."""
    taken = [weird.key for weird in KEYS if weird.name not in trial.harness.refuses]
    for key in taken:
        trial.store.write(key, key.encode())
    assert sorted(blob.key for blob in trial.store.list()) == sorted(taken)
    for key in taken:
        assert trial.store.read(key) == key.encode()
    results = trial.store.delete_many(taken)
    assert [result.key for result in results] == taken
    assert [result.error for result in results] == [None] * len(taken)
    assert list(trial.store.list()) == []


VERBS: Final[dict[str, Callable[[Store, str], object]]] = {
    "sign_upload": lambda store, key: store.sign_upload(key, expires_in=LIFE),
    "sign_uploads": lambda store, key: store.sign_uploads([key], expires_in=LIFE),
    "sign_download": lambda store, key: store.sign_download(key, expires_in=LIFE),
    "start_upload": lambda store, key: store.start_upload(key, size=1, allow_session_life=True),
    "stat": lambda store, key: store.stat(key),
    "exists": lambda store, key: store.exists(key),
    "read": lambda store, key: store.read(key),
    "open": lambda store, key: store.open(key),
    "write": lambda store, key: store.write(key, b""),
    "delete": lambda store, key: store.delete(key),
    "delete_many": lambda store, key: store.delete_many([key]),
    "plan_upload": lambda store, key: store.plan_upload(key, 1),
}


@pytest.mark.parametrize("weird", REFUSED_KEYS, ids=lambda weird: weird.name)
def test_every_verb_refuses_a_key_that_cannot_work_everywhere(trial: Trial, weird: WeirdKey) -> None:
    for verb in VERBS.values():
        with pytest.raises(InvalidKey):
            verb(trial.store, weird.key)


def test_the_longest_key_works_and_one_byte_more_is_refused(trial: Trial) -> None:
    room = trial.store.capabilities.limits.max_key_bytes - len(trial.prefix.encode())
    longest = "/".join(["s" * 60] * 30)[:room].rstrip("/")
    longest += "e" * (room - len(longest))
    wide = "日" * (room // 3) + "k" * (room % 3)
    for key in (longest, wide):
        assert len((trial.prefix + key).encode()) == trial.store.capabilities.limits.max_key_bytes
        trial.upload(trial.sign_upload(key), b"long")
        assert [blob.key for blob in trial.store.list()] == [key]
        assert trial.download(trial.store.sign_download(key, expires_in=LIFE)).body == b"long"
        trial.store.delete(key)
        with pytest.raises(InvalidKey):
            trial.store.sign_upload(key + "k", expires_in=LIFE)


@pytest.mark.parametrize("key", ["plain.bin", "a b+c/é.bin", "folder/", "[x]{1,2}.bin"])
def test_the_curl_command_of_a_signed_request_does_what_it_says(trial: Trial, key: str, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        trial.uncheckable("not checkable on this machine: curl is not installed")
    sent, got = tmp_path / "sent file.bin", tmp_path / "got file.bin"
    sent.write_bytes(b"moved by curl")
    run_curl(trial.sign_upload(key).as_curl(str(sent)))
    trial.holds(key, b"moved by curl")
    run_curl(trial.store.sign_download(key, expires_in=LIFE).as_curl(str(got)))
    assert got.read_bytes() == b"moved by curl"


def run_curl(command: str) -> None:
    """Run the command; it must succeed."""
    words = shlex.split(command)
    assert words[0] == "curl"
    done = subprocess.run([*words, "--noproxy", "*"], capture_output=True, timeout=60, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")


def test_a_key_below_a_prefix_is_told_relative_to_it_everywhere(trial: Trial) -> None:
    tenant = trial.store.at("tenants/42/")
    written = tenant.write("a/b.txt", b"1")
    assert written.key == "a/b.txt"
    assert tenant.stat("a/b.txt").key == "a/b.txt"
    assert [blob.key for blob in tenant.list()] == ["a/b.txt"]
    assert [blob.key for blob in trial.store.list()] == ["tenants/42/a/b.txt"]
    assert tenant.delete("a/b.txt").key == "a/b.txt"
    session = trial.start("c", size=0, store=tenant)
    assert session.key == "c"
    session.abort()
