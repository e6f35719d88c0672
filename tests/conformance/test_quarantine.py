"""The quarantine on servers: what readers get is what the checks saw, whatever a client or a crash does in between.

On the strict servers of Google and Amazon, and on Azurite, in every run; on Ceph where ``BLOBKIT_RGW`` names its endpoint
(``bash tests/conformance/wide/rgw.sh``). The promises are those that tests/unit/quarantine holds the embedded store to.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest
from tests.servers.azurite import ACCOUNT, KEY, azurite, missing
from tests.unit.aws.strict import ACCESS, REGION, SECRET, strict
from tests.unit.quarantine.places import Clock, World, recorded
from tests.unit.quarantine.promises import Make, any_crash, any_put, late_put, passes, refuses

import blobkit
from blobkit.store import Store
from blobkit_gcs.testing import StrictGcs

RGW: Final = os.environ.get("BLOBKIT_RGW", "")
Opener = Callable[[str], Store]
"""Opens the store of these names: ``staging`` and ``public``, each below a prefix that nobody else has."""


@contextmanager
def gcs(folder: Path, versioning: str) -> Iterator[Opener]:
    with StrictGcs() as server:
        server.create_bucket("staging", versioning=versioning == "on")
        server.create_bucket("public")
        (folder / "key.json").write_text(json.dumps(server.service_account.info))
        options = (
            f"endpoint={quote(server.endpoint, safe='')}&service_account_file={quote(f'{folder}/key.json', safe='')}"
        )
        run = uuid.uuid4().hex

        def opened(name: str) -> Store:
            more = f"&versioning={versioning}" if name == "staging" else ""
            return blobkit.open_store(f"gs://{name}/{run}/?{options}{more}")

        yield opened


@contextmanager
def s3(folder: Path, versioning: str) -> Iterator[Opener]:
    """One bucket: of the two stores each has a prefix."""
    with strict(versioned=versioning == "on") as server:
        env = {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET}
        options = f"?profile=aws&region={REGION}&endpoint={server.endpoint}&versioning={versioning}"
        yield lambda name: blobkit.open_store(f"s3://media/{name}/{options}", env=env)


@contextmanager
def azure(folder: Path, versioning: str) -> Iterator[Opener]:
    from azure.storage.blob import BlobServiceClient

    with azurite(folder) as server:
        with BlobServiceClient(server.url, credential={"account_name": ACCOUNT, "account_key": KEY}) as service:
            for name in ("staging", "public"):
                service.create_container(name)
        yield lambda name: blobkit.open_store(f"az://{ACCOUNT}/{name}/?{server.with_key}")


@contextmanager
def ceph(folder: Path, versioning: str) -> Iterator[Opener]:
    """What is served is in a bucket without versions: in those that have them RGW ignores conditions in silence."""
    import boto3

    client = boto3.client(
        "s3", endpoint_url=RGW, region_name="us-east-1", aws_access_key_id="testkey", aws_secret_access_key="testsecret"
    )
    run = uuid.uuid4().hex
    for name in ("staging", "public"):
        client.create_bucket(Bucket=f"{name}-{run}")
    if versioning == "on":
        client.put_bucket_versioning(Bucket=f"staging-{run}", VersioningConfiguration={"Status": "Enabled"})
    env = {"AWS_ACCESS_KEY_ID": "testkey", "AWS_SECRET_ACCESS_KEY": "testsecret"}

    def opened(name: str) -> Store:
        kept = versioning if name == "staging" else "off"
        return blobkit.open_store(f"s3://{name}-{run}/?profile=ceph&endpoint={RGW}&versioning={kept}", env=env)

    yield opened


SERVERS: Final = {"gcs": gcs, "s3": s3, "azure": azure, "ceph": ceph}
LACKS: Final = {"azure": missing(), "ceph": None if RGW else "a Ceph RADOS Gateway: bash tests/conformance/wide/rgw.sh"}
PLACES: Final = ("gcs-off", "gcs-on", "s3-off", "s3-on", "azure-off", "ceph-off", "ceph-on")  # Azurite has no versions


@pytest.fixture(scope="module", params=PLACES)
def stores(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Store]]:
    """The staging store, the public one, and the staging store as a client has it."""
    name, _, versioning = request.param.partition("-")
    if lacks := LACKS.get(name):
        pytest.skip(lacks)
    with SERVERS[name](tmp_path_factory.mktemp(name), versioning) as opened, ExitStack() as stack:
        yield [stack.enter_context(opened(name)) for name in ("staging", "public", "staging")]


@pytest.fixture
def make(stores: list[Store], tmp_path: Path) -> Make:
    """A place that nobody else has, and records, each time."""

    def one() -> World:
        part = f"{uuid.uuid4().hex}/"
        staging, public, client = (store.at(part) for store in stores)
        return recorded(tmp_path, staging, public, client, Clock(datetime.now(UTC)))

    return one


@pytest.mark.parametrize("promise", [passes, refuses, late_put], ids=lambda promise: promise.__name__)
def test_what_passes_is_served_and_what_does_not_is_nowhere(make: Make, promise: Callable[[Make], None]) -> None:
    promise(make)


def test_a_put_with_the_same_url_at_any_step_never_changes_what_readers_get(make: Make) -> None:
    any_put(make)


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "evil"])
def test_a_crash_at_any_step_loses_nothing_and_publishes_once(make: Make, clean: bool) -> None:
    any_crash(make, clean=clean)
