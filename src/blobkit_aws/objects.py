"""Objects on S3, as the core asks for them: one request each, described by what S3 answers."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC
from typing import IO, TYPE_CHECKING, Any, Final, cast

from botocore.exceptions import BotoCoreError, ClientError

from blobkit.backend import Classified
from blobkit.blobs import BlobInfo, DeleteResult, Pin, Prefix
from blobkit.errors import BlobkitError, ObjectLocked, PreconditionFailed
from blobkit.spec import UploadSpec
from blobkit_aws.config import S3Config
from blobkit_aws.describing import described
from blobkit_aws.errors import already_exists, classify, code_of
from blobkit_aws.shaping import (
    Body,
    blob_info,
    check_body,
    checksum_params,
    listed_info,
    own_params,
    pinned,
    stored_params,
)

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = ["S3Objects"]

_BATCH: Final = 1000  # keys of one DeleteObjects
_BARE: Final = frozenset({"301", "400", "403", "404"})  # codes of HEAD answers, which have no body


class S3Objects:
    """The objects of one bucket.

    Args:
        client: boto3's.
        config: The store's settings.
    """

    def __init__(self, client: S3Client, config: S3Config) -> None:
        self._client = client
        self._profile = config.profile
        self._bucket = config.bucket
        self._own = own_params(config.headers)
        self._seen = False  # whether the bucket has answered: a 404 is then of the key

    def head(self, key: str, *, version: str | None = None) -> BlobInfo:
        """See :class:`blobkit.backend.Backend`."""

        params = pinned(None, version)
        if self._profile.stored_checksums:
            params["ChecksumMode"] = "ENABLED"
        try:
            answer = self._client.head_object(Bucket=self._bucket, Key=key, **params)
        except ClientError as error:
            if code_of(error) in _BARE:
                self._explain(error, key, version)
            raise
        self._seen = True
        return blob_info(key, answer)

    def _explain(self, error: Exception, key: str, version: str | None) -> None:
        """Raise what a GET says in its body, where a HEAD only had a status: the bucket, the token or the clock is wrong."""

        if self._seen and code_of(error) == "404":
            return
        answer = self._client.get_object(Bucket=self._bucket, Key=key, Range="bytes=0-0", **pinned(None, version))
        answer["Body"].close()

    def get(
        self, key: str, *, start: int = 0, end: int | None = None, pin: Pin | None = None, version: str | None = None
    ) -> tuple[BlobInfo, IO[bytes]]:
        """See :class:`blobkit.backend.Backend`."""

        params = pinned(pin, version)
        if end is not None and end <= start:
            return self._described(key, pin, version), io.BytesIO()
        if start or end is not None:
            params["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key, **params)
        except ClientError as error:
            if code_of(error) in ("InvalidRange", "416"):  # past the end, or of an empty object: no bytes
                return self._described(key, pin, version), io.BytesIO()
            raise
        total = answer.get("ContentRange", "").rpartition("/")[2]
        info = blob_info(key, answer, int(total) if total.isdigit() else None)
        return info, cast("IO[bytes]", answer["Body"])

    def _described(self, key: str, pin: Pin | None, version: str | None) -> BlobInfo:
        info = self.head(key, version=version or (pin.version if pin else None))
        if pin is not None and pin.etag and pin.etag != info.etag:
            raise PreconditionFailed("the object was replaced meanwhile", code="PreconditionFailed", http_status=412)
        return info

    def put(
        self, key: str, body: IO[bytes], size: int, *, spec: UploadSpec, upload_id: str, if_match: Pin | None = None
    ) -> BlobInfo:
        """See :class:`blobkit.backend.Backend`."""

        params = {**self._own, **stored_params(spec, upload_id)}
        params |= checksum_params(spec, self._profile)
        if spec.if_absent:
            params["IfNoneMatch"] = "*"
        if if_match is not None:
            etag = if_match.etag or self.head(key, version=if_match.version).etag
            params["IfMatch"] = etag if self._profile.bare_etags else f'"{etag}"'
        source = Body(body, size)
        check_body(source, spec, self._profile)
        try:
            answer = self._client.put_object(
                Bucket=self._bucket, Key=key, Body=cast("IO[bytes]", source), ContentLength=size, **params
            )
        except ClientError as error:
            if code_of(error) in ("PreconditionFailed", "412") and spec.if_absent:
                raise already_exists(key) from error
            if if_match is not None and code_of(error) in ("NoSuchKey", "404"):
                raise PreconditionFailed("there is no object any more", code="NoSuchKey", http_status=404) from error
            raise
        except Exception as error:
            if source.failure is not None:
                raise source.failure from error
            raise
        self._seen = True
        return described(
            self._client,
            self._bucket,
            key,
            answer,
            spec=spec,
            size=size,
            upload_id=upload_id,
            checksums=self._profile.stored_checksums,
        )

    def delete(
        self, key: str, *, pin: Pin | None = None, version: str | None = None, purge_versions: bool = False
    ) -> DeleteResult:
        """See :class:`blobkit.backend.Backend`."""

        if purge_versions:
            return self._purged(key)
        try:
            params = self._only(key, pin, version)
            answer = self._client.delete_object(Bucket=self._bucket, Key=key, **params)
        except ClientError as error:
            if code_of(error) in ("NoSuchKey", "NoSuchVersion", "404"):
                return DeleteResult(key)
            self._raise_locked(error, key, version)
            raise
        return DeleteResult(key, marker=version is None and answer.get("DeleteMarker", False))

    def _only(self, key: str, pin: Pin | None, version: str | None) -> dict[str, Any]:
        """Parameters by which a deletion is of one content. Raises PreconditionFailed when it is known to be another.

        A version never changes, so its id says it all. An etag is compared with the current version only:
        https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-deletes.html
        """
        if version is not None:
            if pin is not None and pin.version and pin.version != version:
                raise PreconditionFailed("the pin is of another version", code="PreconditionFailed")
            return {"VersionId": version}
        if pin is None:
            return {}
        if pin.version and self.head(key).version != pin.version:
            raise PreconditionFailed("the object was replaced meanwhile", code="PreconditionFailed")
        return {"IfMatch": f'"{pin.etag}"'} if pin.etag else {}

    def _raise_locked(self, error: ClientError, key: str, version: str | None) -> None:
        """Raise ObjectLocked, with the end of the lock where it can be read, if that is what the error says."""
        known = classify(error)
        if known is None or known.error is not ObjectLocked:
            return
        params: dict[str, Any] = {"VersionId": version} if version else {}
        with suppress(ClientError, BotoCoreError):  # the keys may not be allowed to read it
            held = self._client.get_object_retention(Bucket=self._bucket, Key=key, **params)["Retention"]
            until = held["RetainUntilDate"].astimezone(UTC).isoformat()
            known = replace(known, hint=f"it is retained until {until} ({held['Mode'].lower()})")
        raise _error(known, error) from error

    def _purged(self, key: str) -> DeleteResult:
        """Delete every version and marker that can be deleted, then say what is left, or raise why it is."""
        failure: tuple[ClientError, str] | None = None
        for version in self._versions(key):
            try:
                self._client.delete_object(Bucket=self._bucket, Key=key, VersionId=version)
            except ClientError as error:
                if code_of(error) in ("NoSuchKey", "NoSuchVersion", "404"):
                    continue
                failure = failure or (error, version)
        if failure is not None:
            self._raise_locked(failure[0], key, failure[1])
            raise failure[0]
        return DeleteResult(key, versions_left=len(self._versions(key)))

    def _versions(self, key: str) -> list[str]:
        """The ids of all versions and delete markers. The key itself comes before every other key that starts with it."""
        found: list[str] = []
        for page in self._client.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=key):
            items = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            found += [item["VersionId"] for item in items if item["Key"] == key]
            if any(item["Key"] != key for item in items):
                break
        return found

    def delete_many(self, keys: Sequence[str]) -> list[DeleteResult]:
        """See Backend; in batches where the service has them."""
        if not self._profile.multi_delete:
            return [self._delete_one(key) for key in keys]
        results: list[DeleteResult] = []
        for first in range(0, len(keys), _BATCH):
            results += self._delete_batch(keys[first : first + _BATCH])
        return results

    def _delete_one(self, key: str) -> DeleteResult:
        try:
            return self.delete(key)
        except Exception as error:
            known = classify(error)
            if known is None:
                raise
            return DeleteResult(key, error=_error(known, error))

    def _delete_batch(self, keys: Sequence[str]) -> list[DeleteResult]:

        answer = self._client.delete_objects(
            Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in dict.fromkeys(keys)]}
        )
        marked = {item.get("Key"): item.get("DeleteMarker", False) for item in answer.get("Deleted", ())}
        failed: dict[str, BlobkitError] = {}
        for item in answer.get("Errors", ()):
            said = {"Code": item.get("Code", ""), "Message": item.get("Message", "")}
            whole: Any = {"Error": said, "ResponseMetadata": answer["ResponseMetadata"]}
            error = ClientError(whole, "DeleteObjects")
            known = classify(error)
            if known is not None:
                failed[item.get("Key", "")] = _error(known, error)
        return [DeleteResult(key, error=failed.get(key), marker=marked.get(key, False)) for key in keys]

    def list(
        self, prefix: str, *, start_after: str | None = None, delimiter: str | None = None
    ) -> Iterator[BlobInfo | Prefix]:
        """See :class:`blobkit.backend.Backend`. Objects and groups of one page are merged in the order of their keys."""

        params: dict[str, Any] = {"Bucket": self._bucket, "Prefix": prefix}
        if start_after:
            params["StartAfter"] = start_after
        if delimiter:
            params["Delimiter"] = delimiter
        for page in self._client.get_paginator("list_objects_v2").paginate(**params):
            self._seen = True
            found: list[BlobInfo | Prefix] = [listed_info(item) for item in page.get("Contents", ())]
            groups = [Prefix(item.get("Prefix", "")) for item in page.get("CommonPrefixes", ())]
            if groups:
                found = sorted([*found, *groups], key=lambda item: item.key.encode())
            yield from found


def _error(known: Classified, cause: Exception) -> BlobkitError:
    error = known.error(
        known.message,
        code=known.code,
        http_status=known.http_status,
        request_id=known.request_id,
        retryable=known.retryable,
        hint=known.hint,
    )
    error.__cause__ = cause
    return error
