"""Events of Cloud Storage: the record dialect, and the proof of origin of pushes. Pure, without SDK."""

from __future__ import annotations

from blobkit_gcs.events.push import PushVerifier
from blobkit_gcs.events.records import GcsDialect, dialect

__all__ = ["GcsDialect", "PushVerifier", "dialect"]
