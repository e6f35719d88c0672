"""What every verb goes through: the prefix, the clock, the credentials, the keyring, and one place where errors are wrapped.

Store, UploadSession and BlobFile share one :class:`Calls`; none of them touches the backend any other way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

from blobkit import arguments, ops, sealing
from blobkit.backend import Backend, Capabilities, Feature, SessionState, Signer, UploadOrder
from blobkit.blobs import BlobInfo, Checksum
from blobkit.chunking import ChunkPlan
from blobkit.config import StoreConfig
from blobkit.errors import (
    BlobkitError,
    BlobNotFound,
    ClosedError,
    InvalidChunk,
    InvalidExpiry,
    NotFound,
    SigningUnavailable,
)
from blobkit.hashing import hasher
from blobkit.keys import check_key
from blobkit.plugins.manager import Observers
from blobkit.sealing import Keyring
from blobkit.signed import SignedChunk
from blobkit.spec import Constraint, MiB, UploadSpec

if TYPE_CHECKING:
    from blobkit.aio import AsyncStore
    from blobkit.events.keeping import StoreEvents
    from blobkit.events.shells import Headers
    from blobkit.store import Store

__all__ = ["Calls", "NeedsThread", "inline"]

_BLOCK: Final = MiB
_ORDERS: Final = 1024
_EMPTY: Final = UploadSpec()
K = TypeVar("K")
_Constraints = frozenset[Constraint]
_NONE: Final[_Constraints] = frozenset()

inline: ContextVar[bool] = ContextVar("inline", default=False)
"""Set by AsyncStore while it signs on the event loop: a signer that would have to wait then raises NeedsThread."""


class NeedsThread(BaseException):
    """Signing needs the network now; AsyncStore moves the call to a thread. Never reaches a caller."""


class Calls:
    """One store's way to its backend. Stores on longer prefixes share all of it but the prefix (:meth:`at`)."""

    def __init__(
        self,
        backend: Backend,
        config: StoreConfig,
        capabilities: Capabilities,
        *,
        sealing: Keyring | None,
        clock: Callable[[], datetime] | None,
        observers: Observers,
        env: Mapping[str, str],
    ) -> None:
        self.backend = backend
        self.config = config
        self.capabilities = capabilities
        self.provider = config.provider
        self.observers = observers
        self.observed = bool(observers)
        self.closed = threading.Event()
        self.clock = clock
        self.prefix = config.prefix
        self.root = config.prefix
        self.identity = ":".join([config.provider, *config.location.values()])
        self.cap = config.text("on_short_credentials") == "cap"
        self.pins = capabilities.has(Feature.DELETE_PINNED)
        self.refuse_key = None if type(backend).refuse_key is Backend.refuse_key else backend.refuse_key
        self._ring = sealing
        self._env = env
        self._signing: tuple[Signer, int | None] | None = None
        self._life: tuple[timedelta | None, int, int] | None = None
        self._orders: dict[UploadSpec | tuple[UploadSpec, _Constraints], UploadOrder] = {}
        self._decisions: dict[tuple[_Constraints, _Constraints], UploadOrder] = {}

    def at(self, prefix: str) -> Calls:
        """The same on another prefix."""
        child = object.__new__(Calls)
        child.__dict__.update(self.__dict__)
        child.prefix = prefix
        return child

    def events_of(self, store: Store | AsyncStore, body: object, headers: Headers | None) -> StoreEvents:
        """The events of a delivery that are this store's. Raises MalformedEvent."""
        from blobkit.events.keeping import store_events
        from blobkit.events.parse import parse_events

        return store_events(
            store,
            parse_events(body, headers),
            provider=self.provider,
            bucket=self.bucket,
            prefix=self.prefix,
            account=self.account,
        )

    @property
    def bucket(self) -> str:
        """Bucket or container, as events name it."""
        place = self.config.location
        return place.get("bucket") or place.get("container") or place.get("name") or str(Path(place.get("path", "")))

    @property
    def account(self) -> str | None:
        """The storage account, where container names are unique only within it."""
        return self.config.location.get("account")

    def now(self) -> int:
        """The time in whole seconds since the epoch, by the clock that the store was opened with."""
        return int(time.time()) if self.clock is None else int(self.clock().timestamp())

    def lifetime(self, expires_in: timedelta | None, expires_at: datetime | None) -> tuple[int, int]:
        """Start and end of a signature, as :func:`blobkit.ops.lifetime`; remembered, since many are asked for in a second."""
        now, last = self.now(), self._life
        if expires_at is None and last is not None and last[0] is expires_in and last[1] == now:
            return now, last[2]
        start, end = ops.lifetime(now, expires_in, expires_at, self.capabilities.limits.max_expiry)
        if expires_at is None:
            self._life = (expires_in, now, end)
        return start, end

    def full(self, key: str) -> str:
        """The key with the prefix, checked. Raises InvalidKey."""
        full = self.prefix + check_key(key)
        refusal = None if self.refuse_key is None else self.refuse_key(full)
        if len(full) > 256 or refusal is not None:
            ops.check_full_key(full, self.capabilities.limits.max_key_bytes, refusal)
        return full

    def relative(self, full: str) -> str:
        """A full key without the prefix."""
        return full.removeprefix(self.prefix)

    def to_relative(self, info: BlobInfo) -> BlobInfo:
        """An object's description with its key relative to the prefix."""
        return replace(info, key=self.relative(info.key)) if self.prefix else info

    def order(self, spec: UploadSpec | None, verify_after: ops.VerifyAfter) -> UploadOrder:
        """Who enforces what of this spec here; remembered, so that a reused spec costs one look-up."""
        if spec is None:
            spec = _EMPTY
        what = (spec, ops.verified(verify_after)) if verify_after else spec
        known = self._orders.get(what)
        if known is not None:
            return known
        spec = ops.merge_spec(spec, None)
        order = self.decision(spec, verify_after).of(spec)
        _remember(self._orders, what, order)
        return order

    def decision(self, spec: UploadSpec, verify_after: ops.VerifyAfter) -> UploadOrder:
        """An order with the same constraints: who enforces what depends on what is asked, not on how much."""
        what = (spec.constraints, ops.verified(verify_after) if verify_after else _NONE)
        known = self._decisions.get(what)
        if known is None:
            ops.require(self.capabilities, self.provider, Feature.SIGN_UPLOAD)
            known = ops.decide_upload(spec, self.capabilities, self.provider, what[1])
            _remember(self._decisions, what, known)
        return known

    def signer(self, end: int) -> tuple[Signer, int]:
        """A signer whose credentials last until ``end``, or the end that they allow."""
        if self.closed.is_set():
            self.check_open("sign")
        known = self._signing
        if known is not None and (known[1] is None or known[1] >= end):
            return known[0], end
        until = ops.utc(end)
        try:
            signer = self.backend.ready_signer(until)
            if signer is None:
                if inline.get():
                    raise NeedsThread
                signer = self.backend.signer(until)
        except NeedsThread:
            raise
        except Exception as error:
            self.fail(error, "sign", None)
        valid_until = signer.valid_until
        self._signing = (signer, valid_until)
        if valid_until is not None and valid_until < end:
            if valid_until <= self.now():
                raise SigningUnavailable(
                    "the credentials have expired and could not be refreshed", provider=self.provider
                )
            if not self.cap:
                raise InvalidExpiry(
                    f"the credentials end at {ops.utc(valid_until).isoformat()}, before the signature would",
                    provider=self.provider,
                    hint="a shorter expires_in, longer-lived credentials, or ?on_short_credentials=cap",
                )
            end = valid_until
        return signer, end

    def sign_chunks(
        self,
        state: SessionState,
        numbers: Iterable[int] | None,
        expires_in: timedelta | None,
        expires_at: datetime | None,
        checksums: Mapping[int, Checksum] | None,
    ) -> Sequence[SignedChunk]:
        """Signed requests for chunks of a session; see :meth:`blobkit.session.UploadSession.sign_chunks`."""
        plan = state.plan
        chunks = plan.chosen(_numbers(plan, numbers))
        bound = arguments.checksums(checksums, [chunk.number for chunk in chunks]) if checksums else {}
        if bound:
            ops.require(self.capabilities, self.provider, Feature.CHUNK_CHECKSUMS)
        limits = self.capabilities.limits
        if limits.chunk_url_life is not None and state.expires is not None:
            start, end = self.now(), int(state.expires.timestamp())
        else:
            start, end = self.lifetime(expires_in, expires_at)
        signer, end = self.signer(end)
        try:
            return signer.chunks(state, chunks, bound, start, end)
        except Exception as error:
            self.fail(error, "sign_chunks", None)

    def keyring(self) -> Keyring:
        """The keys that seal tokens: given, from the environment, or the provider's own. Raises SealingKeyMissing."""
        if self._ring is None:
            if text := self._env.get(sealing.ENV):
                self._ring = Keyring.from_text(text)
            elif own := self.backend.sealing_key():
                self._ring = Keyring([sealing.SealingKey("local", own)])
            else:
                raise sealing.missing()
        return self._ring

    def can_seal(self) -> bool:
        """Whether there is a keyring."""
        try:
            self.keyring()
        except BlobkitError:
            return False
        return True

    def exists(self, full: str) -> bool:
        """Whether an object is at the full key."""
        try:
            self.backend.head(full)
        except Exception as error:
            if isinstance(self.translate(error), BlobNotFound):
                return False
            raise
        return True

    def own(self, full: str, upload_id: str) -> BlobInfo | None:
        """The object at the full key if that very upload made it: how a lost reply is recognised."""
        try:
            info = self.backend.head(full)
        except Exception as error:
            if isinstance(self.translate(error), NotFound):
                return None
            raise
        return info if info.upload_id == upload_id else None

    def delete_exactly(self, info: BlobInfo) -> None:
        """Delete this very content and nothing else: its version where there are versions, so that no marker hides it."""
        version = info.version if self.capabilities.has(Feature.VERSIONS) else None
        self.backend.delete(info.key, pin=info.pin if self.pins else None, version=version)

    def digest(self, info: BlobInfo, algorithm: str) -> Checksum:
        """The object's checksum: the provider's own if it keeps one, else computed from its bytes, pinned."""
        stored = info.checksums.get(algorithm)
        if stored is not None and not stored.composite:
            return stored
        digest = hasher(algorithm)
        _, stream = self.backend.get(info.key, pin=info.pin)
        with stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
        return Checksum(algorithm, digest.digest())

    def check_open(self, operation: str) -> None:
        """Raise ClosedError when the store was closed."""
        if self.closed.is_set():
            raise ClosedError("the store is closed", provider=self.provider, operation=operation)

    @contextmanager
    def calling(self, operation: str, key: str | None) -> Iterator[Backend]:
        """Around every call of the backend: refuse when closed, wrap what it raises, once."""
        self.check_open(operation)
        try:
            yield self.backend
        except Exception as error:
            self.fail(error, operation, key)

    def fail(self, error: Exception, operation: str, key: str | None) -> NoReturn:
        """Raise the library's error for what a call raised, with where it happened; another's error passes unchanged."""
        wrapped = self.translate(error)
        if wrapped is None:
            raise error
        if key is not None:
            wrapped.key = key
        wrapped.located(provider=self.provider, operation=operation)
        if wrapped is error:
            raise error
        raise wrapped from error

    def translate(self, error: Exception) -> BlobkitError | None:
        """The library's error for what a backend raised; None when it is not the provider's."""
        if isinstance(error, BlobkitError):
            return error
        known = self.backend.classify(error)
        return None if known is None else known.as_error()


def _numbers(plan: ChunkPlan, numbers: Iterable[int] | None) -> list[int]:
    if numbers is not None:
        return list(arguments.items("numbers", numbers))
    if plan.size is None:
        raise InvalidChunk("the size is unknown: name the chunks to sign")
    return list(range(1, len(plan) + 1))


def _remember(known: dict[K, UploadOrder], what: K, order: UploadOrder) -> None:
    if len(known) >= _ORDERS:
        known.clear()
    known[what] = order
