"""What every command shares: the options ``--json``, ``--config`` and ``--debug``, opening stores, and how it ends.

:func:`command` turns a function of :class:`Run` and its own options into one that typer can read. Errors become one line and
an exit status in one place.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Concatenate, Final, ParamSpec, TypeVar, get_type_hints

import typer

from blobkit.cli.exitcodes import INTERRUPTED, OUTPUT_CLOSED, code_of
from blobkit.cli.output import Output
from blobkit.errors import BlobkitError, ConfigError
from blobkit.redaction import redact

if TYPE_CHECKING:
    from blobkit.cdn.base import Cdn
    from blobkit.kit import Kit
    from blobkit.store import Store
    from blobkit.transfer.journal import Journal

__all__ = ["Run", "command"]

P = ParamSpec("P")
T = TypeVar("T")
DEFAULT_CONFIG: Final = Path("blobkit.toml")

_SHARED: Final[dict[str, tuple[object, object]]] = {
    "json": (Annotated[bool, typer.Option("--json", help="Results as JSON on stdout.")], False),
    "config": (
        Annotated[
            Path | None,
            typer.Option(
                "--config", metavar="FILE", help="The named stores (default: ./blobkit.toml, if there is one)."
            ),
        ],
        None,
    ),
    "debug": (Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")], False),
}


class Run:
    """One run of a command.

    Attributes:
        out: Where results and notes go.
        debug: Whether errors show their traceback.
    """

    def __init__(self, *, json: bool, config: Path | None, debug: bool) -> None:
        self.out = Output(json=json)
        self.debug = debug
        self._config = config
        self._kit: Kit | None = None
        self._journal: Journal | None = None
        self._opened: dict[tuple[str, str | None], Store] = {}
        self._by_url: dict[str, Store] = {}
        self._opening = threading.RLock()
        self._closing = ExitStack()

    def kit(self) -> Kit:
        """The named stores: ``--config``, else ``./blobkit.toml``, and the environment over it."""
        if self._kit is None:
            from blobkit.kit import load

            self._kit = self._closing.enter_context(load(self.config_file()))
        return self._kit

    def config_file(self) -> Path | None:
        """The file of named stores: ``--config``, else ``./blobkit.toml`` if there is one."""
        if self._config is None and DEFAULT_CONFIG.exists():
            return DEFAULT_CONFIG
        return self._config

    def journal(self) -> Journal:
        """What can be resumed on this machine."""
        if self._journal is None:
            from blobkit.transfer.journal import Journal

            self._journal = Journal()
        return self._journal

    def resumable_store(self, named: str, config: str | None = None) -> Store:
        """An open store whose session tokens another run can open: with the journal's keys, where no others are set."""
        with self._opening:
            opened = self._opened.get((named, config))
            if opened is None:
                opened = self._opened[named, config] = self._with_keys(named, config)
            return opened

    def _with_keys(self, named: str, config: str | None) -> Store:
        from blobkit.kit import load
        from blobkit.opening import open_store
        from blobkit.sealing import ENV

        ring = None if os.environ.get(ENV) else self.journal().keyring()
        if "://" in named:
            return self._closing.enter_context(open_store(named, sealing=ring))
        self.store(named)  # what is wrong with the name is said as ever
        kit = self._closing.enter_context(load(config or self.config_file(), sealing=ring))
        return kit.store(named)

    def store(self, named: str) -> Store:
        """An open store, of its name or URL; closed when the command ends."""
        if "://" not in named:
            kit = self.kit()
            if not kit.names:
                raise ConfigError(
                    f"no store is named {named!r}: none is configured",
                    hint=f"a store's URL, ./blobkit.toml, or BLOBKIT_STORE_{named.upper().replace('-', '_')}=…",
                )
            return kit.store(named)
        with self._opening:
            if named not in self._by_url:
                self._by_url[named] = self.open(named)
            return self._by_url[named]

    def cdn(self, named: str) -> Cdn:
        """An open CDN, of its name or URL; closed when the command ends."""
        if "://" not in named:
            kit = self.kit()
            if not kit.cdn_names:
                raise ConfigError(
                    f"no CDN is named {named!r}: none is configured",
                    hint=f"a CDN's URL, ./blobkit.toml, or BLOBKIT_CDN_{named.upper().replace('-', '_')}=…",
                )
            return kit.cdn(named)
        from blobkit.cdn.opening import open_cdn

        return self._closing.enter_context(open_cdn(named))

    def open(self, url: str, *, clock: Callable[[], datetime] | None = None) -> Store:
        """An open store of a URL; closed when the command ends."""
        from blobkit.opening import open_store

        return self._closing.enter_context(open_store(url, clock=clock))

    def borrow(self, opened: AbstractContextManager[T]) -> T:
        """Something open, to be closed when the command ends."""
        return self._closing.enter_context(opened)

    def close(self) -> None:
        """Close what was opened."""
        self._closing.close()


def command(function: Callable[Concatenate[Run, P], None]) -> Callable[..., None]:
    """The function for typer: its own parameters and the shared options; errors end it with their exit status."""
    hints = get_type_hints(function, include_extras=True)
    own = list(inspect.signature(function).parameters.values())[1:]
    named = [parameter.replace(annotation=hints[parameter.name]) for parameter in own]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in _SHARED.items()
    ]

    @functools.wraps(function)
    def wrapper(*args: P.args, **given: P.kwargs) -> None:
        run = Run(**{name: given.pop(name) for name in _SHARED})  # type: ignore[arg-type]
        status = _finished(run, lambda: function(run, *args, **given))
        if status:
            raise typer.Exit(status)

    signature = inspect.Signature([*named, *shared], return_annotation=None)
    wrapper.__signature__ = signature  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in signature.parameters.values()}
    return wrapper


def _finished(run: Run, work: Callable[[], None]) -> int:
    """Do the work, close what it opened, and say how it ended; returns the exit status."""
    try:
        try:
            work()
        finally:
            run.close()
    except typer.Exit as end:
        return end.exit_code
    except KeyboardInterrupt:
        run.out.note("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Python would complain once more when it flushes stdout at its own end.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OUTPUT_CLOSED
    except Exception as error:
        report(run, error)
        return code_of(error)
    return 0


def report(run: Run, error: Exception) -> None:
    """Say what went wrong on stderr."""
    if run.debug:
        run.out.note(redact("".join(traceback.format_exception(error))).rstrip())
    if isinstance(error, BlobkitError):
        text, hint = _sentence(error), error.hint
    elif isinstance(error, OSError):
        text, hint = f"{error.strerror or error}" + (f": {error.filename!r}" if error.filename else ""), None
    elif isinstance(error, AssertionError):
        text, hint = str(error), None
    else:
        text, hint = f"internal error: {type(error).__name__}: {error}", "--debug shows where; please report it"
    known = error if isinstance(error, BlobkitError) else None
    run.out.problem(
        {
            "type": type(error).__name__,
            "message": known.message if known else text,
            "hint": hint,
            "exit_code": code_of(error),
            "key": known.key if known else None,
            "provider": known.provider if known else None,
            "operation": known.operation if known else None,
            "code": known.code if known else None,
            "http_status": known.http_status if known else None,
            "request_id": known.request_id if known else None,
            "retryable": known.retryable if known else False,
        },
        text,
        hint,
    )


def _sentence(error: BlobkitError) -> str:
    """The message with what helps to find the place: the key, and what the provider said."""
    known = [
        f"{name} {value}"
        for name, value in (
            ("key", None if error.key is None or repr(error.key) in error.message else repr(error.key)),
            ("code", error.code),
            ("HTTP", error.http_status),
            ("request", error.request_id),
        )
        if value is not None
    ]
    return (error.message or type(error).__name__) + (f" ({', '.join(known)})" if known else "")
