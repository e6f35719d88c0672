"""CDN signing: links, prefixes, cookies and playlists that a CDN's edge lets through, and the same checks to verify them.

:func:`open_cdn` opens one; :class:`Cdn` is what it gives and what a plugin derives. Signing is pure: no I/O unless the key
itself lives elsewhere (KMS, HSM).
"""

from __future__ import annotations

from blobkit.cdn.base import Cdn, Seen, Site
from blobkit.cdn.grants import PrefixGrant, Scope
from blobkit.cdn.keys import Key, SigningKey
from blobkit.cdn.model import (
    CdnCapabilities,
    Refusal,
    Refused,
    Restriction,
    Restrictions,
    SignedCookie,
    Terms,
    Verdict,
)
from blobkit.cdn.opening import open_cdn

__all__ = [
    "Cdn",
    "CdnCapabilities",
    "Key",
    "PrefixGrant",
    "Refusal",
    "Refused",
    "Restriction",
    "Restrictions",
    "Scope",
    "Seen",
    "SignedCookie",
    "SigningKey",
    "Site",
    "Terms",
    "Verdict",
    "open_cdn",
]
