"""Who may do what at the strict server: signatures, dates and policies, checked with botocore's own classes."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime
from urllib.parse import quote, unquote

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from .strict_model import ACCESS, REGION, SECRET, SKEW, Refusal, Seen, StrictS3

__all__ = ["authorize", "check_policy"]


def authorize(server: StrictS3, seen: Seen) -> None:
    """Raise Refusal for a request that S3 would refuse by its signature alone."""
    if seen.operation == "PostObject":
        return  # its policy is checked with its fields
    if "X-Amz-Signature" in seen.query:
        _presigned(server, seen)
        return
    authorization = seen.headers.get("authorization", "")
    if not authorization:
        raise Refusal(403, "AccessDenied", "Access Denied")
    if f"Credential={ACCESS}/" not in authorization:
        raise Refusal(403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
    if f"/{REGION}/s3/" not in authorization:
        raise Refusal(400, "AuthorizationHeaderMalformed", f"the region is wrong; expecting '{REGION}'")
    if server.token is not None and seen.headers.get("x-amz-security-token") != server.token:
        raise Refusal(400, "ExpiredToken", "The provided token has expired.")
    if abs(_epoch(seen.headers["x-amz-date"]) - time.time()) > SKEW:
        raise Refusal(
            403, "RequestTimeTooSkewed", "The difference between the request time and the server's time is too large."
        )


def _epoch(stamp: str) -> float:
    return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _presigned(server: StrictS3, seen: Seen) -> None:
    query = dict(seen.query)
    signature = query.pop("X-Amz-Signature")
    start, lifetime = _epoch(query["X-Amz-Date"]), int(query["X-Amz-Expires"])
    if not 1 <= lifetime <= 604_800:
        raise Refusal(400, "AuthorizationQueryParametersError", "X-Amz-Expires must be less than a week (in seconds)")
    if start > time.time() + SKEW:
        raise Refusal(403, "AccessDenied", "Request is not yet valid")
    if time.time() > start + lifetime:
        raise Refusal(403, "AccessDenied", "Request has expired")
    access, _, region, service, _ = query["X-Amz-Credential"].split("/")
    if access != ACCESS:
        raise Refusal(403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
    if (region, service) != (REGION, "s3"):
        raise Refusal(400, "AuthorizationQueryParametersError", "Error parsing the X-Amz-Credential parameter")
    if query.get("X-Amz-Security-Token") != server.token:
        raise Refusal(403, "InvalidToken", "The provided token is malformed or otherwise invalid.")
    names = query["X-Amz-SignedHeaders"].split(";")
    if any(name.startswith("x-amz-") and name not in names for name in seen.headers):
        raise Refusal(403, "AccessDenied", "There were headers present in the request which were not signed")
    if "host" not in names:
        raise Refusal(403, "AccessDenied", "host was not signed")
    request = AWSRequest(
        method=seen.method,
        url=f"http://{seen.headers['host']}{quote(unquote(seen.path), safe='/-._~')}?"
        + "&".join(f"{quote(name, safe='-._~')}={quote(value, safe='-._~')}" for name, value in query.items()),
        headers={name: seen.headers.get(name, "") for name in names if name != "host"},
    )
    request.context["timestamp"] = query["X-Amz-Date"]
    signer = botocore.auth.S3SigV4QueryAuth(Credentials(ACCESS, SECRET), "s3", REGION)
    text = signer.string_to_sign(request, signer.canonical_request(request))
    if signer.signature(text, request) != signature:
        raise Refusal(403, "SignatureDoesNotMatch", "The request signature we calculated does not match")


def check_policy(server: StrictS3, fields: dict[str, str], size: int) -> None:
    date, region, service = fields["x-amz-credential"].split("/")[1:4]
    request = AWSRequest()
    request.context["timestamp"] = f"{date}T000000Z"
    signer = botocore.auth.S3SigV4PostAuth(Credentials(ACCESS, SECRET), service, region)
    if region != REGION or signer.signature(fields["policy"], request) != fields["x-amz-signature"]:
        raise Refusal(403, "SignatureDoesNotMatch", "The request signature we calculated does not match")
    if fields.get("x-amz-security-token") != server.token:
        raise Refusal(403, "InvalidToken", "The provided token is malformed or otherwise invalid.")
    policy = json.loads(base64.b64decode(fields["policy"]))
    if datetime.fromisoformat(policy["expiration"]) < datetime.now(UTC):
        raise Refusal(403, "AccessDenied", "Invalid according to Policy: Policy expired.")
    rest = {name.lower(): value for name, value in fields.items() if name not in ("policy", "x-amz-signature")}
    for condition in policy["conditions"]:
        if isinstance(condition, list):
            low, high = int(condition[1]), int(condition[2])
            if not low <= size <= high:
                raise Refusal(
                    400, "EntityTooLarge" if size > high else "EntityTooSmall", "Your proposed upload is wrong"
                )
            continue
        ((name, value),) = condition.items()
        if name != "bucket" and rest.pop(name.lower(), None) != value:
            raise Refusal(403, "AccessDenied", "Invalid according to Policy: Policy Condition failed")
    if rest:
        raise Refusal(403, "AccessDenied", f"Invalid according to Policy: Extra input fields: {', '.join(rest)}")
