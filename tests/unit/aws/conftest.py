"""A strict server for each test that asks for one, and stores on it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from datetime import datetime

import pytest

import blobkit
from blobkit.store import Store

from .strict import ACCESS, REGION, SECRET, StrictS3, strict

Opened = Callable[..., Store]
SEALING = blobkit.Keyring.from_text("k:" + base64.b64encode(b"k" * 32).decode())


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[StrictS3]:
    """The server; parametrised indirectly, with these arguments."""
    with strict(**getattr(request, "param", {})) as running:
        yield running


@pytest.fixture
def opened(server: StrictS3, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """Opens stores on the server, as if it were AWS. The SDK does not wait between its tries."""
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)
    stores: list[Store] = []

    def open_it(
        more: str = "",
        *,
        bucket: str = "media",
        retries: int = 0,
        clock: Callable[[], datetime] | None = None,
        secret: str = SECRET,
        token: str | None = server.token,
    ) -> Store:
        env = {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": secret}
        if token is not None:
            env["AWS_SESSION_TOKEN"] = token
        versioning = "on" if server.versioned else "off"
        url = f"s3://{bucket}/?profile=aws&region={REGION}&endpoint={server.endpoint}&versioning={versioning}{more}"
        stores.append(blobkit.open_store(url, env=env, retries=retries, clock=clock, sealing=SEALING))
        return stores[-1]

    yield open_it
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Opened) -> Store:
    """A store whose calls are tried once."""
    return opened()
