"""Store: the one API in front of every provider.

Store validates, applies defaults and the prefix, decides who enforces what, and wraps errors once; the backend behind it is
thin. Keys given and returned are relative to the store's prefix.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import IO, TYPE_CHECKING, BinaryIO, Final, Literal, Self

from blobkit import arguments, ops
from blobkit.backend import ASGIApp, DownloadOrder, Feature, SessionOrder, SessionState, UploadOrder
from blobkit.blobs import BlobInfo, Checksum, DeleteResult, PendingUpload, Pin, Prefix
from blobkit.calling import Calls
from blobkit.chunking import plan as plan_chunks
from blobkit.errors import (
    AlreadyExists,
    BlobkitError,
    InvalidArgument,
    InvalidExpiry,
    PreconditionFailed,
    TransientError,
    Unsupported,
)
from blobkit.keys import RESERVED, check_key, check_prefix
from blobkit.reading import BlobFile
from blobkit.redaction import Secret
from blobkit.session import STAGING, UploadSession
from blobkit.signed import SignedRequest
from blobkit.sources import Uploadable, opened, opened_data, spooled
from blobkit.spec import Constraint, Enforcement, MiB, UploadSpec, spec_of

if TYPE_CHECKING:
    from blobkit.cdn.base import Cdn
    from blobkit.events.keeping import StoreEvents
    from blobkit.events.model import BlobEvent
    from blobkit.events.shells import Headers
    from blobkit.plans import UploadPlan

__all__ = ["Store"]

# Up to here one request is simpler and as fast; above, a lost connection costs too much.
SINGLE_REQUEST: Final = 64 * MiB


class Store:
    """A place for objects: a bucket, container or directory, below a prefix. Made by :func:`blobkit.open_store`.

    Thread-safe, a context manager; :meth:`close` is idempotent, and every verb raises ClosedError afterwards. A store made
    by :meth:`at` shares its parent's connections and is closed with it.

    Every verb raises, beside what it names: ClosedError, InvalidKey, PermissionDenied, CredentialsExpired, ClockSkew,
    BucketNotFound, and TransientError in one of its forms.

    Attributes:
        provider: ``s3 | gcs | azure | local | memory``.
        capabilities: What this instance can do.
        config: Its settings, without secrets.
        prefix: What all keys here start with in the bucket.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self.provider = calls.provider
        self.capabilities = calls.capabilities
        self.config = calls.config

    def __repr__(self) -> str:
        where = "/".join(self.config.location.values())
        return f"Store({self.provider}:{where}, prefix={self._calls.prefix!r})"

    @property
    def prefix(self) -> str:
        """What all keys here start with in the bucket; empty, or ends in ``/``."""
        return self._calls.prefix

    def at(self, prefix: str) -> Store:
        """A store on a longer prefix, sharing this one's backend. Raises ConfigError for what is no prefix."""
        return Store(self._calls.at(check_prefix(self._calls.prefix + check_prefix(prefix))))

    def close(self) -> None:
        """Release the backend's connections and files; also closes every store that :meth:`at` made. Idempotent."""
        if not self._calls.closed.is_set():
            self._calls.closed.set()
            self._calls.backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def data_plane(self, *, edge: Cdn | None = None) -> ASGIApp | None:
        """The ASGI application that answers this store's signed URLs, where the provider is embedded; else None.

        Args:
            edge: A CDN whose links and cookies the application accepts for reading too, as its own edge would.
        """
        self._calls.check_open("data_plane")
        return self._calls.backend.data_plane(edge=edge)

    def subscribe(self, listener: Callable[[BlobEvent], None]) -> Callable[[], None] | None:
        """Call ``listener`` after each change that this process makes, where the provider is embedded.

        Returns:
            How to stop that; None where events come from a queue or a webhook instead.
        """
        self._calls.check_open("subscribe")
        return self._calls.backend.subscribe(listener)

    def parse_events(self, body: object, headers: Headers | None = None) -> StoreEvents:
        """The events of a delivery that concern this store, with keys relative to its prefix. Pure: no I/O.

        It proves nothing: check where the delivery came from first.

        Args:
            body: As for :func:`blobkit.parse_events`.
            headers: Of the HTTP request.

        Returns:
            The events of this store; beside them controls, errors, foreign messages, and ``elsewhere``: other stores' events.

        Raises:
            MalformedEvent: The body as a whole cannot be read.
        """
        return self._calls.events_of(self, body, headers)

    # --- signed requests ---

    def sign_upload(
        self,
        key: str,
        *,
        expires_in: timedelta | None = None,
        expires_at: datetime | None = None,
        spec: UploadSpec | None = None,
        content_type: str | None = None,
        size: int | None = None,
        min_size: int | None = None,
        max_size: int | None = None,
        checksum: Checksum | None = None,
        metadata: Mapping[str, str] | None = None,
        cache_control: str | None = None,
        content_disposition: str | None = None,
        content_encoding: str | None = None,
        storage_class: str | None = None,
        if_absent: bool = False,
        verify_after: ops.VerifyAfter = (),
    ) -> SignedRequest:
        """A request with which a client uploads one object in one go: a PUT, or a form POST where only that can be bound.

        Args:
            key: Where the object will be.
            expires_in, expires_at: The signature's life, one of them; 15 minutes when neither is given.
            spec: The constraints; or the same as keywords. Reusing a spec object is the fast path.
            verify_after: Constraints that may be checked afterwards, by :meth:`verify_upload`, where the provider cannot
                enforce them; ``"all"`` for every one that can be seen afterwards.

        Raises:
            UnenforceableConstraint: Nobody would see to a constraint. Nothing was signed.
            InvalidExpiry: The life is impossible, or longer than the credentials' (see ``on_short_credentials``).
            InvalidArgument, Unsupported, SigningUnavailable.
        """
        given = (
            content_type, size, min_size, max_size, checksum, metadata,
            cache_control, content_disposition, content_encoding, storage_class, if_absent,
        )  # fmt: skip
        if given == _NO_KEYWORDS:
            order, once = self._calls.order(spec, verify_after), None
        else:
            once = ops.merge_spec(spec, spec_of(given))
            order = self._calls.decision(once, verify_after)
        full = self._calls.full(key)
        start, end = self._calls.lifetime(expires_in, expires_at)
        signer, end = self._calls.signer(end)
        try:
            request = signer.upload(full, order, start, end, once)
        except Exception as error:
            self._calls.fail(error, "sign_upload", key)
        if self._calls.observed:
            self._calls.observers.signed(self.provider, "sign_upload", key, request)
        return request

    def sign_uploads(
        self,
        keys: Iterable[str | tuple[str, UploadSpec]],
        *,
        expires_in: timedelta | None = None,
        expires_at: datetime | None = None,
        spec: UploadSpec | None = None,
        verify_after: ops.VerifyAfter = (),
    ) -> Sequence[SignedRequest]:
        """Many uploads at once: keys that share ``spec``, or ``(key, spec)`` pairs. One clock reading, one signer.

        Returns:
            An immutable sequence in the order of ``keys``; items may be made when they are read.

        Raises:
            As :meth:`sign_upload`, before anything is signed.
        """
        shared: UploadOrder | None = None
        items: list[tuple[str, UploadOrder]] = []
        full = self._calls.full
        for entry in arguments.items("keys", keys):
            if isinstance(entry, str):
                if shared is None:
                    shared = self._calls.order(spec, verify_after)
                items.append((full(entry), shared))
            else:
                key, own = entry
                items.append((full(key), self._calls.order(own, verify_after)))
        start, end = self._calls.lifetime(expires_in, expires_at)
        signer, end = self._calls.signer(end)
        try:
            return signer.uploads(items, start, end)
        except Exception as error:
            self._calls.fail(error, "sign_uploads", None)

    def sign_download(
        self,
        key: str,
        *,
        expires_in: timedelta | None = None,
        expires_at: datetime | None = None,
        version: str | None = None,
        filename: str | None = None,
        disposition: Literal["attachment", "inline"] | None = None,
        content_type: str | None = None,
        cache_control: str | None = None,
        method: Literal["GET", "HEAD"] = "GET",
        stable_for: timedelta | None = None,
    ) -> SignedRequest:
        """A request with which a client reads one object.

        Args:
            key: The object; it need not exist yet.
            expires_in, expires_at: The signature's life, one of them; 15 minutes when neither is given.
            version: This version and no other.
            filename: The name under which a browser saves it; makes the disposition ``attachment`` unless given.
            disposition: ``attachment`` or ``inline``. Never serve types inline that a user chose and a browser executes.
            content_type, cache_control: What the answer says instead of what is stored.
            method: ``GET`` or ``HEAD``; one does not serve the other.
            stable_for: The same URL for every call inside such a window of time, so that browsers and CDNs can cache it;
                each lives at least as long as asked, at most this much longer.

        Raises:
            Unsupported, InvalidExpiry, InvalidArgument, SigningUnavailable.
        """
        if method not in ("GET", "HEAD"):
            raise InvalidArgument('method is "GET" or "HEAD"', operation="sign_download")
        need = [Feature.SIGN_HEAD if method == "HEAD" else Feature.SIGN_DOWNLOAD]
        shown = None
        if filename is not None or disposition is not None:
            shown = ops.content_disposition(disposition or "attachment", filename)
        if shown or content_type or cache_control:
            need.append(Feature.RESPONSE_OVERRIDES)
            UploadSpec(
                content_type=content_type, cache_control=cache_control
            )  # the same rules hold for header values here
        if version is not None:
            need.append(Feature.VERSIONS)
        ops.require(self.capabilities, self.provider, *need)
        full = self._calls.full(key)
        start, end = self._calls.lifetime(expires_in, expires_at)
        if stable_for is not None:
            start, end = ops.stable_lifetime(start, end, stable_for, self.capabilities.limits.max_expiry)
        signer, end = self._calls.signer(end)
        try:
            request = signer.download(
                full, DownloadOrder(method, version, shown, content_type, cache_control), start, end
            )
        except Exception as error:
            self._calls.fail(error, "sign_download", key)
        if self._calls.observed:
            self._calls.observers.signed(self.provider, "sign_download", key, request)
        return request

    def sign_delete(
        self, key: str, *, expires_in: timedelta | None = None, expires_at: datetime | None = None
    ) -> SignedRequest:
        """A request with which a client deletes one object.

        Raises:
            Unsupported: The store has no ``sign_delete``.
            InvalidExpiry, SigningUnavailable.
        """
        ops.require(self.capabilities, self.provider, Feature.SIGN_DELETE)
        full = self._calls.full(key)
        start, end = self._calls.lifetime(expires_in, expires_at)
        signer, end = self._calls.signer(end)
        try:
            request = signer.delete(full, start, end)
        except Exception as error:
            self._calls.fail(error, "sign_delete", key)
        if self._calls.observed:
            self._calls.observers.signed(self.provider, "sign_delete", key, request)
        return request

    def public_url(self, key: str) -> str:
        """The object's plain URL. Raises Unsupported unless the store is configured ``public=true``."""
        self._calls.check_open("public_url")
        if not self.config.flag("public"):
            raise Unsupported(
                "the store is not public", provider=self.provider, hint="?public=true, or sign_download()"
            )
        ops.require(self.capabilities, self.provider, Feature.PUBLIC_URL)
        with self._calls.calling("public_url", key) as backend:
            return backend.public_url(self._calls.full(key))

    def verify_upload(
        self, key: str, spec: UploadSpec, *, pin: Pin | None = None, delete_on_violation: bool = False
    ) -> BlobInfo:
        """Check an uploaded object against its spec, everything of it but ``if_absent``.

        A checksum is compared with the provider's own where it keeps one, else with the bytes, which are then read once.

        Args:
            key: The object.
            spec: What it was signed with.
            pin: The content that is meant; without it the current one.
            delete_on_violation: Delete exactly that content when it breaks the spec (needs ``delete_pinned``).

        Raises:
            ConstraintViolated: For the first constraint that does not hold.
            PreconditionFailed: The object is no longer what ``pin`` says.
            BlobNotFound.
        """
        arguments.of_type("spec", spec, UploadSpec)
        arguments.pin(pin)
        if delete_on_violation:
            ops.require(self.capabilities, self.provider, Feature.DELETE_PINNED)
        with self._calls.calling("verify_upload", key) as backend:
            info = backend.head(self._calls.full(key), version=pin.version if pin else None)
            if pin is not None and pin.etag and pin.etag != info.etag:
                raise PreconditionFailed("the object was replaced meanwhile")
            quick = ops.violations(info, spec, spec.constraints - {Constraint.CHECKSUM})
            digest = None
            if not quick and spec.checksum is not None:
                digest = self._calls.digest(info, spec.checksum.algorithm)
            broken = quick or ops.violations(info, spec, spec.constraints & {Constraint.CHECKSUM}, digest)
            if broken:
                if delete_on_violation:
                    self._calls.delete_exactly(info)
                raise broken[0]
            return self._calls.to_relative(info)

    # --- chunked sessions ---

    def start_upload(
        self,
        key: str,
        *,
        size: int | None = None,
        spec: UploadSpec | None = None,
        content_type: str | None = None,
        min_size: int | None = None,
        max_size: int | None = None,
        checksum: Checksum | None = None,
        metadata: Mapping[str, str] | None = None,
        cache_control: str | None = None,
        content_disposition: str | None = None,
        content_encoding: str | None = None,
        storage_class: str | None = None,
        if_absent: bool = False,
        chunk_size: int | None = None,
        owner: str = "",
        origin: str | None = None,
        staging: bool | None = None,
        allow_session_life: bool = False,
    ) -> UploadSession:
        """Start a chunked upload. Nothing is at ``key`` before ``session.complete()``.

        Args:
            key: Where the object will be.
            size: Its size in bytes, when it is known.
            spec: The constraints; or the same as keywords.
            chunk_size: Bytes of each chunk; None chooses.
            owner: Binds the token to somebody; the same text must be given to :meth:`resume_upload`.
            origin: The browser's origin, where the provider wants it at the start (GCS sessions).
            staging: Whether chunks go to a private key first. None: where the provider makes it necessary. False: never;
                then ``session.enforcement`` says what holds only afterwards.
            allow_session_life: Accept chunk URLs that live as long as the session (GCS).

        Raises:
            UnenforceableConstraint: ``if_absent`` where nothing can enforce it.
            InvalidExpiry: Chunk URLs would outlive any expiry, and ``allow_session_life`` is not given.
            AlreadyExists: ``if_absent``, and something is there already.
            InvalidArgument, InvalidChunk: Sizes that the provider cannot hold.
        """
        ops.require(self.capabilities, self.provider, Feature.CHUNKED)
        given = (
            content_type, None, min_size, max_size, checksum, metadata,
            cache_control, content_disposition, content_encoding, storage_class, if_absent,
        )  # fmt: skip
        spec = ops.merge_spec(spec, spec_of(given) if given != _NO_KEYWORDS else None)
        if size is not None:
            sized = UploadSpec(size=size)
            if not spec.allows_size(size):
                raise ops.broken_size(spec, size, key)
            spec = spec.replace(size=sized.size)
        limits = self.capabilities.limits
        full = self._calls.full(key)
        plan = plan_chunks(spec.size, limits.chunks, chunk_size=chunk_size, max_size=spec.max_size)
        if not isinstance(owner, str) or len(owner) > 256:
            raise InvalidArgument("owner is a text of at most 256 characters")
        arguments.optional("origin", origin, str)
        arguments.optional("staging", staging, bool)
        if limits.chunk_url_life is not None and not allow_session_life:
            raise InvalidExpiry(
                f"{self.provider} chunk URLs cannot be cut short: they live as long as the session",
                hint="allow_session_life=True if that is acceptable",
            )
        staged, _ = ops.decide_session(spec, self.capabilities, self.provider, staging)
        upload_id = uuid.uuid4().hex
        inner = spec.replace(if_absent=False) if staged else spec
        order = SessionOrder(self._calls.root + STAGING + upload_id if staged else full, inner, plan, upload_id, origin)
        with self._calls.calling("start_upload", key) as backend:
            if spec.if_absent and self._calls.exists(full):
                raise AlreadyExists("there is an object at this key already")
            state = backend.open_session(order, ops.utc(self._calls.now()))
            session = UploadSession(
                self._calls, state, target=full, if_absent=spec.if_absent, staged=staged, owner=owner
            )
            if self._calls.can_seal():
                try:
                    _ = session.token  # too long is said now, not when the bytes are there
                except InvalidArgument:
                    backend.discard(state)
                    raise
        return session

    def resume_upload(self, token: str | Secret, *, key: str | None = None, owner: str = "") -> UploadSession:
        """The session of a token, on this or any other machine. No I/O: ask ``status()`` what the provider holds.

        Raises:
            InvalidToken: See its ``reason``.
            SealingKeyMissing.
        """
        self._calls.check_open("resume_upload")
        return UploadSession.from_token(self._calls, token, key=None if key is None else check_key(key), owner=owner)

    def list_uploads(self, prefix: str = "", *, older_than: timedelta | None = None) -> Iterator[PendingUpload]:
        """Sessions that were started below ``prefix`` and neither completed nor aborted.

        Staged ones are listed by their private key, below ``.blobkit/staging/`` of the root store.

        Args:
            prefix: Start of the keys.
            older_than: Only those started longer ago; one whose start is unknown counts as old.
        """
        ops.require(self.capabilities, self.provider, Feature.LIST_UPLOADS)
        arguments.listing_text("prefix", prefix)
        limit = None if older_than is None else ops.utc(self._calls.now()) - arguments.age("older_than", older_than)
        with self._calls.calling("list_uploads", None) as backend:
            for pending in backend.pending(self._calls.prefix + prefix):
                if limit is None or pending.started is None or pending.started < limit:
                    yield replace(pending, key=self._calls.relative(pending.key))

    def sweep_uploads(self, prefix: str = "", *, older_than: timedelta) -> list[PendingUpload]:
        """Abort every session of :meth:`list_uploads` that is older, and delete what completed sessions left in staging.

        Idempotent; safe beside running uploads as long as ``older_than`` is longer than any of them.

        Returns:
            What was removed.
        """
        swept: list[PendingUpload] = []
        for pending in list(self.list_uploads(prefix, older_than=older_than)):
            full = self._calls.prefix + pending.key
            state = SessionState(
                key=full,
                spec=UploadSpec(),
                plan=plan_chunks(None, self.capabilities.limits.chunks),
                upload_id=pending.upload_id,
                provider_id=pending.upload_id,
                started=pending.started or ops.utc(0),
            )
            with self._calls.calling("sweep_uploads", pending.key) as backend:
                backend.discard(state)
            swept.append(pending)
        if self._calls.prefix == self._calls.root and STAGING.startswith(prefix):
            limit = ops.utc(self._calls.now()) - older_than
            with self._calls.calling("sweep_uploads", None) as backend:
                for left in list(backend.list(self._calls.root + STAGING)):
                    if isinstance(left, BlobInfo) and left.modified < limit:
                        self._calls.delete_exactly(left)
                        key = self._calls.relative(left.key)
                        swept.append(PendingUpload(key, left.upload_id or "", left.modified, left.size))
        return swept

    def upload(
        self,
        key: str,
        source: Uploadable,
        *,
        spec: UploadSpec | None = None,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        checksum: Checksum | None = None,
        if_absent: bool = False,
        concurrency: int | None = None,
    ) -> BlobInfo:
        """Upload a file from this process: one write, or a chunked session where the provider's single PUT ends.

        Args:
            concurrency: The most chunks at once; None looks for what the line bears.

        Raises:
            As :meth:`write` and the session's ``complete``; SourceChanged when the file changes meanwhile.
        """
        given = (content_type, None, None, None, checksum, metadata, None, None, None, None, if_absent)
        spec = ops.merge_spec(spec, spec_of(given) if given != _NO_KEYWORDS else None)
        if concurrency is not None:
            arguments.number("concurrency", concurrency, least=1)
        with opened(source) as (body, size):
            limits = self.capabilities.limits
            if size <= (
                limits.max_put if self.capabilities.has(Feature.DATA_PLANE) else min(limits.max_put, SINGLE_REQUEST)
            ):
                return self.write(key, body, spec=spec)
        from blobkit.transfer import upload as transfer_upload
        from blobkit.transfer.completing import complete

        session = self.start_upload(key, size=size, spec=spec, allow_session_life=True)
        try:
            done = transfer_upload(source, session, concurrency=concurrency)
            return complete(source, session, done.receipts)
        except BaseException:
            session.abort()
            raise

    def plan_upload(
        self,
        key: str,
        size: int,
        *,
        spec: UploadSpec | None = None,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        checksum: Checksum | None = None,
        if_absent: bool = False,
        expires_in: timedelta | None = None,
        owner: str = "",
        origin: str | None = None,
        single_up_to: int = SINGLE_REQUEST,
        allow_session_life: bool = False,
    ) -> UploadPlan:
        """A plan for a client: a single request up to ``single_up_to`` bytes, above it a chunked session.

        The plan's ``id`` is the session's token, to be given to :meth:`resume_upload`; a single request's is a fresh UUID.

        Raises:
            As :meth:`sign_upload` and :meth:`start_upload`. InvalidArgument for more than 1,000 chunks: start a session and
            make a lazy plan.
        """
        given = (content_type, None, None, None, checksum, metadata, None, None, None, None, if_absent)
        spec = ops.merge_spec(spec, spec_of(given) if given != _NO_KEYWORDS else None)
        arguments.number("size", size)
        if size <= min(single_up_to, self.capabilities.limits.max_put):
            from blobkit.planning import single_plan

            if not spec.allows_size(size):
                raise ops.broken_size(spec, size, key)
            exact = spec.replace(size=size)
            late = {Constraint.SIZE} if self._enforcer_of_size() is Enforcement.COMPLETION else set()
            request = self.sign_upload(key, spec=exact, expires_in=expires_in, verify_after=late)
            return single_plan(request, key, uuid.uuid4().hex)
        session = self.start_upload(
            key, size=size, spec=spec, owner=owner, origin=origin, allow_session_life=allow_session_life
        )
        try:
            return session.plan(expires_in=expires_in)
        except BlobkitError:
            session.abort()
            raise

    def _enforcer_of_size(self) -> Enforcement:
        """Who sees to an exact size on one request. Where nobody can, the plan says ``completion``, as its caller will."""
        try:
            order = ops.decide_upload(UploadSpec(size=1), self.capabilities, self.provider)
        except Unsupported:
            return Enforcement.COMPLETION
        return order.enforcement[Constraint.SIZE]

    # --- objects ---

    def stat(self, key: str, *, version: str | None = None) -> BlobInfo:
        """Describe the object. Raises BlobNotFound."""
        if version is not None:
            ops.require(self.capabilities, self.provider, Feature.VERSIONS)
        with self._calls.calling("stat", key) as backend:
            return self._calls.to_relative(backend.head(self._calls.full(key), version=version))

    def exists(self, key: str) -> bool:
        """Whether an object is at the key now."""
        with self._calls.calling("exists", key):
            return self._calls.exists(self._calls.full(key))

    def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """Bytes ``[start, end)``, all of them in memory. Past the object's end there are none. Raises BlobNotFound."""
        arguments.byte_range(start, end)
        with self._calls.calling("read", key) as backend:
            _, stream = backend.get(self._calls.full(key), start=start, end=end)
            with stream:
                return stream.read()

    def open(self, key: str, *, pin: Pin | None = None) -> BinaryIO:
        """The object as a read-only seekable file, read by ranges, pinned to what it is at opening.

        Args:
            pin: Exactly this content: its version, where there are versions, even when it is not the current one any more.

        Raises:
            BlobNotFound.
            PreconditionFailed: The object at the key is not the pinned one; while reading, when it was replaced.
        """
        arguments.pin(pin)
        with self._calls.calling("open", key) as backend:
            info = backend.head(self._calls.full(key), version=pin.version if pin else None)
            if pin is not None and pin.etag is not None and pin.etag != info.etag:
                raise PreconditionFailed("the object at the key is another than the pinned one")
            return io.BufferedReader(BlobFile(self._calls, info), buffer_size=MiB)

    def write(
        self,
        key: str,
        data: bytes | bytearray | memoryview | IO[bytes],
        *,
        spec: UploadSpec | None = None,
        content_type: str | None = None,
        size: int | None = None,
        min_size: int | None = None,
        max_size: int | None = None,
        checksum: Checksum | None = None,
        metadata: Mapping[str, str] | None = None,
        cache_control: str | None = None,
        content_disposition: str | None = None,
        content_encoding: str | None = None,
        storage_class: str | None = None,
        if_absent: bool = False,
        if_match: Pin | None = None,
    ) -> BlobInfo:
        """Store bytes through the service: the plain path for small files. All or nothing.

        Args:
            key: Where.
            data: Bytes, or an open seekable file, read from where it stands to its end.
            spec: The constraints; or the same as keywords.
            if_match: Replace exactly this content, or raise PreconditionFailed.

        Raises:
            ConstraintViolated: The data break the spec; nothing was sent.
            ChecksumMismatch, AlreadyExists, PreconditionFailed, Unsupported.
            InvalidArgument: More than one PUT can hold; the hint names start_upload.
        """
        given = (
            content_type, size, min_size, max_size, checksum, metadata,
            cache_control, content_disposition, content_encoding, storage_class, if_absent,
        )  # fmt: skip
        spec = ops.merge_spec(spec, spec_of(given) if given != _NO_KEYWORDS else None)
        if spec.if_absent:
            ops.require(self.capabilities, self.provider, Feature.IF_ABSENT)
        if arguments.pin(if_match, "if_match") is not None:
            if spec.if_absent:
                raise InvalidArgument("if_absent and if_match contradict each other", operation="write", key=key)
            ops.require(self.capabilities, self.provider, Feature.IF_MATCH)
        full, upload_id = self._calls.full(key), uuid.uuid4().hex
        with self._calls.calling("write", key) as backend, opened_data(data) as (body, length):
            if length > self.capabilities.limits.max_put:
                raise InvalidArgument(
                    f"{length} bytes are more than one write can hold", hint="start_upload() or upload()"
                )
            if not spec.allows_size(length):
                raise ops.broken_size(spec, length, key)
            try:
                return self._calls.to_relative(
                    backend.put(full, body, length, spec=spec, upload_id=upload_id, if_match=if_match)
                )
            except Exception as error:
                if isinstance(self._calls.translate(error), AlreadyExists | PreconditionFailed | TransientError) and (
                    own := self._calls.own(full, upload_id)
                ):
                    return self._calls.to_relative(
                        own
                    )  # our own write, whose reply was lost and whose retry met itself
                raise

    def copy(
        self, source: str, target: str, *, pin: Pin | None = None, if_absent: bool = False, to: Store | None = None
    ) -> BlobInfo:
        """Copy an object, server-side within one provider; its type, metadata and cache headers are kept.

        Args:
            source: The object to copy, in this store.
            target: Where to, in ``to`` or this store.
            pin: Exactly this content, or PreconditionFailed.
            if_absent: Only create; AlreadyExists otherwise.
            to: Another store. Of another provider, the bytes stream through this process, pinned, and only as far as one
                write reaches.

        Returns:
            The copy, with its key relative to the target's store.
        """
        return self._copied("copy", source, target, pin, if_absent, to or self)

    def promote(self, blob: BlobInfo, target: str, *, if_absent: bool = True, to: Store | None = None) -> BlobInfo:
        """Copy exactly the content that ``blob`` describes (and that was checked) to the key it is served from.

        Raises:
            PreconditionFailed: The object was replaced since. Nothing was published.
            AlreadyExists, BlobNotFound.
        """
        arguments.of_type("blob", blob, BlobInfo, "promote takes what stat() or verify_upload() gave")
        info = self._copied("promote", blob.key, target, blob.pin, if_absent, to or self)
        self._calls.observers.promoted(self.provider, blob.key, info)
        return info

    def _copied(
        self, operation: str, source: str, target: str, pin: Pin | None, if_absent: bool, to: Store
    ) -> BlobInfo:
        arguments.pin(pin)
        arguments.of_type("to", to, Store)
        same = type(to._calls.backend) is type(self._calls.backend)
        if same:
            ops.require(self.capabilities, self.provider, Feature.COPY)
            if if_absent:
                ops.require(to.capabilities, to.provider, Feature.COPY_IF_ABSENT)
        full, target_full = self._calls.full(source), to._calls.full(target)
        to._calls.check_open(operation)
        with self._calls.calling(operation, source) as backend:
            if same:
                other = None if to._calls.backend is backend else to._calls.backend
                return to._calls.to_relative(backend.copy(full, target_full, pin=pin, if_absent=if_absent, to=other))
            info = backend.head(full, version=pin.version if pin else None)
            _, stream = backend.get(full, pin=pin or info.pin)
            spec = UploadSpec(
                content_type=info.content_type,
                metadata=info.metadata,
                cache_control=info.cache_control,
                content_disposition=info.content_disposition,
                content_encoding=info.content_encoding,
                size=info.size,
                if_absent=if_absent,
            )
            with stream, spooled(stream, info.size) as body:
                return to.write(target, body, spec=spec)

    def delete(
        self, key: str, *, pin: Pin | None = None, version: str | None = None, purge_versions: bool = False
    ) -> DeleteResult:
        """Delete the object; one that is not there is no error.

        Args:
            pin: Only this content, or PreconditionFailed.
            version: This version, leaving the others.
            purge_versions: Every version and delete marker of the key.

        Raises:
            PreconditionFailed, ObjectLocked, Unsupported.
        """
        if arguments.pin(pin) is not None:
            ops.require(self.capabilities, self.provider, Feature.DELETE_PINNED)
        if purge_versions and (version is not None or pin is not None):
            raise InvalidArgument("purge_versions deletes all of them: it goes without version and pin", key=key)
        if version is not None or purge_versions:
            ops.require(self.capabilities, self.provider, Feature.VERSIONS)
        with self._calls.calling("delete", key) as backend:
            result = backend.delete(self._calls.full(key), pin=pin, version=version, purge_versions=purge_versions)
            return replace(result, key=key)

    def delete_many(self, keys: Iterable[str]) -> list[DeleteResult]:
        """Delete each key; failures are in the results, in the order of ``keys``, and do not stop the others."""
        given = list(arguments.items("keys", keys))
        full = [self._calls.full(key) for key in given]
        with self._calls.calling("delete_many", None) as backend:
            return [replace(result, key=key) for key, result in zip(given, backend.delete_many(full), strict=True)]

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[BlobInfo]:
        """Every object whose key starts with ``prefix``, page by page, without blobkit's own below ``.blobkit/``.

        Args:
            prefix: Any start of a key, not only whole segments.
            start_after: Only keys after this one, in the order of their UTF-8 bytes (needs ``start_after``).
        """
        if start_after is not None:
            ops.require(self.capabilities, self.provider, Feature.START_AFTER)
        for item in self._listed("list", prefix, start_after, None):
            if isinstance(item, BlobInfo):
                yield item

    def list_dir(self, prefix: str = "", *, delimiter: str = "/") -> Iterator[BlobInfo | Prefix]:
        """One level of a listing: objects directly below ``prefix``, and a :class:`Prefix` for each group further down."""
        ops.require(self.capabilities, self.provider, Feature.LIST_DIR)
        if not arguments.listing_text("delimiter", delimiter):
            raise InvalidArgument("a delimiter has at least one character", operation="list_dir")
        yield from self._listed("list_dir", prefix, None, delimiter)

    def _listed(
        self, operation: str, prefix: str, start_after: str | None, delimiter: str | None
    ) -> Iterator[BlobInfo | Prefix]:
        arguments.listing_text("prefix", prefix)
        after = None
        if start_after is not None:
            after = self._calls.prefix + arguments.listing_text("start_after", start_after)
        reserved = self._calls.root + RESERVED
        with self._calls.calling(operation, None) as backend:
            for item in backend.list(self._calls.prefix + prefix, start_after=after, delimiter=delimiter):
                if item.key.startswith(reserved):
                    continue
                yield (
                    self._calls.to_relative(item)
                    if isinstance(item, BlobInfo)
                    else Prefix(self._calls.relative(item.key))
                )


_NO_KEYWORDS: Final = (None,) * 10 + (False,)
