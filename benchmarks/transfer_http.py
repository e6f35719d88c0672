"""What the choice of an HTTP stack is worth: four parts at once to a server that forgets them, and from it, over loopback.

urllib3 is the baseline, with the same blocks of one MiB from a reused buffer; the engine of blobkit.transfer reads as well
("blocks", as under TLS or with a checksum) or lets the kernel send ("sendfile").
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import urllib3

from benchmarks.transfer import sink
from blobkit.transfer.http import Http
from blobkit.transfer.source import FileSource, Slice, Source, block_buffer

MIB = 1024 * 1024
PART, PARTS, ROUNDS = 64 * MIB, 16, 5


class _Body:
    """A part on its way."""

    def __init__(self, pieces: Iterator[memoryview | Slice]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[memoryview | Slice]:
        return self._pieces

    def sent(self, size: int) -> None:
        """Not counted."""


def _by_urllib3(url: str, source: Source) -> Callable[[int], object]:
    pool = urllib3.PoolManager(maxsize=4, blocksize=MIB)
    headers = {"content-length": str(PART)}
    return lambda n: pool.request("PUT", url, headers=headers, body=source.blocks(n * PART, PART))


def _by_us(url: str, source: Source, *, direct: bool) -> Callable[[int], object]:
    http = Http(60.0)

    def put(n: int) -> object:
        pieces = source.pieces(n * PART, PART) if direct else iter(source.blocks(n * PART, PART))
        return http.send("PUT", url, {}, _Body(pieces), PART)

    return put


def _get_by_urllib3(port: str) -> Callable[[int], object]:
    pool = urllib3.PoolManager(maxsize=4, blocksize=MIB)

    def get(n: int) -> int:
        answer, total = pool.request("GET", f"http://127.0.0.1:{port}/{PART}", preload_content=False), 0
        while block := answer.read(MIB):
            total += len(block)
        answer.release_conn()
        return total

    return get


def _get_by_us(port: str) -> Callable[[int], object]:
    http = Http(60.0)

    def get(n: int) -> int:
        total, block = 0, block_buffer()
        with http.open(f"http://127.0.0.1:{port}/{PART}", {}) as incoming:
            while got := incoming.readinto(block):
                total += got
        return total

    return get


def _measure(title: str, ways: Mapping[str, Callable[[int], object]]) -> None:
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, move in ways.items():
            start, cpu = time.perf_counter(), time.process_time()
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(move, range(PARTS)))
            rows[name].append((time.perf_counter() - start, time.process_time() - cpu))
    base = rows[next(iter(ways))]
    print(title)
    for name, found in rows.items():
        wall, cpu = (statistics.median(row[at] for row in found) for at in (0, 1))
        ratios = [statistics.median(r[at] / b[at] for r, b in zip(found, base, strict=True)) for at in (0, 1)]
        print(f"  {name:22} {wall:6.2f} s  x {ratios[0]:4.2f}   CPU {cpu:6.2f} s  x {ratios[1]:4.2f}")


def main() -> None:
    """Print medians and ratios to urllib3."""
    with tempfile.TemporaryDirectory() as folder, sink() as port:
        path, url = Path(folder) / "file", f"http://127.0.0.1:{port}/x"
        path.write_bytes(os.urandom(MIB) * (PART * PARTS // MIB))
        with path.open("rb", buffering=0) as file:
            source = FileSource(file.fileno())
            uploads = {
                "urllib3": _by_urllib3(url, source),
                "http.client, blocks": _by_us(url, source, direct=False),
                "http.client, sendfile": _by_us(url, source, direct=True),
            }
            _measure("upload of 1 GiB", uploads)
        _measure("download of 1 GiB", {"urllib3": _get_by_urllib3(port), "http.client, readinto": _get_by_us(port)})


if __name__ == "__main__":
    main()
