"""The conformance suite against a Ceph RADOS Gateway, the fullest S3 that can be had without AWS.

``bash tests/conformance/wide/rgw.sh`` installs it, starts it and runs this; elsewhere ``BLOBKIT_RGW`` names its endpoint.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

import pytest
from tests.servers.processes import free_port

from blobkit.testing import Harness, everything_but
from blobkit.testing.suite import *

pytest_plugins = "blobkit.testing.plugin"

ENDPOINT: Final = os.environ.get("BLOBKIT_RGW", "")
ORIGIN: Final = "https://app.example"
if not ENDPOINT:
    pytest.skip("a Ceph RADOS Gateway: bash tests/conformance/wide/rgw.sh", allow_module_level=True)

REASONS: Final = {
    "unsigned_headers": "RGW takes x-amz-* headers that were not signed; AWS answers 403",
}


@pytest.fixture(scope="module", params=["media", "history"])
def harness(request: pytest.FixtureRequest) -> Iterator[Harness]:
    import boto3

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "testkey")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testsecret")
        client = boto3.client("s3", endpoint_url=ENDPOINT, region_name="us-east-1")
        client.create_bucket(Bucket=request.param)
        rule = {
            "AllowedOrigins": [ORIGIN],
            "AllowedMethods": ["GET", "HEAD", "PUT", "POST", "DELETE"],
            "AllowedHeaders": ["*"],
            "ExposeHeaders": ["ETag"],
        }
        client.put_bucket_cors(Bucket=request.param, CORSConfiguration={"CORSRules": [rule]})  # type: ignore[list-item]
        if request.param == "history":
            client.put_bucket_versioning(Bucket=request.param, VersioningConfiguration={"Status": "Enabled"})
        versioning = "on" if request.param == "history" else "off"
        options = f"?profile=ceph&endpoint={ENDPOINT}&versioning={versioning}"
        stranger = "&access_key_id=strangerkey&secret_access_key_env=STRANGER"
        patch.setenv("STRANGER", "strangersecret")
        patch.setenv("NOBODY", "nobodysecret")
        harness = Harness(
            f"s3://{request.param}/{options}",
            enforces=everything_but(*REASONS),
            reasons=REASONS,
            others={
                "missing_bucket": f"s3://not-there/{options}",
                "denied": f"s3://{request.param}/{options}{stranger}",
                "unreachable": f"s3://media/?profile=ceph&endpoint=http://127.0.0.1:{free_port()}",
                "foreign_keys": f"s3://{request.param}/{options}&access_key_id=nobody&secret_access_key_env=NOBODY",
            },
            origin=ORIGIN,
            name=f"rgw-{request.param}",
        )
        yield harness
        harness.stop()
