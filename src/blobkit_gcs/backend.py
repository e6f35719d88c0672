"""The Backend of ``gs://``: a signer for clients, and google-cloud-storage for what the service itself has to ask."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import IO, Final, ParamSpec, TypeVar

from blobkit.backend import Backend, Classified, HeldChunk, Received, SessionOrder, SessionState, Signer
from blobkit.blobs import AbortResult, BlobInfo, DeleteResult, PendingUpload, Pin, Prefix
from blobkit.config import OpenContext
from blobkit.errors import (
    AlreadyExists,
    BlobkitError,
    BlobNotFound,
    ChecksumMismatch,
    ConfigError,
    InvalidArgument,
    PluginMissing,
    PreconditionFailed,
)
from blobkit.hashing import hasher
from blobkit.keys import quote_key
from blobkit.spec import UploadSpec
from blobkit_gcs import multipart, resumable
from blobkit_gcs.bodies import Body, Ranges
from blobkit_gcs.calls import Http, SdkBlob, SdkBucket, SdkClient
from blobkit_gcs.capabilities import capabilities
from blobkit_gcs.config import LONGEST, SIGN_BLOB_LIFE, GcsConfig
from blobkit_gcs.credentials import Identity
from blobkit_gcs.described import describe, from_blob, promise
from blobkit_gcs.errors import Refused, classify, status_of
from blobkit_gcs.retrying import Attempts
from blobkit_gcs.signblob import CONCURRENCY
from blobkit_gcs.signer import GcsSigner, cores

__all__ = ["GcsBackend"]

P = ParamSpec("P")
R = TypeVar("R")
_BLOCK: Final = 1 << 20
_DELETERS: Final = 8


class GcsBackend(Backend):
    """One bucket. See :class:`blobkit.backend.Backend`.

    Attributes:
        config: Its options.
        timeout: Seconds for one answer.
        again: Makes a call that may be made again, when it fails for a moment.
    """

    def __init__(self, config: GcsConfig, context: OpenContext) -> None:
        self.config = config
        self.timeout = context.timeout.total_seconds()
        self.again = Attempts(context.retries)
        self._identity = Identity(config, self.timeout, context.retries)
        self._clock = context.clock
        remote = self._identity.local is None
        # Who sets a longer life accepts that the signature may end before; who lets it be cut short gets it cut short.
        self._unsure = remote and config.max_expiry is None
        life = config.max_expiry or (SIGN_BLOB_LIFE if self._unsure and not config.cap else LONGEST)
        self.capabilities = capabilities(config, signing_io=remote, max_expiry=life)
        self._lock = threading.Lock()
        self._signer_lock = threading.Lock()
        self._signer: GcsSigner | None = None
        self._client: SdkClient | None = None

    # --- signing ---

    def signer(self, until: datetime) -> Signer:
        """A signer; with signBlob, the account's e-mail and a token may have to be asked for, by one thread for all."""
        with self._signer_lock:
            if self._signer is None:
                self._signer = self._made_signer()
            return self._signer

    def _made_signer(self) -> GcsSigner:
        key, threads = self._identity.signing_key(), 0  # HMAC takes less than handing the work to a thread
        if self._identity.local is None:
            threads = CONCURRENCY
        elif key.algorithm == "GOOG4-RSA-SHA256":
            threads = cores()
        return GcsSigner(
            key,
            self.config.site,
            self.config.bucket,
            multipart=self.config.multipart,
            threads=threads,
            user_project=self.config.user_project,
            sure_until=self._sure_until if self._unsure else None,
        )

    def _sure_until(self) -> int:
        return int((self._clock() + SIGN_BLOB_LIFE).timestamp())

    def ready_signer(self, until: datetime) -> Signer | None:
        """The same, where a key of our own signs."""
        return None if self._identity.local is None else self.signer(until)

    def public_url(self, key: str) -> str:
        """The plain URL."""
        return f"{self.config.site.base}{quote_key(key)}"

    # --- what every call needs ---

    @property
    def client(self) -> SdkClient:
        """The SDK's client, made when it is first needed."""
        with self._lock:
            if self._client is None:
                self._client = self._made()
            return self._client

    def _made(self) -> SdkClient:
        try:
            from google.cloud import storage
        except ImportError as error:
            raise PluginMissing(
                "Cloud Storage needs google-cloud-storage", provider="gcs", hint='pip install "blobkit[gcs]"'
            ) from error
        options: dict[str, str] = {}
        if self.config.own_endpoint:
            options["api_endpoint"] = self.config.endpoint
        else:
            options["universe_domain"] = self.config.universe_domain
        login = self._identity.login()
        if login.universe_domain != self.config.universe_domain:
            raise ConfigError(
                f"the credentials are of the universe {login.universe_domain}, not {self.config.universe_domain}",
                hint=f"?universe_domain={login.universe_domain}",
            )
        return storage.Client(
            project=self.config.project or (self.config.key or {}).get("project_id") or "none",
            credentials=login,
            client_options=options,
        )

    def bucket(self) -> SdkBucket:
        """The SDK's bucket."""
        return self.client.bucket(self.config.bucket, user_project=self.config.user_project)

    def blob(self, key: str, version: str | None = None) -> SdkBlob:
        """The SDK's blob; nothing is asked."""
        return self.bucket().blob(key, generation=None if version is None else _generation(version))

    def http(self) -> Http:
        """The SDK's own HTTP session, which logs in by itself; for the XML API."""
        session: Http = self.client._http
        return session

    def classify(self, error: Exception) -> Classified | None:
        """See :mod:`blobkit_gcs.errors`."""
        return classify(error)

    # --- objects ---

    def head(self, key: str, *, version: str | None = None) -> BlobInfo:
        """See Backend."""
        blob = self.blob(key, version)
        blob.reload(projection="noAcl", timeout=self.timeout, retry=self.again)
        return from_blob(blob)

    def there(self, key: str) -> bool:
        """Whether an object is at the key."""
        try:
            self.head(key)
        except Exception as error:
            if status_of(error) == 404:
                return False
            raise
        return True

    def pinned(self, key: str, pin: Pin) -> int:
        """The generation that a pin names: asked for when only an etag is known. Raises PreconditionFailed."""
        if pin.version is not None:
            return _generation(pin.version)
        info = self.head(key)
        if info.etag != pin.etag or info.version is None:
            raise PreconditionFailed("the object was replaced")
        return int(info.version)

    def get(
        self, key: str, *, start: int = 0, end: int | None = None, pin: Pin | None = None, version: str | None = None
    ) -> tuple[BlobInfo, IO[bytes]]:
        """See Backend. The answer is read range by range, each of the generation that was described first."""
        info = self._described(key, pin, version)
        last = info.size if end is None else min(end, info.size)
        if start >= last:
            return info, io.BytesIO()
        ranges = Ranges(self.blob(key, info.version), start, last, self.timeout, self.again)
        return info, io.BufferedReader(ranges, min(_BLOCK, last - start))

    def _described(self, key: str, pin: Pin | None, version: str | None) -> BlobInfo:
        if pin is None:
            return self.head(key, version=version)
        try:
            info = self.head(key, version=version or pin.version)
        except Exception as error:
            if status_of(error) == 404 and self.there(key):
                raise PreconditionFailed("the object was replaced", http_status=404) from error
            raise
        if pin.etag is not None and pin.etag != info.etag:
            raise PreconditionFailed("the object was replaced")
        return info

    def put(
        self, key: str, body: IO[bytes], size: int, *, spec: UploadSpec, upload_id: str, if_match: Pin | None = None
    ) -> BlobInfo:
        """See Backend."""
        blob = self.blob(key)
        describe(blob, spec, upload_id)
        if not promise(blob, spec.checksum):
            _check(spec, body, size)
        generation = 0 if spec.if_absent else None if if_match is None else self.pinned(key, if_match)
        try:
            blob.upload_from_file(
                io.BufferedReader(Body(body, size), _BLOCK) if size else io.BytesIO(),
                size=size,
                content_type=spec.content_type,
                if_generation_match=generation,
                timeout=self.timeout,
                checksum=None if spec.checksum is not None else "auto",
                retry=None if generation is None else self.again,  # without a condition it is not idempotent
            )
        except Exception as error:
            if status_of(error) == 400 and spec.checksum is not None and "hash" in str(error).lower():
                raise ChecksumMismatch("the service received other bytes than was said", http_status=400) from error
            if status_of(error) == 412 and spec.if_absent:
                raise AlreadyExists("an object is at the key", http_status=412) from error
            raise
        return from_blob(blob)

    def copy(
        self, source: str, target: str, *, pin: Pin | None, if_absent: bool, to: Backend | None = None
    ) -> BlobInfo:
        """See Backend: a rewrite, as many calls as it takes. https://cloud.google.com/storage/docs/json_api/v1/objects/rewrite"""
        if to is not None and not isinstance(to, GcsBackend):
            raise InvalidArgument("the target is not a Cloud Storage store")
        other, info = to or self, self._described(source, pin, None)
        origin, made, token, tries = self.blob(source, info.version), other.blob(target), None, 0

        def counted(call: Callable[P, R]) -> Callable[P, R]:
            def once(*args: P.args, **kwargs: P.kwargs) -> R:
                nonlocal tries
                tries += 1
                return call(*args, **kwargs)

            return self.again(once)

        try:
            while True:
                tries = 0
                token, _, _ = made.rewrite(
                    origin,
                    token=token,
                    timeout=self.timeout,
                    if_generation_match=0 if if_absent else None,
                    if_source_generation_match=_generation(info.version or "0"),
                    retry=counted if if_absent else None,
                )
                if token is None:
                    break
        except Exception as error:
            if status_of(error) != 412:
                raise
            if if_absent and other.there(target):
                there = other.head(target)
                if tries > 1 and _same(there, info):
                    return there  # made by the try before, whose reply was lost
                raise AlreadyExists("an object is at the target", http_status=412) from error
            raise PreconditionFailed("the source was replaced", http_status=412) from error
        return other.head(target, version=None if made.generation is None else str(made.generation))

    def delete(
        self, key: str, *, pin: Pin | None = None, version: str | None = None, purge_versions: bool = False
    ) -> DeleteResult:
        """See Backend."""
        if purge_versions:
            return self._purge(key)
        blob = self.blob(key, version)
        try:
            # Without a pin whatever is at the key goes, at some moment of this call: trying again changes nothing about that.
            match = None if pin is None else self.pinned(key, pin)
            blob.delete(if_generation_match=match, timeout=self.timeout, retry=self.again)
        except Exception as error:
            if isinstance(error, BlobNotFound) or (status_of(error) == 404 and not _no_bucket(error)):
                return DeleteResult(key)
            raise
        return DeleteResult(key, marker=self.config.versioning and version is None, versions_left=None)

    def _purge(self, key: str) -> DeleteResult:
        """Every generation of exactly this key."""
        for blob in self.client.list_blobs(
            self.bucket(), prefix=key, versions=True, timeout=self.timeout, retry=self.again
        ):
            if blob.name != key:
                break  # names with the prefix sort after the name itself
            self.delete(key, version=str(blob.generation))
        return DeleteResult(key, versions_left=0)

    def delete_many(self, keys: Sequence[str]) -> list[DeleteResult]:
        """See Backend."""
        if not keys:
            return []
        with ThreadPoolExecutor(min(_DELETERS, len(keys)), thread_name_prefix="blobkit-gcs-delete") as pool:
            return list(pool.map(self._delete_one, keys))

    def _delete_one(self, key: str) -> DeleteResult:
        try:
            return self.delete(key)
        except BlobkitError as error:
            return DeleteResult(key, error=error)
        except Exception as error:
            known = classify(error)
            if known is None:
                raise
            failure = known.error(known.message, key=key, code=known.code, http_status=known.http_status)
            failure.__cause__ = error
            return DeleteResult(key, error=failure)

    def list(
        self, prefix: str, *, start_after: str | None = None, delimiter: str | None = None
    ) -> Iterator[BlobInfo | Prefix]:
        """See Backend. The listing starts at a name, not after it: the name itself is left out here."""
        listing = self.client.list_blobs(
            self.bucket(),
            prefix=prefix,
            delimiter=delimiter,
            start_offset=start_after,
            timeout=self.timeout,
            retry=self.again,
        )
        told: set[str] = set()
        for page in listing.pages:
            items: list[BlobInfo | Prefix] = [from_blob(blob) for blob in page]
            fresh = set(listing.prefixes) - told
            told |= fresh
            items += [Prefix(name) for name in fresh]
            items.sort(key=lambda item: item.key.encode())
            for item in items:
                if start_after is None or item.key.encode() > start_after.encode():
                    yield item

    # --- chunked sessions ---

    def open_session(self, order: SessionOrder, now: datetime) -> SessionState:
        """See Backend."""
        if self.config.multipart:
            return multipart.open_session(self, order, now)
        return resumable.open_session(self, order, now)

    def received(self, state: SessionState) -> Received:
        """See Backend."""
        return multipart.received(self, state) if self.config.multipart else resumable.received(self, state)

    def commit(self, state: SessionState, chunks: Sequence[HeldChunk], total: int) -> BlobInfo:
        """See Backend."""
        if self.config.multipart:
            return multipart.commit(self, state, chunks, total)
        return resumable.commit(self, state, chunks, total)

    def discard(self, state: SessionState) -> AbortResult:
        """See Backend."""
        return multipart.discard(self, state) if self.config.multipart else resumable.discard(self, state)

    def pending(self, prefix: str) -> Iterator[PendingUpload]:
        """See Backend. Only multipart uploads can be listed."""
        return multipart.pending(self, prefix) if self.config.multipart else iter(())

    def own(self, state: SessionState) -> BlobInfo | None:
        """The object at the session's key, if this very session made it."""
        try:
            info = self.head(state.key)
        except Exception as error:
            if status_of(error) == 404 and not _no_bucket(error):
                return None
            raise
        return info if info.upload_id == state.upload_id else None

    def close(self) -> None:
        """Close the client. Idempotent."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()
        self._identity.close()


def _generation(version: str) -> int:
    if not (version.isascii() and version.isdigit()):
        raise InvalidArgument(f"a version is a generation, a whole number, not {version[:40]!r}")
    return int(version)


def _same(one: BlobInfo, other: BlobInfo) -> bool:
    """Whether one object is a copy of the other: the same bytes of the same upload."""
    return (one.size, one.upload_id, one.checksums.get("crc32c"), one.metadata) == (
        other.size, other.upload_id, other.checksums.get("crc32c"), other.metadata,
    )  # fmt: skip


def _no_bucket(error: Exception) -> bool:
    return not isinstance(error, Refused) and "bucket does not exist" in str(error)


def _check(spec: UploadSpec, body: IO[bytes], size: int) -> None:
    """A checksum that the service does not know is compared before anything is sent."""
    if spec.checksum is None:
        return
    start, left, digest = body.tell(), size, hasher(spec.checksum.algorithm)
    while left and (block := body.read(min(left, _BLOCK))):
        digest.update(block)
        left -= len(block)
    body.seek(start)
    if digest.digest() != spec.checksum.digest:
        raise ChecksumMismatch(f"the data have another {spec.checksum.algorithm} than was said")
