"""Profiles: every cell is what the vendor documents, or unknown; unknown raises until the user asserts it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from datetime import timedelta

import pytest

import blobkit
from blobkit.backend import Feature
from blobkit.blobs import Checksum
from blobkit.errors import ConfigError, InvalidArgument, InvalidChunk, UnenforceableConstraint, Unsupported
from blobkit.store import Store
from blobkit_aws.profiles import ACCESS_POINT, EXPRESS, MULTI_REGION, PROFILES, Profile

ENV = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
TiB, GiB = 2**40, 2**30
NAMES = ["aws", "minio", "ceph", "r2", "b2", "spaces", "wasabi", "gcs-interop", "hetzner", "localstack", "custom"]


def opened(profile: str, more: str = "") -> Store:
    needs = {"minio", "ceph", "custom"}
    endpoint = "&endpoint=https://s3.example" if profile in needs else ""
    endpoint = "&endpoint=https://acc.r2.cloudflarestorage.com" if profile == "r2" else endpoint
    region = "" if profile in {*needs, "r2", "gcs-interop", "localstack"} else "&region=eu-central-1"
    return blobkit.open_store(f"s3://media/?profile={profile}{endpoint}{region}{more}", env=ENV)


def test_every_profile_of_the_issue_is_there_and_opens() -> None:
    assert list(PROFILES) == NAMES
    for name in NAMES:
        store = opened(name)
        assert store.sign_download("k").url.reveal().startswith("http")


def test_no_code_asks_for_a_profiles_name() -> None:
    """Data, not code paths."""
    from pathlib import Path

    import blobkit_aws

    for path in Path(blobkit_aws.__file__).parent.rglob("*.py"):
        if path.name in ("profiles.py", "config.py") or path.parent.name == "events":
            continue  # an event's dialect is its own matter
        text = path.read_text()
        assert "profile.name" not in text, path
        for name in NAMES[1:-1]:
            assert f'"{name}"' not in text, (path, name)


CALLS: dict[str, tuple[Callable[[Store], object], str | None]] = {
    "put_if_absent": (lambda store: store.sign_upload("k", if_absent=True), "put.if_absent"),
    "form": (lambda store: store.sign_upload("k", max_size=5), "post.size_range,sign_form"),
    "commit_if_absent": (lambda store: store.start_upload("k", size=1, if_absent=True), None),
    "if_match": (lambda store: store.write("k", b"", if_match=blobkit.Pin(etag="e")), None),
    "storage_class": (lambda store: store.sign_upload("k", storage_class="STANDARD"), "put.storage_class"),
}
UNKNOWN = [
    (name, cell.name)
    for name, profile in PROFILES.items()
    for cell in fields(Profile)
    if getattr(profile, cell.name) is None and cell.name in CALLS
]


@pytest.mark.parametrize(("name", "cell"), UNKNOWN)
def test_what_nobody_knows_raises_until_it_is_asserted(name: str, cell: str) -> None:
    call, assertion = CALLS[cell]
    with pytest.raises(Unsupported) as refusal:
        call(opened(name))
    assert "known" in str(refusal.value) or refusal.value.hint
    if assertion is not None:
        call(opened(name, f"&assert={assertion}"))


def test_what_is_known_not_to_be_there_cannot_be_asserted() -> None:
    for name, assertion in (
        ("r2", "sign_form"),
        ("b2", "sign_form"),
        ("ceph", "copy_if_absent"),
        ("aws", "put.size_range"),
    ):
        with pytest.raises(ConfigError, match="known not to have"):
            opened(name, f"&assert={assertion}")


def test_r2_has_no_forms_and_equal_parts() -> None:
    store = opened("r2")
    with pytest.raises(UnenforceableConstraint) as refusal:
        store.sign_upload("k", max_size=5)
    assert any("verify_after" in way for way in refusal.value.alternatives)
    assert store.sign_upload("k", max_size=5, verify_after={"size_range"}).method == "PUT"  # type: ignore[arg-type]
    limits = store.capabilities.limits
    assert limits.chunks.equal
    assert limits.chunks.max_object == 5 * TiB - 5 * GiB
    from blobkit.chunking import plan

    for size, most in ((None, None), (None, 10**12), (3 * GiB + 1, None)):
        cut = plan(size, limits.chunks, max_size=most)
        assert {chunk.size for chunk in list(cut[:50])[:-1]} == {cut.chunk_size}
    assert "/auto/s3/" in store.sign_download("k").url.reveal().replace("%2F", "/")
    with pytest.raises(Unsupported):
        store.sign_download("k", version="v")


def test_the_host_that_is_signed_is_the_public_one_and_only_where_signatures_are_known() -> None:
    inside = "s3://media/?profile=minio&endpoint=http://minio:9000"
    with blobkit.open_store(inside + "&public_endpoint=https://files.example", env=ENV) as store:
        assert store.sign_download("k").url.reveal().startswith("https://files.example/media/k?")
        form = store.sign_upload("k", max_size=5)
        assert form.url.reveal() == "https://files.example/media"
        from blobkit_aws import client

        assert client(store).meta.endpoint_url == "http://minio:9000"
    r2 = "s3://media/?profile=r2&endpoint=https://acc.r2.cloudflarestorage.com&public_endpoint="
    blobkit.open_store(r2 + "https://acc.eu.r2.cloudflarestorage.com", env=ENV).close()
    for wrong in ("https://files.example", "https://pub-1.r2.dev"):
        with pytest.raises(ConfigError, match=r"r2\.cloudflarestorage\.com"):
            blobkit.open_store(r2 + wrong, env=ENV)
    spaces = "s3://media/?profile=spaces&region=fra1&public_endpoint="
    blobkit.open_store(spaces + "https://fra1.digitaloceanspaces.com", env=ENV).close()
    with pytest.raises(ConfigError):
        blobkit.open_store(spaces + "https://fra1.cdn.digitaloceanspaces.com", env=ENV)


@pytest.mark.parametrize("name", NAMES)
def test_a_checksum_that_the_service_does_not_compare_is_refused_or_unknown(name: str) -> None:
    store, known = opened(name), PROFILES[name].put_checksums
    for algorithm in ("md5", "sha256", "crc32c"):
        checksum = Checksum(algorithm, bytes({"md5": 16, "sha256": 32, "crc32c": 4}[algorithm]))
        if known is not None and algorithm in known:
            assert any(
                "md5" in header or "checksum" in header for header in store.sign_upload("k", checksum=checksum).headers
            )
        else:
            with pytest.raises(UnenforceableConstraint):
                store.sign_upload("k", checksum=checksum)
        assert store.sign_upload("k").headers == {}, "and none is ever added"


@pytest.mark.parametrize("name", NAMES)
def test_a_life_beyond_the_longest_is_refused(name: str) -> None:
    store = opened(name)
    store.sign_download("k", expires_in=timedelta(seconds=PROFILES[name].max_life))
    store.sign_download("k", expires_in=timedelta(seconds=1))
    for seconds in (PROFILES[name].max_life + 1, 0):
        with pytest.raises(blobkit.InvalidExpiry):
            store.sign_download("k", expires_in=timedelta(seconds=seconds))


def test_limits_of_single_requests_and_chunks() -> None:
    assert opened("aws").capabilities.limits.chunks.max_object == 10_000 * 5 * GiB
    assert opened("b2").capabilities.limits.max_put == 5 * 10**9
    assert opened("gcs-interop").capabilities.limits.max_copy == 5 * GiB
    with pytest.raises(InvalidChunk):
        opened("aws").start_upload("k", size=100 * GiB, chunk_size=2**20)
    with pytest.raises(InvalidArgument):
        opened("aws").start_upload("k", size=10_000 * 5 * GiB + 1)


def test_special_buckets_of_aws_have_capabilities_of_their_own() -> None:
    express = blobkit.open_store("s3://media--use1-az4--x-s3/?region=us-east-1", env=ENV).capabilities
    assert express.limits.max_expiry == timedelta(minutes=5)
    assert not express.has(Feature.ORDERED_LIST)
    assert not express.has(Feature.START_AFTER)
    assert not express.has(Feature.VERSIONS)
    assert EXPRESS.form is None
    arn = "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap"
    many = blobkit.open_store({"provider": "s3", "bucket": arn}, env=ENV)
    assert MULTI_REGION.form is False
    with pytest.raises(UnenforceableConstraint):
        many.sign_upload("k", max_size=5)
    url = many.sign_upload("k", content_type="image/png").url.reveal()
    assert url.startswith("https://mfzwi23gnjvgw.mrap.accesspoint.s3-global.amazonaws.com/k?")
    assert "X-Amz-Algorithm=AWS4-ECDSA-P256-SHA256&" in url
    assert "X-Amz-Region-Set=%2A" in url
    assert ACCESS_POINT.form is None


def test_conditions_are_not_promised_where_versions_switch_them_off() -> None:
    """Ceph ignores them in silence there."""
    assert opened("ceph", "&versioning=off").sign_upload("k", if_absent=True).headers == {"if-none-match": "*"}
    for more in ("", "&versioning=on"):
        with pytest.raises(Unsupported):
            opened("ceph", more).sign_upload("k", if_absent=True)


def test_an_endpoint_that_is_not_awss_is_of_nobody_we_know() -> None:
    store = blobkit.open_store("s3://media/?endpoint=https://s3.example&region=eu-1", env=ENV)
    assert store.capabilities.features[Feature.IF_ABSENT] is None
    aws = "s3://media/?endpoint=https://bucket.vpce-1.s3.eu-west-1.vpce.amazonaws.com&region=eu-west-1"
    assert blobkit.open_store(aws, env=ENV).capabilities.has(Feature.IF_ABSENT)
    from_env = {**ENV, "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9000", "AWS_REGION": "us-east-1"}
    url = blobkit.open_store("s3://media/", env=from_env).sign_download("k").url.reveal()
    assert url.startswith("http://127.0.0.1:9000/media/k?")
