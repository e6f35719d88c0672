"""HLS playlists (RFC 8216, and the low-latency tags of draft-pantos-hls-rfc8216bis): every URI in them signed.

A URI is a line that starts with neither ``#`` nor nothing, or the attribute URI (X-ASSET-URI, X-ASSET-LIST) of a tag. All
else, byte ranges included, stays as it is, line ends too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final
from urllib.parse import urljoin

from blobkit.cdn.grants import PrefixGrant
from blobkit.errors import InvalidArgument

__all__ = ["MAX_PLAYLIST", "sign"]

MAX_PLAYLIST: Final = 32 * 1024 * 1024
_URI: Final = re.compile(r'([:,](?:URI|X-ASSET-URI|X-ASSET-LIST)=")([^"]*)(")')
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_SIMPLE: Final = re.compile(r"(?![/.])[A-Za-z0-9\-._~/]*\Z").match


def sign(text: str, base: str, grant: PrefixGrant | None, single: Callable[[str], str | None]) -> str:
    """The playlist with its URIs signed.

    Args:
        text: The playlist.
        base: Its URL.
        grant: What one signature covers.
        single: The signed form of one absolute URL; None for one of another host.

    Raises:
        InvalidArgument: Not a playlist, one that is too long, or a URI that cannot be signed.
    """
    if len(text) > MAX_PLAYLIST:
        raise InvalidArgument(f"the playlist is longer than {MAX_PLAYLIST} characters")
    if not text.removeprefix("\ufeff").startswith("#EXTM3U"):
        raise InvalidArgument("not an HLS playlist: it does not start with #EXTM3U")
    signed = _Signed(base, grant, single)
    head, tail = signed.affixes()
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if line[:1] == "#":
            if 'URI="' in line or "X-ASSET-" in line:
                lines[number] = _URI.sub(lambda m: f"{m[1]}{signed.of(m[2])}{m[3]}", line)
        elif head and _SIMPLE(line) and "/." not in line:
            if line:
                lines[number] = head + line + tail
        elif uri := line.strip():
            lines[number] = line.replace(uri, signed.of(uri))
    return "\n".join(lines)


class _Signed:
    """The signed forms of the URIs of one playlist."""

    def __init__(self, base: str, grant: PrefixGrant | None, single: Callable[[str], str | None]) -> None:
        self._base = base
        self._grant = grant
        self._single = single

    def affixes(self) -> tuple[str, str]:
        """What stands around a simple relative URI: what PrefixGrant.url() does, without a call for each line. Or nothing."""
        grant, directory = self._grant, self._base.partition("?")[0].rpartition("/")[0] + "/"
        if grant is None or grant.scope.wild or not directory.startswith(grant.prefix):
            return "", ""
        return grant.base.reveal() + directory[len(grant.prefix) :], _tail(grant)

    def of(self, uri: str) -> str:
        """One URI. Raises InvalidArgument."""
        if "{$" in uri:
            raise InvalidArgument("a URI with a variable (EXT-X-DEFINE) cannot be signed", hint="write it out")
        if not uri or (_SCHEME.match(uri) and not uri.lower().startswith(("http:", "https:"))):
            return uri
        url = urljoin(self._base, uri)
        if self._grant is not None and self._grant.covers(url):
            return self._grant.url(url).reveal()
        return self._single(url) or uri


def _tail(grant: PrefixGrant) -> str:
    query = grant.query
    return "" if query is None else f"?{query.reveal()}"
