"""An edge in front of the data plane: the links and cookies of a CDN are let through to the objects, as the CDN would.

A request with the data plane's own signature passes untouched. For every other read the CDN is asked, with the client's
address; a token that stands in the path is taken out of it. Countries are not known here.
"""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from blobkit.cdn.model import Refusal, Verdict
from blobkit_local.dataplane.http import Receive, Scope, Send
from blobkit_local.dataplane.objects import VERDICT

if TYPE_CHECKING:
    from blobkit.backend import ASGIApp
    from blobkit.cdn.base import Cdn

__all__ = ["Gate"]

_MAX_COOKIES: Final = 16 * 1024
_OPEN: Final = ("/healthz",)


class Gate:
    """The ASGI application with a CDN's edge before it.

    Args:
        app: The data plane.
        edge: The CDN.
    """

    def __init__(self, app: ASGIApp, edge: Cdn) -> None:
        self._app: Any = app
        self._edge = edge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Judge one request, and hand it on with the verdict."""
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and scope["path"] not in _OPEN:
            query = scope.get("query_string", b"")
            if not any(pair.startswith(b"bk-") for pair in query.split(b"&")):
                scope = self._judged(dict(scope))
        await self._app(scope, receive, send)

    def _judged(self, scope: Scope) -> Scope:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        raw = scope.get("raw_path") or scope["path"].encode("utf-8")
        path, query = raw.partition(b"?")[0].decode("latin-1"), scope.get("query_string", b"").decode("latin-1")
        url = f"{scope.get('scheme', 'http')}://{headers.get('host', '')}{path}" + (f"?{query}" if query else "")
        ip = _address(scope.get("client"))
        verdict = self._edge.verify(url, ip=ip, headers=headers)
        if verdict.reason is Refusal.UNSIGNED and (cookies := _cookies(headers.get("cookie", ""))):
            verdict = self._edge.verify(cookies, url=url, ip=ip, headers=headers)
        return {**scope, **_without_token(verdict, path), VERDICT: verdict}


def _without_token(verdict: Verdict, path: str) -> dict[str, object]:
    """The path that is asked of the store, where a token stood in it."""
    if verdict.path is None or verdict.path == path:
        return {}
    return {"path": unquote(verdict.path), "raw_path": verdict.path.encode("ascii")}


def _address(client: tuple[str, int] | None) -> str | None:
    """The client's address; None behind a Unix socket."""
    try:
        return str(ip_address(client[0])) if client else None
    except ValueError:
        return None


def _cookies(header: str) -> dict[str, str]:
    if not header or len(header) > _MAX_COOKIES:
        return {}
    jar: SimpleCookie = SimpleCookie()
    try:
        jar.load(header)
    except CookieError:
        return {}
    return {name: morsel.value for name, morsel in jar.items()}
