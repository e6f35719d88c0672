"""Object tags in the two forms that S3 wants: ``a=1&b=2`` in a header, XML in a form's field. Pure.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html: at most 10 tags, keys of 128 and values of 256
characters.
"""

from __future__ import annotations

from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from blobkit.errors import ConfigError
from blobkit_aws.signing.encoding import encode_query

__all__ = ["as_header", "as_xml"]

_MOST = 10


def as_header(text: str) -> str:
    """Tags as they are configured (``a=1&b=2``, percent-encoded), checked. Raises ConfigError."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True)
    except ValueError as error:
        raise ConfigError("tagging is name=value&name=value, percent-encoded") from error
    names = [name for name, _ in pairs]
    if len(pairs) > _MOST or len(set(names)) != len(names):
        raise ConfigError(f"an object has at most {_MOST} tags, each name once")
    for name, value in pairs:
        if not 1 <= len(name) <= 128 or len(value) > 256:
            raise ConfigError("a tag's name has 1 to 128 characters, its value at most 256")
    return encode_query(pairs)


def as_xml(header: str) -> str:
    """The same as the ``tagging`` field of a form."""
    tags = "".join(
        f"<Tag><Key>{escape(name)}</Key><Value>{escape(value)}</Value></Tag>"
        for name, value in parse_qsl(header, keep_blank_values=True)
    )
    return f"<Tagging><TagSet>{tags}</TagSet></Tagging>"
