"""Where a bucket is: every region of every partition, every style and kind of bucket, as botocore's own rules have it."""

from __future__ import annotations

import json
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Final

import botocore
import botocore.loaders
import pytest
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import EndpointProviderError

from blobkit.errors import ConfigError
from blobkit_aws.signing.endpoints import (
    Address,
    Style,
    at_endpoint,
    aws_address,
    express_zone,
    is_host_name,
    parse_arn,
)

ACCOUNT: Final = "123456789012"
ALIAS: Final = "mfzwi23gnjvgw.mrap"


@cache
def rules() -> EndpointProvider:
    loader = botocore.loaders.create_loader()
    return EndpointProvider(loader.load_service_model("s3", "endpoint-rule-set-1"), loader.load_data("partitions"))


def regions() -> list[tuple[str, str]]:
    """Partition and region, all that botocore knows; the pseudo-regions of global services are none."""
    data = json.loads((Path(botocore.__file__).parent / "data" / "partitions.json").read_text())
    return [
        (partition["id"], region)
        for partition in data["partitions"]
        for region in partition["regions"]
        if not region.endswith("-global")
    ]


def theirs(bucket: str, region: str, *, style: Style | None, dual_stack: bool, fips: bool) -> tuple[str, str] | None:
    """Origin and base path by botocore's rules; None for what they refuse."""
    parameters: dict[str, Any] = {
        "Bucket": bucket,
        "Region": region,
        "UseDualStack": dual_stack,
        "UseFIPS": fips,
        "ForcePathStyle": style == "path",
        "UseGlobalEndpoint": False,
        "Accelerate": False,
        "DisableMultiRegionAccessPoints": False,
        "UseArnRegion": True,
    }
    if "--x-s3" in bucket:
        parameters["UseS3ExpressControlEndpoint"] = False
    try:
        url = rules().resolve_endpoint(**parameters).url
    except EndpointProviderError:
        return None
    scheme, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    return f"{scheme}://{host}", f"/{path}/" if path else "/"


def ours(bucket: str, region: str, *, style: Style | None, dual_stack: bool, fips: bool) -> tuple[str, str] | None:
    try:
        address = aws_address(bucket, region, style=style, dual_stack=dual_stack, fips=fips)
    except ConfigError:
        return None
    return address.origin, address.base


@pytest.mark.parametrize("style", [None, "virtual", "path"], ids=["auto", "virtual", "path"])
def test_a_bucket_is_where_botocore_finds_it_in_every_region(style: Style | None) -> None:
    seen = 0
    for (_, region), bucket, dual_stack, fips in product(
        regions(), ("media", "dotted.name"), (False, True), (False, True)
    ):
        if style == "virtual" and bucket == "dotted.name":
            continue  # no certificate covers it: botocore goes back to path style in silence
        case = {"style": style, "dual_stack": dual_stack, "fips": fips}
        assert ours(bucket, region, **case) == theirs(bucket, region, **case), (bucket, region, case)  # type: ignore[arg-type]
        seen += 1
    assert seen > 150


def test_an_access_point_is_where_botocore_finds_it_in_every_region() -> None:
    for (partition, region), dual_stack, fips in product(regions(), (False, True), (False, True)):
        arn = f"arn:{partition}:s3:{region}:{ACCOUNT}:accesspoint/reports"
        case = {"style": None, "dual_stack": dual_stack, "fips": fips}
        assert ours(arn, region, **case) == theirs(arn, region, **case), (arn, case)  # type: ignore[arg-type]


def test_a_directory_bucket_is_where_botocore_finds_it_in_every_region() -> None:
    for (partition, region), dual_stack, fips in product(regions(), (False, True), (False, True)):
        if partition != "aws":
            continue  # there are none elsewhere
        bucket, case = "media--use1-az4--x-s3", {"style": None, "dual_stack": dual_stack, "fips": fips}
        assert ours(bucket, region, **case) == theirs(bucket, region, **case), (region, case)  # type: ignore[arg-type]


@pytest.mark.parametrize(("dual_stack", "fips"), [(False, False), (True, False), (False, True)])
def test_a_multi_region_access_point_is_where_botocore_finds_it(dual_stack: bool, fips: bool) -> None:
    arn, case = f"arn:aws:s3::{ACCOUNT}:accesspoint/{ALIAS}", {"style": None, "dual_stack": dual_stack, "fips": fips}
    assert ours(arn, "us-east-1", **case) == theirs(arn, "us-east-1", **case)  # type: ignore[arg-type]


def test_the_global_host_is_never_signed() -> None:
    for _, region in regions():
        address = aws_address("media", region)
        assert address.host.startswith(f"media.s3.{region}.")


def test_what_does_not_exist_is_refused() -> None:
    point = f"arn:aws:s3:eu-west-1:{ACCOUNT}:accesspoint/reports"
    for bucket, region, style in (
        (point, "eu-west-1", "path"),
        (point, "eu-central-1", None),
        ("media--use1-az4--x-s3", "us-east-1", "path"),
    ):
        with pytest.raises(ConfigError):
            aws_address(bucket, region, style=style)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:s3-outposts:eu-west-1:123456789012:outpost/op-1/accesspoint/a",
        "arn:aws:s3-object-lambda:eu-west-1:123456789012:accesspoint/a",
        "arn:aws:s3:eu-west-1:12345:accesspoint/a",
        "arn:aws:s3::123456789012:accesspoint/no-alias",
        "arn:aws:s3:eu-west-1:123456789012:bucket/a",
        "arn:aws:s3:eu-west-1:123456789012:accesspoint/a\n",
        "arn:",
    ],
)
def test_an_arn_of_something_else_is_refused(arn: str) -> None:
    with pytest.raises(ConfigError):
        parse_arn(arn)


@pytest.mark.parametrize(
    ("endpoint", "bucket", "style", "expected"),
    [
        ("http://127.0.0.1:9000", "media", "path", ("http://127.0.0.1:9000", "/media/")),
        ("http://127.0.0.1:9000", "media", "virtual", ("http://127.0.0.1:9000", "/media/")),
        ("http://[::1]:9000", "media", "virtual", ("http://[::1]:9000", "/media/")),
        ("https://s3.example", "media", "virtual", ("https://media.s3.example", "/")),
        ("https://s3.example:443", "media", "virtual", ("https://media.s3.example", "/")),
        ("http://s3.example:80/", "media", "path", ("http://s3.example", "/media/")),
        ("http://s3.example:443", "media", "path", ("http://s3.example:443", "/media/")),
        ("https://S3.Example:8443/gate/", "media", "path", ("https://s3.example:8443", "/gate/media/")),
        ("https://S3.Example:8443/gate", "media", "virtual", ("https://media.s3.example:8443", "/gate/")),
        ("https://s3.example", "dotted.name", "virtual", ("https://s3.example", "/dotted.name/")),
        ("https://s3.example", "Upper_case", "virtual", ("https://s3.example", "/Upper_case/")),
    ],
)
def test_an_endpoint_of_ones_own_keeps_its_port_and_path(
    endpoint: str, bucket: str, style: Style, expected: tuple[str, str]
) -> None:
    address = at_endpoint(endpoint, bucket, style=style)
    assert (address.origin, address.base) == expected


@pytest.mark.parametrize(
    "endpoint",
    ["s3.example", "ftp://s3.example", "https://", "https://user@s3.example", "https://s3.example/?a=b",
     "https://s3.example/#a", "https://s3.example:port", "https://[::1"],
)  # fmt: skip
def test_what_is_no_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(ConfigError):
        at_endpoint(endpoint, "media", style="path")


def test_a_form_is_posted_to_the_bucket() -> None:
    assert Address("https", "media.s3.eu-west-1.amazonaws.com").form == "https://media.s3.eu-west-1.amazonaws.com/"
    assert Address("http", "127.0.0.1:9000", "/gate/media/").form == "http://127.0.0.1:9000/gate/media"


def test_names_tell_what_kind_of_bucket_it_is() -> None:
    assert express_zone("media--use1-az4--x-s3") == "use1-az4"
    assert express_zone("media--x-s3") is None
    assert express_zone("media") is None
    assert is_host_name("media-1")
    for name in ("dotted.name", "Upper", "under_score", "a", "-a", "a-", "a" * 64):
        assert not is_host_name(name)
