"""Options that several commands share, and how they become the library's values."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from blobkit.cli import units
from blobkit.cli.targets import STORE_HELP, TARGET_HELP
from blobkit.errors import InvalidArgument

if TYPE_CHECKING:
    from blobkit.blobs import Checksum
    from blobkit.spec import UploadSpec

__all__ = [
    "CacheControl",
    "ChecksumText",
    "ContentType",
    "Disposition",
    "Encoding",
    "Expires",
    "IfAbsent",
    "MaxSize",
    "Metadata",
    "MinSize",
    "Owner",
    "Size",
    "StorageClass",
    "StoreWord",
    "TargetWords",
    "checksum_of",
    "expiry",
    "metadata_of",
    "spec_of",
]

_CONSTRAINTS: Final = "Constraints"

TargetWords: TypeAlias = Annotated[list[str], typer.Argument(metavar="TARGET", help=TARGET_HELP, show_default=False)]
StoreWord: TypeAlias = Annotated[str, typer.Argument(metavar="STORE", help=STORE_HELP, show_default=False)]
Expires: TypeAlias = Annotated[
    str | None, typer.Option("--expires", metavar="SPAN", help="How long it lives: 15m, 12h, 7d (default 15m).")
]
Owner: TypeAlias = Annotated[str, typer.Option("--owner", help="Binds the token to somebody.")]


def _constraint(flag: str, metavar: str, text: str) -> object:
    return typer.Option(flag, metavar=metavar, help=text, rich_help_panel=_CONSTRAINTS)


ContentType: TypeAlias = Annotated[str | None, _constraint("--content-type", "TYPE", "The media type.")]
Size: TypeAlias = Annotated[str | None, _constraint("--size", "SIZE", "The exact size: bytes, or 5MiB, 2GB, …")]
MinSize: TypeAlias = Annotated[str | None, _constraint("--min-size", "SIZE", "The least size.")]
MaxSize: TypeAlias = Annotated[str | None, _constraint("--max-size", "SIZE", "The greatest size.")]
ChecksumText: TypeAlias = Annotated[
    str | None,
    _constraint("--checksum", "ALG:DIGEST", "sha256:HEX, crc32c:BASE64, …; ALG:@FILE computes it of a file."),
]
Metadata: TypeAlias = Annotated[list[str] | None, _constraint("--metadata", "NAME=VALUE", "Metadata; may be repeated.")]
CacheControl: TypeAlias = Annotated[
    str | None, _constraint("--cache-control", "TEXT", "Cache-Control, stored with it.")
]
Disposition: TypeAlias = Annotated[
    str | None, _constraint("--content-disposition", "TEXT", "Content-Disposition, stored with it.")
]
Encoding: TypeAlias = Annotated[
    str | None, _constraint("--content-encoding", "TEXT", "Content-Encoding, stored with it.")
]
StorageClass: TypeAlias = Annotated[str | None, _constraint("--storage-class", "NAME", "The provider's storage class.")]
IfAbsent: TypeAlias = Annotated[
    bool, typer.Option("--if-absent", help="Only create; never overwrite.", rich_help_panel=_CONSTRAINTS)
]


def expiry(text: str | None) -> timedelta | None:
    """The life that was asked for; None for the library's own default."""
    return None if text is None else units.duration(text)


def spec_of(
    *,
    content_type: str | None,
    size: str | None = None,
    min_size: str | None = None,
    max_size: str | None = None,
    checksum: str | None = None,
    metadata: Sequence[str] | None = None,
    cache_control: str | None = None,
    content_disposition: str | None = None,
    content_encoding: str | None = None,
    storage_class: str | None = None,
    if_absent: bool = False,
) -> UploadSpec:
    """The constraints of these options. Raises InvalidArgument for those that no provider could hold."""
    from blobkit.spec import UploadSpec

    return UploadSpec(
        content_type=content_type,
        size=None if size is None else units.size(size),
        min_size=None if min_size is None else units.size(min_size),
        max_size=None if max_size is None else units.size(max_size),
        checksum=None if checksum is None else checksum_of(checksum),
        metadata=metadata_of(metadata),
        cache_control=cache_control,
        content_disposition=content_disposition,
        content_encoding=content_encoding,
        storage_class=storage_class,
        if_absent=if_absent,
    )


def metadata_of(pairs: Sequence[str] | None) -> dict[str, str]:
    """The metadata of ``NAME=VALUE`` words. Raises InvalidArgument."""
    found: dict[str, str] = {}
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not equals:
            raise InvalidArgument(f"not NAME=VALUE: {pair!r}")
        if name in found:
            raise InvalidArgument(f"the metadata {name!r} is given twice")
        found[name] = value
    return found


def checksum_of(text: str) -> Checksum:
    """A checksum as it is written on the command line. Raises InvalidArgument, PluginMissing."""
    from blobkit.blobs import CHECKSUM_SIZES, Checksum
    from blobkit.hashing import hasher

    algorithm, colon, digest = text.partition(":")
    if not colon or not digest:
        raise InvalidArgument(f"not ALG:DIGEST: {text!r}", hint="sha256:HEX, crc32c:BASE64, or sha256:@FILE")
    if digest.startswith("@"):
        found = hasher(algorithm)
        with Path(digest[1:]).open("rb") as file:
            while block := file.read(1 << 20):
                found.update(block)
        return Checksum(algorithm, found.digest())
    if len(digest) == 2 * CHECKSUM_SIZES.get(algorithm, 0):
        return Checksum.from_hex(algorithm, digest)
    return Checksum.from_base64(algorithm, digest)
