"""Events of the S3 family: the record dialects, and the proofs of origin. Pure, without SDK.

Dialects: native records of AWS, MinIO, Ceph and others (``records``), EventBridge (``eventbridge``), Cloudflare R2 (``r2``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from blobkit.events.dialect import Document, Item
from blobkit_aws.events import eventbridge, r2, records

__all__ = ["S3Dialect", "dialect"]


class S3Dialect:
    """The records of the S3 family."""

    name: str = "s3"

    def parse(self, document: Document) -> Sequence[Item] | None:
        """See :class:`blobkit.events.dialect.Dialect`."""
        body = document.body
        if document.shape != "json" or not isinstance(body, dict):
            return None
        for parse in (records.parse, eventbridge.parse, r2.parse, records.test_event):
            found = parse(document, body)
            if found is not None:
                return found
        return None


dialect: Final = S3Dialect()
