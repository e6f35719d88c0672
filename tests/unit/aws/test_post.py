"""Form uploads equal botocore's, byte for byte, and AWS's own worked example."""

from __future__ import annotations

import base64
import json

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.counts import examples
from tests.unit.aws import oracle
from tests.unit.aws.oracle import EXAMPLE

from blobkit_aws.signing.post import Condition, iso, sign_policy
from blobkit_aws.signing.sigv4 import Credentials, Scope, hmac_sha256, signing_key

fields = st.dictionaries(
    st.sampled_from(
        ["key", "Content-Type", "x-amz-meta-owner", "Cache-Control", "Content-MD5", "x-amz-checksum-sha256"]
    ),
    oracle.text,
    max_size=5,
)


@settings(max_examples=examples(100))
@given(
    oracle.credentials,
    oracle.starts,
    fields,
    st.integers(min_value=0, max_value=2**40),
    st.booleans(),
)
def test_a_form_is_botocores_byte_for_byte(
    credentials: Credentials, start: int, sent: dict[str, str], most: int, express: bool
) -> None:
    conditions: list[Condition] = [
        {"bucket": "media"},
        *({name: value} for name, value in sent.items()),
        ["content-length-range", 0, most],
    ]
    for region in oracle.REGIONS:
        scope = Scope(region, "s3express" if express else "s3")
        token_name = "X-Amz-S3session-Token" if express else "x-amz-security-token"
        ours = sign_policy(
            credentials,
            scope,
            start=start,
            expiration=iso(start + 60),
            fields=sent,
            conditions=conditions,
            token_name=token_name,
        )
        theirs = oracle.form(
            credentials,
            region,
            start=start,
            expiration=iso(start + 60),
            fields=sent,
            conditions=conditions,
            express=express,
        )
        assert list(ours.items()) == list(theirs.items())


def test_every_field_that_is_sent_stands_in_the_policy() -> None:
    made = sign_policy(
        Credentials("AK", "SK", "T"),
        Scope("us-east-1"),
        start=0,
        expiration=iso(60),
        fields={"key": "a"},
        conditions=[{"key": "a"}],
    )
    policy = json.loads(base64.b64decode(made["policy"]))
    named = {name for condition in policy["conditions"] for name in condition}
    assert set(made) - named == {"policy", "x-amz-signature"}


def test_the_example_of_the_documentation_has_its_signature() -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-post-example.html: the policy as it stands there, CRLF lines."""
    policy = """\
{ "expiration": "2015-12-30T12:00:00.000Z",
  "conditions": [
    {"bucket": "sigv4examplebucket"},
    ["starts-with", "$key", "user/user1/"],
    {"acl": "public-read"},
    {"success_action_redirect": "http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html"},
    ["starts-with", "$Content-Type", "image/"],
    {"x-amz-meta-uuid": "14365123651274"},
    {"x-amz-server-side-encryption": "AES256"},
    ["starts-with", "$x-amz-meta-tag", ""],

    {"x-amz-credential": "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request"},
    {"x-amz-algorithm": "AWS4-HMAC-SHA256"},
    {"x-amz-date": "20151229T000000Z" }
  ]
}""".replace("\n", "\r\n")
    key = signing_key(EXAMPLE.secret_key, "20151229", Scope("us-east-1"))
    signature = hmac_sha256(key, base64.b64encode(policy.encode()).decode()).hex()
    assert signature == "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e"
