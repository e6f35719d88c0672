"""What goes where: results to stdout, everything else to stderr; rich where there is a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Final, TextIO

from blobkit.redaction import redact

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["Bars", "Output", "printable"]


def printable(text: str) -> str:
    """The text with everything that a terminal would obey, or not show, written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


class Output:
    """One command's output.

    Attributes:
        json: Whether results are JSON.
    """

    def __init__(self, *, json: bool) -> None:
        self.json = json

    # --- results, on stdout ---

    def value(self, data: object) -> None:
        """One JSON document."""
        _write(sys.stdout, json.dumps(data, indent=2, ensure_ascii=False) + "\n")

    def line(self, text: str) -> None:
        """One line of a result for people. Not escaped: what came from outside goes through :func:`printable` first."""
        _write(sys.stdout, text + "\n")

    def rows(self, items: Iterable[Mapping[str, object]], shown: Callable[[Mapping[str, object]], str]) -> int:
        """A listing, written as it comes: a JSON array, or a line for each. Returns how many there were."""
        count = 0
        if self.json:
            _write(sys.stdout, "[")
        for item in items:
            if self.json:
                _write(sys.stdout, ("," if count else "") + "\n  " + json.dumps(item, ensure_ascii=False))
            else:
                self.line(shown(item))
            count += 1
        if self.json:
            _write(sys.stdout, "\n]\n" if count else "]\n")
        return count

    def pairs(self, pairs: Mapping[str, object]) -> None:
        """Names and values in two columns; what is None or empty is left out."""
        given = {name: value for name, value in pairs.items() if value not in (None, "", {}, [])}
        width = max(map(len, given), default=0)
        for name, value in given.items():
            self.line(f"{name:<{width}}  {printable(_text(value))}")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None) -> None:
        """A table for people. Cells are plain text."""
        self.console().print(make_table(columns, rows, title=title))

    def console(self) -> Console:
        """Rich on stdout."""
        return _console(sys.stdout)

    # --- the rest, on stderr ---

    def note(self, text: str) -> None:
        """One line that is no result. Signatures in it are masked."""
        _write(sys.stderr, redact(text) + "\n")

    def problem(self, error: Mapping[str, object], text: str, hint: str | None) -> None:
        """Why the command failed: one clear line and a hint; with ``--json`` one JSON object."""
        if self.json:
            _write(sys.stderr, redact(json.dumps({"error": error}, ensure_ascii=False)) + "\n")
            return
        self.note(f"blobkit: {printable(text)}")
        if hint:
            self.note(f"   hint: {printable(hint)}")

    @contextmanager
    def progress(self, what: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """A progress bar while the context lasts; yields a function that takes bytes done so far.

        On a terminal a bar; with ``--json`` a line of JSON on stderr now and then; else nothing: a log wants no bars.
        """
        with self.bars(1, total) as bars, bars(what, total) as done:
            yield done

    @contextmanager
    def bars(self, files: int, total: int | None) -> Iterator[Bars]:
        """Progress of several files: a bar for each that moves, and one for all of them."""
        console = _console(sys.stderr)
        if self.json:
            yield _told
            return
        if not console.is_terminal:
            yield _silent
            return
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        with bar:
            whole = bar.add_task(f"{files} files", total=total) if files > 1 else None

            @contextmanager
            def one(what: str, size: int | None) -> Iterator[Callable[[int], None]]:
                task, before = bar.add_task(printable(what), total=size), 0

                def tell(done: int) -> None:
                    nonlocal before
                    bar.update(task, completed=done)
                    if whole is not None:
                        bar.update(whole, advance=done - before)
                    before = done

                yield tell
                if files > 1:
                    bar.remove_task(task)

            yield one


Bars = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]
_EVERY: Final = 0.5  # seconds between two lines about one file


@contextmanager
def _silent(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    yield lambda done: None


@contextmanager
def _told(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """``{"event": "progress", "file", "bytes", "total", "rate", "eta"}``, the first after half a second."""
    begun = last = time.monotonic()

    def tell(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _EVERY:
            return
        last, rate = now, done / (now - begun)
        eta = None if not rate or total is None else round((total - done) / rate, 1)
        said = {"event": "progress", "file": what, "bytes": done, "total": total, "rate": round(rate), "eta": eta}
        _write(sys.stderr, json.dumps(said, ensure_ascii=False) + "\n")

    yield tell


def make_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None) -> Table:
    """A rich table of plain text, in which nothing is cut off: what does not fit is folded."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, highlight=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def _console(file: TextIO) -> Console:
    from rich.console import Console

    return Console(file=file, highlight=False, markup=False, soft_wrap=False)


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_text(entry)}" for name, entry in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return str(value)


def _write(file: TextIO, text: str) -> None:
    try:
        file.write(text)
    except UnicodeEncodeError:  # a terminal or locale that cannot show a key: escape rather than fail
        file.write(text.encode(file.encoding or "ascii", "backslashreplace").decode(file.encoding or "ascii"))
    file.flush()
