"""Events of the S3 family: the record dialects, and the proofs of origin. Pure, without SDK.

Proofs: :class:`SnsVerifier`; :func:`minio_webhook`, :func:`ceph_push` and :func:`eventbridge_destination` for senders that
repeat a secret. What comes from SQS or Lambda is proven by IAM: restrict the queue's policy to your bucket and account.

Dialects: native records of AWS, MinIO, Ceph and others (``records``), EventBridge (``eventbridge``), Cloudflare R2 (``r2``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from blobkit.events.auth import SharedSecret
from blobkit.events.dialect import Document, Item
from blobkit.redaction import Secret
from blobkit_aws.events import eventbridge, r2, records
from blobkit_aws.events.sns import SnsVerifier, confirm_subscription

__all__ = [
    "S3Dialect",
    "SnsVerifier",
    "ceph_push",
    "confirm_subscription",
    "dialect",
    "eventbridge_destination",
    "minio_webhook",
]


class S3Dialect:
    """The records of the S3 family."""

    name: str = "s3"

    def parse(self, document: Document) -> Sequence[Item] | None:
        """See :class:`blobkit.events.dialect.Dialect`."""
        body = document.body
        if document.shape != "json" or not isinstance(body, dict):
            return None
        found = records.parse(document, body)
        if found is not None:
            return found
        for parse in (eventbridge.parse, r2.parse, records.test_event):
            found = parse(document, body)
            if found is not None:
                return found
        return None


dialect: Final = S3Dialect()


def minio_webhook(*tokens: str | Secret) -> SharedSecret:
    """MinIO's ``auth_token``: sent as a bearer token, or verbatim when it holds a space (``"ApiKey abc"``)."""
    plain = [item.reveal() if isinstance(item, Secret) else item for item in tokens]
    if any(" " in item for item in plain):
        return SharedSecret.header("authorization", *(item if " " in item else f"Bearer {item}" for item in plain))
    return SharedSecret.bearer(*plain)


def ceph_push(user: str, *passwords: str | Secret) -> SharedSecret:
    """The user and password in a Ceph topic's ``push-endpoint`` (``https://user:password@…``)."""
    return SharedSecret.basic(user, *passwords)


def eventbridge_destination(header: str, *values: str | Secret) -> SharedSecret:
    """The API key of an EventBridge connection. For a Basic connection take :meth:`SharedSecret.basic`."""
    return SharedSecret.header(header, *values)
