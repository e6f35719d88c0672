"""The suite: every test as a name, to be collected by ``from blobkit.testing.suite import *`` beside a ``harness`` fixture.

Each module has one subject. A test's name is the law that it proves.
"""

from __future__ import annotations

import importlib
import pkgutil

from blobkit.testing.collecting import telling_asserts

_MODULES = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name.startswith("test_"))
telling_asserts("blobkit.testing.trial", "blobkit.testing.executor", *(f"{__name__}.{name}" for name in _MODULES))

for _module in _MODULES:
    for _name, _value in vars(importlib.import_module(f"{__name__}.{_module}")).items():
        if _name.startswith("test_"):
            if _name in globals():
                raise ImportError(f"two tests of the suite are called {_name}")
            globals()[_name] = _value

# Only the tests: a star import would bring the names above along, and modules that are called like tests.
__all__ = [_name for _name in list(globals()) if _name.startswith("test_") and _name not in _MODULES]  # pyright: ignore[reportUnsupportedDunderAll] - the names are those of the folder
