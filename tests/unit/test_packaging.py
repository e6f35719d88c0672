"""pyproject.toml, the folders under src/ and the table of bundled plugins say the same thing."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from blobkit.plugins import bundled

ROOT = Path(__file__).parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT: dict[str, Any] = PYPROJECT["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
PACKAGES = sorted(path.name for path in (ROOT / "src").iterdir() if path.name.startswith("blobkit"))
PLUGINS = [name for name in PACKAGES if name != "blobkit"]
FEATURES = {
    "local", "aws", "gcs", "azure", "events", "tracking", "postgresql", "quarantine", "web", "cli", "transfer",
    "testing", "otel",
}  # fmt: skip


def names(requirements: list[str]) -> set[str]:
    """The distributions that requirement lines name, normalised."""
    return {re.split(r"[\[<>=!~; ]", line, maxsplit=1)[0].lower().replace("_", "-") for line in requirements}


def test_the_base_dependencies_are_pluggy_and_cryptography_alone() -> None:
    assert names(PROJECT["dependencies"]) == {"pluggy", "cryptography"}


def test_the_store_entry_points_equal_the_bundled_table() -> None:
    assert PROJECT["entry-points"]["blobkit.stores"] == bundled.STORES


def test_the_cdn_entry_points_equal_the_bundled_table() -> None:
    assert PROJECT["entry-points"]["blobkit.cdns"] == bundled.CDNS


def test_the_source_entry_points_equal_the_bundled_table() -> None:
    assert PROJECT["entry-points"]["blobkit.sources"] == bundled.SOURCES


def test_every_entry_point_group_is_one_that_blobkit_reads() -> None:
    known = {f"blobkit.{kind}" for kind in ("stores", "cdns", "sources", "dialects", "checks")}
    assert set(PROJECT["entry-points"]) <= known, "the pytest plugin is opt-in: it has no pytest11 entry point"


def test_the_extras_are_the_documented_ones() -> None:
    assert set(EXTRAS) == FEATURES | {"all", "dev"}


def test_the_extra_all_is_the_sum_of_the_features() -> None:
    (line,) = EXTRAS["all"]
    match = re.fullmatch(r"blobkit\[(.+)\]", line)
    assert match is not None
    assert set(match[1].split(",")) == FEATURES


def test_the_extra_dev_contains_all() -> None:
    assert "blobkit[all]" in EXTRAS["dev"]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_marked_as_typed(package: str) -> None:
    assert (ROOT / "src" / package / "py.typed").is_file()


def test_every_package_is_shipped() -> None:
    assert PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == [f"src/{name}" for name in PACKAGES]


def test_every_package_stands_under_the_import_contracts() -> None:
    linter = PYPROJECT["tool"]["importlinter"]
    core, plugins = linter["contracts"][:2]
    assert sorted(linter["root_packages"]) == PACKAGES
    assert sorted(core["forbidden_modules"]) == PLUGINS
    assert sorted(plugins["modules"]) == PLUGINS


def test_the_wheel_holds_the_packages_their_types_and_the_licence(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.iterdir()
    shipped = set(zipfile.ZipFile(wheel).namelist())
    for package in PACKAGES:
        assert {f"{package}/__init__.py", f"{package}/py.typed"} <= shipped
    assert {name.split("/")[0] for name in shipped} == {*PACKAGES, f"blobkit-{PROJECT['version']}.dist-info"}
    assert f"blobkit-{PROJECT['version']}.dist-info/licenses/LICENSE" in shipped
    assert {f"blobkit/tracking/migrations/{name}" for name in ("env.py", "versions/0001_uploads.py")} <= shipped
