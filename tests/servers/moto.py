"""moto's server: every operation of S3 and no check of any signature (from the package moto)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
from tests.servers.processes import ENVIRONMENT, beside_python, free_port, running

__all__ = ["moto"]


@contextmanager
def moto(folder: Path) -> Iterator[str]:
    """Serve; gives the endpoint. Its buckets are ``media``, and ``versioned``."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    with running([beside_python("moto_server"), "-H", "127.0.0.1", "-p", str(port)], port, folder / "moto.log"):
        client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id=ENVIRONMENT["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=ENVIRONMENT["AWS_SECRET_ACCESS_KEY"],
        )
        for bucket in ("media", "versioned"):
            client.create_bucket(Bucket=bucket)
        client.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
        yield endpoint
