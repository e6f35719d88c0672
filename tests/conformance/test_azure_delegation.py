"""The conformance suite against Azurite, over HTTPS with user-delegation SAS: what depends on who signs.

What the service itself asks does not: ``BLOBKIT_WIDE=1`` runs all of the suite, as tests/conformance/test_azure.py does with an
account's key.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from tests.conformance.azure_harness import azurite_harness
from tests.servers.azurite import missing

from blobkit.testing import Harness

if os.environ.get("BLOBKIT_WIDE"):
    from blobkit.testing.suite import *
else:
    from blobkit.testing.suite.test_browser import *
    from blobkit.testing.suite.test_plans import *
    from blobkit.testing.suite.test_signed import *

pytest_plugins = "blobkit.testing.plugin"

if _lacks := missing():
    pytest.skip(_lacks, allow_module_level=True)


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    with azurite_harness(tmp_path_factory.mktemp("azurite"), delegation=True) as harness:
        yield harness
        harness.stop()
