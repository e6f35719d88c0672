"""The constraint cases, as data: what is asked, what is sent instead, and whether that may pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from blobkit.blobs import Checksum
from blobkit.spec import Constraint, UploadSpec

__all__ = ["BODY", "CASES", "CONSTRAINTS", "Case", "spec_of"]

BODY: Final = bytes(range(256)) * 4
"""What the cases upload: 1,024 bytes."""

_OTHER: Final = BODY[:-1] + b"\0"
_VALUES: Final = {
    Constraint.CONTENT_TYPE: ("image/png", "text/html"),
    Constraint.METADATA: ("kit-value-1", "kit-value-2"),
    Constraint.CACHE_CONTROL: ("private, max-age=61", "public, max-age=62"),
    Constraint.CONTENT_DISPOSITION: ('attachment; filename="kit-a.bin"', 'inline; filename="kit-b.bin"'),
    Constraint.CONTENT_ENCODING: ("x-kit-a", "x-kit-b"),
    Constraint.STORAGE_CLASS: ("STANDARD", "KIT_NO_SUCH_CLASS"),
}

CONSTRAINTS: Final = tuple(Constraint)


@dataclass(frozen=True, slots=True)
class Case:
    """One way to keep or break a constraint.

    Attributes:
        name: For test ids: ``size-under``.
        constraint: What is tested.
        spec: What is asked.
        body: What is sent.
        swap: ``(asked, sent)``: wherever this value stands in a header or form field, the other is sent.
        drop: A value whose header or form field is left out.
        occupied: Whether another object is at the key already.
        allowed: Whether the upload must go through.
    """

    name: str
    constraint: Constraint
    spec: UploadSpec
    body: bytes = BODY
    swap: tuple[str, str] | None = None
    drop: str | None = None
    occupied: bool = False
    allowed: bool = True


def spec_of(constraint: Constraint, *, checksum: str = "sha256") -> UploadSpec:
    """The smallest spec with this constraint, which :data:`BODY` keeps."""
    size = len(BODY)
    match constraint:
        case Constraint.SIZE:
            return UploadSpec(size=size)
        case Constraint.SIZE_RANGE:
            return UploadSpec(min_size=size - 24, max_size=size)
        case Constraint.CHECKSUM:
            return UploadSpec(checksum=Checksum.of(checksum, BODY))
        case Constraint.METADATA:
            return UploadSpec(metadata={"kitname": _VALUES[constraint][0]})
        case Constraint.IF_ABSENT:
            return UploadSpec(if_absent=True)
        case _:  # the others have the name of their field
            return UploadSpec.from_dict({constraint.value: _VALUES[constraint][0]})


def _cases() -> Iterator[Case]:
    size, low = spec_of(Constraint.SIZE), spec_of(Constraint.SIZE_RANGE)
    yield Case("size-under", Constraint.SIZE, size, BODY[:-1], allowed=False)
    yield Case("size-equal", Constraint.SIZE, size)
    yield Case("size-over", Constraint.SIZE, size, BODY + b"+", allowed=False)
    yield Case("size-empty-asked-and-sent", Constraint.SIZE, UploadSpec(size=0), b"")
    yield Case("size-empty-asked-one-byte-sent", Constraint.SIZE, UploadSpec(size=0), b"+", allowed=False)
    yield Case("size-one-asked-none-sent", Constraint.SIZE, UploadSpec(size=1), b"", allowed=False)
    yield Case("range-under", Constraint.SIZE_RANGE, low, BODY[: len(BODY) - 25], allowed=False)
    yield Case("range-least", Constraint.SIZE_RANGE, low, BODY[: len(BODY) - 24])
    yield Case("range-most", Constraint.SIZE_RANGE, low)
    yield Case("range-over", Constraint.SIZE_RANGE, low, BODY + b"+", allowed=False)
    yield Case("most-only-over", Constraint.SIZE_RANGE, UploadSpec(max_size=1000), allowed=False)
    yield Case("most-only-empty", Constraint.SIZE_RANGE, UploadSpec(max_size=1000), b"")
    yield Case("least-only-under", Constraint.SIZE_RANGE, UploadSpec(min_size=1025), allowed=False)
    yield Case("least-only-equal", Constraint.SIZE_RANGE, UploadSpec(min_size=1024))
    for algorithm in ("sha256", "md5", "crc32c"):
        spec = spec_of(Constraint.CHECKSUM, checksum=algorithm)
        yield Case(f"{algorithm}-of-these-bytes", Constraint.CHECKSUM, spec)
        yield Case(f"{algorithm}-of-other-bytes", Constraint.CHECKSUM, spec, _OTHER, allowed=False)
    for constraint, (asked, sent) in _VALUES.items():
        spec = spec_of(constraint)
        yield Case(f"{constraint}-as-asked", constraint, spec)
        yield Case(f"{constraint}-changed", constraint, spec, swap=(asked, sent), allowed=False)
        yield Case(f"{constraint}-left-out", constraint, spec, drop=asked, allowed=False)
    absent = spec_of(Constraint.IF_ABSENT)
    yield Case("absent", Constraint.IF_ABSENT, absent)
    yield Case("not-absent", Constraint.IF_ABSENT, absent, occupied=True, allowed=False)


CASES: Final = tuple(_cases())
"""Every case for a single request."""
