"""Form uploads: a POST policy, signed with Signature Version 4.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html: the string to sign is the base64 of the
policy itself. Every field that the form sends must stand in the policy, but ``policy``, ``x-amz-signature`` and ``file``,
which comes last.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from blobkit_aws.signing.sigv4 import ALGORITHM, Credentials, Scope, hmac_sha256, moment, signing_key

__all__ = ["FORM_TOKEN", "Condition", "iso", "sign_policy"]

FORM_TOKEN: Final = "x-amz-security-token"  # noqa: S105 - a field's name
Condition = Mapping[str, str] | Sequence[str | int]
"""``{"field": "value"}``, ``["eq" | "starts-with", "$field", "value"]`` or ``["content-length-range", low, high]``."""


def sign_policy(
    credentials: Credentials,
    scope: Scope,
    *,
    start: int,
    expiration: str,
    fields: Mapping[str, str],
    conditions: Sequence[Condition],
    key: bytes | None = None,
    token_name: str = FORM_TOKEN,
) -> dict[str, str]:
    """The fields of a form, in the order to send them.

    Args:
        credentials: The keys.
        scope: Region and service.
        start: When the signature begins, seconds since the epoch; at most seven days before the expiration.
        expiration: When it ends, from :func:`iso`.
        fields: What the form sends besides what the signature adds.
        conditions: What the policy demands; it must name every field of ``fields``.
        key: The signing key of this day, when it is known.
        token_name: The field of a session token.
    """
    at = moment(start)
    added = {
        "x-amz-algorithm": ALGORITHM,
        "x-amz-credential": f"{credentials.access_key}/{at.date}/{scope.region}/{scope.service}/aws4_request",
        "x-amz-date": at.stamp,
    }
    if credentials.token is not None:
        added[token_name] = credentials.token
    demands = [*conditions, *({name: value} for name, value in added.items())]
    document = json.dumps({"expiration": expiration, "conditions": demands})
    policy = base64.b64encode(document.encode("utf-8")).decode("ascii")
    key = key or signing_key(credentials.secret_key, at.date, scope)
    signature = hmac_sha256(key, policy).hex()
    return {**fields, **added, "policy": policy, "x-amz-signature": signature}


def iso(epoch: int) -> str:
    """Seconds since the epoch as a policy writes its expiration: ``2007-12-01T12:00:00Z``."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
