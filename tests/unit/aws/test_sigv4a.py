"""Multi-Region Access Points: the documented key, and signatures that the public key, and AWS's own runtime, agree with."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import botocore.crt.auth
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.counts import examples
from tests.unit.aws import oracle

from blobkit_aws.signing.encoding import encode_key, encode_query
from blobkit_aws.signing.sigv4 import Credentials, signed_headers
from blobkit_aws.signing.sigv4a import AsymmetricSigner, derive_private_key, string_to_sign

HOST = "mfzwi23gnjvgw.mrap.accesspoint.s3-global.amazonaws.com"
SUITE = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")


def verify(credentials: Credentials, method: str, url: str, headers: dict[str, str]) -> None:
    """Check a URL as the service would: rebuild what was signed from the URL alone, and verify with the public key."""
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    signature = bytes.fromhex(dict(pairs)["X-Amz-Signature"])
    rest = [pair for pair in pairs if pair[0] != "X-Amz-Signature"]
    query = "&".join(sorted((encode_query([pair]) for pair in rest), key=lambda pair: pair.split("=", 1)))
    names = dict(pairs)["X-Amz-SignedHeaders"]
    values = {"host": parts.netloc, **{name.lower(): " ".join(value.split()) for name, value in headers.items()}}
    lines = "".join(f"{name}:{values[name]}\n" for name in names.split(";"))
    canonical = f"{method}\n{parts.path}\n{query}\n{lines}\n{names}\nUNSIGNED-PAYLOAD"
    text = string_to_sign(dict(pairs)["X-Amz-Date"], canonical)
    public = derive_private_key(credentials.access_key, credentials.secret_key).public_key()
    public.verify(signature, text.encode(), ec.ECDSA(hashes.SHA256()))


def test_the_documented_secret_gives_the_documented_key() -> None:
    """The vectors of AWS's Signature Version 4A test suite."""
    private = derive_private_key(SUITE.access_key, SUITE.secret_key)
    assert private.private_numbers().private_value == 0x7EFC8C0E65A324242818C5A50C891C6060B6A00717B7BA3CBE3C5D765BE9259C
    assert private.public_key().public_numbers().x == 0xB6618F6A65740A99E650B33B6B4B5BD0D43B176D721A3EDFEA7E7D2D56D936B1


@settings(max_examples=examples(60))
@given(oracle.credentials, oracle.keys, oracle.starts, oracle.lifetimes, oracle.headers, oracle.queries)
def test_the_public_key_verifies_every_url(
    credentials: Credentials,
    key: str,
    start: int,
    lifetime: int,
    headers: tuple[tuple[str, str], ...],
    query: tuple[tuple[str, str], ...],
) -> None:
    signer = AsymmetricSigner(credentials, origin=f"https://{HOST}", host=HOST)
    signed = signed_headers([("host", HOST), *headers])
    url = signer.of_path("PUT", start, lifetime, headers=signed, query=query).url(encode_key(key))
    verify(credentials, "PUT", url, dict(headers))
    with pytest.raises(InvalidSignature):
        verify(credentials, "GET", url, dict(headers))
    assert url == signer.of_path("PUT", start, lifetime, headers=signed, query=query).url(encode_key(key))


@settings(max_examples=examples(40))
@given(oracle.credentials, oracle.keys, oracle.lifetimes, st.integers(min_value=1_700_000_000, max_value=1_800_000_000))
def test_a_url_of_the_common_runtime_verifies_as_ours_does(
    credentials: Credentials, key: str, lifetime: int, start: int
) -> None:
    """botocore signs through the AWS Common Runtime; its signature verifies only if both sign the same text."""
    from datetime import UTC, datetime
    from unittest import mock

    from botocore.awsrequest import AWSRequest

    request = AWSRequest(method="GET", url=f"https://{HOST}/{encode_key(key)}")
    with mock.patch.object(botocore.crt.auth, "get_current_datetime", return_value=datetime.fromtimestamp(start, UTC)):
        botocore.crt.auth.CrtS3SigV4AsymQueryAuth(oracle.boto(credentials), "s3", "*", expires=lifetime).add_auth(
            request
        )
    theirs = str(request.url)
    verify(credentials, "GET", theirs, {})
    signer = AsymmetricSigner(credentials, origin=f"https://{HOST}", host=HOST)
    ours = signer.of_path("GET", start, lifetime).url(encode_key(key))
    without = [sorted(p for p in parse_qsl(urlsplit(url).query) if p[0] != "X-Amz-Signature") for url in (ours, theirs)]
    assert without[0] == without[1]
