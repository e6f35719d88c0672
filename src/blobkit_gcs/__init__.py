"""Google Cloud Storage: signing, sessions and objects behind ``gs://bucket/prefix/``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.cloud.storage import Client

    from blobkit.store import Store

__all__ = ["client"]


def client(store: Store) -> Client:
    """The google-cloud-storage client of a store on ``gs://``, for what blobkit does not do.

    Raises:
        InvalidArgument: A store of another provider.
        CredentialsMissing, PluginMissing, ClosedError.
    """
    from blobkit.errors import InvalidArgument
    from blobkit_gcs.backend import GcsBackend

    with store._calls.calling("client", None) as backend:
        if not isinstance(backend, GcsBackend):
            raise InvalidArgument(f"a store on {store.provider} has no client of Cloud Storage")
        return backend.client
