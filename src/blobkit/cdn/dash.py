"""DASH manifests (ISO/IEC 23009-1): a client makes segments' URLs up from templates, so only one signature for all can do.

Where the signature is in the query it is added to the templates (``SegmentTemplate@media``, ``@initialization`` …), to
``SegmentURL``, and to a ``BaseURL`` that is a file, since a relative reference takes no query from its base (RFC 3986 section
5.2.2). Where it is in the path, the manifest gets a ``BaseURL`` with it. The text around is left as it is.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urljoin
from xml.parsers import expat
from xml.sax.saxutils import escape, unescape

from blobkit.cdn.grants import PrefixGrant
from blobkit.cdn.hls import MAX_PLAYLIST
from blobkit.errors import InvalidArgument, Unsupported

__all__ = ["is_manifest", "sign"]

_TOKEN: Final = re.compile(
    r"<!--.*?-->|<!\[CDATA\[.*?\]\]>|<\?.*?\?>|<(?P<close>/)?(?:[\w.\-]+:)?(?P<name>[\w.\-]+)"
    r"(?P<attributes>(?:[^<>\"']|\"[^\"]*\"|'[^']*')*?)(?P<empty>/)?>",
    re.DOTALL,
)
_ATTRIBUTE: Final = re.compile(r"(\s)([\w.\-]+)(\s*=\s*)(\"[^\"]*\"|'[^']*')")
_URLS: Final = {
    "SegmentTemplate": frozenset({"media", "initialization", "index", "bitstreamSwitching"}),
    "SegmentURL": frozenset({"media", "index"}),
    "Initialization": frozenset({"sourceURL"}),
    "RepresentationIndex": frozenset({"sourceURL"}),
    "BitstreamSwitching": frozenset({"sourceURL"}),
}
_TEMPLATE: Final = re.compile(r"\$(?:RepresentationID|Number|Bandwidth|Time|SubNumber)?(?:%0\d+d)?\$")
_ENTITIES: Final = {"&quot;": '"', "&apos;": "'"}


def is_manifest(text: str) -> bool:
    """Whether this is XML rather than an HLS playlist."""
    return text.lstrip("\ufeff \t\r\n").startswith("<")


def sign(text: str, base: str, grant: PrefixGrant) -> str:
    """The manifest with its URLs signed.

    Args:
        text: The manifest.
        base: Its URL.
        grant: What covers all of its segments.

    Raises:
        InvalidArgument: Not a manifest, or one with a document type (entities).
        Unsupported: A URL that the grant does not cover.
    """
    if len(text) > MAX_PLAYLIST:
        raise InvalidArgument(f"the manifest is longer than {MAX_PLAYLIST} characters")
    _check(text)
    return _Manifest(text, base, grant).signed()


def _check(text: str) -> None:
    """Raise InvalidArgument unless this is well-formed XML of an MPD without a document type."""
    parser = expat.ParserCreate(namespace_separator=" ")
    roots: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if not roots:
            roots.append(name.rpartition(" ")[2])

    def doctype(*arguments: object) -> None:
        raise InvalidArgument("a manifest with a document type is not read: its entities could be anything")

    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(text.lstrip("\ufeff \t\r\n").encode("utf-8", "surrogatepass"), True)
    except expat.ExpatError as error:
        raise InvalidArgument(f"not XML: {error}") from None
    if roots != ["MPD"]:
        raise InvalidArgument(f"not a DASH manifest: its root is {roots[0]!r}")


class _Manifest:
    """One walk through the text, tag by tag. ``bases``: what relative URLs are relative to, for each open element."""

    def __init__(self, text: str, base: str, grant: PrefixGrant) -> None:
        self._text = text
        self._grant = grant
        self._query = grant.query
        self._bases: list[list[str]] = [[base]]
        self._own: list[list[str]] = [[]]
        self._names: list[str] = []
        self._out: list[str] = []
        self._needs_base = self._query is None

    def signed(self) -> str:
        """The whole text again."""
        at = 0
        for match in _TOKEN.finditer(self._text):
            between = self._text[at : match.start()]
            at = match.end()
            if self._names and self._names[-1] == "BaseURL" and match["close"]:
                between = self._base_url(between)
            elif self._names and self._names[-1] in ("Location", "PatchLocation") and match["close"]:
                between = self._location(between)
            self._out.append(between)
            self._out.append(match[0] if match["name"] is None else self._tag(match))
        self._out.append(self._text[at:])
        return "".join(self._out)

    def _tag(self, match: re.Match[str]) -> str:
        name, text = match["name"], match[0]
        if match["close"]:
            self._pop()
            return text
        if self._needs_base and len(self._names) == 1 and name not in ("ProgramInformation", "BaseURL"):
            self._needs_base = False
            if not self._own[-1]:
                base = self._grant.url(self._bases[-1][0].rpartition("/")[0] + "/").reveal()
                self._out.append(f"<BaseURL>{escape(base)}</BaseURL>")
        if name in _URLS:
            wanted = _URLS[name]
            text = _ATTRIBUTE.sub(
                lambda m: f"{m[1]}{m[2]}{m[3]}{self._attribute(m[4])}" if m[2] in wanted else m[0], text
            )
        if not match["empty"]:
            self._names.append(name)
            inherited = self._own[-1] or self._bases[-1]
            self._bases.append(inherited)
            self._own.append([])
        return text

    def _pop(self) -> None:
        if self._names:
            self._names.pop()
            self._bases.pop()
            self._own.pop()

    def _base_url(self, text: str) -> str:
        """The text of a BaseURL, which is in force for its parent's other children."""
        uri = unescape(text, _ENTITIES).strip()
        found = [self._covered(urljoin(base, uri)) for base in self._bases[-2]]
        self._own[-2].extend(found)
        if self._query is None:
            relative = not uri.startswith("/") and "://" not in uri and len(self._names) > 2
            return text if relative else escape(self._grant.url(found[0]).reveal())
        return text if uri.endswith("/") or not uri else escape(self._added(uri))

    def _location(self, text: str) -> str:
        url = self._covered(urljoin(self._bases[0][0], unescape(text, _ENTITIES).strip()))
        return escape(self._grant.url(url).reveal())

    def _attribute(self, quoted: str) -> str:
        quote, value = quoted[0], unescape(quoted[1:-1], _ENTITIES)
        for base in self._own[-1] or self._bases[-1]:
            self._covered(urljoin(base, _TEMPLATE.sub("0", value)))
        if self._query is not None:
            value = self._added(value)
        elif value.startswith("/") or "://" in value:
            raise Unsupported(
                "a template from the root, and a CDN that has its token in the path", hint="relative URLs"
            )
        return quote + escape(value, {'"': "&quot;", "'": "&apos;"}) + quote

    def _covered(self, url: str) -> str:
        if not url.startswith(("http://", "https://")) or not self._grant.covers(url):
            raise Unsupported(
                "the manifest leaves the prefix that one signature covers",
                operation="sign_playlist",
                hint="a shorter prefix=, or sign_cookies(), with which the manifest needs no change",
            )
        return url

    def _added(self, uri: str) -> str:
        assert self._query is not None
        query = self._query.reveal().replace("$", "$$")
        return f"{uri}{'&' if '?' in uri else '?'}{query}"
