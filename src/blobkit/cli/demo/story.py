"""Steps that are timed and told as they happen, and the timeline at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from blobkit.cli.output import Output, make_table, printable
from blobkit.cli.units import shown_size, shown_span

__all__ = ["Step", "Story", "Unproven", "prove"]


class Unproven(AssertionError):
    """Something that the demo was to show did not hold."""


def prove(held: bool, text: str) -> None:
    """Raise Unproven with ``text`` unless it held. Not an ``assert``: ``python -O`` proves as much."""
    if not held:
        raise Unproven(text)


@dataclass
class Step:
    """One step of the story.

    Attributes:
        title: What it does.
        detail: What came of it.
        moved: Bytes that it moved, 0 for a step that moves none.
        seconds: Wall time.
        ok: Whether it ended well; ``skipped`` says why it did not apply.
    """

    title: str
    detail: str = ""
    moved: int = 0
    seconds: float = 0.0
    ok: bool = False
    skipped: bool = False

    @property
    def rate(self) -> float | None:
        """MiB a second; None for a step that moves no bytes."""
        return self.moved / self.seconds / 2**20 if self.moved and self.seconds else None

    def as_dict(self) -> dict[str, object]:
        """As JSON values."""
        return {
            "step": self.title,
            "ok": self.ok,
            "skipped": self.skipped,
            "detail": self.detail,
            "seconds": round(self.seconds, 3),
            "bytes": self.moved,
            "mib_per_second": None if self.rate is None else round(self.rate, 1),
        }


class Story:
    """The steps so far."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self.steps: list[Step] = []
        self._start = time.monotonic()

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """A step: timed, and told when it ends; it fails when the context raises."""
        step = Step(title)
        self.steps.append(step)
        start = time.monotonic()
        try:
            yield step
            step.ok = True
        finally:
            step.seconds = time.monotonic() - start
            self._tell(step)

    def _tell(self, step: Step) -> None:
        if self._out.json:
            return
        from rich.text import Text

        mark, style = ("--", "yellow") if step.skipped else ("ok", "bold green") if step.ok else ("FAILED", "bold red")
        line = Text.assemble((f"{mark:<7}", style), (printable(step.title), "bold"))
        if step.detail:
            line.append(f"  {printable(step.detail)}")
        self._out.console().print(line, soft_wrap=True)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._start

    def timeline(self) -> None:
        """The table of steps, for people."""
        rows = [
            (
                step.title,
                f"{step.seconds:8.3f}",
                shown_size(step.moved) if step.moved else "",
                "" if step.rate is None else f"{step.rate:.0f}",
            )
            for step in self.steps
        ]
        rows.append(("in all", f"{self.seconds:8.3f}", "", ""))
        table = make_table(["step", "seconds", "moved", "MiB/s"], rows)
        for column in table.columns[1:]:
            column.justify = "right"
        self._out.line("")
        self._out.console().print(table)

    def verdict(self) -> None:
        """The last line."""
        done = sum(step.ok and not step.skipped for step in self.steps)
        skipped = sum(step.skipped for step in self.steps)
        rest = f", {skipped} left out" if skipped else ""
        self._out.line(f"all of it held: {done} steps{rest}, {shown_span(self.seconds)}")

    def as_dict(self) -> dict[str, object]:
        """As JSON values."""
        return {
            "ok": all(step.ok for step in self.steps),
            "seconds": round(self.seconds, 3),
            "steps": [step.as_dict() for step in self.steps],
        }
