"""Move several files at once, and what all commands that move bytes share: their options, and how to resume."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from blobkit.cli import units
from blobkit.cli.output import printable
from blobkit.errors import InvalidArgument

if TYPE_CHECKING:
    from blobkit.cli.running import Run
    from blobkit.transfer.upload import Options

__all__ = ["Concurrency", "Job", "LimitRate", "Parallel", "all_of", "ways"]

Concurrency: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--concurrency",
        metavar="N",
        min=1,
        max=64,
        help="Most chunks of a large file at once (default: what the line bears).",
    ),
]
Parallel: TypeAlias = Annotated[
    int, typer.Option("--parallel", metavar="N", min=1, max=64, help="How many files at once.")
]
LimitRate: TypeAlias = Annotated[
    str | None, typer.Option("--limit-rate", metavar="SIZE", help="At most so many bytes a second in all: 10MiB.")
]


def ways(concurrency: int | None, limit_rate: str | None) -> Options:
    """How the bytes of one command move: all its files share the bandwidth, and stop together."""
    from blobkit.transfer import Bandwidth, Stop
    from blobkit.transfer.upload import Options

    bandwidth = None if limit_rate is None else Bandwidth(units.size(limit_rate))
    return Options(concurrency=concurrency, bandwidth=bandwidth, stop=Stop())


@dataclass(frozen=True, slots=True)
class Job:
    """One file: its name, its size in bytes, and what moves it, given how to tell how far it is; returns the result as JSON."""

    name: str
    size: int
    move: Callable[[Callable[[int], None]], Mapping[str, object]]


def all_of(run: Run, jobs: Sequence[Job], parallel: int, options: Options) -> None:
    """Move them, ``parallel`` at a time; one that fails does not stop the others.

    Raises:
        InvalidArgument: There is nothing to move.
        The first error, after all others were tried; each is told when it happens.
    """
    if not jobs:
        raise InvalidArgument("nothing matches")
    failed: list[Exception] = []
    done: list[Mapping[str, object]] = []
    lock = threading.Lock()
    with run.out.bars(len(jobs), sum(job.size for job in jobs)) as bars:

        def one(job: Job) -> None:
            try:
                with bars(job.name, job.size) as progress:
                    result = job.move(progress)
            except Exception as error:
                with lock:
                    failed.append(error)
                    if not run.out.json:
                        run.out.note(f"failed   {printable(job.name)}: {type(error).__name__}: {error}")
                return
            with lock:
                done.append(result)

        with ThreadPoolExecutor(min(parallel, len(jobs)), thread_name_prefix="blobkit-file") as pool:
            futures = [pool.submit(one, job) for job in jobs]
            try:
                wait(futures)
            except BaseException:  # Ctrl-C
                pool.shutdown(wait=False, cancel_futures=True)
                if options.stop is not None:
                    options.stop.set()
                raise
    done.sort(key=lambda result: str(result["key"]))
    run.out.rows(done, lambda result: f"{printable(str(result['file']))}  {printable(str(result['key']))}")
    if failed:
        raise failed[0]
