"""Server-side copies: one request up to 5 GiB, parts above; pinned, and with everything that the source has."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from urllib.parse import urlencode

from botocore.exceptions import ClientError

from blobkit.blobs import BlobInfo, Pin
from blobkit.chunking import Chunk, ChunkLimits
from blobkit.chunking import plan as plan_chunks
from blobkit.errors import InvalidArgument, PreconditionFailed
from blobkit.spec import GiB, MiB
from blobkit_aws.describing import answered_at
from blobkit_aws.errors import already_exists, code_of, retried
from blobkit_aws.profiles import MAX_PART, MAX_PARTS, MIN_PART
from blobkit_aws.sessions import abort_quietly
from blobkit_aws.shaping import blob_info

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, CopySourceTypeDef, GetObjectTaggingRequestTypeDef

__all__ = ["SINGLE", "Place", "copy"]

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
    "Expires",
    "StorageClass",
    "WebsiteRedirectLocation",
)
_NO_TAGS: Final = frozenset({"NotImplemented", "MethodNotAllowed", "NoSuchTagSet", "501", "405"})


class Place(NamedTuple):
    """Where an object is: bucket and full key."""

    bucket: str
    key: str


def copy(
    client: S3Client,
    source: Place,
    target: Place,
    *,
    pin: Pin | None,
    if_absent: bool,
    own: Mapping[str, Any],
    parts: bool = True,
    single: int = SINGLE,
    part: int = _PART,
) -> BlobInfo:
    """Copy an object.

    Args:
        client: Of the target's store; its keys may read the source.
        source: From where.
        target: To where.
        pin: The source must be this content.
        if_absent: The target must not exist.
        own: What the target's store stores with everything, as boto3 names it. Tags are the source's.
        parts: Whether the service can copy ranges (UploadPartCopy).
        single: The largest object that one request may copy, bytes.
        part: The least size of the parts above that, bytes.

    Raises:
        AlreadyExists: ``if_absent``, and there is an object.
        PreconditionFailed: The source is another content by now.
        InvalidArgument: It is too large for one request, and the service copies no ranges.
    """
    version: dict[str, Any] = {"VersionId": pin.version} if pin and pin.version else {}
    head = client.head_object(Bucket=source.bucket, Key=source.key, **version)
    if pin is not None and pin.etag and pin.etag != head["ETag"].strip('"'):
        raise PreconditionFailed("the source was replaced meanwhile", code="PreconditionFailed", http_status=412)
    was = blob_info(source.key, head)
    named: CopySourceTypeDef = {"Bucket": source.bucket, "Key": source.key}
    if pin is not None and pin.version:
        named["VersionId"] = pin.version
    condition: dict[str, Any] = {"IfNoneMatch": "*"} if if_absent else {}
    own = {name: value for name, value in own.items() if name != "Tagging"}  # the source's tags are kept
    try:
        if was.size <= single:
            kept: dict[str, Any] = {"StorageClass": head["StorageClass"]} if head.get("StorageClass") else {}
            answer: Mapping[str, Any] = client.copy_object(
                Bucket=target.bucket,
                Key=target.key,
                CopySource=named,
                CopySourceIfMatch=head["ETag"],
                **{**condition, **own, **kept},
            )
        elif parts:
            answer = _by_parts(client, named, target, dict(head), condition, own, part)
        else:
            raise InvalidArgument(
                f"{was.size} bytes are more than this service copies, {single}", hint="read it, and upload() it"
            )
    except ClientError as error:
        code = code_of(error)
        if retried(error) and code in ("PreconditionFailed", "412", "NoSuchUpload"):
            made = _found(client, target)
            if made is not None and _same(made, was):
                return made  # our own copy, whose reply was lost and whose retry met itself
        if if_absent and code in ("PreconditionFailed", "412") and _found(client, target) is not None:
            raise already_exists(target.key) from error
        raise
    return _described(client, target, was, answer)


def _found(client: S3Client, place: Place) -> BlobInfo | None:
    try:
        return blob_info(place.key, client.head_object(Bucket=place.bucket, Key=place.key))
    except ClientError:
        return None


def _same(made: BlobInfo, was: BlobInfo) -> bool:
    return was.upload_id is not None and made.upload_id == was.upload_id and made.size == was.size


def _described(client: S3Client, target: Place, was: BlobInfo, answer: Mapping[str, Any]) -> BlobInfo:
    """The copy; never another object that has replaced it meanwhile."""
    version = answer.get("VersionId")
    version = None if version in (None, "", "null") else version
    etag = str((answer.get("CopyObjectResult") or answer).get("ETag") or "").strip('"')
    try:
        params: dict[str, Any] = {"VersionId": version} if version else {}
        info = blob_info(target.key, client.head_object(Bucket=target.bucket, Key=target.key, **params))
        if not etag or info.etag == etag:
            return info
    except ClientError as error:
        if code_of(error) not in ("NoSuchKey", "404"):
            raise
    return replace(was, key=target.key, etag=etag, version=version, modified=answered_at(answer))


def _by_parts(
    client: S3Client,
    source: CopySourceTypeDef,
    target: Place,
    head: Mapping[str, Any],
    condition: Mapping[str, Any],
    own: Mapping[str, Any],
    part: int,
) -> Mapping[str, Any]:
    """A multipart upload whose parts are ranges of the source; aborted when anything fails."""
    size: int = head["ContentLength"]
    where: dict[str, Any] = {"Bucket": target.bucket, "Key": target.key}
    part = max(part, -(-size // MAX_PARTS))
    limits = ChunkLimits(min_chunk=min(part, MIN_PART), max_chunk=MAX_PART, max_count=MAX_PARTS, max_object=size)
    plan = plan_chunks(size, limits, chunk_size=part)
    params: dict[str, Any] = {name: head[name] for name in _KEPT if head.get(name)}
    if tags := _tags(client, source):
        params["Tagging"] = tags
    upload = client.create_multipart_upload(**where, Metadata=head.get("Metadata", {}), **{**params, **own})
    upload_id = upload["UploadId"]

    def one(chunk: Chunk) -> CompletedPartTypeDef:
        answer = client.upload_part_copy(
            **where,
            UploadId=upload_id,
            PartNumber=chunk.number,
            CopySource=source,
            CopySourceIfMatch=head["ETag"],
            CopySourceRange=f"bytes={chunk.offset}-{chunk.offset + chunk.size - 1}",
        )
        return {"PartNumber": chunk.number, "ETag": answer["CopyPartResult"]["ETag"]}

    try:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            made = list(pool.map(one, plan))
        return client.complete_multipart_upload(
            **where, UploadId=upload_id, MultipartUpload={"Parts": made}, **condition
        )
    except BaseException:
        abort_quietly(client, target.bucket, target.key, upload_id)
        raise


def _tags(client: S3Client, source: CopySourceTypeDef) -> str:
    """The source's tags as a header; none where the service has no tags.

    Keys that may not read them are refused here as they are by CopyObject, rather than lose them.
    """
    try:
        found = client.get_object_tagging(**cast("GetObjectTaggingRequestTypeDef", source)).get("TagSet", [])
    except ClientError as error:
        if code_of(error) in _NO_TAGS:
            return ""
        raise
    return urlencode([(tag["Key"], tag["Value"]) for tag in found])
