"""Azure Blob Storage: signing, sessions and objects behind ``az://account/container/prefix/``, and its events."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

    from blobkit.store import Store

__all__ = ["client"]


def client(store: Store) -> ContainerClient:
    """azure-storage-blob's client of a store's container, for what blobkit does not do. Raises InvalidArgument for another
    store."""
    from blobkit_azure.sdk import client_of

    return client_of(store)
