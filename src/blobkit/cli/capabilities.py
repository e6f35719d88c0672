"""``blobkit capabilities``: what stores can do, and who enforces what. Taken from the stores themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from blobkit.cli import units
from blobkit.cli.running import Run, command
from blobkit.cli.targets import STORE_HELP, store_word
from blobkit.errors import ConfigError

if TYPE_CHECKING:
    from blobkit.spec import Constraint, Route
    from blobkit.store import Store

__all__ = ["capabilities"]

_WORDS: Final = {True: "yes", False: "no", None: "unknown"}


@command
def capabilities(
    run: Run,
    store: Annotated[
        str | None,
        typer.Argument(metavar="[STORE]", help=f"{STORE_HELP} Default: every configured store.", show_default=False),
    ] = None,
) -> None:
    """What a store can do, and who enforces each constraint of an upload."""
    if store is not None:
        opened = run.store(store_word(store))
        if run.out.json:
            run.out.value(_described(opened))
        else:
            _show(run, opened)
        return
    names = run.kit().names
    if not names:
        raise ConfigError("no store is configured", hint="blobkit capabilities STORE-URL, or a blobkit.toml")
    stores = {name: run.kit().store(name) for name in names}
    if run.out.json:
        run.out.value({name: _described(opened) for name, opened in stores.items()})
    else:
        _compare(run, stores)


def _described(store: Store) -> dict[str, object]:
    return {"provider": store.provider, **store.capabilities.as_dict()}


def _show(run: Run, store: Store) -> None:
    from blobkit.backend import Feature
    from blobkit.spec import Constraint, Route

    found = store.capabilities
    run.out.table(
        ["feature", ""], [[f, _WORDS[found.features.get(f)]] for f in Feature], title=f"{store.provider} features"
    )
    routes = {Route.PUT: "signed PUT", Route.POST: "form POST", Route.CHUNKED: "chunked session"}
    run.out.table(
        ["constraint", *routes.values()],
        [[constraint, *(_enforcer(store, route, constraint) for route in routes)] for constraint in Constraint],
        title="who enforces what",
    )
    limits, cut = found.limits, found.limits.chunks
    life = limits.max_expiry
    run.out.pairs(
        {
            "longest signature": "no limit" if life is None else f"{life.total_seconds():.0f} s",
            "largest single request": units.shown_size(limits.max_put),
            "largest object": units.shown_size(cut.max_object),
            "chunk": f"{units.shown_size(cut.min_chunk)} to {units.shown_size(cut.max_chunk)}",
            "chunks": "no limit" if cut.max_count is None else cut.max_count,
            "chunk order": "sequential" if cut.sequential else "any",
            "key": f"{limits.max_key_bytes} bytes of UTF-8",
            "the object appears by": "complete()"
            if found.commit == "service"
            else "the last chunk (so chunks are staged)",
            "a chunk URL can write": "its chunk"
            if found.chunk_grant == "chunk"
            else "the object (so chunks are staged)",
            "a signature needs the network": found.signing_io,
            "other processes see it": found.multi_process,
        }
    )


def _enforcer(store: Store, route: Route, constraint: Constraint) -> str:
    who = store.capabilities.enforcer(route, constraint)
    return "unknown" if who is None else str(who) if who else "no"


def _compare(run: Run, stores: dict[str, Store]) -> None:
    from blobkit.backend import Feature
    from blobkit.spec import Constraint, Route

    run.out.table(
        ["feature", *stores],
        [[f, *(_WORDS[s.capabilities.features.get(f)] for s in stores.values())] for f in Feature],
        title="features",
    )
    run.out.table(
        ["who enforces", *stores],
        [[f"{r}.{c}", *(_enforcer(s, r, c) for s in stores.values())] for r in Route for c in Constraint],
        title="who enforces what",
    )
