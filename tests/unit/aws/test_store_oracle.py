"""The public API beside boto3's own clients: the same bucket, keys, time and headers give the same URL, byte for byte.

``test_sigv4`` compares the algorithm; here everything between an option in a store's URL and the signature takes part: hosts,
styles, scopes, the names of headers, what is signed and in which order.
"""

from __future__ import annotations

import base64
import json
import string
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

import boto3
import pytest
from botocore.config import Config
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.counts import examples
from tests.unit.aws import oracle

import blobkit
from blobkit.backend import SessionState
from blobkit.blobs import Checksum
from blobkit.chunking import plan
from blobkit.errors import UnenforceableConstraint
from blobkit.ops import content_disposition
from blobkit.session import UploadSession
from blobkit.store import Store
from blobkit.testing.clock import FakeClock

NOW: Final = datetime(2026, 5, 17, 23, 59, 30, tzinfo=UTC)  # signatures begin a minute earlier, on the same day
EARLY: Final = 60
UPLOAD_ID: Final = "VXBsb2FkIElE/+=_.-~"
KEYS: Final = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCY="}
TOKEN: Final = {"AWS_SESSION_TOKEN": "IQoJb3JpZ2luX2VjEND/////+abc=="}

# A store's bucket and options, and what a boto3 client is told to mean the same.
SITES: Final[Mapping[str, tuple[str, str, dict[str, Any]]]] = {
    "virtual": ("media", "region=eu-west-1", {"region_name": "eu-west-1"}),
    "us-east-1": ("media", "region=us-east-1", {"region_name": "us-east-1"}),
    "path": ("media", "region=eu-west-1&addressing=path", {"region_name": "eu-west-1", "style": "path"}),
    "dotted": ("dotted.name", "region=ap-southeast-4", {"region_name": "ap-southeast-4", "style": "path"}),
    "dual-stack": ("media", "region=us-west-2&dual_stack=true", {"region_name": "us-west-2", "dual": True}),
    "fips": ("media", "region=us-east-2&fips=true", {"region_name": "us-east-2", "fips": True}),
    "both": ("media", "region=ca-central-1&fips=true&dual_stack=true",
             {"region_name": "ca-central-1", "fips": True, "dual": True}),
    "govcloud": ("media", "region=us-gov-west-1", {"region_name": "us-gov-west-1"}),
    "govcloud-fips": ("media", "region=us-gov-east-1&fips=true", {"region_name": "us-gov-east-1", "fips": True}),
    "china": ("media", "region=cn-northwest-1", {"region_name": "cn-northwest-1"}),
    "port": ("media", "endpoint=http://127.0.0.1:9000&profile=minio",
             {"region_name": "us-east-1", "endpoint_url": "http://127.0.0.1:9000", "style": "path"}),
    "own-host": ("media", "endpoint=https://s3.example:8443&profile=custom&region=eu-1&addressing=virtual",
                 {"region_name": "eu-1", "endpoint_url": "https://s3.example:8443"}),
    "own-path": ("media", "endpoint=https://gate.example/s3&profile=ceph&region=default",
                 {"region_name": "default", "endpoint_url": "https://gate.example/s3", "style": "path"}),
    "r2": ("media", "endpoint=https://acc.r2.cloudflarestorage.com&profile=r2",
           {"region_name": "auto", "endpoint_url": "https://acc.r2.cloudflarestorage.com", "style": "path"}),
    "spaces": ("media", "profile=spaces&region=fra1",
               {"region_name": "fra1", "endpoint_url": "https://fra1.digitaloceanspaces.com"}),
    "public": ("media", "endpoint=http://minio:9000&public_endpoint=https://files.example&profile=minio",
               {"region_name": "us-east-1", "endpoint_url": "https://files.example", "style": "path"}),
    "access-point": ("arn:aws:s3:eu-central-1:123456789012:accesspoint/reports", "region=eu-central-1",
                     {"region_name": "eu-central-1"}),
}  # fmt: skip


@cache
def store(site: str, *, token: bool = False, more: str = "") -> Store:
    bucket, options, _ = SITES[site]
    given = {"provider": "s3", "bucket": bucket, **dict(pair.split("=", 1) for pair in (options + more).split("&"))}
    env = {**KEYS, **(TOKEN if token else {})}
    return blobkit.open_store(given, clock=FakeClock(NOW), env=env)


@cache
def client(site: str, *, token: bool = False) -> Any:
    told = dict(SITES[site][2])
    config = Config(
        signature_version="s3v4",
        use_dualstack_endpoint=told.pop("dual", None),
        use_fips_endpoint=told.pop("fips", None),
        s3={"addressing_style": told.pop("style", "virtual"), "us_east_1_regional_endpoint": "regional"},
    )
    return boto3.client(
        "s3",
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=TOKEN["AWS_SESSION_TOKEN"] if token else None,
        config=config,
        **told,
    )


def presigned(site: str, token: bool, verb: str, params: dict[str, Any], life: int, method: str | None = None) -> str:
    """boto3's URL, as of the time at which ours begins."""
    with oracle.at(int(NOW.timestamp()) - EARLY):
        url = client(site, token=token).generate_presigned_url(
            verb, {"Bucket": SITES[site][0], **params}, ExpiresIn=life + EARLY, HttpMethod=method
        )
    return str(url)


word = st.text(string.ascii_letters + string.digits + "-_.=;", min_size=1, max_size=20)
words = st.tuples(word, word).map(" ".join) | word
names = st.text(string.ascii_lowercase + "_0123456789", max_size=8).map(lambda text: f"m{text}")
keys = oracle.keys.filter(
    lambda key: not any(ord(c) < 32 or ord(c) == 127 for c in key) and not set(key.split("/")) & {".", ".."}
).filter(lambda key: not any("\ud800" <= c <= "\udfff" or "\x80" <= c < "\xa0" for c in key))
lives = st.integers(min_value=1, max_value=604_800 - EARLY)
checksums = st.sampled_from(["md5", "sha256", "crc32c", "sha1", "crc32"]).map(lambda name: Checksum.of(name, b"data"))
specs = st.fixed_dictionaries(
    {},
    optional={
        "content_type": st.sampled_from(["image/png", "text/plain; charset=utf-8", "application/vnd.a+json"]),
        "size": st.integers(min_value=0, max_value=5 * 2**30),
        "metadata": st.dictionaries(names, words, max_size=3),
        "cache_control": words,
        "content_disposition": words,
        "content_encoding": word,
    },
)
PARAMS: Final = {
    "content_type": "ContentType",
    "size": "ContentLength",
    "metadata": "Metadata",
    "cache_control": "CacheControl",
    "content_disposition": "ContentDisposition",
    "content_encoding": "ContentEncoding",
}


@settings(max_examples=examples(80))
@given(st.booleans(), keys, specs, lives)
def test_an_upload_is_boto3s_byte_for_byte(token: bool, key: str, spec: dict[str, Any], life: int) -> None:
    params = {"Key": key, **{PARAMS[name]: value for name, value in spec.items()}}
    for site in SITES:
        ours = store(site, token=token).sign_upload(key, expires_in=timedelta(seconds=life), **spec)
        assert ours.method == "PUT"
        assert ours.url.reveal() == presigned(site, token, "put_object", params, life), site
        assert ours.expires_at == NOW + timedelta(seconds=life)


@settings(max_examples=examples(100))
@given(st.booleans(), keys, checksums, st.booleans(), st.sampled_from([None, "STANDARD_IA", "GLACIER_IR"]), lives)
def test_conditions_checksums_and_classes_are_signed_as_boto3_signs_them(
    token: bool, key: str, checksum: Checksum, absent: bool, storage_class: str | None, life: int
) -> None:
    more = "&sse=aws:kms&sse_kms_key_id=arn:aws:kms:eu-west-1:123456789012:key/1&acl=private&tagging=a=1%26b%20c=%C3%BC"
    ours = store("virtual", token=token, more=more).sign_upload(
        key, checksum=checksum, if_absent=absent, storage_class=storage_class, expires_in=timedelta(seconds=life)
    )
    name = "ContentMD5" if checksum.algorithm == "md5" else f"Checksum{checksum.algorithm.upper()}"
    params: dict[str, Any] = {
        "Key": key,
        name: checksum.base64,
        "ServerSideEncryption": "aws:kms",
        "SSEKMSKeyId": "arn:aws:kms:eu-west-1:123456789012:key/1",
        "ACL": "private",
        "Tagging": ours.headers["x-amz-tagging"],
    }
    if absent:
        params["IfNoneMatch"] = "*"
    if storage_class is not None:
        params["StorageClass"] = storage_class
    assert ours.url.reveal() == presigned("virtual", token, "put_object", params, life)
    assert {header.lower() for header in ours.headers} | {"host"} == names_signed(ours)


@settings(max_examples=examples(60))
@given(
    st.booleans(),
    keys,
    lives,
    st.sampled_from(["GET", "HEAD"]),
    st.fixed_dictionaries(
        {},
        optional={
            "content_type": st.sampled_from(["image/png", "text/plain; charset=utf-8"]),
            "cache_control": words,
            "filename": st.sampled_from(["a.pdf", "é 1.pdf", 'q"uote.pdf', "日本.txt", "a;b,c.txt"]),
            "disposition": st.sampled_from(["inline", "attachment"]),
        },
    ),
)
def test_a_download_is_boto3s_byte_for_byte(
    token: bool, key: str, life: int, method: Any, overrides: dict[str, Any]
) -> None:
    params: dict[str, Any] = {"Key": key}
    # the order of our query is that of boto3's model, not of its arguments
    if "cache_control" in overrides:
        params["ResponseCacheControl"] = overrides["cache_control"]
    if "filename" in overrides or "disposition" in overrides:
        params["ResponseContentDisposition"] = content_disposition(
            overrides.get("disposition", "attachment"), overrides.get("filename")
        )
    if "content_type" in overrides:
        params["ResponseContentType"] = overrides["content_type"]
    verb = "get_object" if method == "GET" else "head_object"
    for site in SITES:
        signer = store(site, token=token)
        ours = signer.sign_download(key, method=method, expires_in=timedelta(seconds=life), **overrides)
        assert ours.url.reveal() == presigned(site, token, verb, params, life), site


@settings(max_examples=examples(20))
@given(keys, lives)
def test_a_delete_is_boto3s_byte_for_byte(key: str, life: int) -> None:
    for site in SITES:
        ours = store(site).sign_delete(key, expires_in=timedelta(seconds=life))
        assert ours.url.reveal() == presigned(site, False, "delete_object", {"Key": key}, life), site


def test_a_version_is_boto3s_byte_for_byte() -> None:
    versioned = store("virtual", more="&versioning=on")
    ours = versioned.sign_download("k", version="3sL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY", expires_in=timedelta(seconds=60))
    params = {"Key": "k", "VersionId": "3sL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY"}
    assert ours.url.reveal() == presigned("virtual", False, "get_object", params, 60)


# Where forms are refused, or not known to work: boto3 makes none for an access point either.
FORMLESS: Final = ("r2", "own-host", "spaces", "access-point")
form_keys = keys.filter(lambda key: "${filename}" not in key)


@settings(max_examples=examples(100))
@given(
    st.sampled_from([name for name in sorted(SITES) if name not in FORMLESS]),
    st.booleans(),
    form_keys,
    st.fixed_dictionaries(
        {}, optional={"content_type": st.just("image/png"), "metadata": st.dictionaries(names, words, max_size=2)}
    ),
    st.integers(min_value=0, max_value=10),
    st.integers(min_value=11, max_value=2**32),
    lives,
)
def test_a_form_is_boto3s_byte_for_byte(
    site: str, token: bool, key: str, spec: dict[str, Any], low: int, high: int, life: int
) -> None:
    ours = store(site, token=token).sign_upload(
        key, min_size=low, max_size=high, expires_in=timedelta(seconds=life), **spec
    )
    assert ours.method == "POST"
    assert ours.fields is not None
    fields = {"Content-Type": spec["content_type"]} if "content_type" in spec else {}
    fields |= {f"x-amz-meta-{name}": value for name, value in sorted(spec.get("metadata", {}).items())}
    with oracle.at(int(NOW.timestamp()) - EARLY), pytest.MonkeyPatch.context() as patch:
        # boto3 counts the life of a form from its clock: the one of the signature
        patch.setattr("botocore.signers.get_current_datetime", lambda **_: NOW.replace(tzinfo=None), raising=False)
        theirs = client(site, token=token).generate_presigned_post(
            SITES[site][0],
            key,
            Fields=dict(fields),
            Conditions=[{name: value} for name, value in fields.items()] + [["content-length-range", low, high]],
            ExpiresIn=life,
        )
    assert ours.url.reveal() == theirs["url"]
    assert set(ours.fields) == set(theirs["fields"])
    unsigned = {name: value for name, value in ours.fields.items() if name not in ("policy", "x-amz-signature")}
    assert unsigned == {n: v for n, v in theirs["fields"].items() if n not in ("policy", "x-amz-signature")}
    assert demands(ours.fields["policy"]) == demands(theirs["fields"]["policy"])


@pytest.mark.parametrize("site", FORMLESS)
def test_no_form_is_made_where_none_is_known_to_work(site: str) -> None:
    with pytest.raises(UnenforceableConstraint) as refusal:
        store(site).sign_upload("k", max_size=5)
    assert refusal.value.alternatives


def demands(policy: str) -> tuple[str, list[str]]:
    """A policy's expiration, and its conditions in no order: boto3 puts bucket and key elsewhere."""
    document = json.loads(base64.b64decode(policy))
    return document["expiration"], sorted(map(json.dumps, document["conditions"]))


@settings(max_examples=examples(20))
@given(st.booleans(), keys, st.integers(min_value=1, max_value=4), lives)
def test_a_chunk_is_boto3s_byte_for_byte(token: bool, key: str, number: int, life: int) -> None:
    size, digest = 3 * 16 * blobkit.MiB + 5, Checksum.of("md5", b"data")
    for site in SITES:
        signer = store(site, token=token)
        session = session_on(signer, key, size)
        params: dict[str, Any] = {"Key": key, "PartNumber": number, "UploadId": UPLOAD_ID}
        params["ContentLength"] = session.chunks.chunk(number).size
        (ours,) = session.sign_chunks([number], expires_in=timedelta(seconds=life))
        assert ours.url.reveal() == presigned(site, token, "upload_part", params, life), site
        if signer.capabilities.has("chunk_checksums"):
            (ours,) = session.sign_chunks([number], expires_in=timedelta(seconds=life), checksums={number: digest})
            params["ContentMD5"] = digest.base64
            assert dict(ours.headers) == {"content-md5": digest.base64}
            assert ours.url.reveal() == presigned(site, token, "upload_part", params, life), site


def session_on(signer: Store, key: str, size: int) -> UploadSession:
    """A session as a token gives it back: nobody has to be asked."""
    state = SessionState(
        key=key,
        spec=blobkit.UploadSpec(size=size),
        plan=plan(size, signer.capabilities.limits.chunks),
        upload_id="0" * 32,
        provider_id=UPLOAD_ID,
        started=NOW,
    )
    return UploadSession(signer._calls, state, target=key, if_absent=False, staged=False, owner="")


def test_a_batch_is_the_same_as_one_by_one() -> None:
    life, spec = timedelta(minutes=5), blobkit.UploadSpec(content_type="image/png", size=5)
    signer = store("virtual")
    batch = signer.sign_uploads(["a b", "é", ("c", blobkit.UploadSpec(max_size=5)), "d"], spec=spec, expires_in=life)
    singles = [
        signer.sign_upload("a b", spec=spec, expires_in=life),
        signer.sign_upload("é", spec=spec, expires_in=life),
        signer.sign_upload("c", max_size=5, expires_in=life),
        signer.sign_upload("d", spec=spec, expires_in=life),
    ]
    assert [request.as_dict() for request in batch] == [request.as_dict() for request in singles]


@settings(max_examples=examples(60))
@given(keys, specs, st.none() | checksums, st.booleans(), lives)
def test_keywords_a_reused_spec_and_a_batch_are_signed_alike(
    key: str, given: dict[str, Any], checksum: Checksum | None, absent: bool, life: int
) -> None:
    given |= {"checksum": checksum, "if_absent": absent}
    signer, expires_in = store("virtual", more="&sse=AES256&acl=private"), timedelta(seconds=life)
    spec = blobkit.UploadSpec(**given)
    first = signer.sign_upload(key, **given, expires_in=expires_in)
    reused = [signer.sign_upload(key, spec=spec, expires_in=expires_in) for _ in range(2)]
    batch = signer.sign_uploads([key, ("other", blobkit.UploadSpec()), key], spec=spec, expires_in=expires_in)
    assert [request.as_dict() for request in (*reused, batch[0], batch[2])] == [first.as_dict()] * 4
    assert [request.spec for request in (first, *reused, batch[2])] == [spec] * 4
    assert set(first.headers) | {"host"} == names_signed(first) - {"content-length"}


def names_signed(request: blobkit.SignedRequest) -> set[str]:
    return set(request.url.reveal().partition("SignedHeaders=")[2].partition("&")[0].split("%3B"))


def test_the_longest_life_is_not_backdated_past_seven_days() -> None:
    url = store("virtual").sign_download("k", expires_in=timedelta(days=7)).url.reveal()
    assert "X-Amz-Expires=604800&" in url
    assert "X-Amz-Date=20260517T235930Z" in url
    url = store("virtual").sign_download("k", expires_in=timedelta(days=7, seconds=-10)).url.reveal()
    assert "X-Amz-Expires=604800&" in url
    assert "X-Amz-Date=20260517T235920Z" in url
