"""One user-delegation key for everybody, asked for once, early enough, and never too often."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import blobkit
from blobkit.errors import InvalidExpiry
from blobkit_azure.credentials import BACKDATED, DelegationKeys, StaticToken
from blobkit_azure.sdk import Sdk
from blobkit_azure.signing.sas import DelegationKey

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


class Service:
    """Answers Get User Delegation Key, and counts."""

    def __init__(self) -> None:
        self.asked: list[tuple[datetime, datetime]] = []
        self.failure: Exception | None = None
        self.came = threading.Event()
        self.open = threading.Event()
        self.open.set()

    def fetch(self, start: datetime, end: datetime) -> DelegationKey:
        """A key as long as was asked."""
        self.asked.append((start, end))
        self.came.set()
        self.open.wait(10)
        if self.failure is not None:
            raise self.failure
        since, until = (moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in (start, end))
        return DelegationKey("acct", bytes([len(self.asked)]) * 32, "oid", "tid", since, until, "b", "2026-04-06")


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    service = Service()
    monkeypatch.setattr(Sdk, "delegation_key", lambda self, start, end: service.fetch(start, end))
    return service


def opened(clock: Clock) -> blobkit.Store:
    env = {"TOKEN": "t"}
    url = "az://acct/media/?access_token_env=TOKEN&public_endpoint=https://media.example.com"
    return blobkit.open_store(url, env=env, clock=clock)


def test_ten_thousand_signatures_cost_one_key(service: Service) -> None:
    with opened(Clock()) as store:
        for number in range(5_000):
            store.sign_upload(f"k{number}", expires_in=timedelta(hours=1))
        made = list(store.sign_uploads([f"k{number}" for number in range(5_000)], expires_in=timedelta(hours=2)))
    assert len(made) == 5_000
    assert len(service.asked) == 1


def test_fifty_threads_at_once_cost_one_key(service: Service) -> None:
    service.open.clear()
    with opened(Clock()) as store, ThreadPoolExecutor(50) as pool:
        pending = [pool.submit(store.sign_download, f"k{number}") for number in range(50)]
        assert service.came.wait(10)
        service.open.set()
        assert len({task.result().url.reveal() for task in pending}) == 50
    assert len(service.asked) == 1


async def fifty(store: blobkit.aio.AsyncStore) -> list[blobkit.SignedRequest]:
    """Fifty tasks that sign at once."""
    import asyncio

    return list(await asyncio.gather(*(store.sign_download(f"k{number}") for number in range(50))))


def test_fifty_tasks_at_once_cost_one_key(service: Service) -> None:
    import asyncio

    async def run() -> int:
        env, url = {"TOKEN": "t"}, "az://acct/media/?access_token_env=TOKEN"
        async with blobkit.aio.open_store(url, env=env) as store:
            return len(await fifty(store))

    assert asyncio.run(run()) == 50
    assert len(service.asked) == 1


def test_the_key_begins_early_and_ends_before_seven_days(service: Service) -> None:
    with opened(Clock()) as store:
        store.sign_download("k")
    ((start, end),) = service.asked
    assert NOW - start == BACKDATED >= timedelta(minutes=5)
    assert end - start < timedelta(days=7)


def test_a_key_is_renewed_before_a_signature_would_outlive_it(service: Service) -> None:
    clock = Clock()
    with opened(clock) as store:
        store.sign_download("k", expires_in=timedelta(hours=1))
        clock.now += timedelta(days=6)
        assert store.sign_download("k", expires_in=timedelta(hours=1)).expires_at == clock.now + timedelta(hours=1)
        assert len(service.asked) == 1
        request = store.sign_download("k", expires_in=timedelta(days=2))
        assert len(service.asked) == 2
        assert request.expires_at == clock.now + timedelta(days=2) < service.asked[1][1]
        longest = store.capabilities.limits.max_expiry
        assert longest is not None
        store.sign_download("k", expires_in=longest)
        with pytest.raises(InvalidExpiry):
            store.sign_download("k", expires_in=timedelta(days=7))


def test_a_failure_is_told_to_all_who_wait_and_not_remembered(service: Service) -> None:
    keys = DelegationKeys(service.fetch, Clock())
    until = int((NOW + timedelta(hours=1)).timestamp())
    service.failure = OSError("no network")
    service.open.clear()
    with ThreadPoolExecutor(8) as pool:
        pending = [pool.submit(keys.get, until) for _ in range(8)]
        assert service.came.wait(10)
        service.open.set()
        assert all(isinstance(task.exception(), OSError) for task in pending)
    service.failure = None
    asked = len(service.asked)
    assert keys.get(until).ends > until
    assert len(service.asked) == asked + 1


def test_a_key_that_cannot_last_longer_is_not_asked_for_again_and_again(service: Service) -> None:
    keys = DelegationKeys(service.fetch, Clock())
    far = int((NOW + timedelta(days=30)).timestamp())
    assert {keys.get(far).ends for _ in range(20)} == {int(service.asked[0][1].timestamp())}
    assert len(service.asked) == 1


def test_the_key_is_asked_for_at_the_accounts_own_host(monkeypatch: pytest.MonkeyPatch) -> None:
    from azure.storage.blob import BlobServiceClient, UserDelegationKey

    hosts: list[str] = []

    def answer(self: BlobServiceClient, start: datetime, end: datetime, **_: Any) -> UserDelegationKey:
        hosts.append(str(self.url))
        key = UserDelegationKey()  # type: ignore[no-untyped-call]
        key.value, key.signed_oid, key.signed_tid, key.signed_service = "AAAA", "o", "t", "b"
        key.signed_start, key.signed_expiry, key.signed_version = "s", end.isoformat(), "2026-04-06"
        return key

    monkeypatch.setattr(BlobServiceClient, "get_user_delegation_key", answer)
    with opened(Clock()) as store:
        assert store.sign_download("k").url.reveal().startswith("https://media.example.com/media/k?")
    assert hosts == ["https://acct.blob.core.windows.net/"]


def test_a_token_that_is_given_does_not_print() -> None:
    assert "secret-text" not in repr(StaticToken(blobkit.Secret("secret-text")))
