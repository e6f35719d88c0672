"""Make :class:`~blobkit.plans.UploadPlan` of signed requests and sessions. Signing aside, pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final, Literal

from blobkit.errors import InvalidArgument
from blobkit.plans import PlanChecksum, PlanChunk, PlanChunks, PlanLimits, PlanLinks, PlanRequest, UploadPlan
from blobkit.session import INLINE_CHUNKS, UploadSession
from blobkit.signed import ChunkTemplate, SignedChunk, SignedRequest
from blobkit.spec import Constraint, Enforcement, UploadSpec

__all__ = ["plan_chunk", "session_plan", "single_plan"]

_SAID: Final[Mapping[Enforcement | None, str]] = {
    Enforcement.SIGNATURE: "signature",
    Enforcement.PROVIDER: "provider",
    Enforcement.COMPLETION: "completion",
    None: "none",
}
_VERIFIED: Final[Mapping[Enforcement | None, Literal["provider", "complete", "none"]]] = {
    Enforcement.SIGNATURE: "provider",
    Enforcement.PROVIDER: "provider",
    Enforcement.COMPLETION: "complete",
    None: "none",
}


def single_plan(request: SignedRequest, key: str, id: str, links: PlanLinks | None = None) -> UploadPlan:  # noqa: A002
    """The plan of an upload in one request."""
    spec = request.spec or UploadSpec()
    data = request.as_dict()
    return UploadPlan(
        id=id,
        key=key,
        expires_at=request.expires_at,
        content_type=spec.content_type,
        size=spec.size,
        strategy="single",
        single=PlanRequest(
            method=request.method,
            url=str(data["url"]),
            headers=dict(request.headers),
            fields=request.fields,
            ok=request.expected_status,
            expires_at=request.expires_at,
        ),
        checksum=_checksum(spec, request.enforcement),
        limits=_limits(spec, request.enforcement),
        overwrite="deny" if spec.if_absent else "allow",
        overwrite_enforced_by=_SAID[request.enforcement.get(Constraint.IF_ABSENT)],
        links=links or PlanLinks(),
    )


def session_plan(
    session: UploadSession,
    *,
    sign: Literal["inline", "lazy"],
    links: PlanLinks | None,
    expires_in: timedelta | None,
    id: str | None,  # noqa: A002
) -> UploadPlan:
    """The plan of a chunked session. See :meth:`blobkit.session.UploadSession.plan`."""
    chunks, spec, limits = session.chunks, session._state.spec, session._calls.capabilities.limits.chunks
    if sign not in ("inline", "lazy"):
        raise InvalidArgument('sign is "inline" or "lazy"')
    if sign == "inline" and chunks.size is None:
        raise InvalidArgument("an unknown size cannot be signed inline", hint='sign="lazy" with links')
    if sign == "inline" and len(chunks) > INLINE_CHUNKS:
        raise InvalidArgument(
            f"{len(chunks)} chunks are too many to sign inline; the limit is {INLINE_CHUNKS}",
            hint='sign="lazy" with links',
        )
    if sign == "lazy" and (links is None or not links.sign):
        raise InvalidArgument("a lazy plan needs links.sign, where the client asks for each chunk")
    signed = session.sign_chunks(None if sign == "inline" else [1], expires_in=expires_in) if len(chunks) else ()
    template = signed[0].template if signed else ChunkTemplate()
    inline = [plan_chunk(chunk) for chunk in signed] if sign == "inline" else []
    return UploadPlan(
        id=session.token.reveal() if id is None else id,
        key=session.key,
        expires_at=min((item.expires_at for item in inline), default=None),
        content_type=spec.content_type,
        size=chunks.size,
        strategy="session" if limits.sequential else "parts",
        parts=PlanChunks(
            chunk_size=chunks.chunk_size,
            count=len(chunks),
            min_chunk=limits.min_chunk,
            max_count=limits.max_count,
            align=limits.align,
            equal=limits.equal,
            order="sequential" if limits.sequential else "any",
            sign=sign,
            items=inline,
            receipt=template.receipt,
            ok=template.expected_status,
            incomplete=template.incomplete_status,
            content_range=template.content_range,
        ),
        checksum=_checksum(spec, session.enforcement),
        limits=_limits(spec, session.enforcement),
        overwrite="deny" if Constraint.IF_ABSENT in session.enforcement else "allow",
        overwrite_enforced_by=_SAID[session.enforcement.get(Constraint.IF_ABSENT)],
        links=links or PlanLinks(),
    )


def plan_chunk(chunk: SignedChunk) -> PlanChunk:
    """One signed chunk as it stands in a plan, and as a service answers it to ``links.sign``."""
    return PlanChunk(
        number=chunk.number,
        offset=chunk.offset,
        size=chunk.size,
        method=chunk.method,
        url=chunk.url.reveal(),
        headers=dict(chunk.headers),
        expires_at=chunk.expires_at,
    )


def _checksum(spec: UploadSpec, enforcement: Mapping[Constraint, Enforcement]) -> PlanChecksum | None:
    if spec.checksum is None:
        return None
    who = _VERIFIED[enforcement.get(Constraint.CHECKSUM)]
    return PlanChecksum(spec.checksum.algorithm, "object", None, spec.checksum.base64, False, who)


def _limits(spec: UploadSpec, enforcement: Mapping[Constraint, Enforcement]) -> PlanLimits:
    if spec.size is not None:
        return PlanLimits(spec.size, spec.size, _SAID[enforcement.get(Constraint.SIZE)])
    who = _SAID[enforcement.get(Constraint.SIZE_RANGE)] if Constraint.SIZE_RANGE in spec.constraints else "none"
    return PlanLimits(spec.min_size, spec.max_size, who)
