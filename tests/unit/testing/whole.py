"""``python -m tests.unit.testing.whole MANNER``: the whole suite against a toy storage, its report as JSON."""

from __future__ import annotations

import json
import sys

from blobkit.testing import run

from .toy import ToyHarness

if __name__ == "__main__":
    report = run(ToyHarness(sys.argv[1]), quiet=True)  # type: ignore[arg-type] # one of Manner
    json.dump(report.as_dict(), sys.stdout)
