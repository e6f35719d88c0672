"""Whether the content is what its media type says: :class:`ContentTypeMatches`. The first and last bytes are read, no more.

Signatures are puremagic's; the rules on top of them are ours:

* A type is believed when one of the signatures found is of its family: ``audio/mp4`` and ``video/quicktime`` are the same
  container, a ``.docx`` is a ZIP archive.
* Text has no signature: it must be UTF-8 (or UTF-16 with its mark) without control characters.
* What a browser would take for HTML (https://mimesniff.spec.whatwg.org/#identifying-a-resource-with-an-unknown-mime-type) is
  never anything but HTML: a page that is stored as a picture runs in the origin that serves it.
"""

from __future__ import annotations

import codecs
import io
import re
from dataclasses import dataclass, field
from typing import Final, Literal

from blobkit.errors import InvalidArgument, PluginMissing
from blobkit.quarantine.checks import media_type
from blobkit.quarantine.subject import Subject
from blobkit.quarantine.verdict import Verdict, failed, passed

__all__ = ["ContentTypeMatches", "sniff"]

_HEAD: Final = 64 * 1024
_TAIL: Final = 4 * 1024
_SURE: Final = 0.2  # puremagic gives one byte 0.1: that is chance
_NEAR: Final = 0.6  # of the best match: "RIFF" alone says nothing where "WAVE" was found too

_FAMILIES: Final[tuple[frozenset[str], ...]] = tuple(
    frozenset(names.split())
    for names in (
        "image/jpeg image/jpg image/pjpeg",
        "image/bmp image/x-ms-bmp image/x-bmp",
        "image/x-icon image/vnd.microsoft.icon",
        "image/heic image/heif image/heic-sequence image/heif-sequence",
        "image/tiff image/tiff-fx image/x-adobe-dng image/x-canon-cr2 image/x-nikon-nef image/x-sony-arw",
        "audio/wav audio/wave audio/x-wav audio/vnd.wave",
        "audio/mpeg audio/mp3 audio/mpeg3 audio/x-mpeg",
        "audio/flac audio/x-flac",
        "audio/aac audio/x-aac audio/aacp",
        "audio/midi audio/x-midi audio/mid",
        "audio/aiff audio/x-aiff",
        "video/avi video/x-msvideo video/msvideo video/vnd.avi",
        "video/mp4 audio/mp4 video/quicktime video/x-m4v audio/x-m4a audio/m4a video/3gpp audio/3gpp video/3gpp2 audio/3gpp2",
        "video/webm audio/webm video/x-matroska audio/x-matroska video/matroska application/x-matroska",
        "audio/ogg video/ogg application/ogg audio/opus audio/x-opus+ogg audio/vorbis audio/speex",
        "video/mpeg video/mp1s video/mp2p video/mpg",
        "video/x-ms-wmv audio/x-ms-wma video/x-ms-asf application/vnd.ms-asf",
        "application/gzip application/x-gzip",
        "application/zip application/x-zip application/x-zip-compressed",
        "application/x-tar application/tar application/x-gtar application/x-ustar",
        "application/x-bzip2 application/x-bzip application/bzip2",
        "application/x-rar-compressed application/vnd.rar application/x-rar",
        "application/xml text/xml",
        "application/rtf text/rtf",
        "application/pdf application/x-pdf application/vnd.fdf",
        "application/vnd.microsoft.portable-executable application/x-msdownload application/x-dosexec application/exe",
        "font/ttf application/x-font-ttf font/sfnt",
        "font/otf application/x-font-otf font/sfnt",
    )
)
_ZIPPED: Final = re.compile(
    r"application/(?:vnd\.openxmlformats-officedocument\..*|vnd\.oasis\.opendocument\..*|vnd\.ms-(?:excel|word|powerpoint)\..*"
    r"|epub\+zip|java-archive|vnd\.android\.package-archive|vnd\.google-earth\.kmz|x-ms-xpinstall|vnd\.apple\..*)\Z"
    r"|model/3mf\Z"
)
_OLE: Final = frozenset({"application/msword", "application/vnd.ms-excel", "application/vnd.ms-powerpoint"})
_OLE_MAGIC: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP_MAGIC: Final = (b"PK\x03\x04", b"PK\x05\x06")
_XML: Final = re.compile(r"(?:application|text)/xml\Z|.*\+xml\Z")
_TEXT: Final = re.compile(
    r"text/.*\Z|application/(?:json|.*\+json|javascript|ecmascript|x-ndjson|jsonl|yaml|x-yaml|toml|sql|x-sh|csv|x-subrip"
    r"|vnd\.apple\.mpegurl|x-mpegurl|dash\+xml|graphql)\Z|audio/(?:x-)?mpegurl\Z"
)
_HTML: Final = frozenset({"text/html", "application/xhtml+xml"})
_UNREAD: Final = frozenset({"application/octet-stream", "binary/octet-stream"})

# WHATWG: white space, then one of these tags, then a space or ">".
_PAGE: Final = re.compile(
    rb"[\t\n\x0c\r ]*<(?:!doctype html|html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p|!--)[ >\t\n\r/]",
    re.IGNORECASE,
)
_CONTROLS: Final = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def sniff(head: bytes, tail: bytes = b"") -> frozenset[str]:
    """The media types whose signatures are found, in lower case; empty when there are none.

    Args:
        head: The first bytes; 64 KiB are plenty.
        tail: The last ones, where they are not in ``head``.

    Raises:
        PluginMissing: puremagic is not installed.
    """
    try:
        import puremagic
    except ImportError as error:
        raise PluginMissing("sniffing needs puremagic", hint='pip install "blobkit[quarantine]"') from error
    found: set[str] = set()
    try:
        matches = puremagic.magic_stream(io.BytesIO(head + tail))
        least = max(_SURE, _NEAR * max(match.confidence for match in matches))
        found.update(match.mime_type.lower() for match in matches if match.confidence >= least and match.mime_type)
    except (puremagic.PureError, ValueError):  # nothing was found; no bytes at all
        pass
    if head.startswith(_ZIP_MAGIC):
        found.add("application/zip")
    if _PAGE.match(head.removeprefix(codecs.BOM_UTF8)):
        found.add("text/html")
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class ContentTypeMatches:
    """The content is of the media type that it is stored with, which is also the one that was declared.

    ``application/octet-stream`` says nothing, so anything may be in it but a page; serve it as a download. So serve SVG and
    other XML, too: scripts are part of what they may be.

    Args:
        unrecognised: What to say of a type that neither has a signature nor is text, when nothing else was found either.
        empty: Whether an object without bytes passes; no type can be told from it.
    """

    unrecognised: Literal["reject", "pass"] = "reject"
    empty: bool = True
    name: str = field(default="content_type_matches", init=False)

    def __post_init__(self) -> None:
        if self.unrecognised not in ("reject", "pass"):
            raise InvalidArgument("unrecognised is 'reject' or 'pass'")

    def check(self, subject: Subject) -> Verdict:
        """Read both ends, and compare."""
        stored, declared = media_type(subject.info.content_type), media_type(subject.declared.content_type)
        if stored is None:
            return failed(self.name, "stored without a media type, so every browser guesses one")
        if declared is not None and declared != stored:
            return failed(self.name, f"stored as {stored}, declared as {declared}")
        if subject.info.size == 0:
            return passed(self.name, "empty") if self.empty else failed(self.name, "it has no bytes")
        with subject.open() as file:
            head, tail = file.read(_HEAD), b""
            if subject.info.size > _HEAD:
                file.seek(max(_HEAD, subject.info.size - _TAIL))
                tail = file.read(_TAIL)
        return self._compare(stored, head, tail)

    def _compare(self, stored: str, head: bytes, tail: bytes) -> Verdict:
        found = sniff(head, tail)
        if "text/html" in found and stored not in _HTML and not _XML.match(stored):  # XML is never guessed to be HTML
            return failed(self.name, f"stored as {stored}, but a browser would take it for a page")
        if stored in _UNREAD:
            return passed(self.name, "of no particular type")
        if _same(stored, found, head):
            return passed(self.name)
        if _TEXT.match(stored) or _XML.match(stored):
            if _is_text(head) and (not _XML.match(stored) or head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")):
                return passed(self.name)
            return failed(self.name, f"stored as {stored}, but it is not text{_but(found)}")
        if found:
            return failed(self.name, f"stored as {stored}{_but(found)}")
        if self.unrecognised == "pass":
            return passed(self.name, "nothing was recognised")
        return failed(self.name, f"stored as {stored}, but nothing in it shows that")


def _same(stored: str, found: frozenset[str], head: bytes) -> bool:
    """Whether one of the types found is of the stored one's family."""
    if stored in found:
        return True
    if any(stored in family and family & found for family in _FAMILIES):
        return True
    if _ZIPPED.match(stored) and head.startswith(_ZIP_MAGIC):
        return True
    return stored in _OLE and head.startswith(_OLE_MAGIC)


def _but(found: frozenset[str]) -> str:
    names = sorted(found)
    return "" if not names else f", but it looks like {' or '.join(names[:3])}"


def _is_text(head: bytes) -> bool:
    """UTF-8, or UTF-16 with a mark; a character that is cut at the end of what was read is no fault."""
    mark, encoding = next(((mark, name) for mark, name in _MARKS if head.startswith(mark)), (b"", "utf-8"))
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        text = decoder.decode(head[len(mark) :], final=len(head) < _HEAD)
    except UnicodeDecodeError:
        return False
    return not _CONTROLS.search(text)
