"""Cut an object into chunks that a provider accepts. Pure: sizes and limits in, a lazy plan out.

A plan is arithmetic, not a list: ten thousand chunks cost nothing until somebody asks for them. Three shapes exist:

* a known size: equal chunks, the last one shorter;
* an unknown size on a provider that wants equal chunks, or counts none: one chunk size until the stream ends;
* an unknown size elsewhere: the chunk size doubles every twentieth of the allowed count, so that a stream of some
  kilobytes and one of terabytes fit the same plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, overload

from blobkit.errors import InvalidArgument, InvalidChunk
from blobkit.spec import MiB

__all__ = ["DEFAULT_CHUNK", "Chunk", "ChunkLimits", "ChunkPlan", "plan"]

DEFAULT_CHUNK: Final = (
    16 * MiB
)  # large enough that a signature and a preflight per chunk do not matter, small enough to retry
_STEPS: Final = 20  # how often the chunk size of an unknown length may double


class Chunk(NamedTuple):
    """One chunk: its number (from 1), where it starts and how long it is, in bytes."""

    number: int
    offset: int
    size: int


_new: Final = tuple.__new__  # a third of the cost of the constructor that NamedTuple makes


@dataclass(frozen=True, slots=True)
class ChunkLimits:
    """What a provider accepts as chunks of one object.

    Attributes:
        min_chunk: Least size of every chunk but the last, bytes.
        max_chunk: Greatest size of a chunk, bytes.
        max_count: Most chunks of one object; None where nobody counts.
        max_object: Greatest object that can be assembled, bytes.
        align: Every chunk but the last is a multiple of this.
        equal: Every chunk but the last has the same size (R2).
        sequential: Chunks arrive in order, one at a time (GCS resumable sessions).
        empty_chunk: An empty object has one empty chunk (S3); False: it has none (Azure refuses an empty block).
    """

    min_chunk: int = 1
    max_chunk: int = 5 * 1024 * 1024 * MiB
    max_count: int | None = 10_000
    max_object: int = 5 * 1024 * 1024 * MiB
    align: int = 1
    equal: bool = False
    sequential: bool = False
    empty_chunk: bool = True


@dataclass(frozen=True, slots=True)
class ChunkPlan(Sequence[Chunk]):
    """A lazy sequence of :class:`Chunk`. ``plan[0]`` is chunk number 1; :meth:`chunk` takes the number.

    Attributes:
        size: The object's size in bytes; None while it is unknown (the plan then lists every chunk there may be).
        chunk_size: The size of the first chunks, bytes.
        chunk_count: How many chunks there are, or may be.
        doubles_every: After how many chunks the size doubles; 0 = never.
        max_chunk: Where the doubling ends, bytes.
        empty_chunk: Whether an empty object has one empty chunk, or none.
    """

    size: int | None
    chunk_size: int
    chunk_count: int
    doubles_every: int = 0
    max_chunk: int = 0
    empty_chunk: bool = True

    def __len__(self) -> int:
        return self.chunk_count

    @overload
    def __getitem__(self, index: int) -> Chunk: ...
    @overload
    def __getitem__(self, index: slice) -> list[Chunk]: ...
    def __getitem__(self, index: int | slice) -> Chunk | list[Chunk]:
        if isinstance(index, slice):
            return [self._at(i) for i in range(*index.indices(self.chunk_count))]
        if index < 0:
            index += self.chunk_count
        if not 0 <= index < self.chunk_count:
            raise IndexError("no such chunk")
        return self._at(index)

    def __iter__(self) -> Iterator[Chunk]:
        return map(self._at, range(self.chunk_count))

    def chunk(self, number: int) -> Chunk:
        """The chunk with this number. Raises InvalidChunk when the plan has none."""
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= self.chunk_count:
            raise InvalidChunk(f"no chunk number {number!r} in a plan of {self.chunk_count}")
        return self._at(number - 1)

    def chosen(self, numbers: Iterable[int]) -> list[Chunk]:
        """The chunks with these numbers, in this order: :meth:`chunk` of each, at a third of the cost. Raises InvalidChunk."""
        if self.doubles_every:
            return [self.chunk(number) for number in numbers]
        step, count, size = self.chunk_size, self.chunk_count, self.size
        whole = count * step if size is None else size
        chunks: list[Chunk] = []
        for number in numbers:
            if type(number) is not int or not 1 <= number <= count:
                chunks.append(self.chunk(number))  # raises, but for what only counts like a number
                continue
            offset = (number - 1) * step
            chunks.append(_new(Chunk, (number, offset, step if offset + step <= whole else whole - offset)))
        return chunks

    def _at(self, index: int) -> Chunk:
        offset, size = self._nominal(index)
        return Chunk(index + 1, offset, size if self.size is None else min(size, self.size - offset))

    def _nominal(self, index: int) -> tuple[int, int]:
        """Offset and size of a chunk as if the object never ended."""
        if not self.doubles_every:
            return index * self.chunk_size, self.chunk_size
        offset, size = 0, self.chunk_size
        while index >= self.doubles_every and size < self.max_chunk:
            offset += self.doubles_every * size
            index -= self.doubles_every
            size = min(size * 2, self.max_chunk)
        return offset + index * size, size

    @property
    def capacity(self) -> int:
        """The largest object that this plan can hold, bytes."""
        if self.chunk_count == 0:
            return 0
        offset, size = self._nominal(self.chunk_count - 1)
        return offset + size

    def resolved(self, size: int) -> ChunkPlan:
        """The same cuts for an object whose size is now known.

        Raises:
            InvalidArgument: The plan cannot hold that many bytes, or knows another size already.
        """
        if self.size is not None:
            if size != self.size:
                raise InvalidArgument(f"the plan is for {self.size} bytes, not {size}")
            return self
        if size > self.capacity:
            raise InvalidArgument(f"{size} bytes exceed this plan's capacity of {self.capacity}")
        if size == 0:
            return replace(self, size=0, chunk_count=1 if self.empty_chunk else 0)
        low, high = 0, self.chunk_count  # the first index whose chunk starts at or after the end
        while low < high:
            middle = (low + high) // 2
            if self._nominal(middle)[0] >= size:
                high = middle
            else:
                low = middle + 1
        return replace(self, size=size, chunk_count=low)


def plan(
    size: int | None, limits: ChunkLimits, *, chunk_size: int | None = None, max_size: int | None = None
) -> ChunkPlan:
    """Cut ``size`` bytes into chunks that ``limits`` allows.

    Args:
        size: Bytes; None when unknown.
        limits: The provider's.
        chunk_size: Bytes of each chunk; None chooses (16 MiB, more for large objects).
        max_size: For an unknown size: the most it can become.

    Raises:
        InvalidArgument: The object is larger than the provider can assemble.
        InvalidChunk: ``chunk_size`` breaks a limit, or would need too many chunks.
    """
    bound = size if size is not None else max_size
    if bound is not None and bound > limits.max_object:
        raise InvalidArgument(f"{bound} bytes exceed the largest object, {limits.max_object} bytes")
    chosen = _chosen(bound, limits) if chunk_size is None else _checked(chunk_size, bound, limits)
    most = limits.max_count or _ceil(limits.max_object, chosen)
    if size is not None:
        cut = ChunkPlan(None, chosen, max(1, _ceil(size, chosen)), empty_chunk=limits.empty_chunk)
        return cut.resolved(size)
    if max_size is not None:
        return ChunkPlan(None, chosen, max(1, _ceil(max_size, chosen)), empty_chunk=limits.empty_chunk)
    if limits.equal or limits.max_count is None:
        return ChunkPlan(None, chosen, min(most, _ceil(limits.max_object, chosen)), empty_chunk=limits.empty_chunk)
    growing = ChunkPlan(
        None, chosen, most, max(1, most // _STEPS), _floor(limits.max_chunk, limits.align), limits.empty_chunk
    )
    return growing if growing.capacity <= limits.max_object else replace(growing.resolved(limits.max_object), size=None)


def _chosen(bound: int | None, limits: ChunkLimits) -> int:
    wanted = max(DEFAULT_CHUNK, limits.min_chunk)
    if bound is not None and limits.max_count is not None:
        wanted = max(wanted, _ceil(bound, limits.max_count))
    if wanted % MiB and wanted > MiB:
        wanted = _ceil(wanted, MiB) * MiB  # round numbers are kinder to read; the limit below still rules
    return min(_ceil(wanted, limits.align) * limits.align, _floor(limits.max_chunk, limits.align))


def _checked(chunk_size: int, bound: int | None, limits: ChunkLimits) -> int:
    if isinstance(chunk_size, bool) or not isinstance(chunk_size, int) or chunk_size <= 0:
        raise InvalidChunk("chunk_size must be a positive number of bytes")
    single = (
        bound is not None and bound <= chunk_size
    )  # one chunk is its own last chunk: minimum and alignment do not hold
    if not single and chunk_size < limits.min_chunk:
        raise InvalidChunk(f"chunk_size {chunk_size} is below the provider's least, {limits.min_chunk}")
    if chunk_size > limits.max_chunk:
        raise InvalidChunk(f"chunk_size {chunk_size} exceeds the provider's greatest, {limits.max_chunk}")
    if not single and chunk_size % limits.align:
        raise InvalidChunk(f"chunk_size {chunk_size} is not a multiple of {limits.align}")
    if bound is not None and limits.max_count is not None and _ceil(bound, chunk_size) > limits.max_count:
        least = _ceil(_ceil(bound, limits.max_count), limits.align) * limits.align
        raise InvalidChunk(
            f"{bound} bytes in chunks of {chunk_size} are more than {limits.max_count} chunks",
            hint=f"at least {least} bytes a chunk",
        )
    return chunk_size


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def _floor(a: int, multiple: int) -> int:
    return a // multiple * multiple
