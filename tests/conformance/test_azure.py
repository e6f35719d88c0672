"""The conformance suite against Azurite: service SAS over HTTP, user-delegation SAS over HTTPS."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from azure.storage.blob import BlobServiceClient, CorsRule
from tests.servers.azurite import ACCOUNT, KEY, azurite, missing
from tests.servers.processes import free_port

from blobkit.testing import Harness, everything_but
from blobkit.testing.clients import CurlClient, HttpClient, UrllibClient
from blobkit.testing.corpus import KEYS
from blobkit.testing.suite import *

pytest_plugins = "blobkit.testing.plugin"

ORIGIN: Final = "https://app.example"
if _why := missing():
    pytest.skip(_why, allow_module_level=True)

NO_FRAGILE: Final = frozenset(key.name for key in KEYS if key.fragile)
HEADERS: Final = "a SAS binds no header before version 2026-04-06"
REASONS: Final = {
    "head": "a SAS permits reading, by GET or HEAD alike",
    "signed_headers": NO_HEADERS,
    "unsigned_headers": NO_HEADERS,
    "suffix_range": "Azure knows bytes=A- and bytes=A-B only",
    "unsatisfiable_range": "Azurite answers a range that starts at the end with 206; Azure with 416",
    "uncovers": "Azurite has no versions",
}
FRAGILE: Final = frozenset(key.name for key in KEYS if key.fragile)
HEADERS: Final = ("content_type", "metadata", "cache_control", "content_disposition", "content_encoding", "storage_class")
UNCHECKED: Final = {f"put.{name}": "Azurite signs srh, and does not look whether the headers are there" for name in HEADERS}


@pytest.fixture(scope="module", params=["service", "delegation"])
def harness(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    folder: Path = tmp_path_factory.mktemp("azurite")
    delegated = request.param == "delegation"
    with pytest.MonkeyPatch.context() as patch, azurite(folder, https=delegated) as server:
        if delegated:
            for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
                patch.setenv(name, str(folder / "ca.pem"))
        with BlobServiceClient(server.url, credential={"account_name": ACCOUNT, "account_key": KEY}) as service:
            service.create_container("media")
            rule = CorsRule([ORIGIN], ["GET", "HEAD", "PUT", "DELETE"], allowed_headers=["*"], exposed_headers=["*"])
            service.set_service_properties(cors=[rule])
        options = server.with_token if delegated else server.with_key
        patch.setenv("BLOBKIT_TEST_STRANGER", base64.b64encode(os.urandom(64)).decode())
        stranger = f"az://{ACCOUNT}/media/?account_key_env=BLOBKIT_TEST_STRANGER&{server.with_key.partition('&')[0]}"
        unchecked = UNCHECKED if delegated else {}
        harness = Harness(
            f"az://{ACCOUNT}/media/?{options}",
            enforces=everything_but(*REASONS, *unchecked),
            reasons={**REASONS, **unchecked},
            others={
                "foreign_keys": stranger,
                "denied": stranger,
                "missing_bucket": f"az://{ACCOUNT}/nothing/?{options}",
                "unreachable": f"az://{ACCOUNT}/media/?{options}".replace(
                    str(server.url.split(':')[2].split('/')[0]), str(free_port())
                ),
            },
            clients=[HttpClient(), UrllibClient(), CurlClient()] if delegated else None,
            refuses=FRAGILE | {"three-dots"},
            origin=ORIGIN,
            storage_class="Cool",
            name=f"azurite-{request.param}",
        )
        yield harness
        harness.stop()
