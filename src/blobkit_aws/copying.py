"""Server-side copies: one request up to 5 GiB, parts above; pinned, and with everything that the source has."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlencode

from botocore.exceptions import BotoCoreError, ClientError

from blobkit.blobs import BlobInfo, Pin
from blobkit.chunking import Chunk, ChunkLimits
from blobkit.chunking import plan as plan_chunks
from blobkit.errors import PreconditionFailed
from blobkit.spec import GiB, MiB
from blobkit_aws.errors import already_exists, code_of
from blobkit_aws.profiles import MAX_PART, MAX_PARTS, MIN_PART
from blobkit_aws.shaping import blob_info

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, CopySourceTypeDef, GetObjectTaggingRequestTypeDef

__all__ = ["SINGLE", "copy"]

SINGLE: Final = 5 * GiB
"""The largest object of one CopyObject, bytes."""

_PART: Final = 512 * MiB
_AT_ONCE: Final = 8
_KEPT: Final = (
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "ContentType",
    "StorageClass",
)


def copy(
    client: S3Client,
    source: tuple[str, str],
    target: tuple[str, str],
    *,
    pin: Pin | None,
    if_absent: bool,
    own: dict[str, Any],
    single: int = SINGLE,
    part: int = _PART,
) -> BlobInfo:
    """Copy an object.

    Args:
        client: Of the source's store.
        source: Bucket and full key.
        target: The same.
        pin: The source must be this content.
        if_absent: The target must not exist.
        own: What the target's store stores with everything, as boto3 names it.
        single: The largest object that one request may copy, bytes.
        part: The size of the parts above that, bytes.

    Raises:
        AlreadyExists: ``if_absent``, and there is an object.
        PreconditionFailed: The source is another content by now.
    """
    bucket, key = source
    version: dict[str, Any] = {"VersionId": pin.version} if pin and pin.version else {}
    head = client.head_object(Bucket=bucket, Key=key, **version)
    etag = head["ETag"]
    if pin is not None and pin.etag and pin.etag != etag.strip('"'):
        raise PreconditionFailed("the source was replaced meanwhile", code="PreconditionFailed", http_status=412)
    named: CopySourceTypeDef = {"Bucket": bucket, "Key": key}
    if pin is not None and pin.version:
        named["VersionId"] = pin.version
    condition: dict[str, Any] = {"IfNoneMatch": "*"} if if_absent else {}
    made: str | None
    try:
        if head["ContentLength"] <= single:
            own = {name: value for name, value in own.items() if name != "Tagging"}  # the source's tags are kept
            if head.get("StorageClass"):
                own["StorageClass"] = head["StorageClass"]
            answer = client.copy_object(
                Bucket=target[0], Key=target[1], CopySource=named, CopySourceIfMatch=etag, **condition, **own
            )
            made = answer.get("VersionId")
        else:
            made = _by_parts(client, named, target, dict(head), condition, own, part)
    except ClientError as error:
        if code_of(error) in ("PreconditionFailed", "412") and if_absent and _exists(client, target):
            raise already_exists(target[1]) from error
        raise
    pinned: dict[str, Any] = {"VersionId": made} if made and made != "null" else {}
    return blob_info(target[1], client.head_object(Bucket=target[0], Key=target[1], **pinned))


def _exists(client: S3Client, target: tuple[str, str]) -> bool:
    try:
        client.head_object(Bucket=target[0], Key=target[1])
    except ClientError:
        return False
    return True


def _by_parts(
    client: S3Client,
    source: CopySourceTypeDef,
    target: tuple[str, str],
    head: dict[str, Any],
    condition: dict[str, Any],
    own: dict[str, Any],
    part: int,
) -> str | None:
    """A multipart upload whose parts are ranges of the source; aborted when anything fails."""
    bucket, key = target
    params: dict[str, Any] = {name: head[name] for name in _KEPT if head.get(name)}
    params |= own
    tags = client.get_object_tagging(**cast("GetObjectTaggingRequestTypeDef", source)).get("TagSet", [])
    if tags:
        params["Tagging"] = urlencode([(tag["Key"], tag["Value"]) for tag in tags])
    limits = ChunkLimits(min_chunk=min(part, MIN_PART), max_chunk=MAX_PART, max_count=MAX_PARTS)
    plan = plan_chunks(head["ContentLength"], limits, chunk_size=part)
    upload = client.create_multipart_upload(Bucket=bucket, Key=key, Metadata=head.get("Metadata", {}), **params)
    upload_id = upload["UploadId"]

    def one(chunk: Chunk) -> CompletedPartTypeDef:
        answer = client.upload_part_copy(
            Bucket=bucket,
            Key=key,
            UploadId=upload_id,
            PartNumber=chunk.number,
            CopySource=source,
            CopySourceIfMatch=head["ETag"],
            CopySourceRange=f"bytes={chunk.offset}-{chunk.offset + chunk.size - 1}",
        )
        return {"PartNumber": chunk.number, "ETag": answer["CopyPartResult"]["ETag"]}

    try:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            parts = list(pool.map(one, plan))
        done = client.complete_multipart_upload(
            Bucket=bucket,
            Key=key,
            UploadId=upload_id,
            MultipartUpload={"Parts": parts},
            **condition,
        )
    except BaseException:
        with suppress(ClientError, BotoCoreError):
            client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
        raise
    return done.get("VersionId")
