"""S3 and everything that speaks S3: signing, sessions and objects behind ``s3://bucket/prefix/?region=…``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

    from blobkit.store import Store

__all__ = ["client"]


def client(store: Store) -> S3Client:
    """The boto3 client of a store on S3, for what blobkit does not do. Raises InvalidArgument for another store."""
    from blobkit_aws.sdk import client_of

    return client_of(store)
