"""botocore's own signers, asked to sign what we sign, at a time that we choose; and strategies for what there is to sign.

Drawing an example costs more than signing it, so each is signed for every host, region or site: thousands of requests in
seconds; see :mod:`tests.counts` for more of them.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final
from unittest import mock

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import strategies as st

from blobkit_aws.signing.encoding import encode_query
from blobkit_aws.signing.sigv4 import Credentials

EXAMPLE: Final = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
"""The keys of AWS's documentation."""


@contextmanager
def at(epoch: int) -> Any:
    """botocore's clock stands at this time, and it signs in Python: its Common Runtime has a clock of its own."""
    plain = {"s3v4-query": botocore.auth.S3SigV4QueryAuth, "s3v4-presign-post": botocore.auth.S3SigV4PostAuth}
    with (
        mock.patch.object(botocore.auth, "get_current_datetime", return_value=datetime.fromtimestamp(epoch, UTC)),
        mock.patch.dict(botocore.auth.AUTH_TYPE_MAPS, plain),
    ):
        yield


def boto(credentials: Credentials) -> BotoCredentials:
    """The same keys as botocore has them."""
    return BotoCredentials(credentials.access_key, credentials.secret_key, credentials.token)


def presigned(
    credentials: Credentials,
    region: str,
    method: str,
    url: str,
    *,
    start: int,
    lifetime: int,
    headers: Sequence[tuple[str, str]] = (),
    query: Sequence[tuple[str, str]] = (),
    service: str = "s3",
) -> str:
    """What botocore makes of it."""
    kind: Any = botocore.auth.S3SigV4QueryAuth
    extra: dict[str, Any] = {}
    if service == "s3express":
        kind, extra = botocore.auth.S3ExpressQueryAuth, {"identity_cache": None}
    signer = kind(boto(credentials), service, region, expires=lifetime, **extra)
    whole = f"{url}?{encode_query(query)}" if query else url
    request = AWSRequest(method=method, url=whole, headers=dict(headers))
    with at(start):
        signer.add_auth(request)
    return str(request.url)


def form(
    credentials: Credentials,
    region: str,
    *,
    start: int,
    expiration: str,
    fields: Mapping[str, str],
    conditions: Sequence[Any],
    express: bool = False,
) -> dict[str, str]:
    """The fields that botocore makes."""
    kind: Any = botocore.auth.S3ExpressPostAuth if express else botocore.auth.S3SigV4PostAuth
    extra = {"identity_cache": None} if express else {}
    signer = kind(boto(credentials), "s3express" if express else "s3", region, **extra)
    request = AWSRequest(method="POST", url="https://example.com/")
    request.context["s3-presign-post-fields"] = dict(fields)
    request.context["s3-presign-post-policy"] = {"expiration": expiration, "conditions": list(conditions)}
    with at(start):
        signer.add_auth(request)
    return dict(request.context["s3-presign-post-fields"])


# --- what there is to sign -------------------------------------------------------------------------------------------

REGIONS: Final = (
    "us-east-1",
    "eu-west-1",
    "ap-southeast-4",
    "cn-north-1",
    "us-gov-west-1",
    "auto",
    "fr-par",
    "us-iso-east-1",
)

text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], min_codepoint=32), min_size=1, max_size=40)
keys = st.one_of(
    text,
    st.text(string.ascii_letters + string.digits + "_-.~/", min_size=1, max_size=40),
    st.sampled_from(
        ["a b", "a+b", "a%2Fb", "//a", "a//b", "a/", "~x", "!*'()", "#?&=;:@$,", '"<>{}|^[]`', "é", "日本", "🎬"]
    ),
)
secrets = st.text(string.ascii_letters + string.digits + "/+", min_size=1, max_size=40)
access_keys = st.text(string.ascii_uppercase + string.digits, min_size=4, max_size=20)
tokens = st.none() | st.text(string.ascii_letters + string.digits + "/+=", min_size=1, max_size=60)
credentials = st.builds(Credentials, access_keys, secrets, tokens)
starts = st.integers(min_value=946_684_800, max_value=4_102_444_799)
lifetimes = st.integers(min_value=1, max_value=604_800)
HOSTS: Final = (
    ("https", "media.s3.eu-west-1.amazonaws.com", "/"),
    ("https", "s3.eu-west-1.amazonaws.com", "/dotted.name/"),
    ("http", "127.0.0.1:9000", "/media/"),
    ("https", "media.localhost:8443", "/"),
    ("https", "s3.dualstack.us-east-1.amazonaws.com", "/Upper_case/"),
    ("https", "gateway.example", "/s3/media/"),
)
header_values = st.text([chr(code) for code in range(32, 127)], min_size=1, max_size=24).map(lambda value: f"a{value}z")
headers = st.dictionaries(
    st.sampled_from(
        [
            "Content-Type", "Content-Length", "Content-MD5", "Cache-Control", "Content-Disposition", "Content-Encoding",
            "If-None-Match", "x-amz-checksum-sha256", "x-amz-checksum-crc32c", "x-amz-meta-owner", "x-amz-meta-a",
            "x-amz-storage-class", "x-amz-server-side-encryption", "x-amz-tagging", "x-amz-acl",
        ]
    ),
    header_values,
    max_size=7,
).map(lambda found: tuple(found.items()))  # fmt: skip
queries = st.dictionaries(
    st.sampled_from(
        [
            "response-content-type", "response-cache-control", "response-content-disposition", "versionId",
            "partNumber", "uploadId", "x-id", "Alpha", "X-Amz-Zz",
        ]
    ),
    text,
    max_size=4,
).map(lambda found: tuple(found.items()))  # fmt: skip
