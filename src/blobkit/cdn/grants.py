"""What one signature covers beyond one URL: :class:`Scope`, and :class:`PrefixGrant`, which makes the links below it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final, NoReturn, SupportsIndex

from blobkit.cdn.urls import MAX_URL, split_url, wire_path, wire_query
from blobkit.errors import InvalidArgument
from blobkit.redaction import Secret, redact_url
from blobkit.signed import SignedUrl

__all__ = ["PrefixGrant", "Scope"]

# Below a prefix almost every path passes this one match, and a look for dot segments.
_PLAIN: Final = re.compile(r"(?![/.])[A-Za-z0-9\-._~!$&'(),;=@/+]*\Z").match
# A link for each segment of a playlist: made without the frame of a constructor, a million a second.
_new: Final = SignedUrl.__new__
_set_value: Final = Secret.__dict__["_value"].__set__


class Scope:
    """A prefix of URLs, or a pattern with wildcards, in the form that no client rewrites.

    Args:
        origin: ``https://host``.
        path: ``/videos/42/``, or with wildcards ``/videos/*/720p/*``: ``*`` any characters, ``?`` any one. A literal ``*``
            is ``%2A`` in it.
        wild: Whether it has wildcards before its end.
    """

    __slots__ = ("_matches", "origin", "path", "wild")

    def __init__(self, origin: str, path: str, wild: bool) -> None:
        self.origin = origin
        self.path = path
        self.wild = wild
        pieces = [
            ".*" if piece == "*" else "." if piece == "?" else re.escape(piece) for piece in re.split(r"([*?])", path)
        ]
        self._matches = re.compile("".join(pieces) + r"\Z", re.DOTALL).match if wild else None

    @property
    def url(self) -> str:
        """The prefix or pattern as an absolute URL; a prefix has no ``*`` at its end."""
        return self.origin + self.path

    @property
    def directory(self) -> str:
        """The longest path without a wildcard that ends in ``/`` and contains all of it."""
        return re.split(r"[*?]", self.path, maxsplit=1)[0].rpartition("/")[0] + "/" if self.wild else self.path

    def covers(self, path: str) -> bool:
        """Whether a path is below the prefix, or matches the pattern."""
        return path.startswith(self.path) if self._matches is None else self._matches(path) is not None

    def __repr__(self) -> str:
        return f"Scope({self.url})"


class PrefixGrant:
    """One signature for everything below a prefix, or everything that matches a pattern. :meth:`url` signs nothing more.

    CDNs make it. Immutable; prints without what grants access.

    Args:
        scope: What is covered.
        expires: When it ends, seconds since the epoch.
        query: The parameters that grant access, without ``?``; empty where the token is in the path.
        lead: The token, where the CDN puts it in front of the path: ``/token=…``.
        insert: The token, where the CDN puts it behind the prefix: ``token=…/``.
        own_query: Whether links may have parameters of their own.
        reserved: Names that they may not have.
    """

    __slots__ = (
        "_and",
        "_expires",
        "_head",
        "_insert",
        "_own_query",
        "_plain",
        "_query",
        "_reserved",
        "_root",
        "_tail",
        "scope",
    )

    def __init__(
        self,
        scope: Scope,
        expires: int,
        *,
        query: str = "",
        lead: str = "",
        insert: str = "",
        own_query: bool = True,
        reserved: frozenset[str] = frozenset(),
    ) -> None:
        self.scope = scope
        self._root = scope.origin + lead
        self._insert = insert
        self._head = self._root + scope.path + insert
        self._query = query
        self._tail = f"?{query}" if query else ""
        self._and = f"&{query}" if query else ""
        self._expires = expires
        self._own_query = own_query
        self._plain = not scope.wild
        self._reserved = reserved

    @property
    def prefix(self) -> str:
        """The URL that links start with before they are signed, or the pattern that they match."""
        return self.scope.url

    @property
    def base(self) -> SignedUrl:
        """What links start with: relative URLs below it are granted too where the token is in the path."""
        return SignedUrl(self._root + self.scope.directory + self._insert)

    @property
    def query(self) -> Secret | None:
        """The parameters that grant access, to be added to any URL that is covered; None where the path does it."""
        return Secret(self._query) if self._query else None

    @property
    def expires_at(self) -> datetime:
        """When it ends; aware UTC."""
        return datetime.fromtimestamp(self._expires, UTC)

    def url(self, path: str) -> SignedUrl:
        """A link to something that is covered.

        Args:
            path: Relative to the prefix (``seg1.ts``), from the root (``/videos/42/seg1.ts``), or a whole URL; as a URL has
                it: ``%XX`` is an escape.

        Raises:
            InvalidArgument: It is not covered, or no client would send it as it is written.
        """
        if self._plain and _PLAIN(path) and "/." not in path:
            link = _new(SignedUrl)
            _set_value(link, f"{self._head}{path}{self._tail}")
            return link
        return SignedUrl(self._slow(path))

    def covers(self, url: str) -> bool:
        """Whether an absolute URL is covered. Raises InvalidArgument for what is no URL."""
        origin, path, _ = split_url(url)
        return origin == self.scope.origin and self.scope.covers(self._wired(path))

    def _wired(self, path: str) -> str:
        return wire_path(path, star=False)

    def _slow(self, text: str) -> str:
        query: str | None
        if "://" in text.partition("?")[0]:
            origin, path, query = split_url(text)
            if origin != self.scope.origin:
                raise InvalidArgument("the URL is of another host", hint=self.prefix)
        else:
            if "#" in text:
                raise InvalidArgument("a signed URL has no fragment", hint="write '#' as %23")
            path, question, rest = text.partition("?")
            query = rest if question else None
            if not path.startswith("/"):
                path = self.scope.directory + path
        path = self._wired(path)
        if not self.scope.covers(path):
            raise InvalidArgument("the URL is not below what was signed", hint=self.prefix)
        head = f"{self._head}{path[len(self.scope.path) :]}" if self._insert else self._root + path
        if query is None:
            return self._bounded(head + self._tail)
        if not self._own_query:
            raise InvalidArgument(
                "this CDN signs a link's own parameters: a prefix cannot cover them", hint="sign_url()"
            )
        query = wire_query(query, self._reserved)
        return self._bounded(f"{head}?{query}{self._and}" if query else head + self._tail)

    def _bounded(self, url: str) -> str:
        if len(url) > MAX_URL:
            raise InvalidArgument(f"the URL would have {len(url)} characters; the limit is {MAX_URL}")
        return url

    def __repr__(self) -> str:
        return (
            f"PrefixGrant({redact_url(self.prefix)}, expires_at={self.expires_at.isoformat().replace('+00:00', 'Z')})"
        )

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("PrefixGrant does not pickle: it grants access; pass what .query or .url() gives")
