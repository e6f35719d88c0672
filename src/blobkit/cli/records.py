"""The records of uploads, as the commands that need them are told where they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from blobkit.errors import ConfigError, InvalidArgument, PluginMissing

if TYPE_CHECKING:
    from blobkit.cli.running import Run
    from blobkit.tracking import Tracker

__all__ = ["DatabaseUrl", "OwnedPrefixes", "open_tracker"]

DatabaseUrl: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        envvar="BLOBKIT_DATABASE",
        show_envvar=True,
        help="Where the records are: sqlite:///uploads.db, postgresql+psycopg://user@host/name.",
    ),
]
OwnedPrefixes: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--owned",
        metavar="NAME:PREFIX",
        help="Below this prefix every object is a recorded upload: others are marked, and later removed. May be repeated.",
    ),
]


def open_tracker(
    run: Run, database: str | None, owned: Sequence[str] | None = None, checked: Sequence[str] = ()
) -> Tracker:
    """The tracker over the named stores; closed when the command ends.

    Raises:
        ConfigError: Nobody said where the records are.
        InvalidArgument: ``--owned`` without a prefix.
        PluginMissing: The ``tracking`` extra is not installed.
    """
    if not database:
        raise ConfigError("where are the records?", hint="--database sqlite:///uploads.db, or BLOBKIT_DATABASE=…")
    prefixes: dict[str, str] = {}
    for word in owned or ():
        name, colon, prefix = word.partition(":")
        if not (name and colon and prefix):
            raise InvalidArgument(f"--owned is NAME:PREFIX, not {word!r}", hint="--owned media:uploads/")
        prefixes[name] = prefix
    try:
        from blobkit.tracking import Tracker
    except ImportError as error:
        raise PluginMissing(
            f"the records need a package that is not installed: {error.name}", hint='pip install "blobkit[tracking]"'
        ) from error
    return run.borrow(Tracker(database, stores=run.kit(), owned=prefixes, checked=checked))
