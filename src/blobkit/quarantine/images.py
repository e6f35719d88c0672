"""Pictures that are small to store and huge to decode: :class:`ImageLimits`. Reads headers; decodes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from blobkit.errors import BlobkitError, InvalidArgument, PluginMissing
from blobkit.quarantine.checks import media_type
from blobkit.quarantine.subject import Subject
from blobkit.quarantine.verdict import Verdict, failed, passed

__all__ = ["ImageLimits"]

# What imagesize reads. A picture of any other type is refused: nobody has measured it.
_MEASURED: Final = frozenset(
    {
        "image/png",
        "image/apng",
        "image/jpeg",
        "image/jpg",
        "image/gif",
        "image/webp",
        "image/tiff",
        "image/bmp",
        "image/x-ms-bmp",
        "image/jp2",
        "image/avif",
        "image/heic",
        "image/heif",
    }
)


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """No picture larger than so many pixels, a side included. What is not stored as ``image/…`` passes.

    A GIF of 65,535 by 65,535 pixels fits in a hundred bytes and needs 17 GB to be shown.

    Args:
        max_pixels: Width times height.
        max_side: Width and height, each.
        vectors: Whether ``image/svg+xml`` passes: it has no pixels, but scripts.
    """

    max_pixels: int = 100_000_000
    max_side: int = 30_000
    vectors: bool = False
    name: str = field(default="image_limits", init=False)

    def __post_init__(self) -> None:
        if self.max_pixels < 1 or self.max_side < 1:
            raise InvalidArgument("a picture has at least one pixel")

    def check(self, subject: Subject) -> Verdict:
        """Read the header, and compare.

        Raises:
            PluginMissing: imagesize is not installed.
        """
        stored = media_type(subject.info.content_type) or ""
        if not stored.startswith("image/"):
            return passed(self.name, "not a picture")
        if stored == "image/svg+xml":
            return passed(self.name, "a vector graphic") if self.vectors else failed(self.name, "a vector graphic")
        if stored not in _MEASURED:
            return failed(self.name, f"pictures of type {stored} cannot be measured")
        size = _measure(subject)
        if size is None:
            return failed(self.name, "its width and height cannot be read")
        width, height = size
        if width > self.max_side or height > self.max_side or width * height > self.max_pixels:
            return failed(self.name, f"{width} by {height} pixels")
        return passed(self.name, f"{width} by {height} pixels")


def _measure(subject: Subject) -> tuple[int, int] | None:
    try:
        import imagesize
    except ImportError as error:
        raise PluginMissing("measuring pictures needs imagesize", hint='pip install "blobkit[quarantine]"') from error
    with subject.open() as file:
        try:
            width, height = imagesize.get(file, exif_rotation=False)
        except BlobkitError:
            raise  # the store's: nothing was measured
        except Exception:  # whatever a parser stumbles over in hostile bytes: they are not a picture
            return None
    if (width, height) == (-1, -1) or 0 in (width, height):
        return None
    return abs(width), abs(height)  # a BMP from top to bottom has a negative height
