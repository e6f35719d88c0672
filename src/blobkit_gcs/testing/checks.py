"""What the strict server checks, each by a name, so that tests can prove that they notice when one is missing."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

__all__ = ["Checks"]


@dataclass(frozen=True, slots=True)
class Checks:
    """All on. :meth:`without` turns single ones off; nobody needs that but tests of tests."""

    signature: bool = True
    expiry: bool = True
    not_before: bool = True
    signed_headers: bool = True
    unsigned_headers: bool = True
    content_length_range: bool = True
    preconditions: bool = True
    md5: bool = True
    crc32c: bool = True
    content_sha256: bool = True
    form_expiry: bool = True
    form_size: bool = True
    form_conditions: bool = True
    form_fields: bool = True
    token: bool = True
    session_size: bool = True
    session_gap: bool = True
    session_alignment: bool = True
    session_preconditions: bool = True
    part_size: bool = True
    part_etag: bool = True
    part_order: bool = True
    multipart_preconditions: bool = True

    @classmethod
    def without(cls, *names: str) -> Checks:
        """All but these. Raises ValueError for a name that is none."""
        known = {item.name for item in fields(cls)}
        if unknown := sorted(set(names) - known):
            raise ValueError(f"no such check: {', '.join(unknown)}")
        return replace(cls(), **dict.fromkeys(names, False))
