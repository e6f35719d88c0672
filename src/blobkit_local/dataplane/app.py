"""The ASGI application: object routes, CORS for browsers, a health check. Mount it in an app, or serve it with uvicorn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from blobkit_local.dataplane.objects import Edge, Objects

if TYPE_CHECKING:
    from blobkit.backend import ASGIApp
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


def create_app(backend: LocalBackend, *, edge: object | None = None) -> ASGIApp:
    """The data plane of one local store.

    Args:
        backend: The store's backend.
        edge: A CDN signer (``verify(url)``) whose links are accepted for reading too.

    Routes:
        ``/o/{key}``: GET, HEAD, PUT and DELETE with a signed URL; GET and HEAD without one when the store is public.
        ``/healthz``: 200 with ``{"status": "ok"}``.
    """
    return Starlette(
        routes=[
            Mount("/o", app=Objects(backend, _edge(edge))),
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


def _edge(edge: object | None) -> Edge | None:
    if edge is not None and not callable(getattr(edge, "verify", None)):
        raise TypeError("an edge has a method verify(url)")
    return edge  # type: ignore[return-value]


async def _health(request: Request) -> JSONResponse:
    return JSONResponse({"status": "ok"})
