"""What a request has just made, described; never what another one has put in its place meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from blobkit.blobs import BlobInfo
from blobkit.spec import UploadSpec
from blobkit_aws.errors import code_of
from blobkit_aws.shaping import blob_info

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = ["answered_at", "described"]


def described(
    client: S3Client,
    bucket: str,
    key: str,
    made: Mapping[str, Any],
    *,
    spec: UploadSpec,
    size: int,
    upload_id: str,
    checksums: bool = False,
) -> BlobInfo:
    """The object that a request has just made, asked for once more: its date and its checksums are not in the answer.

    Another upload may have replaced it by now where no versions are kept. What is described is never that other object: then
    it is what was sent, and what S3 answered.

    Args:
        client: boto3's.
        bucket: Where it is.
        key: Full.
        made: S3's answer: etag and version.
        spec: What was stored with it.
        size: Its size, bytes.
        upload_id: The mark that it carries.
        checksums: Whether to ask for the stored checksums.
    """
    version = made.get("VersionId")
    params: dict[str, Any] = {"VersionId": version} if version and version != "null" else {}
    if checksums:
        params["ChecksumMode"] = "ENABLED"
    try:
        info = blob_info(key, client.head_object(Bucket=bucket, Key=key, **params))
        if info.upload_id == upload_id:
            return info
    except ClientError as error:
        if code_of(error) not in ("NoSuchKey", "404"):
            raise
    return BlobInfo(
        key=key,
        size=size,
        etag=str(made.get("ETag", "")).strip('"'),
        modified=answered_at(made),
        version=None if version in (None, "", "null") else version,
        content_type=spec.content_type,
        metadata=spec.metadata,
        cache_control=spec.cache_control,
        content_disposition=spec.content_disposition,
        content_encoding=spec.content_encoding,
        storage_class=spec.storage_class or "STANDARD",
        upload_id=upload_id,
    )


def answered_at(answer: Mapping[str, Any]) -> datetime:
    """The server's time of an answer (its Date header), aware UTC; the epoch when it has none."""
    text = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        return parsedate_to_datetime(text).astimezone(UTC)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
