"""The HTTP side of a local store: an ASGI application that answers its signed URLs, and verifies what the clouds verify."""

from __future__ import annotations
