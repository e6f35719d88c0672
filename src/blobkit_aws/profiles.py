"""What differs between the services that speak S3, as data. A code path never asks for a profile's name.

``None`` is "not known": blobkit then refuses, unless the user asserts it (``?assert=put.if_absent``). Sources: the vendors'
own compatibility pages, and what the test servers showed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal

from blobkit.spec import GiB, MiB, TiB

__all__ = ["ALL_CHECKSUMS", "PROFILES", "Profile"]

ALL_CHECKSUMS: Final = frozenset({"crc32", "crc32c", "crc64nvme", "md5", "sha1", "sha256"})
_MD5: Final = frozenset({"md5"})
_NONE: Final[frozenset[str]] = frozenset()
GB: Final = 10**9
Known = bool | None


@dataclass(frozen=True, slots=True)
class Profile:
    """One service.

    Attributes:
        name: As it stands in ``?profile=``.
        aws: Whether hosts are those of AWS, found by region.
        endpoint: Where it is; ``{region}`` is filled in. None: the user has to say.
        region: The region when none is given; None: the user has to say.
        style: How buckets are addressed.
        form: POST policies.
        put_checksums: Checksums that it compares when they are signed into a PUT.
        form_checksums: The same for the fields of a form.
        form_headers: Whether a form's Cache-Control, Content-Disposition and Content-Encoding are stored.
        signed_headers: Whether a PUT is bound to the headers that are signed, metadata included.
        put_if_absent: ``If-None-Match: *`` on a PUT.
        if_match: ``If-Match`` on a PUT.
        versioned_conditions: Whether conditions on a PUT hold in a bucket that keeps versions, too.
        commit_if_absent: ``If-None-Match: *`` on CompleteMultipartUpload.
        commit_size: ``x-amz-mp-object-size`` on CompleteMultipartUpload.
        storage_class: Whether it has storage classes.
        copy: CopyObject.
        copy_parts: UploadPartCopy, for what is larger than one CopyObject can copy.
        copy_between: Whether it copies between two buckets reliably.
        copy_if_absent: ``If-None-Match: *`` on CopyObject.
        delete_pinned: ``If-Match`` on DeleteObject.
        versions: Whether there are buckets that keep versions.
        bare_etags: Whether ``If-Match`` of a PUT wants its etag without quotes.
        list_uploads: ListMultipartUploads by prefix.
        overrides: ``response-*`` parameters of a GET.
        ordered: Whether listings are in the order of the keys' bytes.
        start_after: ``start-after`` of ListObjectsV2.
        multi_delete: The digest of DeleteObjects' body that it wants: the SDK's ``crc32``, or the older ``md5``; None: keys
            are deleted one by one.
        stored_checksums: Whether a HEAD may ask for the stored checksums.
        equal_parts: Whether all parts but the last must have one size.
        part_md5: Content-MD5 of a part.
        max_object: The largest object, bytes.
        max_put: The largest single PUT, bytes.
        max_part: The largest part, bytes.
        max_life: The longest life of a signature, seconds.
        signed_at: How the host of a ``public_endpoint`` must end, where only the service's own hosts know signatures.
        never_signed_at: How it must not end: the service's CDN.
    """

    name: str
    aws: bool = False
    endpoint: str | None = None
    region: str | None = "us-east-1"
    style: Literal["virtual", "path"] = "path"
    form: Known = None
    put_checksums: frozenset[str] | None = None
    form_checksums: frozenset[str] | None = None
    form_headers: Known = True
    signed_headers: Known = True
    put_if_absent: Known = None
    if_match: Known = None
    versioned_conditions: bool = True
    commit_if_absent: Known = None
    commit_size: bool = False
    storage_class: Known = None
    copy: Known = True
    copy_parts: bool = True
    copy_between: bool = True
    copy_if_absent: Known = None
    delete_pinned: Known = None
    versions: Known = None
    bare_etags: bool = False
    list_uploads: Known = True
    overrides: Known = True
    ordered: Known = True
    start_after: Known = True
    multi_delete: Literal["crc32", "md5"] | None = None
    stored_checksums: bool = False
    equal_parts: bool = False
    part_md5: Known = None
    max_object: int = 5 * TiB
    max_put: int = 5 * GiB
    max_part: int = 5 * GiB
    max_life: int = 604_800
    signed_at: str = ""
    never_signed_at: str | None = None


_AWS: Final = Profile(
    "aws",
    aws=True,
    region=None,
    style="virtual",
    form=True,
    put_checksums=ALL_CHECKSUMS,
    form_checksums=ALL_CHECKSUMS - {"crc64nvme"},
    put_if_absent=True,
    if_match=True,
    commit_if_absent=True,
    commit_size=True,
    storage_class=True,
    copy_if_absent=True,
    delete_pinned=True,
    versions=True,
    part_md5=True,
    multi_delete="crc32",
    stored_checksums=True,
    max_object=10_000 * 5 * GiB,
)

# Directory buckets: https://docs.aws.amazon.com/AmazonS3/latest/userguide/s3-express-differences.html
EXPRESS: Final = replace(
    _AWS,
    form=None,
    form_checksums=None,
    put_checksums=ALL_CHECKSUMS - _MD5,
    copy_if_absent=None,
    delete_pinned=None,
    versions=False,
    overrides=None,
    ordered=False,
    start_after=False,
    storage_class=False,
    max_life=300,
)
"""AWS's directory buckets."""

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-points-service-api-support.html does not name POST Object
ACCESS_POINT: Final = replace(_AWS, form=None, form_checksums=None)
"""AWS's access points of one region."""

# Multi-Region Access Points: https://docs.aws.amazon.com/AmazonS3/latest/userguide/MrapOperations.html
MULTI_REGION: Final = replace(_AWS, form=False, form_checksums=_NONE, copy=None, copy_if_absent=None)
"""AWS's Multi-Region Access Points."""

PROFILES: Final[Mapping[str, Profile]] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            _AWS,
            # https://min.io/docs/minio/linux/reference/s3-api-compatibility.html; lists uploads of an exact key only
            Profile(
                "minio",
                form=True,
                put_checksums=ALL_CHECKSUMS,
                put_if_absent=True,
                if_match=True,
                versions=True,
                list_uploads=False,
                commit_if_absent=True,
                part_md5=True,
                multi_delete="md5",
            ),
            # https://docs.ceph.com/en/latest/radosgw/s3/, and measured on 16.2
            Profile(
                "ceph",
                form=True,
                put_checksums=_MD5,
                form_checksums=None,
                put_if_absent=True,
                if_match=True,
                versioned_conditions=False,  # there they are ignored in silence
                copy_if_absent=False,
                delete_pinned=False,
                commit_if_absent=False,
                form_headers=None,
                versions=True,
                part_md5=True,
                multi_delete="md5",
                bare_etags=True,
            ),
            # https://developers.cloudflare.com/r2/api/s3/api/
            Profile(
                "r2",
                region="auto",
                form=False,
                form_checksums=_NONE,
                put_checksums=_MD5,
                put_if_absent=True,
                if_match=True,
                versions=False,
                equal_parts=True,
                signed_at=".r2.cloudflarestorage.com",  # a custom domain, and r2.dev, know no signatures
                max_object=5 * TiB - 5 * GiB,
                max_put=5 * GiB - 5 * MiB,
                max_part=5 * GiB - 5 * MiB,
            ),
            # https://www.backblaze.com/docs/cloud-storage-s3-compatible-api
            Profile(
                "b2",
                endpoint="https://s3.{region}.backblazeb2.com",
                region=None,
                form=False,
                form_checksums=_NONE,
                put_checksums=_MD5,
                versions=True,
                max_put=5 * GB,
                max_part=5 * GB,
            ),
            # https://docs.digitalocean.com/reference/api/spaces/
            Profile(
                "spaces",
                endpoint="https://{region}.digitaloceanspaces.com",
                region=None,
                style="virtual",
                put_checksums=_MD5,
                max_put=5 * GB,
                max_part=5 * GB,
                signed_at=".digitaloceanspaces.com",
                never_signed_at=".cdn.digitaloceanspaces.com",
            ),
            # https://docs.wasabi.com/docs/wasabi-api
            Profile(
                "wasabi",
                endpoint="https://s3.{region}.wasabisys.com",
                region=None,
                put_checksums=_MD5,
                max_put=5 * GB,
                max_part=5 * GB,
            ),
            # https://cloud.google.com/storage/docs/interoperability; it has no UploadPartCopy
            Profile(
                "gcs-interop",
                endpoint="https://storage.googleapis.com",
                region="auto",
                put_checksums=_MD5,
                form=None,
                versions=False,
                copy_parts=False,
            ),
            # https://docs.hetzner.com/storage/object-storage/supported-actions/; copies between buckets may fail
            Profile(
                "hetzner",
                endpoint="https://{region}.your-objectstorage.com",
                region=None,
                style="virtual",
                copy_between=False,
            ),
            # A stand-in for tests: it answers like AWS and checks few signatures.
            replace(
                _AWS,
                name="localstack",
                aws=False,
                endpoint="http://localhost:4566",
                region="us-east-1",
                style="path",
                copy_if_absent=None,
                delete_pinned=None,
                commit_size=False,
            ),
            Profile("custom"),
        )
    }
)
"""By the name in ``?profile=``."""

MIN_PART: Final = 5 * MiB
MAX_PART: Final = 5 * GiB
MAX_PARTS: Final = 10_000
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html, and the same everywhere."""
