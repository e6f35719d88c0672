"""Events of Blob Storage: the record dialect, and the proof of origin of webhooks. Pure, without SDK."""

from __future__ import annotations

from blobkit_azure.events.eventgrid import EntraVerifier, EventGridVerifier
from blobkit_azure.events.records import AzureDialect, dialect

__all__ = ["AzureDialect", "EntraVerifier", "EventGridVerifier", "dialect"]
