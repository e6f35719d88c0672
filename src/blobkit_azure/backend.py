"""The Backend of ``az://``: a signer for clients, and azure-storage-blob for what the service itself has to ask."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import IO, TYPE_CHECKING, Final

from blobkit.backend import (
    Backend,
    Classified,
    DownloadOrder,
    HeldChunk,
    Received,
    SessionOrder,
    SessionState,
    Signer,
)
from blobkit.blobs import AbortResult, BlobInfo, DeleteResult, PendingUpload, Pin, Prefix
from blobkit.config import OpenContext
from blobkit.errors import CredentialsExpired, InvalidArgument, SigningUnavailable
from blobkit.spec import UploadSpec
from blobkit_azure.capabilities import capabilities
from blobkit_azure.config import AzureConfig
from blobkit_azure.credentials import DelegationKeys, GivenSas, Validity, read_sas
from blobkit_azure.errors import classify
from blobkit_azure.sdk import Sdk
from blobkit_azure.signing.presign import encode_key
from blobkit_azure.signing.signer import AzureSigner, Rules, SharedSigner

if TYPE_CHECKING:
    from blobkit_azure.objects import AzureObjects

__all__ = ["AzureBackend"]

_MAX_SEGMENTS: Final = 254
_COPY_LIFE: Final = timedelta(hours=2)  # of the signature with which the service reads a copy's source
_READ: Final = DownloadOrder()


class AzureBackend(Backend):
    """One container. See :class:`blobkit.backend.Backend`.

    Attributes:
        config: Its settings.
        sdk: The clients of azure-storage-blob.
    """

    def __init__(self, config: AzureConfig, context: OpenContext) -> None:
        self.config = config
        self.sdk = Sdk(config, context)
        self._clock = context.clock
        self._shared: GivenSas | None = None
        if config.sas is not None and config.share_sas:
            self._shared = read_sas(config.sas)
        self.capabilities = capabilities(config, shared=self._permissions())
        self._rules = self._rules_at(config.public.base(config.container))
        self._keys = DelegationKeys(self.sdk.delegation_key, context.clock)
        self._signer: AzureSigner | SharedSigner | None = None
        self._signing_key: Validity | None = None
        self._made_objects: AzureObjects | None = None

    def _permissions(self) -> str | None:
        """Of the SAS that clients get; none, when there is a SAS that they do not get; None when blobkit signs."""
        if self.config.sas is None:
            return None
        return self._shared.permissions if self._shared is not None else ""

    def _rules_at(self, base: str) -> Rules:
        config = self.config
        return Rules(config.container, base, config.version, config.ip, config.protocol, config.policy)

    # --- signing ---

    def signer(self, until: datetime) -> Signer:
        """See Backend. With an Entra identity the one user-delegation key may have to be asked for."""
        ready = self.ready_signer(until)
        return ready if ready is not None else self._of_key(self._keys.get(int(until.timestamp())))

    def ready_signer(self, until: datetime) -> Signer | None:
        """See Backend."""
        config = self.config
        if config.delegated:
            found = self._keys.ready(int(until.timestamp()))
            return None if found is None else self._of_key(found)
        if self._signer is None:
            self._signer = self._of_config()
        return self._signer

    def _of_config(self) -> AzureSigner | SharedSigner:
        if self.config.key is not None:
            return AzureSigner(self.config.key, self._rules)
        if self._shared is None:
            raise SigningUnavailable(
                "a shared access signature cannot sign others",
                hint="an account key, an Entra identity, or ?share_sas=true, which hands the signature itself to clients",
            )
        if self._shared.ends <= self._clock().timestamp():
            raise CredentialsExpired("the shared access signature has expired", hint="a new sas_token")
        return SharedSigner(self._shared.text.reveal(), self._rules, self._shared.ends)

    def _of_key(self, found: Validity) -> AzureSigner:
        if self._signing_key is not found or not isinstance(self._signer, AzureSigner):
            self._signer = AzureSigner(found.key, self._rules, found.ends)
            self._signing_key = found
        return self._signer

    def public_url(self, key: str) -> str:
        """The plain URL."""
        return f"{self._rules.base}{encode_key(key)}"

    def refuse_key(self, key: str) -> str | None:
        """See Backend. https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata"""
        if "\\" in key:
            return "Azure takes a backslash in a blob's name for a slash"
        if key.endswith(".") or "./" in key:
            return "Azure drops dots at the end of a path segment"
        if key.count("/") >= _MAX_SEGMENTS:
            return f"Azure allows {_MAX_SEGMENTS} path segments in a blob's name"
        return None

    # --- errors ---

    def classify(self, error: Exception) -> Classified | None:
        """See :mod:`blobkit_azure.errors`."""
        return classify(error)

    # --- objects ---

    @property
    def _objects(self) -> AzureObjects:
        if self._made_objects is None:
            _ = self.sdk.service  # says what is missing, when the SDK is
            from blobkit_azure.objects import AzureObjects

            self._made_objects = AzureObjects(self.sdk, versioning=self.config.versioning)
        return self._made_objects

    def head(self, key: str, *, version: str | None = None) -> BlobInfo:
        """See Backend."""
        return self._objects.head(key, version=version)

    def get(
        self, key: str, *, start: int = 0, end: int | None = None, pin: Pin | None = None, version: str | None = None
    ) -> tuple[BlobInfo, IO[bytes]]:
        """See Backend."""
        return self._objects.get(key, start=start, end=end, pin=pin, version=version)

    def put(
        self, key: str, body: IO[bytes], size: int, *, spec: UploadSpec, upload_id: str, if_match: Pin | None = None
    ) -> BlobInfo:
        """See Backend."""
        return self._objects.put(key, body, size, spec=spec, upload_id=upload_id, if_match=if_match)

    def copy(
        self, source: str, target: str, *, pin: Pin | None, if_absent: bool, to: Backend | None = None
    ) -> BlobInfo:
        """See Backend. The service reads the source with a signature, so that it may be of another account."""
        other = self if to is None else to
        if not isinstance(other, AzureBackend):
            raise InvalidArgument("the target is not on Azure")
        version = pin.version if pin is not None else None
        client = self.sdk.blob(source, version)
        from blobkit_azure.copying import copy

        return copy(
            client,
            other.sdk.blob(target),
            source_url=lambda: self._readable(source, version),
            pin=pin,
            if_absent=if_absent,
        )

    def _readable(self, key: str, version: str | None) -> str:
        """A URL at the account's own host with which the service can read a source of a copy."""
        base = self.config.control.base(self.config.container)
        if self.config.sas is not None:
            signer: Signer = SharedSigner(self.config.sas.reveal(), self._rules_at(base), 0)
            return signer.download(key, DownloadOrder(version=version), 0, 0).url.reveal()
        now = int(time.time())  # not the store's clock: nobody but the service uses it, and at once
        end = now + int(_COPY_LIFE.total_seconds())
        if self.config.key is not None:
            signer = AzureSigner(self.config.key, self._rules_at(base))
        else:
            signer = AzureSigner(self._keys.get(end).key, self._rules_at(base))
        return signer.download(key, DownloadOrder(version=version) if version else _READ, now, end).url.reveal()

    def delete(
        self, key: str, *, pin: Pin | None = None, version: str | None = None, purge_versions: bool = False
    ) -> DeleteResult:
        """See Backend."""
        return self._objects.delete(key, pin=pin, version=version, purge_versions=purge_versions)

    def delete_many(self, keys: Sequence[str]) -> list[DeleteResult]:
        """See Backend."""
        return self._objects.delete_many(keys)

    def list(
        self, prefix: str, *, start_after: str | None = None, delimiter: str | None = None
    ) -> Iterator[BlobInfo | Prefix]:
        """See Backend."""
        return self._objects.list(prefix, start_after=start_after, delimiter=delimiter)

    # --- chunked sessions ---

    def open_session(self, order: SessionOrder, now: datetime) -> SessionState:
        """See Backend."""
        _ = self.sdk.service
        from blobkit_azure import sessions

        return sessions.open_session(self.sdk, order, now)

    def received(self, state: SessionState) -> Received:
        """See Backend."""
        _ = self.sdk.service
        from blobkit_azure import sessions

        return sessions.received(self.sdk, state)

    def commit(self, state: SessionState, chunks: Sequence[HeldChunk], total: int) -> BlobInfo:
        """See Backend."""
        _ = self.sdk.service
        from blobkit_azure import sessions

        return sessions.commit(self.sdk, state, chunks, total)

    def discard(self, state: SessionState) -> AbortResult:
        """See Backend."""
        _ = self.sdk.service
        from blobkit_azure import sessions

        return sessions.discard(self.sdk, state)

    def pending(self, prefix: str) -> Iterator[PendingUpload]:
        """See Backend."""
        _ = self.sdk.service
        from blobkit_azure import sessions

        return sessions.pending(self.sdk, prefix)

    # --- the rest ---

    def close(self) -> None:
        """Close the client's connections. Idempotent."""
        self.sdk.close()
