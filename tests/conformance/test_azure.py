"""The conformance suite against Azurite, over HTTP with service SAS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.conformance.azure_harness import azurite_harness
from tests.servers.azurite import missing

from blobkit.testing import Harness
from blobkit.testing.suite import *

pytest_plugins = "blobkit.testing.plugin"

if _lacks := missing():
    pytest.skip(_lacks, allow_module_level=True)


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    with azurite_harness(tmp_path_factory.mktemp("azurite"), delegation=False) as harness:
        yield harness
        harness.stop()
