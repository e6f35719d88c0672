"""Keys: static ones, those of botocore's chain, refreshed and frozen; no URL is promised for longer than its key lives."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.credentials import CredentialProvider, CredentialResolver, RefreshableCredentials

import blobkit
from blobkit.errors import BlobkitError, CredentialsExpired, CredentialsMissing, InvalidExpiry, SigningUnavailable
from blobkit.store import Store
from blobkit.testing.clock import FakeClock
from blobkit_aws.credentials import ChainKeys, ExpressKeys

HOUR = 3600


class Source:
    """Gives keys that live for so long, and counts how often it was asked."""

    def __init__(self, *lives: int) -> None:
        self.lives = list(lives)
        self.asked = 0
        self.failing = False
        self.slow = threading.Event()
        self.slow.set()

    def __call__(self) -> dict[str, str]:
        self.asked += 1
        assert self.slow.wait(10)
        if self.failing:
            raise OSError("the metadata service does not answer")
        life = self.lives.pop(0) if len(self.lives) > 1 else self.lives[0]
        ends = datetime.now(UTC) + timedelta(seconds=life)
        number = str(self.asked)
        return {
            "access_key": f"AK{number}",
            "secret_key": f"SK{number}",
            "token": f"T{number}",
            "expiry_time": ends.isoformat(),
        }

    def session(self) -> botocore.session.Session:
        source = self

        class Provider(CredentialProvider):
            METHOD = "test"

            def load(self) -> RefreshableCredentials:
                found = source()
                return RefreshableCredentials.create_from_metadata(found, refresh_using=source, method="test")

        session = botocore.session.Session()
        session.register_component("credential_provider", CredentialResolver([Provider()]))
        return session


def opened(source: Source, monkeypatch: pytest.MonkeyPatch, more: str = "") -> Store:
    """A store whose chain is this source."""
    session = source.session()
    monkeypatch.setattr("botocore.session.Session", lambda **_: session)
    return blobkit.open_store(f"s3://media/?region=eu-west-1{more}", env={})


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No keys of the machine that runs the tests."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


def test_a_url_is_not_promised_for_longer_than_its_key_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(2 * HOUR)
    with opened(source, monkeypatch) as store:
        request = store.sign_download("k", expires_in=timedelta(hours=1))
        assert timedelta(minutes=59) < request.expires_at - datetime.now(UTC) <= timedelta(hours=1)
        assert "X-Amz-Security-Token=T1" in request.url.reveal()
        with pytest.raises(InvalidExpiry) as failure:
            store.sign_download("k", expires_in=timedelta(hours=3))
        assert "on_short_credentials=cap" in str(failure.value)
        assert source.asked == 2, "one refresh was tried first"


def test_capping_tells_the_true_end_in_every_signed_thing(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(2 * HOUR)
    with opened(source, monkeypatch, "&on_short_credentials=cap") as store:
        life = timedelta(days=2)
        signed = [
            store.sign_download("k", expires_in=life),
            store.sign_upload("k", expires_in=life),
            store.sign_upload("k", max_size=5, expires_in=life),
            store.sign_delete("k", expires_in=life),
            *store.sign_uploads(["a", "b"], expires_in=life),
        ]
        for request in signed:
            left = request.expires_at - datetime.now(UTC)
            assert timedelta(minutes=118) < left <= timedelta(hours=2)
        assert "X-Amz-Expires=172" not in signed[0].url.reveal()


def test_a_refresh_that_gives_longer_keys_is_made_first(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(HOUR, 6 * HOUR)
    with opened(source, monkeypatch) as store:
        store.sign_download("k", expires_in=timedelta(minutes=30))
        request = store.sign_download("k", expires_in=timedelta(hours=5))
        assert "X-Amz-Credential=AK2%2F" in request.url.reveal()
        assert source.asked == 2
        store.sign_download("k", expires_in=timedelta(minutes=30))
        assert source.asked == 2


def test_a_refresh_that_would_not_help_is_not_asked_for_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(2 * HOUR)
    with opened(source, monkeypatch, "&on_short_credentials=cap") as store:
        for _ in range(50):
            store.sign_download("k", expires_in=timedelta(hours=12))
        assert source.asked == 2


def test_a_source_that_fails_leaves_the_keys_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(2 * HOUR)
    with opened(source, monkeypatch, "&on_short_credentials=cap") as store:
        store.sign_download("k", expires_in=timedelta(minutes=5))
        source.failing = True
        request = store.sign_download("k", expires_in=timedelta(hours=12))
        assert request.expires_at > datetime.now(UTC) + timedelta(minutes=118)
        assert source.asked == 2


def test_a_thousand_threads_cause_one_refresh() -> None:
    source = Source(HOUR)
    keys = ChainKeys(source.session())
    source.slow.clear()
    until = int(time.time()) + 60
    with ThreadPoolExecutor(32) as pool:
        waiting = [pool.submit(keys.get, until) for _ in range(1000)]
        source.slow.set()
        found = {id(future.result()) for future in waiting}
    assert (len(found), source.asked) == (1, 1)


def test_keys_are_ready_without_waiting_only_while_they_last() -> None:
    source = Source(2 * HOUR)
    keys = ChainKeys(source.session())
    now = int(time.time())
    assert keys.ready(now) is None
    made = keys.get(now)
    assert keys.ready(now + HOUR) is made
    assert keys.ready(now + 3 * HOUR) is None
    assert made.ends is not None
    assert abs(made.ends - now - 2 * HOUR) <= 2


def test_a_source_of_expired_keys_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(-HOUR)
    with opened(source, monkeypatch) as store, pytest.raises(CredentialsExpired) as failure:
        store.sign_download("k")
    assert (failure.value.provider, bool(failure.value.hint)) == ("s3", True)


def test_no_keys_anywhere_is_told_with_what_would_help() -> None:
    with blobkit.open_store("s3://media/?region=eu-west-1", env={}) as store:
        for call in (lambda: store.sign_download("k"), lambda: store.write("k", b"")):
            with pytest.raises(CredentialsMissing) as failure:
                call()
            assert "AWS_ACCESS_KEY_ID" in str(failure.value)


def test_keys_of_a_shared_file_and_profile_are_found(tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text(
        "[default]\naws_access_key_id=AKDEFAULT\naws_secret_access_key=s\n"
        "[media]\naws_access_key_id=AKMEDIA\naws_secret_access_key=s\naws_session_token=tok\n"
    )
    with blobkit.open_store("s3://media/?region=eu-west-1", env={}) as store:
        assert "AKDEFAULT%2F" in store.sign_download("k").url.reveal()
    env = {"AWS_ACCESS_KEY_ID": "AKENV", "AWS_SECRET_ACCESS_KEY": "s"}
    with blobkit.open_store("s3://media/?region=eu-west-1&aws_profile=media", env=env) as store:
        url = store.sign_download("k").url.reveal()
        assert "AKMEDIA%2F" in url
        assert "X-Amz-Security-Token=tok" in url
    with blobkit.open_store("s3://media/?region=eu-west-1", env={"AWS_PROFILE": "media"}) as store:
        assert "AKMEDIA%2F" in store.sign_download("k").url.reveal()


def test_the_option_wins_over_the_environment(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from a file\n")
    env = {"AWS_ACCESS_KEY_ID": "AKENV", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "of the other"}
    url = f"s3://media/?region=eu-west-1&access_key_id=AKOPTION&secret_access_key_file={tmp_path / 'secret'}"
    with blobkit.open_store(url, env=env) as store:
        signed = store.sign_download("k").url.reveal()
        assert "AKOPTION%2F" in signed
        assert "Security-Token" not in signed


def test_keys_of_the_environment_end_when_it_says() -> None:
    now = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
    env = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "t"}
    for text in ("2026-03-04T06:06:07Z", "2026-03-04T06:06:07", "2026-03-04T07:06:07+01:00"):
        clock = FakeClock(now)
        ending = {**env, "AWS_CREDENTIAL_EXPIRATION": text}
        with blobkit.open_store("s3://media/?region=eu-west-1", env=ending, clock=clock) as store:
            store.sign_download("k", expires_in=timedelta(hours=1))
            with pytest.raises(InvalidExpiry):
                store.sign_download("k", expires_in=timedelta(hours=1, seconds=1))
            clock.advance(timedelta(hours=2))
            with pytest.raises(SigningUnavailable, match="expired"):
                store.sign_download("k", expires_in=timedelta(minutes=1))


def test_signing_with_static_keys_loads_no_sdk() -> None:
    import subprocess
    import sys

    program = (
        "import sys, blobkit\n"
        "env = {'AWS_ACCESS_KEY_ID': 'a', 'AWS_SECRET_ACCESS_KEY': 'b'}\n"
        "for more in ('', '&addressing=path'):\n"
        "    store = blobkit.open_store('s3://media/?region=eu-west-1' + more, env=env)\n"
        "    store.sign_upload('k', content_type='image/png'); store.sign_upload('k', max_size=5)\n"
        "    store.sign_download('k'); store.sign_delete('k')\n"
        "print([name for name in ('boto3', 'botocore', 'awscrt') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class FakeExpress:
    """CreateSession of a directory bucket."""

    def __init__(self) -> None:
        self.made = 0

    def create_session(self, **params: Any) -> dict[str, Any]:
        assert params == {"Bucket": "media--use1-az4--x-s3"}
        self.made += 1
        ends = datetime.now(UTC) + timedelta(minutes=5)
        made = {"AccessKeyId": f"AK{self.made}", "SecretAccessKey": "s", "SessionToken": "t/+=", "Expiration": ends}
        return {"Credentials": made}


def test_a_directory_bucket_is_signed_for_with_the_keys_of_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    fake: Any = FakeExpress()
    env = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    with blobkit.open_store("s3://media--use1-az4--x-s3/?region=us-east-1", env=env) as store:
        backend: Any = store._calls.backend
        backend.sdk._keys = ExpressKeys(lambda: fake, "media--use1-az4--x-s3")
        request = store.sign_upload("k", content_type="image/png", expires_in=timedelta(minutes=4))
        url = request.url.reveal()
        assert url.startswith("https://media--use1-az4--x-s3.s3express-use1-az4.us-east-1.amazonaws.com/k?")
        assert "%2Fus-east-1%2Fs3express%2Faws4_request" in url
        assert "X-Amz-S3session-Token=t%2F%2B%3D" in url
        assert "X-Amz-Security-Token" not in url
        store.sign_download("k", expires_in=timedelta(minutes=1))
        assert fake.made == 1, "one session serves while it lasts"
        with pytest.raises(InvalidExpiry):
            store.sign_upload("k", expires_in=timedelta(minutes=5, seconds=1))
        with pytest.raises(BlobkitError):
            store.sign_upload("k", max_size=5, expires_in=timedelta(minutes=1))
