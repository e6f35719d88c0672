"""The client of azure-storage-blob: made once, when it is first needed, and the same for every thread."""

from __future__ import annotations

import base64
import random
import threading
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from blobkit.config import OpenContext
from blobkit.errors import InvalidArgument, PluginMissing
from blobkit.spec import MiB
from blobkit_azure.config import AzureConfig
from blobkit_azure.credentials import identity
from blobkit_azure.signing.sas import DelegationKey

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient, BlobServiceClient, ContainerClient

    from blobkit.store import Store

__all__ = ["BLOCK", "Sdk", "client_of"]

BLOCK: Final = 8 * MiB
"""What is read or written at a time, bytes."""

_FIRST: Final = 0.1  # seconds between the first two tries
_LONGEST: Final = 5.0
_spread: Final = random.Random()  # noqa: S311 - no secret; its own, so that a try again changes nobody's random numbers


class Sdk:
    """Makes the clients of one store."""

    def __init__(self, config: AzureConfig, context: OpenContext) -> None:
        self._config = config
        self._context = context
        self._lock = threading.Lock()
        self._service: BlobServiceClient | None = None

    @property
    def service(self) -> BlobServiceClient:
        """The client of the account. Raises PluginMissing."""
        with self._lock:
            if self._service is None:
                self._service = self._make()
            return self._service

    @property
    def container(self) -> ContainerClient:
        """The client of the container."""
        return self.service.get_container_client(self._config.container)

    def blob(self, key: str, version: str | None = None) -> BlobClient:
        """The client of a blob; of a version of it, or of a snapshot."""
        from blobkit_azure.signing.signer import SNAPSHOT

        if version is not None and version.startswith(SNAPSHOT):
            return self.service.get_blob_client(self._config.container, key, snapshot=version.removeprefix(SNAPSHOT))
        return self.service.get_blob_client(self._config.container, key, version_id=version)

    def _make(self) -> BlobServiceClient:
        try:
            from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
            from azure.storage.blob import BlobServiceClient, LinearRetry
        except ImportError as error:
            raise PluginMissing(
                "Blob Storage needs azure-storage-blob", provider="azure", hint='pip install "blobkit[azure]"'
            ) from error

        class Retry(LinearRetry):
            """The SDK's own rules of what is tried again, with waits that begin small, grow, and differ."""

            def get_backoff_time(self, settings: dict[str, Any]) -> float:
                longest: float = min(_LONGEST, _FIRST * 2.0 ** int(settings["count"]))
                return longest * _spread.uniform(0.5, 1.0)

        config, seconds = self._config, self._context.timeout.total_seconds()
        credential: Any
        if config.key is not None:
            credential = AzureNamedKeyCredential(config.account, base64.b64encode(config.key.value).decode("ascii"))
        elif config.sas is not None:
            credential = AzureSasCredential(config.sas.reveal())
        else:
            credential = identity(config)
        return BlobServiceClient(
            config.control.url,
            credential=credential,
            retry_policy=Retry(retry_total=self._context.retries),
            connection_timeout=min(seconds, 10.0),
            read_timeout=seconds,
            max_single_put_size=BLOCK,
            max_single_get_size=BLOCK,
            max_chunk_get_size=BLOCK,
            user_agent="blobkit",
        )

    def delegation_key(self, start: datetime, end: datetime) -> DelegationKey:
        """Ask the account for a user-delegation key: its own host, whatever domain clients use."""
        made = self.service.get_user_delegation_key(start, end)
        return DelegationKey(
            account=self._config.account,
            value=base64.b64decode(made.value or ""),
            oid=made.signed_oid or "",
            tid=made.signed_tid or "",
            start=made.signed_start or "",
            expiry=made.signed_expiry or "",
            service=made.signed_service or "",
            version=made.signed_version or "",
        )

    def close(self) -> None:
        """Close the client's connections. Idempotent."""
        with self._lock:
            service, self._service = self._service, None
        if service is not None:
            service.close()


def client_of(store: Store) -> ContainerClient:
    """See :func:`blobkit_azure.client`."""
    from blobkit_azure.backend import AzureBackend

    store._calls.check_open("client")
    backend = store._calls.backend
    if not isinstance(backend, AzureBackend):
        raise InvalidArgument(f"a store on {store.provider} has no client of Blob Storage")
    return backend.sdk.container
