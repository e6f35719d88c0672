"""Archives that are small to store and huge to unpack: :class:`ArchiveLimits`. What is unpacked is counted and thrown away.

A directory may lie about sizes, so every member is really decompressed, as far as the budget reaches; what it costs is
therefore bounded by the limits, not by the archive. ZIP members that share bytes of the file (the overlapping entries of
https://www.bamsoftware.com/hacks/zipbomb/) are refused before anything is decompressed. Archives in archives count into the
same budget, down to ``max_depth``.
"""

from __future__ import annotations

import bz2
import lzma
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Final, Protocol

from blobkit.errors import BlobkitError, InvalidArgument
from blobkit.quarantine.subject import Subject
from blobkit.quarantine.verdict import Verdict, failed, passed

__all__ = ["ArchiveLimits"]

_BLOCK: Final = 256 * 1024
_IN_MEMORY: Final = 8 * 1024 * 1024
_LOCAL_HEADER: Final = 30
_ENCRYPTED: Final = 0x1
_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")
_UNREADABLE: Final = (b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"MSCF", b"\x28\xb5\x2f\xfd")
_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA})


class _Decompressor(Protocol):
    """What zlib, bz2 and lzma have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


class _Refused(Exception):
    """The archive breaks a limit; its text is the reason."""


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """ZIP, gzip, bzip2 and xz unpack to no more than this. What is none of them passes.

    Args:
        max_unpacked: Bytes of all members together, archives inside included.
        max_ratio: Unpacked bytes for each stored byte of the object; small archives (under a mebibyte unpacked) may have more.
        max_members: Members of all archives together.
        max_depth: Archives in archives; 1 allows none inside.
        encrypted: Whether members that cannot be looked into pass.
        unreadable: Whether archives of kinds that are not looked into pass (7z, RAR, CAB, Zstandard).
    """

    max_unpacked: int = 4 * 1024**3
    max_ratio: int = 200
    max_members: int = 100_000
    max_depth: int = 3
    encrypted: bool = False
    unreadable: bool = False
    name: str = field(default="archive_limits", init=False)

    def __post_init__(self) -> None:
        if min(self.max_unpacked, self.max_ratio, self.max_members, self.max_depth) < 1:
            raise InvalidArgument("the limits of an archive are at least 1")

    def check(self, subject: Subject) -> Verdict:
        """Unpack into nothing, as far as the limits reach."""
        budget = _Budget(self, subject.info.size)
        with subject.open() as file:
            try:
                kind = _look(file, budget, 1)
            except _Refused as refused:
                return failed(self.name, str(refused))
        if kind is None:
            return passed(self.name, "not an archive")
        return passed(self.name, f"{budget.members} members, {budget.unpacked} bytes")


class _Budget:
    """What may still be unpacked."""

    def __init__(self, limits: ArchiveLimits, size: int) -> None:
        self.limits = limits
        self.unpacked = self.members = 0
        self._most = min(limits.max_unpacked, max(1024 * 1024, size * limits.max_ratio))

    def unpack(self, count: int) -> None:
        self.unpacked += count
        if self.unpacked > self._most:
            raise _Refused(f"it unpacks to more than {self._most} bytes")

    def member(self, count: int = 1) -> None:
        self.members += count
        if self.members > self.limits.max_members:
            raise _Refused(f"it has more than {self.limits.max_members} members")


def _look(file: IO[bytes], budget: _Budget, depth: int) -> str | None:
    """Unpack ``file`` when it is an archive; the kind, or None."""
    head = file.read(8)
    file.seek(0)
    if head.startswith(_UNREADABLE):
        if not budget.limits.unreadable:
            raise _Refused("it is an archive of a kind that is not looked into")
        return None
    kind = "zip" if head.startswith(_ZIP) else next((k for k, mark, _ in _STREAMS if head.startswith(mark)), None)
    if kind is None:
        return None
    if depth > budget.limits.max_depth:
        raise _Refused(f"archives are nested more than {budget.limits.max_depth} deep")
    if kind == "zip":
        _zip(file, budget, depth)
    else:
        make = next(make for name, _, make in _STREAMS if name == kind)
        budget.member()
        _inside(_decompressed(file, make, budget), budget, depth)
    return kind


def _zip(file: IO[bytes], budget: _Budget, depth: int) -> None:
    try:
        archive = zipfile.ZipFile(file)
    except BlobkitError:
        raise
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError) as error:
        raise _Refused("its directory cannot be read") from error
    with archive:
        members = archive.infolist()
        budget.member(len(members))
        _no_overlap(members)
        for member in members:
            if member.flag_bits & _ENCRYPTED:
                if not budget.limits.encrypted:
                    raise _Refused("a member is encrypted")
                continue
            if member.compress_type not in _METHODS:
                raise _Refused("a member is compressed by a method that is not looked into")
            _inside(_member(file, member, budget), budget, depth)


def _no_overlap(members: list[zipfile.ZipInfo]) -> None:
    """Bytes of the file belong to one member each."""
    end = 0
    for member in sorted(members, key=lambda item: item.header_offset):
        if member.header_offset < end:
            raise _Refused("its members overlap")
        end = member.header_offset + _LOCAL_HEADER + member.compress_size


def _member(file: IO[bytes], member: zipfile.ZipInfo, budget: _Budget) -> Iterator[bytes]:
    """The bytes of one member, really decompressed: zipfile itself would stop at the size that the directory claims."""
    file.seek(member.header_offset)
    header = file.read(_LOCAL_HEADER)
    if len(header) < _LOCAL_HEADER or header[:4] != _ZIP[0]:
        raise _Refused("a member is not where the directory says")
    names = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    start = member.header_offset + _LOCAL_HEADER + names
    source = _Part(file, start, member.compress_size)
    if member.compress_type == zipfile.ZIP_STORED:
        while block := source.read(_BLOCK):
            budget.unpack(len(block))
            yield block
    elif member.compress_type == zipfile.ZIP_LZMA:
        yield from _decompressed(source, _zip_lzma(source), budget)
    else:
        make = _deflate if member.compress_type == zipfile.ZIP_DEFLATED else bz2.BZ2Decompressor
        yield from _decompressed(source, make, budget)


class _Part:
    """Some bytes of a file, which others read between our reads."""

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        self._file = file
        self._at = start
        self._end = start + size

    def read(self, size: int) -> bytes:
        """The next bytes, as far as there are."""
        self._file.seek(self._at)
        block = self._file.read(min(size, self._end - self._at))
        self._at += len(block)
        return block


class _Reads(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _decompressed(source: _Reads, make: Callable[[], _Decompressor], budget: _Budget) -> Iterator[bytes]:
    """Decompressed blocks; concatenated streams one after the other, as gzip, bzip2 and xz allow."""
    try:
        yield from _streams(source, make, budget)
    except BlobkitError:
        raise  # the store's, some of which are OSErrors too: nothing is known of the content
    except (zlib.error, lzma.LZMAError, EOFError, ValueError) as error:
        raise _Refused("it cannot be unpacked") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise _Refused("it cannot be unpacked") from error  # so bz2 says it


def _streams(source: _Reads, make: Callable[[], _Decompressor], budget: _Budget) -> Iterator[bytes]:
    data = source.read(_BLOCK)
    while data.strip(b"\0"):  # zeros after a stream are padding, as tapes leave it
        decompressor = make()
        while not decompressor.eof:
            block = decompressor.decompress(data, _BLOCK)
            budget.unpack(len(block))
            if block:
                yield block
            data, hungry = _left(decompressor)
            if hungry and not decompressor.eof:
                data = source.read(_BLOCK)
                if not data and not block:
                    raise _Refused("it ends too early")
        data = decompressor.unused_data or source.read(_BLOCK)


def _left(decompressor: _Decompressor) -> tuple[bytes, bool]:
    """What must be given again, and whether more input is needed: zlib hands back what it did not take, the others keep it."""
    tail: bytes | None = getattr(decompressor, "unconsumed_tail", None)
    if tail is None:
        return b"", bool(getattr(decompressor, "needs_input", True))
    return tail, not tail


def _inside(blocks: Iterator[bytes], budget: _Budget, depth: int) -> None:
    """Count a member's bytes; keep them, beyond memory in a temporary file, only when it is an archive itself."""
    first = next(blocks, b"")
    if not first.startswith(_ARCHIVES):
        for _ in blocks:
            pass
        return
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as kept:
        kept.write(first)
        for block in blocks:
            kept.write(block)
        kept.seek(0)
        _look(kept, budget, depth + 1)


def _deflate() -> _Decompressor:
    return zlib.decompressobj(-zlib.MAX_WBITS)


def _gzip() -> _Decompressor:
    return zlib.decompressobj(16 + zlib.MAX_WBITS)


def _zip_lzma(source: _Part) -> Callable[[], _Decompressor]:
    """ZIP's LZMA (APPNOTE 5.8.8): two bytes of version, two of length, then the properties of a raw stream."""
    head = source.read(4)
    properties = source.read(int.from_bytes(head[2:4], "little")) if len(head) == 4 else b""
    if len(properties) != 5 or properties[0] >= 9 * 5 * 5:
        raise _Refused("it cannot be unpacked")
    rest, lc = divmod(properties[0], 9)
    pb, lp = divmod(rest, 5)
    size = int.from_bytes(properties[1:5], "little")
    if size > 256 * 1024 * 1024:
        raise _Refused("a member needs a dictionary of more than 256 MiB")
    chain = [{"id": lzma.FILTER_LZMA1, "lc": lc, "lp": lp, "pb": pb, "dict_size": max(size, 4096)}]
    return lambda: lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=chain)


def _xz() -> _Decompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=256 * 1024 * 1024)


_STREAMS: Final[tuple[tuple[str, bytes, Callable[[], _Decompressor]], ...]] = (
    ("gzip", b"\x1f\x8b\x08", _gzip),
    ("bzip2", b"BZh", bz2.BZ2Decompressor),
    ("xz", b"\xfd7zXZ\x00", _xz),
)
_ARCHIVES: Final = (*_ZIP, *_UNREADABLE, *(mark for _, mark, _ in _STREAMS))
