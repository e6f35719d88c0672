"""Opening a local store: its options, its directory, its keys, and what is said when they cannot be used."""

from __future__ import annotations

import os
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.local.helpers import Clock, put

import blobkit
from blobkit.backend import Feature
from blobkit.config import OpenContext, StoreConfig, parse
from blobkit.errors import ConfigError, Unsupported
from blobkit.redaction import Secret
from blobkit.spec import Constraint, Enforcement, Route
from blobkit_local.backend import LocalBackend, open_directory, open_memory
from blobkit_local.capabilities import capabilities
from blobkit_local.config import LocalConfig, read_config
from blobkit_local.credentials import Keys, load_keys
from blobkit_local.durable import FileEngine
from blobkit_local.index import SCHEMA_VERSION
from blobkit_local.plugin import memory_plugin, plugin


def settings(url: str, env: dict[str, str] | None = None) -> StoreConfig:
    """A URL, read as the core reads it."""
    chosen = plugin if url.startswith("local") else memory_plugin
    return parse(
        url,
        scheme=chosen.scheme,
        provider=chosen.provider,
        location=chosen.location,
        options=chosen.options,
        env=env or {},
    )


def opened(path: Path, config: LocalConfig | None = None) -> LocalBackend:
    """The backend of a directory."""
    return open_directory(path, config or LocalConfig(), OpenContext(clock=Clock()))


# --- options ---


def test_every_option_arrives_as_its_value() -> None:
    url = (
        "local:///d?versioning=on&max_expiry=60&public=true&public_endpoint=https%3A%2F%2Fx.example%2Ffiles%2F"
        "&webhook=https%3A%2F%2Fhook.example&webhook_secret_env=HOOK&commit=last_chunk&chunk_grant=object"
        "&signing_io=true&sequential=true&unknown=put.if_absent,+sign_delete"
    )
    assert read_config(settings(url, {"HOOK": "s3cret"})) == LocalConfig(
        versioning=True,
        public=True,
        max_expiry=timedelta(minutes=1),
        endpoint="https://x.example",
        base_path="/files",
        webhook="https://hook.example",
        webhook_secret=Secret("s3cret"),
        commit="last_chunk",
        chunk_grant="object",
        signing_io=True,
        sequential=True,
        unknown=("put.if_absent", "sign_delete"),
    )
    assert read_config(settings("memory://x")) == LocalConfig()


@pytest.mark.parametrize(
    "endpoint", ["ftp://x", "x.example", "http://", "http://x/?q=1", "http://u@x", "http://x/#f", "http://x:99999"]
)
def test_an_endpoint_that_is_none_is_refused(endpoint: str) -> None:
    from urllib.parse import quote

    with pytest.raises(ConfigError, match="public_endpoint"):
        read_config(settings(f"memory://x?public_endpoint={quote(endpoint, safe='')}"))


def test_a_webhook_that_is_no_url_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="webhook"):
        opened(tmp_path / "s", LocalConfig(webhook="file:///etc/passwd"))


# --- the directory ---


def test_a_directory_is_made_and_only_its_owner_can_use_it(tmp_path: Path) -> None:
    root = tmp_path / "s"
    backend = opened(root)
    put(backend.engine, "k")
    backend.close()
    assert root.stat().st_mode & 0o777 == 0o700
    assert (root / ".blobkit/keys").stat().st_mode & 0o777 == 0o600
    files = [path for path in (root / "objects").rglob("*") if path.is_file()]
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600]


def test_a_directory_that_is_there_is_taken_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "other").write_text("mine")
    opened(tmp_path).close()
    assert tmp_path.stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "other").read_text() == "mine"


def test_a_path_that_cannot_be_a_store_is_a_config_error_that_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, words in (
        (Path("relative/dir"), "absolute"),
        (tmp_path / "file", "file, not a directory"),
        (tmp_path / "file" / "below", "file"),
        (tmp_path / "no" / "parent", "does not exist"),
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            opened(path)
        assert caught.value.hint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_a_directory_that_cannot_be_written_is_a_config_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(tmp_path / "s").close()
    monkeypatch.setattr(
        "blobkit_local.durable.os.access", lambda path, mode: False
    )  # as root, no mode forbids anything
    with pytest.raises(ConfigError, match="cannot be written"):
        opened(tmp_path / "s")


def test_a_directory_that_the_system_refuses_is_a_config_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("blobkit_local.disk.make_dir", refuse)
    with pytest.raises(ConfigError, match="Read-only file system"):
        opened(tmp_path / "s")


def test_an_index_of_another_kind_or_a_later_version_is_refused(tmp_path: Path) -> None:
    def with_index(name: str, script: str | bytes) -> Path:
        (tmp_path / name / ".blobkit").mkdir(parents=True)
        path = tmp_path / name / ".blobkit/index.db"
        if isinstance(script, bytes):
            path.write_bytes(script)
        else:
            connection = sqlite3.connect(path)
            connection.executescript(script)
            connection.close()
        return tmp_path / name

    opened(tmp_path / "later").close()
    later = sqlite3.connect(tmp_path / "later/.blobkit/index.db")
    later.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    later.close()
    for root, words in (
        (with_index("foreign", "CREATE TABLE t (x)"), "not an index of blobkit"),
        (with_index("text", b"hello " * 1000), "not an SQLite database"),
        (tmp_path / "later", "schema version"),
    ):
        with pytest.raises(ConfigError, match=words):
            opened(root)


# --- keys ---


def test_keys_are_kept_and_separate_by_purpose(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    one, two = load_keys(path), load_keys(path)
    assert (one.signing, one.sealing, one.webhook) == (two.signing, two.sealing, two.webhook)
    assert len({one.signing, one.sealing, one.webhook, load_keys(tmp_path / "other").signing}) == 4
    assert all(len(key) == 32 for key in (one.signing, one.sealing, one.webhook))
    assert [entry.name for entry in tmp_path.iterdir() if "." in entry.name] == []


def test_keys_do_not_print() -> None:
    assert repr(Keys(b"secret" * 6)) == "Keys(***)"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "keys"
    load_keys(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match="read by others") as caught:
        load_keys(path)
    assert "chmod 600" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "hello", "blobkit-keys-1:AAAA", "blobkit-keys-9:" + "A" * 43 + "=", "blobkit-keys-1:é"]
)
def test_a_damaged_key_file_is_refused_and_left_as_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(ConfigError):
        load_keys(path)
    assert path.read_text(encoding="utf-8") == text


def test_who_loses_the_race_for_the_key_file_takes_the_winners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, link = tmp_path / "keys", os.link
    winner: list[bytes] = []

    def beaten(source: Path, target: Path) -> None:
        monkeypatch.setattr("blobkit_local.credentials.os.link", link)
        winner.append(load_keys(path).signing)
        link(source, target)

    monkeypatch.setattr("blobkit_local.credentials.os.link", beaten)
    assert load_keys(path).signing == winner[0]
    assert [entry.name for entry in tmp_path.iterdir()] == ["keys"]


def test_a_memory_store_keeps_its_keys_as_long_as_its_name() -> None:
    one = open_memory("keys-a", LocalConfig(), OpenContext(clock=Clock()))
    two = open_memory("keys-a", LocalConfig(), OpenContext(clock=Clock()))
    other = open_memory("keys-b", LocalConfig(), OpenContext(clock=Clock()))
    assert one.signing_key == two.signing_key != other.signing_key
    assert one.sealing_key() == two.sealing_key() != one.signing_key


# --- capabilities ---


def test_everything_is_enforced_on_a_put_by_signature_and_on_chunks_by_the_store() -> None:
    found = capabilities(LocalConfig(), multi_process=True)
    for constraint in Constraint:
        assert found.enforcer(Route.PUT, constraint) is Enforcement.SIGNATURE
        assert found.enforcer(Route.POST, constraint) is False
        assert found.enforcer(Route.CHUNKED, constraint) is Enforcement.PROVIDER
    assert set(found.features) == set(Feature)
    assert all(known is not None for known in found.features.values())


def test_what_is_played_shows_in_the_capabilities() -> None:
    played = LocalConfig(
        commit="last_chunk",
        chunk_grant="object",
        signing_io=True,
        sequential=True,
        versioning=True,
        public=True,
        max_expiry=timedelta(hours=12),
        unknown=("put.if_absent", "sign_delete"),
    )
    found = capabilities(played, multi_process=False)
    assert (found.commit, found.chunk_grant, found.signing_io, found.multi_process) == (
        "last_chunk",
        "object",
        True,
        False,
    )
    assert found.limits.chunks.sequential
    assert found.limits.max_expiry == timedelta(hours=12)
    assert found.has("versions")
    assert found.has("public_url")
    assert not found.has("chunk_checksums")
    assert found.enforcer(Route.PUT, Constraint.IF_ABSENT) is None
    assert found.features[Feature.SIGN_DELETE] is None
    with pytest.raises(ConfigError, match="no such capability"):
        capabilities(LocalConfig(unknown=("put.nothing",)), multi_process=True)


def test_an_unknown_capability_raises_until_it_is_asserted() -> None:
    with blobkit.open_store("memory://unknown?unknown=if_match,sign_delete") as store, pytest.raises(Unsupported):
        store.sign_delete("k")
    with blobkit.open_store("memory://unknown?unknown=sign_delete&assert=sign_delete") as store:
        assert store.sign_delete("k").method == "DELETE"


def test_a_backend_that_cannot_be_built_leaves_no_engine_open(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        opened(tmp_path / "s", LocalConfig(unknown=("nonsense",)))
    FileEngine(tmp_path / "s", clock=Clock()).close()
