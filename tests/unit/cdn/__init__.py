"""CDN signing."""

from __future__ import annotations
