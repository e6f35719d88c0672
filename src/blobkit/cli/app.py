"""The command tree: one table of names, and the typer application made of it.

A run imports the one module whose command was called; only ``blobkit --help`` imports all, and none of them imports more than
typer before it runs.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Annotated, Final

import typer

from blobkit.cli.exitcodes import describe

__all__ = ["COMMANDS", "build"]

COMMANDS: Final[dict[str, tuple[str, str, str]]] = {
    "demo": ("blobkit.cli.demo.command", "demo", "Start here"),
    "put": ("blobkit.cli.put", "put", "Objects"),
    "get": ("blobkit.cli.get", "get", "Objects"),
    "upload": ("blobkit.cli.service", "upload", "Objects"),
    "resume": ("blobkit.cli.resuming", "resume", "Objects"),
    "ls": ("blobkit.cli.objects", "ls", "Objects"),
    "stat": ("blobkit.cli.objects", "stat", "Objects"),
    "cp": ("blobkit.cli.objects", "cp", "Objects"),
    "rm": ("blobkit.cli.objects", "rm", "Objects"),
    "sign": ("blobkit.cli.sign", "app", "Permission"),
    "session": ("blobkit.cli.sessions", "app", "Permission"),
    "cdn": ("blobkit.cli.cdn", "app", "Permission"),
    "events": ("blobkit.cli.events", "app", "Events"),
    "uploads": ("blobkit.cli.uploads", "app", "Records"),
    "reconcile": ("blobkit.cli.reconcile", "reconcile", "Records"),
    "worker": ("blobkit.cli.worker", "worker", "Records"),
    "serve": ("blobkit.cli.serve", "serve", "Stores"),
    "capabilities": ("blobkit.cli.capabilities", "capabilities", "Stores"),
    "plugins": ("blobkit.cli.plugins", "plugins", "Stores"),
    "conformance": ("blobkit.cli.conformance", "conformance", "Stores"),
}
"""Name to module, attribute (a command's function, or the typer application of a group), and panel of the help."""

_HELP: Final = """Signed direct transfers to and from object storage.

An object is NAME:KEY, where NAME stands in ./blobkit.toml or the environment (BLOBKIT_STORE_NAME=s3://bucket/), or two words:
STORE-URL KEY. Results go to stdout, everything else to stderr; every command takes --json, --config and --debug.
"""

_EPILOG: Final = f"\b\nExit status\n{describe()}"


def build(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """The application with these commands."""
    app = typer.Typer(
        name="blobkit",
        help=_HELP,
        epilog=_EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in names:
        module, attribute, panel = COMMANDS[name]
        found: object = getattr(importlib.import_module(module), attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name, rich_help_panel=panel)
        else:
            assert callable(found)
            app.command(name, rich_help_panel=panel)(found)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        from blobkit import __version__

        typer.echo(f"blobkit {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Options before the command."""
