"""The conformance suite against Azurite: service SAS over HTTP, user-delegation SAS over HTTPS.

With an account's key all of the suite runs, with a user-delegation key what depends on who signs. ``BLOBKIT_WIDE=1`` runs all
of it with both, and with every HTTP stack.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

import pytest
from tests.conformance.azure_harness import azurite_harness
from tests.conformance.subjects import SIGNING, run_each
from tests.servers.azurite import missing

from blobkit.testing import Harness
from blobkit.testing.suite import *

pytest_plugins = "blobkit.testing.plugin"

if _lacks := missing():
    pytest.skip(_lacks, allow_module_level=True)

WIDE: Final = bool(os.environ.get("BLOBKIT_WIDE"))
SUBJECTS: Final = {"service": None, "delegation": None if WIDE else SIGNING}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    run_each(metafunc, SUBJECTS)


@pytest.fixture(scope="module")
def harness(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    folder = tmp_path_factory.mktemp("azurite")
    with azurite_harness(folder, delegation=request.param == "delegation", wide=WIDE) as harness:
        yield harness
        harness.stop()
