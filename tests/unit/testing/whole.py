"""``python -m tests.unit.testing.whole MANNER``: the whole suite against a toy storage, its report as JSON."""

from __future__ import annotations

import json
import sys

from blobkit.testing import run
from blobkit.testing.clients import HttpClient, UrllibClient

from .toy import ToyHarness

if __name__ == "__main__":
    harness = ToyHarness(sys.argv[1])  # type: ignore[arg-type] # one of Manner
    harness.clients = [HttpClient(), UrllibClient()]  # the toy reads paths as it likes: two stacks show as much as six
    report = run(harness, quiet=True)
    json.dump(report.as_dict(), sys.stdout)
