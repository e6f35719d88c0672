"""The pure part of every verb: what Store and AsyncStore decide before the backend is called, and check after.

Nothing here does I/O or knows a provider; everything is a function of capabilities, specs, sizes and the time.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final, Literal
from urllib.parse import quote

from blobkit.backend import Capabilities, Feature, HeldChunk, UploadOrder, Verdict
from blobkit.blobs import BlobInfo, Checksum
from blobkit.chunking import ChunkPlan
from blobkit.errors import (
    ChunkMismatch,
    ConfigError,
    ConstraintViolated,
    InvalidArgument,
    InvalidExpiry,
    InvalidKey,
    UnenforceableConstraint,
    Unsupported,
)
from blobkit.spec import Constraint, Enforcement, Route, UploadSpec

__all__ = [
    "DEFAULT_EXPIRY",
    "VerifyAfter",
    "asserted",
    "broken_size",
    "check_chunks",
    "check_full_key",
    "check_required",
    "content_disposition",
    "decide_session",
    "decide_upload",
    "lifetime",
    "merge_spec",
    "require",
    "stable_lifetime",
    "verified",
    "violations",
]

DEFAULT_EXPIRY: Final = timedelta(minutes=15)
VerifyAfter = Collection[Constraint] | Literal["all"]

_UNVERIFIABLE: Final = frozenset({Constraint.IF_ABSENT})  # an overwrite leaves no trace to find afterwards
_ROUTE_NAMES: Final = {Route.PUT: "a signed PUT", Route.POST: "a form POST", Route.CHUNKED: "a chunked session"}


# --- expiry ---------------------------------------------------------------------------------------------------------


def lifetime(
    now: int, expires_in: timedelta | None, expires_at: datetime | None, longest: timedelta | None
) -> tuple[int, int]:
    """Start and end of a signature in whole seconds since the epoch; 15 minutes when neither is given.

    Raises:
        InvalidExpiry: Both are given, the end is not in the future, has no zone, or is further off than ``longest``.
    """
    if expires_at is not None:
        if expires_in is not None:
            raise InvalidExpiry("expires_in or expires_at, not both")
        if not isinstance(expires_at, datetime) or expires_at.tzinfo is None:
            raise InvalidExpiry("expires_at must be a datetime with a zone", hint="datetime.now(UTC) + …")
        seconds = int(expires_at.timestamp()) - now
    elif expires_in is None:
        seconds = 900
    elif isinstance(expires_in, timedelta):
        seconds = int(expires_in.total_seconds())
    else:
        raise InvalidExpiry(
            f"expires_in must be a timedelta, not {type(expires_in).__name__}", hint="timedelta(minutes=15)"
        )
    if seconds < 1:
        raise InvalidExpiry("a signature must live at least one second")
    if longest is not None and seconds > longest.total_seconds():
        raise InvalidExpiry(f"{seconds} s is longer than this store can sign for, {int(longest.total_seconds())} s")
    return now, now + seconds


def stable_lifetime(now: int, end: int, window: timedelta, longest: timedelta | None) -> tuple[int, int]:
    """Start and end that stay the same inside one window of time, so that caches see one URL.

    Every URL lives at least as long as was asked; at most a window longer.

    Raises:
        InvalidExpiry: The window is no duration or shorter than a second, or the whole life longer than ``longest``.
    """
    step = int(window.total_seconds()) if isinstance(window, timedelta) else 0
    if step < 1:
        raise InvalidExpiry("stable_for must be a timedelta of at least one second")
    start = now // step * step
    stop = start + step + (end - now)
    if longest is not None and stop - start > longest.total_seconds():
        raise InvalidExpiry(
            f"stable_for and the expiry together are {stop - start} s, longer than this store can sign for",
            hint=f"at most {int(longest.total_seconds())} s",
        )
    return start, stop


# --- capabilities ---------------------------------------------------------------------------------------------------


def require(capabilities: Capabilities, provider: str, *features: Feature, hint: str | None = None) -> None:
    """Raise Unsupported unless every feature is there for sure; an unknown one is refused and said to be unknown."""
    for feature in features:
        known = capabilities.features.get(feature)
        if known is True:
            continue
        if known is None and feature in capabilities.features:
            raise Unsupported(
                f"it is not known whether this {provider} store has {feature}",
                features=[feature],
                provider=provider,
                hint=f"if you know that it has, open it with ?assert={feature}",
            )
        raise Unsupported(f"this {provider} store has no {feature}", features=[feature], provider=provider, hint=hint)


def check_required(capabilities: Capabilities, provider: str, names: Iterable[str]) -> None:
    """What ``require=`` does: one error that names everything that lacks.

    Raises:
        InvalidArgument: A name that is no feature.
        Unsupported: Something lacks, or is not known to be there.
    """
    if isinstance(names, str):
        raise InvalidArgument("require= takes a collection of features", hint=f"{{{names!r}}}")
    wanted = sorted(set(names))
    if unknown := [name for name in wanted if name not in set(Feature)]:
        raise InvalidArgument(f"no such feature: {', '.join(unknown)}", hint=", ".join(Feature))
    if lacking := [name for name in wanted if not capabilities.has(name)]:
        raise Unsupported(f"this {provider} store lacks {', '.join(lacking)}", features=lacking, provider=provider)


def asserted(capabilities: Capabilities, text: str | None) -> Capabilities:
    """Capabilities with what the user asserts (``?assert=put.if_absent,sign_delete``) in place of what was unknown.

    Raises:
        ConfigError: A name that is neither a feature nor ``route.constraint``, or one that is known not to be there.
    """
    if not text:
        return capabilities
    features, enforces = dict(capabilities.features), dict(capabilities.enforces)
    for name in (part.strip() for part in text.split(",")):
        route, dot, constraint = name.partition(".")
        known: Verdict | bool
        if dot and route in set(Route) and constraint in set(Constraint):
            cell = (Route(route), Constraint(constraint))
            known = enforces.get(cell)
            enforces[cell] = Enforcement.PROVIDER if cell[0] is Route.CHUNKED else Enforcement.SIGNATURE
        elif name in set(Feature):
            known = features.get(Feature(name))
            features[Feature(name)] = True
        else:
            raise ConfigError(f"assert: no such capability {name!r}", hint="a feature, or route.constraint")
        if known is False:
            raise ConfigError(f"assert: this store is known not to have {name}")
    return replace(capabilities, features=MappingProxyType(features), enforces=MappingProxyType(enforces))


# --- constraints ----------------------------------------------------------------------------------------------------


def merge_spec(spec: UploadSpec | None, given: UploadSpec | None) -> UploadSpec:
    """The spec of a call that may give one, or keywords. Raises InvalidArgument when it gives both."""
    if spec is None:
        return given or _NOTHING
    if given is not None:
        raise InvalidArgument("either spec= or keywords, not both")
    if not isinstance(spec, UploadSpec):
        raise InvalidArgument(f"spec must be an UploadSpec, not {type(spec).__name__}")
    return spec


_NOTHING: Final = UploadSpec()


def verified(verify_after: VerifyAfter) -> frozenset[Constraint]:
    """The constraints that the caller agrees to verify afterwards. Raises InvalidArgument for anything but names or "all"."""
    if isinstance(verify_after, str):
        if verify_after != "all":
            raise InvalidArgument('verify_after is a collection of constraints, or "all"')
        return frozenset(Constraint) - _UNVERIFIABLE
    try:
        return frozenset(Constraint(name) for name in verify_after)
    except TypeError as error:
        raise InvalidArgument('verify_after is a collection of constraints, or "all"') from error
    except ValueError as error:
        raise InvalidArgument(f"verify_after: {error}") from error


def decide_upload(
    spec: UploadSpec, capabilities: Capabilities, provider: str, verify_after: frozenset[Constraint] = frozenset()
) -> UploadOrder:
    """Choose PUT or form POST so that every constraint is enforced, or agreed to be verified.

    A route on which all are enforced wins, PUT first. Else a PUT, if the rest may be verified afterwards.

    Raises:
        UnenforceableConstraint: For the first constraint that nobody would see to, with what would work instead.
    """
    routes = [Route.PUT]
    if capabilities.has(Feature.SIGN_FORM):
        routes.append(Route.POST)
    best: list[tuple[int, int, Route]] = []
    for rank, route in enumerate(routes):
        loose = [c for c in spec.constraints if not capabilities.enforcer(route, c)]
        if all(c in verify_after and c not in _UNVERIFIABLE for c in loose):
            best.append((len(loose), rank, route))
    if not best:
        raise _unenforceable(spec, capabilities, provider, routes)
    route = min(best)[2]
    return UploadOrder(spec, route, _enforcement(spec, capabilities, route))


def decide_session(
    spec: UploadSpec, capabilities: Capabilities, provider: str, staging: bool | None
) -> tuple[bool, Mapping[Constraint, Enforcement]]:
    """Whether a session is staged, and who sees to each constraint.

    ``complete()`` is part of every session, so what the provider does not enforce is verified there, before the object is
    at its key. That needs a private key when the provider publishes by itself, when a chunk URL could write the whole
    object, or when something can only be checked on the assembled object.

    Raises:
        UnenforceableConstraint: ``if_absent`` where neither the commit nor a copy is conditional, or is but is forgone.
    """
    loose = {c for c in spec.constraints if not capabilities.enforcer(Route.CHUNKED, c)}
    needs = (
        capabilities.commit == "last_chunk"
        or capabilities.chunk_grant == "object"
        or bool(loose - {Constraint.SIZE, Constraint.SIZE_RANGE})
    )
    staged = needs if staging is None else staging
    enforcement = dict(_enforcement(spec, capabilities, Route.CHUNKED))
    if Constraint.IF_ABSENT in spec.constraints:
        if staged and capabilities.has(Feature.COPY_IF_ABSENT):
            enforcement[Constraint.IF_ABSENT] = Enforcement.PROVIDER
        elif staged or Constraint.IF_ABSENT in loose:
            why = (
                "neither its commit nor its copy is conditional"
                if staged
                else "staging=False forgoes the conditional copy"
            )
            raise UnenforceableConstraint(
                "if_absent", provider=provider, why=why, alternatives=_ALTERNATIVES[Constraint.IF_ABSENT]
            )
    if not staged:
        return False, MappingProxyType(enforcement)
    for constraint in (Constraint.SIZE, Constraint.SIZE_RANGE, Constraint.CHECKSUM):
        if constraint in loose & spec.constraints:
            enforcement[constraint] = Enforcement.COMPLETION
    return True, MappingProxyType(enforcement)


def _enforcement(spec: UploadSpec, capabilities: Capabilities, route: Route) -> Mapping[Constraint, Enforcement]:
    return MappingProxyType(
        {c: capabilities.enforcer(route, c) or Enforcement.COMPLETION for c in Constraint if c in spec.constraints}
    )


_ALTERNATIVES: Final[Mapping[Constraint, tuple[str, ...]]] = {
    Constraint.IF_ABSENT: (
        "a server-chosen unguessable key (KeyTemplate)",
        "store.promote(…, if_absent=True) from a private key",
    ),
}


def _unenforceable(
    spec: UploadSpec, capabilities: Capabilities, provider: str, routes: Sequence[Route]
) -> UnenforceableConstraint:
    loose = [c for c in Constraint if c in spec.constraints and not capabilities.enforcer(routes[0], c)]
    worst = next((c for c in loose if c in _UNVERIFIABLE), loose[0] if loose else Constraint.IF_ABSENT)
    why = "it is not known whether it would" if capabilities.enforcer(routes[0], worst) is None else ""
    if len(routes) > 1 and len(spec.constraints) > 1:
        why = "no single signature binds " + " and ".join(sorted(spec.constraints))
    alternatives: list[str] = []
    if worst not in _UNVERIFIABLE:
        alternatives.append(f'verify_after={{"{worst}"}} and store.verify_upload() when the upload is done')
    alternatives += _ALTERNATIVES.get(worst, ())
    for route in (Route.POST, Route.CHUNKED):
        if capabilities.enforcer(route, worst) and (route is Route.CHUNKED or len(spec.constraints) == 1):
            alternatives.append(f"{_ROUTE_NAMES[route]}, which enforces it")
    if not capabilities.enforcer(Route.CHUNKED, worst) and worst not in _UNVERIFIABLE:
        alternatives.append("start_upload(), whose complete() verifies it")
    if capabilities.enforcer(routes[0], worst) is None:
        alternatives.append(f"?assert={routes[0]}.{worst} if you know that it does")
    return UnenforceableConstraint(worst, provider=provider, alternatives=alternatives, why=why)


def violations(
    info: BlobInfo, spec: UploadSpec, constraints: Iterable[Constraint], digest: Checksum | None = None
) -> list[ConstraintViolated]:
    """Where an object breaks a spec. ``digest`` is the object's own checksum in the spec's algorithm, when that is asked."""
    found: list[ConstraintViolated] = []
    for constraint in constraints:
        match constraint:
            case Constraint.IF_ABSENT:
                continue  # decided when the object was made; nothing to see afterwards
            case Constraint.SIZE_RANGE:
                low, high = spec.min_size or 0, "" if spec.max_size is None else spec.max_size
                kept, expected, actual = spec.allows_size(info.size), f"{low}..{high}", str(info.size)
            case Constraint.CHECKSUM:
                kept = spec.checksum is None or (digest is not None and spec.checksum.same_as(digest))
                expected, actual = spec.checksum.hex if spec.checksum else "", digest.hex if digest else "unknown"
            case _:
                mine, theirs = getattr(spec, constraint), getattr(info, constraint)
                if constraint is Constraint.METADATA:
                    mine, theirs = dict(mine), dict(theirs)
                kept, expected, actual = mine == theirs, str(mine), str(theirs)
        if not kept:
            name = "size" if constraint is Constraint.SIZE_RANGE else constraint.value
            found.append(ConstraintViolated(name, expected=expected, actual=actual, key=info.key))
    return found


def broken_size(spec: UploadSpec, size: int, key: str) -> ConstraintViolated:
    """The error for a size that the spec does not allow."""
    low, high = (spec.size, spec.size) if spec.size is not None else (spec.min_size or 0, spec.max_size)
    expected = str(low) if low == high else f"{low}..{'' if high is None else high}"
    return ConstraintViolated("size", expected=expected, actual=size, key=key)


# --- chunks ---------------------------------------------------------------------------------------------------------


def check_chunks(
    plan: ChunkPlan, held: Sequence[HeldChunk], receipts: Mapping[int, str] | None = None
) -> tuple[HeldChunk, ...]:
    """The held chunks in the plan's order, when they are exactly the plan's.

    Args:
        plan: With a known size.
        held: What the provider lists.
        receipts: What the client says it was answered, by number; quotes around an etag do not matter.

    Raises:
        ChunkMismatch: Missing chunks, wrong sizes, chunks that the plan has not, or another receipt.
    """
    by_number = {chunk.number: chunk for chunk in held}
    missing = [chunk.number for chunk in plan if chunk.number not in by_number]
    if missing:
        raise ChunkMismatch(f"{len(missing)} of {len(plan)} chunks are missing: {_some(missing)}", missing=missing)
    wrong = [chunk.number for chunk in plan if by_number[chunk.number].size != chunk.size]
    wrong += sorted(number for number in by_number if not 1 <= number <= len(plan))
    if wrong:
        raise ChunkMismatch(f"chunks that are not the plan's: {_some(wrong)}", wrong=wrong)
    others = [number for number, receipt in (receipts or {}).items() if _another(by_number.get(number), receipt)]
    if others:
        raise ChunkMismatch(f"chunks that are not those of the client's receipts: {_some(others)}", wrong=others)
    return tuple(by_number[chunk.number] for chunk in plan)


def _another(held: HeldChunk | None, receipt: str) -> bool:
    """Whether the provider holds something else than a client was answered for."""
    return held is None or (held.receipt is not None and held.receipt.strip('"') != str(receipt).strip('"'))


def _some(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:8])) + (", …" if len(numbers) > 8 else "")


# --- keys and names -------------------------------------------------------------------------------------------------


def check_full_key(full: str, limit: int, refusal: str | None) -> None:
    """Raise InvalidKey when prefix and key together are too long, or the provider refuses the key."""
    if len(full) * 4 > limit and len(full.encode("utf-8")) > limit:
        raise InvalidKey(f"with the store's prefix the key has more than {limit} bytes", key=full[:64] + "…")
    if refusal is not None:
        raise InvalidKey(refusal, key=full)


_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$&+.^_`|~ ()\-]+\Z")


def content_disposition(disposition: str, filename: str | None) -> str:
    """A Content-Disposition value (RFC 6266): an ASCII ``filename`` for old clients, ``filename*`` (RFC 8187) for the rest.

    Raises:
        InvalidArgument: Another disposition, or a file name with control characters or a path.
    """
    if disposition not in ("attachment", "inline"):
        raise InvalidArgument('disposition is "attachment" or "inline"')
    if filename is None:
        return disposition
    if (
        not isinstance(filename, str)
        or not filename
        or any(ord(c) < 32 or ord(c) == 127 for c in filename)
        or "/" in filename
        or "\\" in filename
    ):
        raise InvalidArgument("a download's file name has no path and no control characters")
    if len(filename.encode("utf-8", "surrogatepass")) > 255:
        raise InvalidArgument("a download's file name has at most 255 bytes")
    try:
        encoded = quote(filename, safe="!#$&+-.^_`|~")
    except UnicodeEncodeError as error:
        raise InvalidArgument("a download's file name must be UTF-8 text") from error
    if _TOKEN.match(filename) and "  " not in filename:
        return f'{disposition}; filename="{filename}"'
    plain = re.sub(r"[^A-Za-z0-9!#$&+.^_`|~()\-]+", "_", filename)
    return f"{disposition}; filename=\"{plain}\"; filename*=UTF-8''{encoded}"


def utc(now: int) -> datetime:
    """Whole seconds since the epoch as an aware datetime."""
    return datetime.fromtimestamp(now, UTC)
