"""The options of ``s3://bucket/prefix/``, and what they and the environment come to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from blobkit.config import Kind, Option, StoreConfig
from blobkit.errors import ConfigError, CredentialsMissing
from blobkit_aws.profiles import ACCESS_POINT, EXPRESS, MULTI_REGION, PROFILES, Profile
from blobkit_aws.signing.endpoints import (
    Address,
    Arn,
    Style,
    at_endpoint,
    aws_address,
    check_region,
    express_zone,
    parse_arn,
)
from blobkit_aws.signing.sigv4 import Credentials

__all__ = ["OPTIONS", "S3Config", "read_config", "static_keys"]

OPTIONS: Final = (
    Option("region", Kind.TEXT, "The bucket's region; else AWS_REGION or AWS_DEFAULT_REGION."),
    Option("profile", Kind.CHOICE, "Which service it is: what it can do, and where it is.", None, tuple(PROFILES)),
    Option("endpoint", Kind.TEXT, "Where the service is, when it is not AWS; else AWS_ENDPOINT_URL_S3."),
    Option("addressing", Kind.CHOICE, "bucket.host, or host/bucket.", "auto", ("auto", "virtual", "path")),
    Option("dual_stack", Kind.FLAG, "Hosts that have IPv6 addresses too (AWS).", "false"),
    Option("fips", Kind.FLAG, "FIPS 140 endpoints (AWS).", "false"),
    Option("access_key_id", Kind.TEXT, "The id of the key; else AWS_ACCESS_KEY_ID, else the SDK's chain."),
    Option("secret_access_key", Kind.SECRET, "The key; else AWS_SECRET_ACCESS_KEY."),
    Option("session_token", Kind.SECRET, "The token of temporary credentials; else AWS_SESSION_TOKEN."),
    Option("aws_profile", Kind.TEXT, "A profile of ~/.aws/config for the SDK's chain."),
    Option("versioning", Kind.FLAG, "Whether the bucket keeps versions; unset: not known."),
    Option("sse", Kind.CHOICE, "Encryption of everything stored.", None, ("AES256", "aws:kms", "aws:kms:dsse")),
    Option("sse_kms_key_id", Kind.TEXT, "The key of KMS, with sse=aws:kms."),
    Option("acl", Kind.TEXT, "A canned ACL of everything stored."),
    Option("tagging", Kind.TEXT, "Tags of everything stored: name=value&name=value, percent-encoded."),
)

_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{1,253}[A-Za-z0-9]\Z").match


@dataclass(frozen=True, slots=True)
class S3Config:
    """The options as values.

    Attributes:
        bucket: The bucket's name, or an access point's ARN.
        region: What stands in signatures' scope.
        profile: What the service can do.
        kind: ``s3``, ``express`` or ``multi_region``.
        endpoint: What the server calls; None: AWS, by region.
        style: How the server addresses the bucket.
        address: Where clients find the bucket.
        public: Whether everybody may read.
        versioning: Whether the bucket keeps versions; None: not known.
        static: Keys that were given, or are in the environment; None: the SDK's chain.
        aws_profile: For the SDK's chain.
        headers: Sent with everything that is stored: encryption, access control, tags.
    """

    bucket: str
    region: str
    profile: Profile
    kind: str
    endpoint: str | None
    style: Style | None
    address: Address
    public: bool = False
    versioning: bool | None = None
    dual_stack: bool = False
    fips: bool = False
    static: Credentials | None = None
    aws_profile: str | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def read_config(config: StoreConfig, env: Mapping[str, str]) -> S3Config:
    """The values of checked settings, with what the environment adds.

    Raises:
        ConfigError: Settings that cannot work together; no region.
        CredentialsMissing: Half of a key pair.
    """
    bucket = config.location["bucket"]
    arn = parse_arn(bucket)
    if arn is None and not _BUCKET(bucket):
        raise ConfigError(f"not a bucket's name: {bucket!r}", hint="3 to 63 lower-case letters, digits, '-' and '.'")
    endpoint = config.text("endpoint") or env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL") or None
    profile = _profile(config.text("profile"), endpoint)
    region = config.text("region") or (arn.region if arn else None)
    region = region or env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or profile.region
    kind = "s3"
    if arn is not None and arn.multi_region:
        kind, region = "multi_region", region or "us-east-1"
    if not region:
        raise ConfigError("the bucket's region is not known", hint="?region=eu-west-1, or AWS_REGION")
    check_region(region)
    endpoint = endpoint or (profile.endpoint.format(region=region) if profile.endpoint else None)
    if endpoint is None and not profile.aws:
        raise ConfigError(f"profile={profile.name} needs an endpoint", hint="?endpoint=https://…")
    if profile.aws and endpoint is None and kind == "s3" and express_zone(bucket):
        kind = "express"
    if kind != "s3" or arn is not None:
        profile = {"express": EXPRESS, "multi_region": MULTI_REGION}.get(kind, ACCESS_POINT)
    _check_hosts(config, endpoint, profile, arn)
    style = _style(config.text("addressing"))
    return S3Config(
        bucket=bucket,
        region=region,
        profile=profile,
        kind=kind,
        endpoint=endpoint,
        style=style if endpoint is None else style or profile.style,
        address=_address(config, bucket, region, endpoint, style, profile),
        public=config.flag("public"),
        versioning=None if config.text("versioning") is None else config.flag("versioning"),
        dual_stack=config.flag("dual_stack"),
        fips=config.flag("fips"),
        static=static_keys(config, env),
        aws_profile=config.text("aws_profile") or env.get("AWS_PROFILE") or None,
        headers=MappingProxyType(_headers(config)),
    )


def _profile(name: str | None, endpoint: str | None) -> Profile:
    """An endpoint that is not AWS's is of a service that nobody knows, until the user says which."""
    if name is not None:
        return PROFILES[name]
    if endpoint is None:
        return PROFILES["aws"]
    return PROFILES["aws" if _host(endpoint).endswith((".amazonaws.com", ".amazonaws.com.cn")) else "custom"]


def _check_hosts(config: StoreConfig, endpoint: str | None, profile: Profile, arn: Arn | None) -> None:
    """Refuse options of hosts that contradict each other, and a host where the service is known to take no signed requests:
    a CDN in front of it, a domain of the user's."""
    if endpoint is not None and (config.flag("dual_stack") or config.flag("fips")):
        raise ConfigError("dual_stack and fips choose among AWS's own endpoints", hint="leave endpoint out")
    public = config.text("public_endpoint")
    if arn is not None and (endpoint is not None or public is not None):
        raise ConfigError("an access point has its own host", hint="leave endpoint and public_endpoint out")
    if public is None:
        return
    host = _host(public)
    wrong = profile.never_signed_at is not None and host.endswith(profile.never_signed_at)
    if wrong or not host.endswith(profile.signed_at):
        raise ConfigError(
            f"profile={profile.name} does not take signed requests at {host}",
            hint=f"a host that ends in {profile.signed_at}",
        )


def _host(endpoint: str) -> str:
    try:
        return urlsplit(endpoint).hostname or ""
    except ValueError as error:
        raise ConfigError(f"not an endpoint: {endpoint!r}") from error


def _style(text: str | None) -> Style | None:
    return "virtual" if text == "virtual" else "path" if text == "path" else None


def _address(
    config: StoreConfig, bucket: str, region: str, endpoint: str | None, style: Style | None, profile: Profile
) -> Address:
    public = config.text("public_endpoint") or endpoint
    if public is not None:
        return at_endpoint(public, bucket, style=style or profile.style)
    return aws_address(bucket, region, style=style, dual_stack=config.flag("dual_stack"), fips=config.flag("fips"))


def static_keys(config: StoreConfig, env: Mapping[str, str]) -> Credentials | None:
    """Keys that need no SDK: options first, the environment next; neither when a profile of the SDK is named."""
    access, secret, token = (
        config.text("access_key_id"),
        config.secret("secret_access_key"),
        config.secret("session_token"),
    )
    if access is not None or secret is not None:
        if access is None or secret is None:
            raise CredentialsMissing("access_key_id and secret_access_key go together")
        return Credentials(access, secret.reveal(), token.reveal() if token else None)
    if config.text("aws_profile") is not None:
        return None
    key, value = env.get("AWS_ACCESS_KEY_ID"), env.get("AWS_SECRET_ACCESS_KEY")
    if bool(key) != bool(value):
        raise CredentialsMissing("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together")
    if not key or not value:
        return None
    return Credentials(key, value, env.get("AWS_SESSION_TOKEN") or None, _ends(env.get("AWS_CREDENTIAL_EXPIRATION")))


def _ends(text: str | None) -> int | None:
    """When the keys of the environment end (ISO 8601), seconds since the epoch; None when it does not say."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"AWS_CREDENTIAL_EXPIRATION is not a time: {text!r}", hint="2026-01-31T12:00:00Z") from error
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


def _headers(config: StoreConfig) -> dict[str, str]:
    from blobkit_aws.signing.tagging import as_header

    tags = config.text("tagging")
    given = (
        ("x-amz-server-side-encryption", config.text("sse")),
        ("x-amz-server-side-encryption-aws-kms-key-id", config.text("sse_kms_key_id")),
        ("x-amz-acl", config.text("acl")),
        ("x-amz-tagging", None if tags is None else as_header(tags)),
    )
    if config.text("sse_kms_key_id") and not (config.text("sse") or "").startswith("aws:kms"):
        raise ConfigError("sse_kms_key_id goes with sse=aws:kms")
    return {name: value for name, value in given if value is not None}
