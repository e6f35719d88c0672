"""Finding plugins: bundled without a scan, others by entry point, and never two for one scheme."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import pytest

from blobkit import errors
from blobkit.plugins import bundled, manager

from .fakes import FakeBackend, FakePlugin


@dataclass(frozen=True)
class Distribution:
    name: str


@dataclass(frozen=True)
class Point:
    name: str
    value: str
    dist: Distribution


Install = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    def installer(*points: Point) -> None:
        monkeypatch.setattr("importlib.metadata.entry_points", lambda *, group: list(points))
        module = ModuleType("somebodys_plugin")
        module.plugin = FakePlugin(FakeBackend())  # type: ignore[attr-defined]
        module.other = object()  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "somebodys_plugin", module)

    return installer


def test_a_third_party_scheme_is_found_by_its_entry_point(install: Install) -> None:
    install(Point("shelf", "somebodys_plugin:plugin", Distribution("shelf")))
    assert manager.find_store_plugin("shelf").scheme == "fake"
    assert manager.installed_schemes() == sorted([*bundled.STORES, "shelf"])


def test_a_bundled_scheme_is_found_without_a_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    def scan(*, group: str) -> list[Point]:
        raise AssertionError("scanned")

    monkeypatch.setattr("importlib.metadata.entry_points", scan)
    assert manager.find_store_plugin("memory").provider == "memory"


def test_a_scheme_that_two_distributions_claim_is_an_error_naming_both(install: Install) -> None:
    install(
        Point("shelf", "somebodys_plugin:plugin", Distribution("shelf-a")),
        Point("shelf", "somebodys_plugin:other", Distribution("shelf-b")),
    )
    with pytest.raises(errors.ConfigError, match="shelf-a and shelf-b"):
        manager.find_store_plugin("shelf")
    assert "shelf" in manager.installed_schemes()


def test_a_distribution_that_claims_a_bundled_scheme_is_named_when_a_scan_meets_it(install: Install) -> None:
    install(Point("memory", "somebodys_plugin:plugin", Distribution("impostor")))
    with pytest.raises(errors.ConfigError, match="blobkit and impostor"):
        manager.find_store_plugin("shelf")
    assert manager.find_store_plugin("memory").provider == "memory"


def test_what_is_no_plugin_or_cannot_be_imported_says_so(install: Install) -> None:
    install(
        Point("notone", "somebodys_plugin:other", Distribution("x")),
        Point("broken", "no_such_module_anywhere:plugin", Distribution("y")),
    )
    with pytest.raises(errors.ConfigError, match="not a StorePlugin"):
        manager.find_store_plugin("notone")
    with pytest.raises(errors.PluginMissing):
        manager.find_store_plugin("broken")


def test_an_unknown_scheme_lists_the_installed_ones_and_the_install_that_helps(install: Install) -> None:
    install()
    with pytest.raises(errors.UnknownScheme, match=r"local, memory") as caught:
        manager.find_store_plugin("nothing-like-it")
    assert "blobkit.stores" in (caught.value.hint or "")
