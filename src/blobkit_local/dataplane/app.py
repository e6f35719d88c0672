"""The ASGI application: object routes, CORS for browsers, a health check. Mount it in an app, or serve it with uvicorn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from blobkit_local.dataplane.edge import Gate
from blobkit_local.dataplane.objects import Objects

if TYPE_CHECKING:
    from blobkit.backend import ASGIApp
    from blobkit.cdn.base import Cdn
    from blobkit_local.backend import LocalBackend

__all__ = ["create_app"]

# A signed URL is the permission, whatever page sends it; credentials are never read. What a browser may see of an answer:
_EXPOSED: Final = (
    "ETag",
    "Content-Range",
    "Accept-Ranges",
    "Content-Disposition",
    "x-blobkit-version",
    "x-blobkit-error",
)


def create_app(backend: LocalBackend, *, edge: Cdn | None = None) -> ASGIApp:
    """The data plane of one local store.

    Args:
        backend: The store's backend.
        edge: A CDN whose links and cookies are accepted for reading too, as its own edge would: see :mod:`.edge`.

    Routes:
        ``/o/{key}``: GET, HEAD, PUT and DELETE with a signed URL; GET and HEAD without one when the store is public.
        ``/healthz``: 200 with ``{"status": "ok"}``.
    """
    app = Starlette(
        routes=[
            Mount("/o", app=Objects(backend)),
            Route("/healthz", _health, methods=["GET"]),
        ],
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=["*"],
                allow_methods=["GET", "HEAD", "PUT", "DELETE"],
                allow_headers=["*"],
                expose_headers=_EXPOSED,
                max_age=3600,
            )
        ],
    )
    return app if edge is None else Gate(app, edge)


async def _health(request: Request) -> JSONResponse:
    return JSONResponse({"status": "ok"})
