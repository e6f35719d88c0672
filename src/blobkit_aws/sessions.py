"""Chunked sessions as S3 multipart uploads.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html. The list of parts is S3's own, all pages of it; what a
client says it was answered is never needed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from blobkit.backend import HeldChunk, Received, SessionOrder, SessionState
from blobkit.blobs import AbortResult, BlobInfo, PendingUpload
from blobkit.errors import SessionNotFound
from blobkit_aws.describing import described
from blobkit_aws.errors import already_exists, code_of
from blobkit_aws.profiles import Profile
from blobkit_aws.shaping import decoded, stored_params

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

__all__ = ["abort_quietly", "commit", "discard", "open_session", "pending", "received"]

_GONE: Final = frozenset({"NoSuchUpload", "NoSuchKey", "404"})
_CONFLICT: Final = "ConditionalRequestConflict"
_ABORTS: Final = 5
_log = logging.getLogger("blobkit.aws")


def open_session(
    client: S3Client, bucket: str, order: SessionOrder, now: datetime, own: Mapping[str, Any]
) -> SessionState:
    """CreateMultipartUpload, with everything that is stored with the object."""
    params = {**stored_params(order.spec, order.upload_id), **own}
    answer = client.create_multipart_upload(Bucket=bucket, Key=order.key, **params)
    return SessionState(
        key=order.key,
        spec=order.spec,
        plan=order.plan,
        upload_id=order.upload_id,
        provider_id=answer["UploadId"],
        started=now,
    )


def received(client: S3Client, bucket: str, state: SessionState) -> Received:
    """ListParts, all pages; ``gone`` when there is no such upload (it was completed, or aborted)."""
    try:
        return Received("open", list(_parts(client, bucket, state)))
    except ClientError as error:
        if code_of(error) in _GONE:
            return Received("gone")
        raise


def _parts(client: S3Client, bucket: str, state: SessionState) -> Iterator[HeldChunk]:
    for page in client.get_paginator("list_parts").paginate(Bucket=bucket, Key=state.key, UploadId=state.provider_id):
        for part in page.get("Parts", ()):
            yield HeldChunk(part["PartNumber"], part["Size"], part["ETag"].strip('"'))


def commit(
    client: S3Client, bucket: str, profile: Profile, state: SessionState, chunks: Sequence[HeldChunk], total: int
) -> BlobInfo:
    """CompleteMultipartUpload, with the size and the precondition where the service knows them.

    An answer 200 that carries an error is an error: botocore looks inside. After a 412 the upload is still open, and the
    caller aborts it. After a 409 it cannot be completed any more, whatever is tried: it is aborted here.
    """
    params: dict[str, Any] = {}
    if profile.commit_size:
        params["MpuObjectSize"] = total
    if state.spec.if_absent:
        params["IfNoneMatch"] = "*"
    parts: list[CompletedPartTypeDef] = [{"PartNumber": chunk.number, "ETag": f'"{chunk.receipt}"'} for chunk in chunks]
    try:
        answer = client.complete_multipart_upload(
            Bucket=bucket,
            Key=state.key,
            UploadId=state.provider_id,
            MultipartUpload={"Parts": parts},
            **params,
        )
    except ClientError as error:
        code = code_of(error)
        if code in ("PreconditionFailed", "412") and state.spec.if_absent:
            raise already_exists(state.key) from error
        if code in _GONE:
            raise SessionNotFound("there is no such multipart upload", code=code) from error
        if code == _CONFLICT:
            abort_quietly(client, bucket, state.key, state.provider_id)
        raise
    return described(client, bucket, state.key, answer, spec=state.spec, size=total, upload_id=state.upload_id)


def discard(client: S3Client, bucket: str, state: SessionState) -> AbortResult:
    """See Backend. What is not gone after five tries is left for a sweep, and the result says so."""
    return AbortResult(discarded=abort(client, bucket, state.key, state.provider_id))


def abort(client: S3Client, bucket: str, key: str, upload_id: str) -> bool:
    """AbortMultipartUpload until no part is left: one that is on its way meanwhile may still arrive.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html

    Returns:
        Whether there is no such upload any more.
    """
    for _ in range(_ABORTS):
        try:
            client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
            client.list_parts(Bucket=bucket, Key=key, UploadId=upload_id, MaxParts=1)
        except ClientError as error:
            if code_of(error) in _GONE:
                return True
            raise
    return False


def abort_quietly(client: S3Client, bucket: str, key: str, upload_id: str) -> None:
    """The same while another error is on its way, which must not be hidden: what fails is logged."""
    try:
        gone, why = abort(client, bucket, key, upload_id), "parts kept arriving"
    except (ClientError, BotoCoreError) as error:
        gone, why = False, type(error).__name__
    if not gone:
        _log.warning("left behind for a sweep: a multipart upload: %s", why)


def pending(client: S3Client, bucket: str, prefix: str) -> Iterator[PendingUpload]:
    """ListMultipartUploads, all pages."""
    for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
        for upload in page.get("Uploads", ()):
            yield PendingUpload(
                key=decoded(upload["Key"], page), upload_id=upload["UploadId"], started=upload.get("Initiated")
            )
