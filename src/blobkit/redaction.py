"""What must not print: :class:`Secret`, and a log filter for what other libraries print.

Secrets are not ``str``: a subclass of ``str`` leaks through ``join``, ``json``, ``encode`` and slicing. A Secret prints as
``Secret(***)`` wherever it is printed, cannot be pickled, and opens only by :meth:`Secret.reveal`.
"""

from __future__ import annotations

import hmac
import logging
import re
from typing import Final, NoReturn, SupportsIndex

__all__ = ["RedactingFilter", "Secret", "redact", "redact_url"]

# Query and form names whose values grant access (user-needs: leaks through logs, exceptions, traces).
_NAMES: Final = (
    r"X-Amz-Signature|X-Amz-Credential|X-Amz-Security-Token|X-Amz-S3session-Token|AWSAccessKeyId|Signature|Policy|Key-Pair-Id"
    r"|X-Goog-Signature|X-Goog-Credential|GoogleAccessId|upload_id|sig|skoid|sktid|skdutid|sduoid"
    r"|bk-sig|token|hdnts|hdnea|__token__|edge-cache-token|verify|md5|AccountKey|SharedAccessSignature"
)
_PAIR: Final = re.compile(rf"(?i)(?<![A-Za-z0-9_-])({_NAMES})=([^&\s\"'<>;,]+)")
_JSONISH: Final = re.compile(rf"(?i)([\"'](?:{_NAMES}|secret|password|private_key)[\"']\s*:\s*[\"'])([^\"']+)")
_HEADER: Final = re.compile(
    r"(?i)\b(authorization|proxy-authorization|x-amz-security-token|cookie|set-cookie)(\"?'?\s*[:=]\s*)([^\r\n]+)"
)
_BEARER: Final = re.compile(r"(?i)\b(bearer|sharedkey)\s+[A-Za-z0-9._~+/=:-]{8,}")
_PEM: Final = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_PATH_TOKEN: Final = re.compile(r"(?i)(/[a-z_-]*token=)[^/?#\s]+")
_MASK: Final = "***"


class Secret:
    """A text that grants access. Prints as ``Secret(***)``; :meth:`reveal` is the only door.

    Equality is constant-time. Pickling and copying into JSON raise TypeError.
    """

    __slots__ = ("_value",)
    _value: str

    def __init__(self, value: str) -> None:
        _set_value(self, value)

    def reveal(self) -> str:
        """The text itself. Do not log it."""
        return self._value

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_MASK})"

    def __str__(self) -> str:
        return repr(self)

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((type(self), self._value))

    def __bool__(self) -> bool:
        return bool(self._value)

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(f"{type(self).__name__} does not pickle: pass what .reveal() gives, and know where it goes")


_set_value: Final = Secret.__dict__["_value"].__set__  # the slot's own setter: signers make Secrets by the million


def redact_url(url: str) -> str:
    """The URL without what may grant access: no user info, no query, no fragment, no token inside the path."""
    head, question, _ = url.partition("?")
    head, hash_, _ = head.partition("#")
    scheme, sep, rest = head.partition("://")
    if sep:
        authority, slash, path = rest.partition("/")
        head = f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"
    return _PATH_TOKEN.sub(rf"\1{_MASK}", head) + (f"?{_MASK}" if question or hash_ else "")


def redact(text: str) -> str:
    """``text`` with every signature, credential, token and private key in it masked, as far as their names tell."""
    text = _PEM.sub(f"-----PRIVATE KEY {_MASK}-----", text)
    text = _HEADER.sub(rf"\1\2{_MASK}", text)
    text = _BEARER.sub(rf"\1 {_MASK}", text)
    text = _PAIR.sub(rf"\1={_MASK}", text)
    text = _JSONISH.sub(rf"\1{_MASK}", text)
    return _PATH_TOKEN.sub(rf"\1{_MASK}", text)


class RedactingFilter(logging.Filter):
    """A filter for the loggers and handlers of other libraries (urllib3, botocore, google, azure) that print signed URLs.

    Example:
        ``logging.getLogger("urllib3").addFilter(RedactingFilter())``; on a handler it covers every logger behind it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record's message, and its traceback if it has one; always let it through."""
        message = record.getMessage()
        clean = redact(message)
        if clean != message:
            record.msg, record.args = clean, None
        if record.exc_info and not record.exc_text:
            record.exc_text = redact(logging.Formatter().formatException(record.exc_info))
        elif record.exc_text:
            record.exc_text = redact(record.exc_text)
        return True
