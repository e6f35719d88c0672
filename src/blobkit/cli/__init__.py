"""``blobkit …``: the command line. One module per group of commands; see :mod:`blobkit.cli.app` for the table of them."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """The console script. Imports what the given command needs and nothing else."""
    try:
        from blobkit.cli.app import COMMANDS, build
    except ImportError as error:
        sys.stderr.write(f'blobkit: the command line needs {error.name}\n   hint: pip install "blobkit[cli]"\n')
        raise SystemExit(3) from error
    called = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    build([called] if called in COMMANDS else COMMANDS)(prog_name="blobkit")
