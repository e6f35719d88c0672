"""The Backend of ``s3://bucket/prefix/``: signing by :mod:`blobkit_aws.signing`, everything else by boto3."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import IO, TYPE_CHECKING

from blobkit.backend import Backend, Classified, HeldChunk, Received, SessionOrder, SessionState
from blobkit.blobs import AbortResult, BlobInfo, DeleteResult, PendingUpload, Pin, Prefix
from blobkit.config import OpenContext
from blobkit.errors import InvalidArgument, Unsupported
from blobkit.spec import UploadSpec
from blobkit_aws.capabilities import capabilities
from blobkit_aws.config import S3Config
from blobkit_aws.errors import classify
from blobkit_aws.sdk import Sdk
from blobkit_aws.shaping import own_params
from blobkit_aws.signing.encoding import encode_key
from blobkit_aws.signing.signer import S3Signer, Site
from blobkit_aws.signing.sigv4 import Credentials

if TYPE_CHECKING:
    from blobkit_aws.objects import S3Objects

__all__ = ["S3Backend"]


class S3Backend(Backend):
    """One bucket. See :class:`blobkit.backend.Backend`.

    Attributes:
        config: Its settings.
        sdk: The boto3 client and the keys.
    """

    def __init__(self, config: S3Config, context: OpenContext) -> None:
        self.config = config
        self.sdk = Sdk(config, context)
        self.capabilities = capabilities(config.profile, public=config.public, versioning=config.versioning)
        self._bucket = config.bucket
        self._site = Site(
            bucket=config.bucket,
            region=config.region,
            address=config.address,
            kind=config.kind,
            max_life=config.profile.max_life,
            headers=config.headers,
            put_checksums=config.profile.put_checksums,
            form_checksums=config.profile.form_checksums,
        )
        self._signer: tuple[Credentials, S3Signer] | None = None
        self._made_objects: S3Objects | None = None

    # --- signing ---

    def signer(self, until: datetime) -> S3Signer:
        """See Backend. A directory bucket is signed for with the keys of a session, which last five minutes."""
        return self._made(self.sdk.keys.get(int(until.timestamp())))

    def ready_signer(self, until: datetime) -> S3Signer | None:
        """See Backend."""
        keys = self.sdk.known_keys
        found = None if keys is None else keys.ready(int(until.timestamp()))
        return None if found is None else self._made(found)

    def _made(self, credentials: Credentials) -> S3Signer:
        known = self._signer
        if known is not None and known[0] == credentials:
            return known[1]
        signer = S3Signer(credentials, self._site)
        self._signer = (credentials, signer)
        return signer

    def public_url(self, key: str) -> str:
        """The object's plain URL."""
        return f"{self.config.address.origin}{self.config.address.base}{encode_key(key)}"

    # --- errors ---

    def classify(self, error: Exception) -> Classified | None:
        """See :mod:`blobkit_aws.errors`."""
        return classify(error)

    # --- objects ---

    @property
    def _objects(self) -> S3Objects:
        if self._made_objects is None:
            client = self.sdk.client
            from blobkit_aws.objects import S3Objects

            self._made_objects = S3Objects(client, self.config)
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
        """See Backend. The keys of the target must be allowed to read the source, at the same endpoint."""
        other = self if to is None else to
        if not isinstance(other, S3Backend):
            raise InvalidArgument("the target is not on S3")
        if other.config.endpoint != self.config.endpoint:
            raise InvalidArgument("the target is at another endpoint", hint="read() and write(), or upload()")
        if self._bucket != other._bucket and not self.config.profile.copy_between:
            raise Unsupported(
                "this service does not copy between buckets reliably", hint="keep both in one bucket, or upload() it"
            )
        client = other.sdk.client
        from blobkit_aws.copying import Place, copy

        return copy(
            client,
            Place(self._bucket, source),
            Place(other._bucket, target),
            pin=pin,
            if_absent=if_absent,
            own=own_params(other.config.headers),
            parts=other.config.profile.copy_parts,
        )

    def delete(
        self, key: str, *, pin: Pin | None = None, version: str | None = None, purge_versions: bool = False
    ) -> DeleteResult:
        """See Backend."""
        return self._objects.delete(key, pin=pin, version=version, purge_versions=purge_versions)

    def delete_many(self, keys: Sequence[str]) -> list[DeleteResult]:
        """See Backend; in batches where the service has them."""
        return self._objects.delete_many(keys)

    def list(
        self, prefix: str, *, start_after: str | None = None, delimiter: str | None = None
    ) -> Iterator[BlobInfo | Prefix]:
        """See Backend."""
        return self._objects.list(prefix, start_after=start_after, delimiter=delimiter)

    # --- chunked sessions ---

    def open_session(self, order: SessionOrder, now: datetime) -> SessionState:
        """See Backend."""
        client = self.sdk.client
        from blobkit_aws import sessions

        return sessions.open_session(client, self._bucket, order, now, own_params(self.config.headers))

    def received(self, state: SessionState) -> Received:
        """See Backend."""
        client = self.sdk.client
        from blobkit_aws import sessions

        return sessions.received(client, self._bucket, state)

    def commit(self, state: SessionState, chunks: Sequence[HeldChunk], total: int) -> BlobInfo:
        """See Backend."""
        client = self.sdk.client
        from blobkit_aws import sessions

        return sessions.commit(client, self._bucket, self.config.profile, state, chunks, total)

    def discard(self, state: SessionState) -> AbortResult:
        """See Backend."""
        client = self.sdk.client
        from blobkit_aws import sessions

        return sessions.discard(client, self._bucket, state)

    def pending(self, prefix: str) -> Iterator[PendingUpload]:
        """See Backend."""
        client = self.sdk.client
        from blobkit_aws import sessions

        return sessions.pending(client, self._bucket, prefix)

    # --- the rest ---

    def close(self) -> None:
        """Close the client's connections."""
        self.sdk.close()
