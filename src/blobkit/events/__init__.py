"""Storage events: the neutral model, and how two events of one key are ordered."""

from __future__ import annotations
