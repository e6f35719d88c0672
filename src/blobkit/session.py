"""Chunked sessions: start, sign, ask, complete, abort, on any machine that has the token.

The provider is the truth about progress, and **the object appears at its key only when** :meth:`UploadSession.complete`
**succeeds**. Where a provider would publish earlier, or a chunk URL could write the whole object, the chunks go to a private
key below ``.blobkit/staging/`` and ``complete()`` promotes what it has checked, pinned.

Completion is idempotent, and a reply that got lost is recognised by the upload's id, which every object carries:

===================================  ==================================================================================
what the provider says               what ``complete()`` does
===================================  ==================================================================================
open, chunks as planned              commit; if staged, verify and promote
open, chunks missing or wrong        ChunkMismatch; nothing changed
committed (by the last chunk)        verify and promote
gone, our object at the target       success: an earlier call won, or its reply was lost
gone, our object at the staging key  verify and promote: an earlier call died in between
gone, nothing of ours                SessionNotFound; SessionExpired when its time is over
commit fails, our object is there    as if it had succeeded
===================================  ==================================================================================
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

from blobkit import arguments, ops
from blobkit.backend import Received, SessionState
from blobkit.blobs import AbortResult, BlobInfo, Checksum
from blobkit.chunking import ChunkPlan
from blobkit.errors import (
    AlreadyExists,
    BlobkitError,
    ConstraintViolated,
    InvalidArgument,
    InvalidToken,
    NotFound,
    PreconditionFailed,
    SessionExpired,
    SessionMismatch,
    SessionNotFound,
    TransientError,
    UnenforceableConstraint,
)
from blobkit.redaction import Secret
from blobkit.spec import Constraint, Enforcement, Route

if TYPE_CHECKING:
    from blobkit.calling import Calls
    from blobkit.plans import PlanLinks, UploadPlan
    from blobkit.signed import SignedChunk

__all__ = ["INLINE_CHUNKS", "STAGING", "SessionStatus", "UploadSession"]

STAGING: Final = ".blobkit/staging/"
INLINE_CHUNKS: Final = 1000
TOKEN_LIFE: Final = timedelta(
    days=7
)  # where the provider names no end of its own: what GCS and Azure keep, and lifecycle rules use
_PURPOSE: Final = "upload-session"
_log = logging.getLogger("blobkit.session")


@dataclass(frozen=True, slots=True)
class SessionStatus:
    """What the provider holds of a session.

    Attributes:
        state: ``open``; ``committed`` (the object is at its key); ``gone`` (aborted, lapsed, or never was).
        received: Numbers of the chunks held whole, ascending.
        received_bytes: Their bytes (in a sequential session: the offset to go on from).
        missing: Numbers still to be sent, ascending; for an unknown size only the gaps below the last one held.
    """

    state: Literal["open", "committed", "gone"]
    received: tuple[int, ...] = ()
    received_bytes: int = 0
    missing: tuple[int, ...] = ()


class UploadSession:
    """One chunked upload. Made by ``store.start_upload`` and ``store.resume_upload``; borrows its store.

    Attributes:
        key: The key that the object will have, relative to the store's prefix.
        chunks: How the object is cut.
        staged: Whether the chunks go to a private key first.
        enforcement: Who sees to each constraint.
        owner: Whom the token is bound to; empty for nobody.
    """

    __slots__ = (
        "_calls",
        "_if_absent",
        "_state",
        "_target",
        "_token",
        "chunks",
        "enforcement",
        "key",
        "owner",
        "staged",
    )

    def __init__(
        self, calls: Calls, state: SessionState, *, target: str, if_absent: bool, staged: bool, owner: str
    ) -> None:
        self._calls = calls
        self._state = state
        self._target = target
        self._if_absent = if_absent
        self._token: Secret | None = None
        self.key = calls.relative(target)
        self.chunks: ChunkPlan = state.plan
        self.staged = staged
        self.owner = owner
        spec = state.spec if state.spec.if_absent == if_absent else state.spec.replace(if_absent=if_absent)
        self.enforcement: Mapping[Constraint, Enforcement] = ops.decide_session(
            spec, calls.capabilities, calls.provider, staged
        )[1]

    def __repr__(self) -> str:
        return f"UploadSession(key={self.key!r}, chunks={len(self.chunks)}, staged={self.staged})"

    @property
    def upload_id(self) -> str:
        """The upload's id: 32 hex digits, kept in the object's metadata and given back as ``BlobInfo.upload_id``."""
        return self._state.upload_id

    @property
    def expires_at(self) -> datetime:
        """When the session can no longer be continued (aware UTC)."""
        return self._state.expires or self._state.started + TOKEN_LIFE

    @property
    def sequential(self) -> bool:
        """Whether chunks must be sent in order, one at a time."""
        return self._calls.capabilities.limits.chunks.sequential

    # --- the token ---

    @property
    def token(self) -> Secret:
        """The session, sealed: at most 4,096 URL-safe characters. It says nothing; whoever has it can ask the service.

        Raises:
            SealingKeyMissing: The store has no key to seal with.
        """
        if self._token is None:
            state = self._state.to_dict()
            content: dict[str, object] = {
                "w": _PURPOSE,
                "n": self._calls.identity,
                "x": int(self.expires_at.timestamp()),
                "o": self.owner,
                "a": self._if_absent,
                "d": state,
            }
            if self.staged:
                content["g"] = self._target
            self._token = self._calls.keyring().seal(content)
        return self._token

    @classmethod
    def from_token(cls, calls: Calls, token: str | Secret, *, key: str | None, owner: str) -> UploadSession:
        """The session of a token. Raises InvalidToken, SealingKeyMissing."""
        content = calls.keyring().open(token)
        try:
            purpose, identity, expires, sealed_owner = content["w"], content["n"], content["x"], content["o"]
            state = SessionState.from_dict(content["d"])
            target, if_absent = content.get("g", state.key), content["a"] is True
        except KeyError as error:
            raise InvalidToken("tampered") from error
        if purpose != _PURPOSE or identity != calls.identity or not str(target).startswith(calls.prefix):
            raise InvalidToken("foreign", "the token is of another store")
        if sealed_owner != owner:
            raise InvalidToken("foreign", "the token is of another owner")
        if key is not None and target != calls.prefix + key:
            raise InvalidToken("foreign", "the token is for another key")
        if expires <= calls.now():
            raise InvalidToken("expired")
        return cls(calls, state, target=target, if_absent=if_absent, staged="g" in content, owner=owner)

    # --- signing ---

    def sign_chunks(
        self,
        numbers: Iterable[int] | None = None,
        *,
        expires_in: timedelta | None = None,
        expires_at: datetime | None = None,
        checksums: Mapping[int, Checksum] | None = None,
    ) -> Sequence[SignedChunk]:
        """Signed requests for chunks: any subset, any time, as often as needed.

        Args:
            numbers: Which; None for all, when the size is known.
            expires_in, expires_at: The life of the URLs; 15 minutes when neither is given.
            checksums: Digests by chunk number, bound in the signature (needs ``chunk_checksums``).

        Raises:
            InvalidChunk: A number that the plan has not, or None for an unknown size.
            InvalidExpiry, Unsupported, ClosedError.
        """
        return self._calls.sign_chunks(self._state, numbers, expires_in, expires_at, checksums)

    def plan(
        self,
        *,
        sign: Literal["inline", "lazy"] = "inline",
        links: PlanLinks | None = None,
        expires_in: timedelta | None = None,
        id: str | None = None,  # noqa: A002 - the plan's own word
    ) -> UploadPlan:
        """The JSON that a client executes.

        Args:
            sign: ``inline``: every chunk is signed now (at most 1,000). ``lazy``: the client asks ``links.sign`` for each.
            links: The service's own routes for this upload.
            expires_in: The life of inline URLs.
            id: What the client calls this upload; the token when None.

        Raises:
            InvalidArgument: Inline with more than 1,000 chunks or an unknown size; lazy without ``links.sign``.
        """
        from blobkit.planning import session_plan

        return session_plan(self, sign=sign, links=links, expires_in=expires_in, id=id)

    # --- progress ---

    def status(self) -> SessionStatus:
        """What the provider holds, asked now. Works for a session of any state; raises only what the network raises."""
        with self._calls.calling("status", self.key) as backend:
            received = self._received()
            if received.state == "committed" and not self.staged:
                return SessionStatus("committed", received_bytes=received.info.size if received.info else 0)
            if received.state == "gone":
                if own := self._own(self._target):
                    return SessionStatus("committed", received_bytes=own.size)
                if not (self.staged and self._own(self._state.key)):
                    return SessionStatus("gone")
            if received.state != "open":  # assembled at the private key: all is there, complete() remains to be called
                size = backend.head(self._state.key).size
                plan = self.chunks if self.chunks.size is not None else self.chunks.resolved(size)
                return SessionStatus("open", tuple(chunk.number for chunk in plan), size)
            return self._progress(received)

    def _progress(self, received: Received) -> SessionStatus:
        plan = self.chunks
        good = {
            chunk.number: chunk.size
            for chunk in received.chunks
            if 1 <= chunk.number <= len(plan) and (plan.size is None or chunk.size == plan.chunk(chunk.number).size)
        }
        last = len(plan) if plan.size is not None else max(good, default=0)
        missing = tuple(number for number in range(1, last + 1) if number not in good)
        total = received.offset if received.offset is not None else sum(good.values())
        return SessionStatus("open", tuple(sorted(good)), total, missing)

    # --- the end ---

    def complete(
        self,
        receipts: Mapping[int, str] | None = None,
        *,
        size: int | None = None,
        checksum: Checksum | None = None,
    ) -> BlobInfo:
        """Make the object appear at its key, if what the provider holds is what was planned. Idempotent.

        Args:
            receipts: What the client was answered, by chunk number; compared when given, never needed.
            size: The object's size in bytes; required when it was unknown at the start.
            checksum: The digest of the whole object, to be checked before the object appears. Where the chunks go straight
                to the key, the provider must be able to.

        Raises:
            InvalidArgument: The size is unknown and not given.
            SessionMismatch: Another size than was planned.
            ConstraintViolated, ChecksumMismatch: The object breaks its spec; it is not at its key.
            ChunkMismatch: Chunks are missing or not as planned; send them and call again.
            AlreadyExists: ``if_absent``, and another object is there. The chunks are discarded.
            UnenforceableConstraint: A checksum that nothing can check in time; nothing was committed.
            SessionNotFound, SessionExpired: The session is gone, and no object of it is at its key.
        """
        total, receipts = self._total(size), arguments.receipts(receipts)
        arguments.optional("checksum", checksum, Checksum)
        if not self._state.spec.allows_size(total):
            raise ops.broken_size(self._state.spec, total, self.key)
        plan = self.chunks.resolved(total)
        with self._calls.calling("complete", self.key):
            state = self._state if checksum is None else self._with_checksum(checksum)
            done, staged = self._assembled(state, plan, receipts, total)
            if done is None:
                done = self._published(staged, total, checksum) if staged else self._gone()
        info = self._calls.to_relative(done)
        self._calls.observers.completed(self._calls.provider, info)
        return info

    def _total(self, size: int | None) -> int:
        """The object's size in bytes, as it was planned or is said now."""
        planned = self.chunks.size
        if size is None:
            if planned is None:
                raise InvalidArgument("the size was unknown at the start: complete(size=…)", key=self.key)
            return planned
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise InvalidArgument("size must be a number of bytes", key=self.key)
        if planned is not None and size != planned:
            raise SessionMismatch(f"the session is for {planned} bytes, not {size}", key=self.key)
        return size

    def _with_checksum(self, checksum: Checksum) -> SessionState:
        """The session with a checksum that is only known now: checked on the private key, or by the provider's commit.

        Where neither can be, it is refused: checking afterwards would be too late for the object that was at the key.
        """
        spec = self._state.spec
        if spec.checksum is not None and spec.checksum != checksum:
            raise InvalidArgument("the session has another checksum already", key=self.key)
        if self.staged:
            return self._state
        if not self._calls.capabilities.enforcer(Route.CHUNKED, Constraint.CHECKSUM):
            raise UnenforceableConstraint(
                "checksum",
                provider=self._calls.provider,
                why="it was not known at the start, and the chunks go straight to the key",
                alternatives=("start_upload(checksum=…)", "start_upload(staging=True)"),
            )
        return replace(self._state, spec=spec.replace(checksum=checksum))

    def _assembled(
        self, state: SessionState, plan: ChunkPlan, receipts: Mapping[int, str] | None, total: int
    ) -> tuple[BlobInfo | None, BlobInfo | None]:
        """The finished object if it is at its target already; else the assembled one that is still to be published."""
        received = self._received()
        if received.state == "open":
            chunks = ops.check_chunks(plan, received.chunks, receipts)
            try:
                return None, self._calls.backend.commit(state, chunks, total)
            except Exception as error:
                return self._after_failure(error)
        if (self.staged or received.state == "gone") and (own := self._own(self._target)):
            if self.staged:
                self._discard_quietly()  # an earlier call promoted it, and may have died before it cleaned up
            return own, None
        if received.state == "committed":
            return None, received.info or self._calls.backend.head(self._state.key)
        return None, (self._own(self._state.key) if self.staged else None)

    def _after_failure(self, error: Exception) -> tuple[BlobInfo | None, BlobInfo | None]:
        """A commit failed: perhaps another call of ours won, or only its reply was lost. Else discard, and raise."""
        failure = self._calls.translate(error)
        if isinstance(failure, AlreadyExists | PreconditionFailed | NotFound | TransientError):
            if own := self._own(self._target):
                return own, None
            if self.staged and (own := self._own(self._state.key)):
                return None, own
        if isinstance(failure, AlreadyExists | ConstraintViolated):
            self._discard_quietly()
        raise error

    def _published(self, info: BlobInfo, total: int, checksum: Checksum | None) -> BlobInfo:
        """Verify the assembled object, then promote it if it is staged."""
        self._verify(info, total, checksum)
        if not self.staged:
            return info
        backend = self._calls.backend
        try:
            done = backend.copy(self._state.key, self._target, pin=info.pin, if_absent=self._if_absent)
        except Exception as error:
            failure = self._calls.translate(error)
            lost = isinstance(failure, AlreadyExists | NotFound | PreconditionFailed | TransientError)
            own = self._own(self._target) if lost else None
            if own is None:
                if isinstance(failure, AlreadyExists):
                    self._discard_quietly()
                raise
            done = own
        self._discard_quietly()
        return done

    def _verify(self, info: BlobInfo, total: int, checksum: Checksum | None) -> None:
        spec = self._state.spec
        loose = {c for c, who in self.enforcement.items() if who is Enforcement.COMPLETION}
        if not self._calls.capabilities.enforcer(Route.CHUNKED, Constraint.METADATA):
            loose.add(Constraint.METADATA)  # none was asked for, and the holder of a chunk URL may have added some
        broken: list[BlobkitError] = []
        if info.size != total:
            broken.append(ConstraintViolated("size", expected=total, actual=info.size))
        wanted = spec.checksum if Constraint.CHECKSUM in loose else None
        digest = None if wanted is None else self._calls.digest(info, wanted.algorithm)
        broken += ops.violations(info, spec, [c for c in Constraint if c in loose], digest)
        if checksum is not None and self.staged and not broken:
            digest = self._calls.digest(info, checksum.algorithm)
            if not checksum.same_as(digest):
                broken.append(
                    ConstraintViolated(
                        "checksum", expected=checksum.hex, actual=digest.hex, hint="the bytes were damaged on the way"
                    )
                )
        if broken:
            self._calls.delete_exactly(info)
            raise broken[0].located(key=self.key)

    def _gone(self) -> BlobInfo:
        if self._state.expires is not None and self._state.expires <= ops.utc(self._calls.now()):
            raise SessionExpired("the session grew too old, and no object of it is at its key", hint="start again")
        raise SessionNotFound(
            "the session is gone, and no object of it is at its key",
            hint="it was aborted, lapsed, or replaced: start again",
        )

    def _received(self) -> Received:
        try:
            return self._calls.backend.received(self._state)
        except Exception as error:
            if isinstance(self._calls.translate(error), NotFound):
                return Received("gone")
            raise

    def _own(self, key: str) -> BlobInfo | None:
        """The object at ``key``, if this very upload made it."""
        return self._calls.own(key, self._state.upload_id)

    def _discard_quietly(self) -> None:
        """Remove what is left of the session; what fails is logged, and a sweep removes it later."""
        for step in (lambda: self._calls.backend.discard(self._state), self._delete_staged):
            try:
                step()
            except Exception as error:
                _log.warning("left behind for a sweep: upload %s: %s", self.upload_id, type(error).__name__)

    def _delete_staged(self) -> None:
        if self.staged and (own := self._own(self._state.key)):
            self._calls.delete_exactly(own)

    def abort(self) -> AbortResult:
        """Drop the session and its chunks. Idempotent, and never touches an object that was completed."""
        with self._calls.calling("abort", self.key):
            result = self._calls.backend.discard(self._state)
            self._delete_staged()
        self._calls.observers.aborted(self._calls.provider, self.key, result.discarded)
        return result
