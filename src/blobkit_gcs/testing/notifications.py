"""Changes as Pub/Sub messages. https://cloud.google.com/storage/docs/pubsub-notifications."""

from __future__ import annotations

import itertools
import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from blobkit_gcs.testing.engine import Stored
from blobkit_gcs.testing.json_api import resource

__all__ = ["Subscriber", "push_body"]

Subscriber = Callable[[Mapping[str, object]], None]
"""Called with the body of each push: ``{"message": {…}, "subscription": …}``."""

_SUBSCRIPTION: Final = "projects/strict-project/subscriptions/strict"
_numbers = itertools.count(1)


def push_body(event: str, stored: Stored, more: Mapping[str, str], endpoint: str) -> dict[str, object]:
    """The body of a push about one change."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    attributes = {
        "notificationConfig": f"projects/_/buckets/{stored.bucket}/notificationConfigs/1",
        "eventType": event,
        "payloadFormat": "JSON_API_V1",
        "bucketId": stored.bucket,
        "objectId": stored.key,
        "objectGeneration": str(stored.generation),
        "eventTime": now,
        **more,
    }
    return {
        "message": {
            "attributes": attributes,
            "data": b64encode(json.dumps(resource(stored, endpoint)).encode()).decode(),
            "messageId": str(next(_numbers)),
            "publishTime": now,
        },
        "subscription": _SUBSCRIPTION,
    }
