from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest

from blobkit.backend import Capabilities
from blobkit.opening import open_store
from blobkit.store import Store

from .fakes import EVERYTHING, NOON, FakeBackend, FakePlugin

Open = Callable[..., tuple[Store, FakeBackend]]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens a Store on a fake backend: ``fake(capabilities, url=…, clock=…) -> (store, backend)``."""

    def opener(
        capabilities: Capabilities = EVERYTHING,
        url: str = "fake://bucket/pre/",
        *,
        clock: Callable[[], datetime] = lambda: NOON,
        backend: FakeBackend | None = None,
        **options: object,
    ) -> tuple[Store, FakeBackend]:
        made = backend or FakeBackend(capabilities)
        monkeypatch.setattr("blobkit.opening.find_store_plugin", lambda scheme: FakePlugin(made))
        return open_store(url, clock=clock, env={}, **options), made  # type: ignore[arg-type]

    return opener
