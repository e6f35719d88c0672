"""What is signed, against ``rclone serve s3``: it verifies signatures for real, in a fraction of a second, and keeps objects as
files: of S3 beyond GET, PUT and parts it knows too little for the whole suite, which runs against Ceph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest
from tests.servers.processes import ENVIRONMENT, free_port
from tests.servers.rclone import rclone

from blobkit.testing import Harness, everything_but
from blobkit.testing.suite.test_signed import *

REASONS: Final = {
    "unsigned_headers": "rclone takes x-amz-* headers that were not signed",
    "cors": "rclone has no CORS",
}


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    folder = tmp_path_factory.mktemp("rclone")
    with pytest.MonkeyPatch.context() as patch, rclone(folder) as endpoint:
        for name, value in {**ENVIRONMENT, "NOBODY": "nobodysecret"}.items():
            patch.setenv(name, value)
        options = f"?profile=custom&endpoint={endpoint}"
        harness = Harness(
            f"s3://media/{options}",
            enforces=everything_but(*REASONS),
            reasons=REASONS,
            others={
                "missing_bucket": f"s3://not-there/{options}",
                "unreachable": f"s3://media/?profile=custom&endpoint=http://127.0.0.1:{free_port()}",
                "foreign_keys": f"s3://media/{options}&access_key_id=nobody&secret_access_key_env=NOBODY",
            },
            name="rclone",
        )
        yield harness
        harness.stop()
