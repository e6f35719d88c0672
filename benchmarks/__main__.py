"""``python -m benchmarks [NAME …]``: run every benchmark of this folder, or those named.

A benchmark is a module with ``main()``, which prints its figures. One that lacks a peer says which and goes on.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys

import benchmarks


def main(names: list[str]) -> int:
    """Run the benchmarks; 1 when a name is unknown."""
    found = sorted(
        module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.name.startswith("_")
    )
    if unknown := sorted(set(names) - set(found)):
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(found)}", file=sys.stderr)
        return 1
    for name in names or found:
        print(f"\n== {name}", flush=True)
        importlib.import_module(f"benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
