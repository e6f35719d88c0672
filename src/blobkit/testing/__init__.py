"""The conformance kit: a harness for one store, sentence-named tests for all of them, and fault injection.

It imports no provider, and ships with the library so that whoever writes a backend can prove it::

    report = blobkit.testing.run("shelf://test/")
    assert report, "\\n".join(report.lines())

What a store declares must pass; what it does not declare must raise the right error; what its server cannot check is named
and counted. Names are resolved when they are first used; only the suite itself needs pytest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from blobkit.testing.clients import Answer, Client
    from blobkit.testing.clock import FakeClock
    from blobkit.testing.faults import Crash, Fault, Faults, FaultyBackend, faulty
    from blobkit.testing.harness import ALL_CHECKS, CHECKS, OTHERS, Harness, everything_but
    from blobkit.testing.proxy import Trouble, TroubleProxy
    from blobkit.testing.report import ConformanceReport, Note, run
    from blobkit.testing.trial import Trial

_HOMES: Final = {
    "Answer": "clients",
    "Client": "clients",
    "FakeClock": "clock",
    "Crash": "faults",
    "Fault": "faults",
    "Faults": "faults",
    "FaultyBackend": "faults",
    "faulty": "faults",
    "ALL_CHECKS": "harness",
    "CHECKS": "harness",
    "OTHERS": "harness",
    "Harness": "harness",
    "everything_but": "harness",
    "ConformanceReport": "report",
    "Trouble": "proxy",
    "TroubleProxy": "proxy",
    "Note": "report",
    "run": "report",
    "Trial": "trial",
}

__all__ = [
    "ALL_CHECKS",
    "CHECKS",
    "OTHERS",
    "Answer",
    "Client",
    "ConformanceReport",
    "Crash",
    "FakeClock",
    "Fault",
    "Faults",
    "FaultyBackend",
    "Harness",
    "Note",
    "Trial",
    "Trouble",
    "TroubleProxy",
    "everything_but",
    "faulty",
    "run",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'blobkit.testing' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"blobkit.testing.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
