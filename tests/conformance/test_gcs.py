"""The conformance suite against the strict server, with google-cloud-storage as the client of control calls."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest
from tests.conformance.subjects import run_each

from blobkit.testing import Harness, everything_but
from blobkit.testing.clients import HttpClient, UrllibClient
from blobkit.testing.suite import *
from blobkit_gcs.testing import StrictGcs

MODES: Final = {  # each runs the whole suite, and so they differ in everything else, too: keys, versions, HTTP stacks
    "sessions": "",
    "parts": "&chunks=multipart&versioning=on",
}
ORIGIN: Final = "https://app.example"
CORS: Final = {
    "origin": [ORIGIN],
    "method": ["GET", "HEAD", "PUT", "POST", "DELETE"],
    "responseHeader": [
        "Cache-Control",
        "Content-Disposition",
        "Content-Encoding",
        "Content-MD5",
        "Content-Range",
        "Content-Type",
        "ETag",
        "x-goog-content-length-range",
        "x-goog-if-generation-match",
        "x-goog-meta-a",
        "x-goog-meta-owner",
        "x-goog-storage-class",
    ],
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    run_each(metafunc, dict.fromkeys(MODES))


@pytest.fixture(scope="module", autouse=True)
def one_login() -> Iterator[None]:
    """Every test opens stores anew; of one key they share one login, and with it one token. tests/unit/gcs has the logins."""
    from google.oauth2 import service_account

    logins: dict[str, object] = {}
    make = service_account.Credentials.from_service_account_info

    def shared(info: dict[str, str], **options: object) -> object:
        mark = json.dumps([info, repr(options)], sort_keys=True)
        if mark not in logins:
            logins[mark] = make(info, **options)  # type: ignore[no-untyped-call]
        return logins[mark]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service_account.Credentials, "from_service_account_info", shared)
        yield


@pytest.fixture(scope="module")
def harness(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    folder: Path = tmp_path_factory.mktemp("gcs")
    with StrictGcs() as server:
        server.create_bucket("media", versioning="versioning" in MODES[request.param], cors=[CORS])
        key = folder / "key.json"
        key.write_text(json.dumps(server.service_account.info))
        options = f"endpoint={quote(server.endpoint, safe='')}&service_account_file={quote(str(key), safe='')}"
        plain = f"gs://media/?{options}"
        if request.param == "parts":
            access_id, secret = server.hmac
            (folder / "hmac").write_text(secret)
            options += f"&hmac_access_id={access_id}&hmac_secret_file={quote(str(folder / 'hmac'), safe='')}"
        url = f"gs://media/?{options}{MODES[request.param]}"
        (folder / "other").write_text(os.urandom(16).hex())
        stranger = f"&hmac_access_id=GOOG1ESTRANGER&hmac_secret_file={quote(str(folder / 'other'), safe='')}"
        nowhere = quote("http://127.0.0.1:9", safe="")
        harness = Harness(
            url,
            enforces=everything_but("uncovers"),
            reasons={"uncovers": "a noncurrent generation never becomes the current one again"},
            others={
                "foreign_keys": f"{plain}{stranger}{MODES[request.param]}",
                "missing_bucket": url.replace("gs://media/", "gs://nothing/"),
                "unreachable": url.replace(quote(server.endpoint, safe=""), nowhere),
            },
            clients=None if request.param == "sessions" else [HttpClient(), UrllibClient()],
            origin=ORIGIN,
            name=f"gcs-{request.param}",
        )
        yield harness
        harness.stop()
