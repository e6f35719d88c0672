"""Where transfers are tried: a store, its server, and a proxy in front of it that lets things go wrong.

Each place is a context manager that gives a :class:`Place`; ``PLACES`` names them. One whose server is missing is skipped.
"""

from __future__ import annotations

import base64
import importlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from tests.servers.processes import ENVIRONMENT
from tests.servers.rclone import rclone

import blobkit
from blobkit.serving import data_plane, listening, running
from blobkit.store import Store
from blobkit.testing.proxy import TroubleProxy

KIB = 1024
MIB = 1024 * KIB
AZURITE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # of every emulator
)


@dataclass(frozen=True)
class Place:
    """A store behind a proxy.

    Attributes:
        open: Opens it, as another process would.
        proxy: Between clients and its server.
        chunk: Bytes of a chunk in the schedules.
        chunks: The most chunks of an object in the schedules.
        patience: Seconds after which a client of the schedules takes a connection for dead.
    """

    open: Callable[[], Store]
    proxy: TroubleProxy
    chunk: int
    chunks: int
    patience: float = 0.2


def moves_bytes(method: str, target: str) -> bool:
    """A client's request: it carries a signature, or a session's own secret."""
    query = urlsplit(target).query.lower()
    return any(name in query for name in ("signature=", "sig=", "upload_id="))


def opener(url: str) -> Callable[[], Store]:
    """Opens the store, always with the same sealing key."""
    ring = blobkit.Keyring.from_text("k:" + base64.b64encode(os.urandom(32)).decode())
    return lambda: blobkit.open_store(url, sealing=ring, retries=1, timeout=timedelta(seconds=2))


@contextmanager
def local(folder: Path, options: str = "") -> Iterator[Place]:
    """The embedded store and its data plane."""
    with listening("127.0.0.1", 0) as sock:
        server = f"http://127.0.0.1:{sock.getsockname()[1]}"
        with TroubleProxy(server) as proxy:
            url = f"local://{folder}/store?public_endpoint={proxy.endpoint}{options}"
            with blobkit.open_store(url) as store, running(data_plane(store), sock):
                yield Place(opener(url), proxy, 64 * KIB, 8)


@contextmanager
def in_order(folder: Path) -> Iterator[Place]:
    """The embedded store, taking chunks in order only."""
    with local(folder, "&sequential=true&chunk_grant=object&commit=last_chunk") as place:
        yield place


@contextmanager
def s3(folder: Path) -> Iterator[Place]:
    """rclone, serving S3."""
    with pytest.MonkeyPatch.context() as patch, rclone(folder) as server, TroubleProxy(server) as proxy:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        url = f"s3://media/?profile=custom&endpoint={server}&public_endpoint={proxy.endpoint}"
        yield Place(opener(url), proxy, 5 * MIB, 3, patience=0.5)


@contextmanager
def ceph(folder: Path) -> Iterator[Place]:
    """Ceph's gateway, when ``BLOBKIT_RGW`` names one."""
    server = os.environ.get("BLOBKIT_RGW", "")
    if not server:
        pytest.skip("a Ceph RADOS Gateway: bash tests/conformance/wide/rgw.sh")
    import boto3

    with pytest.MonkeyPatch.context() as patch, TroubleProxy(server) as proxy:
        patch.setenv("AWS_ACCESS_KEY_ID", "testkey")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testsecret")
        boto3.client("s3", endpoint_url=server, region_name="us-east-1").create_bucket(Bucket="transfers")
        url = f"s3://transfers/?profile=ceph&versioning=off&endpoint={server}&public_endpoint={proxy.endpoint}"
        yield Place(opener(url), proxy, 5 * MIB, 3, patience=0.5)


@contextmanager
def gcs(folder: Path, options: str = "") -> Iterator[Place]:
    """The strict server of Cloud Storage, resumable sessions."""
    from blobkit_gcs.testing import StrictGcs

    with StrictGcs() as server, TroubleProxy(server.endpoint, moves_bytes) as proxy:
        server.create_bucket("media")
        key = folder / "key.json"
        key.write_text(json.dumps(server.service_account.info))
        url = (
            f"gs://media/?endpoint={quote(proxy.endpoint, safe='')}"
            f"&service_account_file={quote(str(key), safe='')}{options}"
        )
        yield Place(opener(url), proxy, 5 * MIB if options else 256 * KIB, 3 if options else 6)


@contextmanager
def gcs_parts(folder: Path) -> Iterator[Place]:
    """The strict server of Cloud Storage, multipart uploads."""
    with gcs(folder, "&chunks=multipart") as place:
        yield place


@contextmanager
def azure(folder: Path) -> Iterator[Place]:
    """Azurite, where this checkout has its server and a store for it."""
    try:
        azurite = importlib.import_module("tests.servers.azurite")
    except ImportError:
        pytest.skip("a store for az://, and Azurite")
    if why := azurite.missing():
        pytest.skip(why)
    from azure.storage.blob import BlobServiceClient

    with azurite.azurite(folder, https=False) as server:
        origin = server.url.removesuffix(f"/{azurite.ACCOUNT}")
        with BlobServiceClient(
            server.url, credential={"account_name": azurite.ACCOUNT, "account_key": azurite.KEY}
        ) as client:
            client.create_container("media")
        with TroubleProxy(origin, moves_bytes) as proxy:
            public = f"{proxy.endpoint}/{azurite.ACCOUNT}"
            url = f"az://{azurite.ACCOUNT}/media/?{server.with_key}&public_endpoint={quote(public, safe='')}"
            yield Place(opener(url), proxy, 256 * KIB, 6)


PLACES: dict[str, Callable[[Path], AbstractContextManager[Place]]] = {
    "local": local,
    "in-order": in_order,
    "s3": s3,
    "ceph": ceph,
    "gcs": gcs,
    "gcs-parts": gcs_parts,
    "azure": azure,
}
