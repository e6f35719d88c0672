"""Where a bucket is: scheme, Host header and the start of the path. Pure.

The host is part of every signature, so it has to be the one that clients will call: the regional one, never the global
``bucket.s3.amazonaws.com`` that redirects. https://docs.aws.amazon.com/general/latest/gr/s3.html and
https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

from blobkit.errors import ConfigError
from blobkit_aws.signing.encoding import encode_value

__all__ = [
    "Address",
    "Arn",
    "Style",
    "at_endpoint",
    "aws_address",
    "check_region",
    "express_zone",
    "is_host_name",
    "parse_arn",
]

Style = Literal["virtual", "path"]

# The DNS suffix of each partition by the start of its regions. (botocore's endpoint rules say the same, and a test compares.)
_PARTITIONS: Final = (
    ("cn-", "amazonaws.com.cn"),
    ("us-gov-", "amazonaws.com"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("us-isof-", "csp.hci.ic.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
    ("us-iso-", "c2s.ic.gov"),
    ("eusc-", "amazonaws.eu"),
    ("", "amazonaws.com"),
)
_NO_FIPS: Final = ("cn-",)
_HOST_NAME: Final = re.compile(r"[a-z0-9][a-z0-9\-]{1,61}[a-z0-9]\Z").match
_REGION: Final = re.compile(r"[a-z0-9](?:[a-z0-9\-]{0,61}[a-z0-9])?\Z").match
_ARN: Final = re.compile(
    r"arn:(?P<partition>aws[a-z\-]*):s3:(?P<region>[a-z0-9\-]*):(?P<account>\d{12}):accesspoint[:/](?P<name>[A-Za-z0-9.\-]+)\Z"
)
_EXPRESS: Final = re.compile(r".+--(?P<zone>[a-z0-9]+-[a-z0-9\-]+)--x-s3\Z")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a bucket is.

    Attributes:
        scheme: ``https`` or ``http``.
        host: The Host header: lower-case, with the port unless it is the scheme's own.
        base: What every object's path starts with: ``/``, or ``/bucket/`` in path style, after the endpoint's own path.
    """

    scheme: str
    host: str
    base: str = "/"

    @property
    def origin(self) -> str:
        """``scheme://host[:port]``."""
        return f"{self.scheme}://{self.host}"

    @property
    def form(self) -> str:
        """The URL that form uploads are posted to: the bucket's."""
        return self.origin + (self.base if self.base == "/" else self.base.rstrip("/"))


@dataclass(frozen=True, slots=True)
class Arn:
    """An access point's ARN. ``region`` is empty for a Multi-Region Access Point, whose alias ends in ``.mrap``."""

    partition: str
    region: str
    account: str
    name: str

    @property
    def multi_region(self) -> bool:
        """Whether it is a Multi-Region Access Point."""
        return not self.region


def parse_arn(bucket: str) -> Arn | None:
    """The ARN that stands where a bucket's name is expected; None for a name.

    Raises:
        ConfigError: An ARN of something else (Outposts, Object Lambda), or one that is not well formed.
    """
    if not bucket.startswith("arn:"):
        return None
    found = _ARN.match(bucket)
    if found is None or (not found["region"] and not found["name"].endswith(".mrap")):
        raise ConfigError(
            f"not the ARN of an access point: {bucket!r}",
            hint="arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME, or arn:aws:s3::ACCOUNT:accesspoint/ALIAS.mrap",
        )
    return Arn(found["partition"], found["region"], found["account"], found["name"])


def express_zone(bucket: str) -> str | None:
    """The availability zone in a directory bucket's name (``name--usw2-az1--x-s3``); None for other buckets."""
    found = _EXPRESS.match(bucket)
    return None if found is None else found["zone"]


def is_host_name(bucket: str) -> bool:
    """Whether the bucket's name can be a label of a TLS host: without dots, upper case and underscores."""
    return _HOST_NAME(bucket) is not None


def check_region(region: str) -> str:
    """The region, if it can be part of a host name. Raises ConfigError."""
    if not _REGION(region):
        raise ConfigError(f"not a region: {region!r}")
    return region


def aws_address(
    bucket: str, region: str, *, style: Style | None = None, dual_stack: bool = False, fips: bool = False
) -> Address:
    """Where AWS has a bucket, an access point, or a directory bucket.

    Args:
        bucket: The bucket's name, or an access point's ARN.
        region: The bucket's region.
        style: None: virtual-host style where the name allows it.
        dual_stack: The hosts that also have IPv6 addresses.
        fips: The FIPS 140 endpoints.

    Raises:
        ConfigError: What does not exist: FIPS in China, path style for access points.
    """
    suffix = _suffix(region, fips)
    stack, fips_mark = (".dualstack" if dual_stack else ""), ("-fips" if fips else "")
    if arn := parse_arn(bucket):
        if style == "path":
            raise ConfigError("an access point has no path-style address")
        if arn.multi_region:
            if fips or dual_stack:
                raise ConfigError("a Multi-Region Access Point has neither FIPS nor dual-stack endpoints")
            return Address("https", f"{arn.name}.accesspoint.s3-global.{suffix}")
        if arn.region != region:
            raise ConfigError(f"the access point is in {arn.region}, not in {region}", hint=f"?region={arn.region}")
        return Address("https", f"{arn.name}-{arn.account}.s3-accesspoint{fips_mark}{stack}.{region}.{suffix}")
    if zone := express_zone(bucket):
        if style == "path":
            raise ConfigError("a directory bucket has no path-style address")
        return Address("https", f"{bucket}.s3express{fips_mark}-{zone}{stack}.{region}.{suffix}")
    host = f"s3{fips_mark}{stack}.{region}.{suffix}"
    return _styled("https", host, "", bucket, style or ("virtual" if is_host_name(bucket) else "path"))


def _suffix(region: str, fips: bool) -> str:
    if fips and region.startswith(_NO_FIPS):
        raise ConfigError(f"S3 has no FIPS endpoints in {region}")
    return next(suffix for start, suffix in _PARTITIONS if region.startswith(start))


def at_endpoint(endpoint: str, bucket: str, *, style: Style) -> Address:
    """Where a server of the user's has a bucket.

    Args:
        endpoint: ``http(s)://host[:port][/path]``.
        bucket: The bucket's name.
        style: ``virtual`` becomes ``path`` where the host is an IP address, or the name is no host name.

    Raises:
        ConfigError: Not such a URL.
    """
    try:
        parts = urlsplit(endpoint)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"not an endpoint: {endpoint!r}") from error
    name = parts.hostname or ""
    if parts.scheme not in _DEFAULT_PORTS or not name or parts.query or parts.fragment or "@" in parts.netloc:
        raise ConfigError(f"an endpoint is an http or https URL without user and query, not {endpoint!r}")
    host = f"[{name}]" if ":" in name else name
    if port is not None and port != _DEFAULT_PORTS[parts.scheme]:
        host = f"{host}:{port}"
    if style == "virtual" and (_is_ip(name) or not is_host_name(bucket)):
        style = "path"
    return _styled(parts.scheme, host, parts.path.rstrip("/"), bucket, style)


def _styled(scheme: str, host: str, path: str, bucket: str, style: Style) -> Address:
    if style == "virtual":
        return Address(scheme, f"{bucket}.{host}", f"{path}/")
    return Address(scheme, host, f"{path}/{encode_value(bucket)}/")


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
