"""What importing costs, counted in modules rather than milliseconds."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {
    "pluggy",
    "cryptography",
    "msgspec",
    "boto3",
    "botocore",
    "google",
    "azure",
    "urllib3",
    "starlette",
    "sqlite3",
    "typer",
}


def loaded_by(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_blobkit_loads_no_sdk_and_nothing_heavy() -> None:
    modules = loaded_by("import blobkit")
    assert not {name.partition(".")[0] for name in modules} & HEAVY
    assert "importlib.metadata" not in modules
    assert {name for name in modules if name.startswith("blobkit")} == {"blobkit"}


def test_opening_a_store_and_signing_scans_no_entry_points_and_loads_no_pluggy() -> None:
    modules = loaded_by("import blobkit\nblobkit.open_store('memory://weight').sign_upload('k')")
    assert not {"pluggy", "importlib.metadata", "cryptography", "starlette"} & modules
