"""``blobkit serve``: the data plane of an embedded store, for clients of this machine or network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from blobkit.cli.options import StoreWord
from blobkit.cli.running import Run, command
from blobkit.cli.targets import store_word

if TYPE_CHECKING:
    from blobkit.store import Store

__all__ = ["serve"]


@command
def serve(
    run: Run,
    store: StoreWord,
    host: Annotated[
        str, typer.Option("--host", help="The address to listen on; 0.0.0.0 for the whole network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0 for any free one.")] = 8707,
) -> None:
    """Answer a local store's signed URLs until Ctrl-C or SIGTERM; running requests are finished first."""
    from blobkit.serving import serve_forever

    opened = run.store(store_word(store))

    def ready(url: str) -> None:
        if run.out.json:
            run.out.value({"url": url, "provider": opened.provider, "location": dict(opened.config.location)})
        else:
            run.out.line(f"serving {'/'.join(opened.config.location.values())} at {url} (Ctrl-C ends it)")
        _warn_of_other_endpoint(run, opened, url)

    serve_forever(opened, host, port, ready=ready)
    run.out.note("stopped")


def _warn_of_other_endpoint(run: Run, store: Store, url: str) -> None:
    """URLs lead to the store's ``public_endpoint``, wherever this server listens."""
    signed = store.sign_download("x").url.reveal()
    if not signed.startswith(f"{url}/"):
        leads = signed.partition("/o/")[0]
        run.out.note(f"note: this store signs URLs that lead to {leads}; ?public_endpoint={url} would lead them here")
