"""Fetching keys and certificates: HTTPS, no redirects, bounded in size and time. Injectable everywhere it is used."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from blobkit.errors import ConnectionFailed, InvalidArgument, Unavailable, UntrustedEvent

__all__ = ["MAX_KEYS", "Fetch", "https_fetch"]

Fetch = Callable[[str], bytes]
"""Gives what stands at an HTTPS address. Raises TransientError when that cannot be found out now, UntrustedEvent when
there is nothing of use."""

MAX_KEYS: Final = 256 * 1024
"""A key set or certificate is not longer."""

_TIMEOUT: Final = 5.0


def https_fetch(url: str, *, timeout: float = _TIMEOUT, max_bytes: int = MAX_KEYS) -> bytes:
    """GET over HTTPS. Follows no redirect, sends no credentials, reads at most ``max_bytes``.

    Raises:
        ConnectionFailed, Unavailable: No answer, or 429 or 5xx. Try again later.
        UntrustedEvent: Another answer than 200, or one that is too long.
        InvalidArgument: Not an HTTPS URL.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.username is not None:
        raise InvalidArgument("keys are fetched over https only")
    connection = http.client.HTTPSConnection(
        parts.hostname, parts.port, timeout=timeout, context=ssl.create_default_context()
    )
    try:
        connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        reply = connection.getresponse()
        body = reply.read(max_bytes + 1)
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionFailed(f"{parts.hostname} did not answer") from error
    finally:
        connection.close()
    if reply.status == 429 or reply.status >= 500:
        raise Unavailable(f"{parts.hostname} answered {reply.status}", http_status=reply.status)
    if reply.status != 200:
        raise UntrustedEvent(f"{parts.hostname} answered {reply.status}", http_status=reply.status)
    if len(body) > max_bytes:
        raise UntrustedEvent(f"the answer of {parts.hostname} is longer than {max_bytes} bytes")
    return body
