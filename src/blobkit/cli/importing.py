"""What a service has of its own, named on the command line as ``package.module:name``."""

from __future__ import annotations

import importlib

from blobkit.errors import ConfigError

__all__ = ["imported"]


def imported(name: str, what: str) -> object:
    """The object that ``module:name`` names; ``what`` is how an error calls it. Raises ConfigError."""
    module, _, attribute = name.partition(":")
    try:
        found: object = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{what} {name!r} cannot be imported: {error}", hint="package.module:function") from error
    return found
