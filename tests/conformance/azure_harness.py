"""The harness of Azurite, for both kinds of signatures."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest
from azure.storage.blob import BlobServiceClient, CorsRule
from tests.servers.azurite import ACCOUNT, KEY, azurite
from tests.servers.processes import free_port

from blobkit.testing import Harness, everything_but
from blobkit.testing.clients import Client, CurlClient, HttpClient, UrllibClient
from blobkit.testing.corpus import KEYS

__all__ = ["azurite_harness"]

ORIGIN: Final = "https://app.example"
WITHOUT_HEADERS: Final = "2025-11-05"
"""The newest version before ``srh``, which Azurite leaves out of what it signs: it refuses every signature that has it."""

REASONS: Final = {
    "head": "a SAS permits reading, by GET or HEAD alike",
    "signed_headers": "a SAS binds no header before version 2026-04-06, and Azurite does not know those of srh",
    "unsigned_headers": "a SAS never forbids a header",
    "suffix_range": "Azure knows bytes=A- and bytes=A-B only",
    "unsatisfiable_range": "Azurite answers a range that starts at the end with 206; Azure with 416",
    "uncovers": "Azurite has no versions",
}
"""What the kit asks and cannot see. Beside it Azurite checks neither ``sip`` nor ``srh`` and ``srq``; that these are signed as
Azure wants them, the comparison with azure-storage-blob proves (tests/unit/azure_blob)."""


@contextmanager
def azurite_harness(folder: Path, *, delegation: bool, wide: bool) -> Iterator[Harness]:
    """A server, and its harness: service SAS over HTTP, or user-delegation SAS over HTTPS; ``wide`` with every HTTP stack
    that can be told whom to trust."""
    with pytest.MonkeyPatch.context() as patch, azurite(folder, https=delegation) as server:
        if delegation:
            for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
                patch.setenv(name, str(folder / "ca.pem"))
        with BlobServiceClient(server.url, credential={"account_name": ACCOUNT, "account_key": KEY}) as service:
            service.create_container("media")
            rule = CorsRule([ORIGIN], ["GET", "HEAD", "PUT", "DELETE"], allowed_headers=["*"], exposed_headers=["*"])
            service.set_service_properties(cors=[rule])
        options = f"{server.with_token}&sas_version={WITHOUT_HEADERS}" if delegation else server.with_key
        patch.setenv("BLOBKIT_TEST_STRANGER", base64.b64encode(os.urandom(64)).decode())
        endpoint, _, rest = options.partition("&")
        stranger = f"az://{ACCOUNT}/media/?{endpoint}&account_key_env=BLOBKIT_TEST_STRANGER"
        scheme = "https" if delegation else "http"
        nowhere = quote(f"{scheme}://127.0.0.1:{free_port()}/{ACCOUNT}", safe="")
        clients: list[Client] | None = [HttpClient(), UrllibClient()]
        if wide:
            clients = [HttpClient(), UrllibClient(), CurlClient()] if delegation else None
        yield Harness(
            f"az://{ACCOUNT}/media/?{options}",
            enforces=everything_but(*REASONS),
            reasons=REASONS,
            others={
                "foreign_keys": stranger,
                "denied": stranger,
                "missing_bucket": f"az://{ACCOUNT}/nothing/?{options}",
                "unreachable": f"az://{ACCOUNT}/media/?endpoint={nowhere}&{rest}",
            },
            refuses=frozenset({"three-dots"} | {key.name for key in KEYS if key.fragile}),
            clients=clients,
            origin=ORIGIN,
            storage_class="Cool",
            name="azurite-delegation" if delegation else "azurite-service",
        )
