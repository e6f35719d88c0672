"""The event types of the S3 family, as tables: native name to kind and, for deletions, what they take.

Sources: docs.aws.amazon.com/AmazonS3/latest/userguide/notification-how-to-event-types-and-destinations.html and
ev-events.html; docs.ceph.com/en/latest/radosgw/s3-notification-compatibility; MinIO's internal/event/name.go;
developers.cloudflare.com/r2/buckets/event-notifications.
"""

from __future__ import annotations

from typing import Final

from blobkit.events.model import Deletion, EventKind

__all__ = ["DELETIONS", "EVENTBRIDGE", "NATIVE", "NATIVE_OF", "OPERATIONS", "R2", "native_kind"]

NATIVE: Final[dict[str, EventKind]] = {
    # Only these four put an object there: MinIO has names of metadata changes under ObjectCreated.
    "ObjectCreated:Put": EventKind.CREATED,
    "ObjectCreated:Post": EventKind.CREATED,
    "ObjectCreated:Copy": EventKind.CREATED,
    "ObjectCreated:CompleteMultipartUpload": EventKind.CREATED,
    "ObjectCreated:PutTagging": EventKind.METADATA_CHANGED,  # MinIO, as the next three
    "ObjectCreated:DeleteTagging": EventKind.METADATA_CHANGED,
    "ObjectCreated:PutRetention": EventKind.METADATA_CHANGED,
    "ObjectCreated:PutLegalHold": EventKind.METADATA_CHANGED,
    "ObjectSynced:Create": EventKind.CREATED,  # Ceph, on the zone that received a replica
    "ObjectRemoved:Delete": EventKind.DELETED,
    "ObjectRemoved:DeleteMarkerCreated": EventKind.DELETED,
    "ObjectRemoved:DeleteAllVersions": EventKind.DELETED,  # MinIO
    "LifecycleExpiration:Delete": EventKind.EXPIRED,
    "LifecycleExpiration:DeleteMarkerCreated": EventKind.EXPIRED,
    "ObjectLifecycle:Expiration:Current": EventKind.EXPIRED,  # Ceph, as the next two
    "ObjectLifecycle:Expiration:NonCurrent": EventKind.EXPIRED,
    "ObjectLifecycle:Expiration:DeleteMarker": EventKind.EXPIRED,
    "ObjectRestore:Post": EventKind.RESTORE_STARTED,
    "ObjectRestore:Completed": EventKind.RESTORED,
    "ObjectRestore:Delete": EventKind.RESTORE_EXPIRED,
    "ObjectAcl:Put": EventKind.METADATA_CHANGED,
    "ObjectTagging:Put": EventKind.METADATA_CHANGED,
    "ObjectTagging:Delete": EventKind.METADATA_CHANGED,
    "LifecycleTransition": EventKind.TIER_CHANGED,
    "IntelligentTiering": EventKind.TIER_CHANGED,
    "ObjectTransition:Complete": EventKind.TIER_CHANGED,  # MinIO
}

_PREFIXES: Final = (
    ("ObjectTagging", EventKind.METADATA_CHANGED),
    ("ObjectAcl", EventKind.METADATA_CHANGED),
    ("ObjectAnnotation", EventKind.METADATA_CHANGED),
    ("ObjectRetention", EventKind.METADATA_CHANGED),
    ("LifecycleTransition", EventKind.TIER_CHANGED),
    ("IntelligentTiering", EventKind.TIER_CHANGED),
    ("ObjectLifecycle:Transition", EventKind.TIER_CHANGED),
)

DELETIONS: Final[dict[str, Deletion]] = {
    # "permanent" becomes "version" when the record names one: the key may live on in another.
    "ObjectRemoved:Delete": "permanent",
    "ObjectRemoved:DeleteMarkerCreated": "marker",
    "ObjectRemoved:DeleteAllVersions": "permanent",
    "LifecycleExpiration:Delete": "permanent",
    "LifecycleExpiration:DeleteMarkerCreated": "marker",
    "ObjectLifecycle:Expiration:Current": "unknown",  # a marker in a versioned bucket, for good in another
    "ObjectLifecycle:Expiration:NonCurrent": "version",
    "ObjectLifecycle:Expiration:DeleteMarker": "version",
    "LifecycleDeletion": "permanent",
    "DeleteObject": "permanent",
}

OPERATIONS: Final[dict[str, str]] = {
    "ObjectCreated:Put": "PutObject",
    "ObjectCreated:Post": "POST Object",
    "ObjectCreated:Copy": "CopyObject",
    "ObjectCreated:CompleteMultipartUpload": "CompleteMultipartUpload",
    "ObjectRemoved:Delete": "DeleteObject",
    "ObjectRemoved:DeleteMarkerCreated": "DeleteObject",
}
"""The call behind a native event, in EventBridge's words."""

EVENTBRIDGE: Final[dict[str, EventKind]] = {
    "Object Created": EventKind.CREATED,
    "Object Deleted": EventKind.DELETED,
    "Object Restore Initiated": EventKind.RESTORE_STARTED,
    "Object Restore Completed": EventKind.RESTORED,
    "Object Restore Expired": EventKind.RESTORE_EXPIRED,
    "Object Tags Added": EventKind.METADATA_CHANGED,
    "Object Tags Deleted": EventKind.METADATA_CHANGED,
    "Object ACL Updated": EventKind.METADATA_CHANGED,
    "Object Annotation Created": EventKind.METADATA_CHANGED,
    "Object Annotation Removed": EventKind.METADATA_CHANGED,
    "Object Retention Updated": EventKind.METADATA_CHANGED,
    "Object Storage Class Changed": EventKind.TIER_CHANGED,
    "Object Access Tier Changed": EventKind.TIER_CHANGED,
}

NATIVE_OF: Final[dict[tuple[str, str, str], str]] = {
    ("Object Created", "PutObject", ""): "ObjectCreated:Put",
    ("Object Created", "POST Object", ""): "ObjectCreated:Post",
    ("Object Created", "CopyObject", ""): "ObjectCreated:Copy",
    ("Object Created", "CompleteMultipartUpload", ""): "ObjectCreated:CompleteMultipartUpload",
    ("Object Deleted", "DeleteObject", "Permanently Deleted"): "ObjectRemoved:Delete",
    ("Object Deleted", "DeleteObject", "Delete Marker Created"): "ObjectRemoved:DeleteMarkerCreated",
    ("Object Deleted", "Lifecycle Expiration", "Permanently Deleted"): "LifecycleExpiration:Delete",
    ("Object Deleted", "Lifecycle Expiration", "Delete Marker Created"): "LifecycleExpiration:DeleteMarkerCreated",
}
"""EventBridge's detail-type, reason and deletion-type to the native name: the same change by either way has one dedupe key."""

R2: Final[dict[str, EventKind]] = {
    "PutObject": EventKind.CREATED,
    "CopyObject": EventKind.CREATED,
    "CompleteMultipartUpload": EventKind.CREATED,
    "DeleteObject": EventKind.DELETED,
    "LifecycleDeletion": EventKind.EXPIRED,
}


def native_kind(name: str) -> EventKind:
    """The kind of a native event name without ``s3:``; OTHER when it is not modelled."""
    found = NATIVE.get(name)
    if found is not None:
        return found
    for prefix, kind in _PREFIXES:
        if name.startswith(prefix):
            return kind
    return EventKind.OTHER
