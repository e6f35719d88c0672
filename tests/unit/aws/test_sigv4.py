"""Presigned URLs equal botocore's, byte for byte, and AWS's own worked examples."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.counts import examples
from tests.unit.aws import oracle
from tests.unit.aws.oracle import EXAMPLE

from blobkit_aws.signing.encoding import encode_key
from blobkit_aws.signing.sigv4 import Credentials, QuerySigner, Scope, signed_headers, signing_key

METHODS = ("GET", "HEAD", "PUT", "DELETE")


@settings(max_examples=examples(250))
@given(oracle.credentials, oracle.keys, oracle.starts, oracle.lifetimes, oracle.headers, oracle.queries)
def test_a_presigned_url_is_botocores_byte_for_byte(
    credentials: Credentials,
    key: str,
    start: int,
    lifetime: int,
    headers: tuple[tuple[str, str], ...],
    query: tuple[tuple[str, str], ...],
) -> None:
    """For every host, with every region and method in turn."""
    for number, (scheme, name, base) in enumerate(oracle.HOSTS * 2):
        region, method = oracle.REGIONS[(start + number) % len(oracle.REGIONS)], METHODS[(start + number) % 4]
        signer = QuerySigner(credentials, Scope(region), origin=f"{scheme}://{name}", host=name)
        signed = signed_headers([("host", name), *headers])
        ours = signer.of_path(method, start, lifetime, base=base, headers=signed, query=query).url(encode_key(key))
        url = f"{scheme}://{name}{base}{encode_key(key)}"
        assert ours == oracle.presigned(
            credentials, region, method, url, start=start, lifetime=lifetime, headers=headers, query=query
        )


@settings(max_examples=examples(100))
@given(
    oracle.credentials,
    oracle.keys,
    st.lists(st.integers(min_value=1, max_value=10_000), min_size=1, max_size=5),
    oracle.text,
    oracle.starts,
    oracle.lifetimes,
    st.none() | st.integers(min_value=0, max_value=5 * 2**30),
)
def test_the_url_of_a_part_is_botocores_byte_for_byte(
    credentials: Credentials, key: str, numbers: list[int], upload_id: str, start: int, lifetime: int, size: int | None
) -> None:
    signer = QuerySigner(credentials, Scope("eu-west-1"), origin="https://b.example:8443", host="b.example:8443")
    headers = () if size is None else (("content-length", str(size)),)
    host = ("host", "b.example:8443")
    part = signer.of_part(f"/{encode_key(key)}", upload_id, start, lifetime, headers=signed_headers([host, *headers]))
    for number in numbers:
        assert part.url(number) == oracle.presigned(
            credentials,
            "eu-west-1",
            "PUT",
            f"https://b.example:8443/{encode_key(key)}",
            start=start,
            lifetime=lifetime,
            headers=headers,
            query=(("partNumber", str(number)), ("uploadId", upload_id)),
        )


@settings(max_examples=examples(80))
@given(oracle.credentials, oracle.keys, oracle.starts, st.integers(min_value=1, max_value=300), oracle.headers)
def test_a_url_of_s3_express_is_botocores_byte_for_byte(
    credentials: Credentials, key: str, start: int, lifetime: int, headers: tuple[tuple[str, str], ...]
) -> None:
    host = "media--use1-az4--x-s3.s3express-use1-az4.us-east-1.amazonaws.com"
    signer = QuerySigner(
        credentials,
        Scope("us-east-1", "s3express"),
        origin=f"https://{host}",
        host=host,
        token_name="X-Amz-S3session-Token",
    )
    theirs = oracle.presigned(
        credentials,
        "us-east-1",
        "PUT",
        f"https://{host}/{encode_key(key)}",
        start=start,
        lifetime=lifetime,
        headers=headers,
        service="s3express",
    )
    assert (
        signer.of_path("PUT", start, lifetime, headers=signed_headers([("host", host), *headers])).url(encode_key(key))
        == theirs
    )


def test_the_example_of_the_documentation_has_its_signature() -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html, 24 May 2013."""
    host = "examplebucket.s3.amazonaws.com"
    signer = QuerySigner(EXAMPLE, Scope("us-east-1"), origin=f"https://{host}", host=host)
    assert signer.of_path("GET", 1369353600, 86400).url("test.txt") == (
        "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256"
        "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z"
        "&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )


def test_the_signing_key_of_the_documentation() -> None:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html, 2012-02-15, iam."""
    key = signing_key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "20120215", Scope("us-east-1", "iam"))
    assert key.hex() == "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d"


def test_a_signer_kept_over_midnight_signs_with_the_new_days_key() -> None:
    signer = QuerySigner(EXAMPLE, Scope("us-east-1"), origin="https://b.example", host="b.example")
    for start in (1369353599, 1369353600, 1369353599, 1369439999, 1369440000):
        expected = oracle.presigned(EXAMPLE, "us-east-1", "GET", "https://b.example/k", start=start, lifetime=60)
        assert signer.of_path("GET", start, 60).url("k") == expected


def test_neither_keys_nor_signers_print_their_secrets() -> None:
    credentials = Credentials("AKIA", "very secret", "a token")
    signer = QuerySigner(credentials, Scope("us-east-1"), origin="https://b.example", host="b.example")
    for shown in (repr(credentials), str(credentials), repr(signer), f"{signer}"):
        assert "secret" not in shown
        assert "token" not in shown.replace("token_name", "")
