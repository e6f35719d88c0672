"""``blobkit demo``: options, the temporary directory, and what is printed in the end."""

from __future__ import annotations

import mimetypes
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from blobkit.cli import units
from blobkit.cli.running import Run, command
from blobkit.cli.targets import STORE_HELP, store_word
from blobkit.errors import InvalidArgument

if TYPE_CHECKING:
    from blobkit.cli.demo.flow import Given
    from blobkit.cli.demo.story import Story

__all__ = ["demo"]

_DEFAULT_SIZE: Final = "256MiB"
_ROOM: Final = 64 << 20  # what a file system should have left beside the files


@command
def demo(
    run: Run,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Your own file, which is only read.", show_default=False)
    ] = None,
    file_option: Annotated[Path | None, typer.Option("--file", metavar="FILE", help="The same.")] = None,
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="SIZE", help=f"Size of the generated file (default {_DEFAULT_SIZE})."),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            "--store", metavar="STORE", help=f"{STORE_HELP} Default: an embedded store in a temporary directory."
        ),
    ] = None,
    concurrency: Annotated[
        int, typer.Option("--concurrency", metavar="N", min=1, max=64, help="Chunks and ranges at a time.")
    ] = 4,
) -> None:
    """Move a large file through signed URLs, with a crash half way. Ends with 0 only if every promise was seen to hold."""
    if file is not None and file_option is not None:
        raise InvalidArgument("the file is given twice")
    own = file or file_option
    if own is not None and size is not None:
        raise InvalidArgument("--size is for a generated file, not for your own")
    wanted = units.size(size or _DEFAULT_SIZE) if own is None else own.stat().st_size
    settings = None if store is None else run.store(store_word(store)).config.to_dict()
    from blobkit.cli.demo.story import Story

    story = Story(run.out)
    with _terminable(), tempfile.TemporaryDirectory(prefix="blobkit-demo-") as folder:
        _check_room(Path(folder), wanted, files=(own is None) + (settings is None) + 1)
        try:
            _told(run, story, Path(folder), settings, own, wanted, concurrency)
        except BaseException:
            if run.out.json:
                run.out.value({**story.as_dict(), "ok": False})
            raise
    if run.out.json:
        run.out.value(story.as_dict())
    else:
        story.timeline()
        story.verdict()


def _told(
    run: Run,
    story: Story,
    folder: Path,
    settings: Mapping[str, str] | None,
    own: Path | None,
    size: int,
    concurrency: int,
) -> None:
    from blobkit.cli.demo.flow import Ways, chunk_size, tell
    from blobkit.cli.demo.place import opened

    with opened(settings or {"provider": "local", "path": str(folder / "store")}) as place:
        chunk_size(size, place)  # too small is said before anything is made
        given = _file(run, story, folder, own, size)
        with story.step("open the store") as step:
            step.detail = place.where
        tell(story, Ways(place, given, folder / "downloaded", folder / "state", concurrency, run.out.progress))


def _file(run: Run, story: Story, folder: Path, own: Path | None, size: int) -> Given:
    from blobkit.cli.demo.flow import Given
    from blobkit.cli.demo.video import digest_of, write_video

    if own is not None:
        with story.step("read your file") as step, run.out.progress("reading", size) as progress:
            digest = digest_of(own, progress)
            step.moved, step.detail = size, f"{own.name}, {units.shown_size(size)}"
        kind = mimetypes.guess_type(own.name)[0] or "application/octet-stream"
        return Given(own, size, digest, kind, "file" + "".join(own.suffixes[-1:]))
    path = folder / "clip.mp4"
    with story.step("make a video-like file") as step, run.out.progress("making", size) as progress:
        digest = write_video(path, size, progress)
        step.moved, step.detail = size, units.shown_size(size)
    return Given(path, size, digest, "video/mp4", path.name)


def _check_room(folder: Path, size: int, *, files: int) -> None:
    free, due = shutil.disk_usage(folder).free, size * files + _ROOM
    if free < due:
        raise InvalidArgument(
            f"the temporary directory has {units.shown_size(free)} left, and {units.shown_size(due)} are needed",
            hint="a smaller --size, or TMPDIR on a larger file system",
        )


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the demo as Ctrl-C does: with everything cleaned up."""

    def handler(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
