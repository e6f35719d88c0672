"""The embedded store over loopback: PUT and ranged GET in MiB/s, beside a memory copy with the same checksum in the same run.

Server and client are separate processes. On a machine with few cores they share them, so both sides count.
"""

from __future__ import annotations

import http.client
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import blobkit
from blobkit import Checksum, MiB
from blobkit.hashing import hasher

SIZE = 256 * MiB
BLOCK = MiB
ROUNDS = 5

SERVER = """
import resource, sys, blobkit
from blobkit.serving import serve_in_thread
with serve_in_thread(lambda url: blobkit.open_store(f"local://{sys.argv[1]}?public_endpoint={url}")) as store:
    print(store.config.text("public_endpoint"), flush=True)
    sys.stdin.read()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, flush=True)
"""


def _put(request: blobkit.SignedRequest, data: bytes) -> float:
    url = urlsplit(request.url.reveal())
    connection = http.client.HTTPConnection(url.hostname or "", url.port, blocksize=BLOCK)
    start = time.perf_counter()
    connection.putrequest("PUT", f"{url.path}?{url.query}", skip_accept_encoding=True)
    for name, value in {**request.headers, "content-length": str(SIZE)}.items():
        connection.putheader(name, value)
    connection.endheaders()
    view = memoryview(data)
    for at in range(0, SIZE, len(data)):
        connection.send(view[: min(len(data), SIZE - at)])
    answer = connection.getresponse()
    answer.read()
    seconds = time.perf_counter() - start
    assert answer.status == 200, answer.status
    connection.close()
    return SIZE / MiB / seconds


def _get(request: blobkit.SignedRequest) -> float:
    url = urlsplit(request.url.reveal())
    connection = http.client.HTTPConnection(url.hostname or "", url.port)
    start = time.perf_counter()
    connection.request("GET", f"{url.path}?{url.query}", headers={"range": f"bytes=0-{SIZE - 1}"})
    answer = connection.getresponse()
    buffer, total = memoryview(bytearray(BLOCK)), 0
    while got := answer.readinto(buffer):
        total += got
    assert (answer.status, total) == (206, SIZE)
    connection.close()
    return SIZE / MiB / (time.perf_counter() - start)


def _digests(data: bytes) -> dict[str, Checksum]:
    out = {}
    for algorithm in ("sha256", "md5"):
        digest = hasher(algorithm)
        for _ in range(SIZE // len(data)):
            digest.update(data)
        out[algorithm] = Checksum(algorithm, digest.digest())
    return out


def main() -> None:
    """Print medians in MiB/s, the ratio to hashing the same bytes in memory, and the server's peak memory."""
    data = memoryview(bytearray(range(256)) * (4 * MiB // 256)).tobytes()
    digests = _digests(data)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER, directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        store = blobkit.open_store(f"local://{directory}?public_endpoint={url}")
        cases = {"PUT, crc32c": None, "PUT, sha256": digests["sha256"], "PUT, md5": digests["md5"]}
        floors = {"PUT, crc32c": "crc32c", "PUT, sha256": "sha256", "PUT, md5": "md5"}
        rates: dict[str, list[float]] = {name: [] for name in (*cases, "GET, range")}
        ratios: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(ROUNDS):
            for name, checksum in cases.items():
                rate = _put(store.sign_upload("bench.bin", size=SIZE, checksum=checksum), data)
                digest = hasher(floors[name])
                start = time.perf_counter()
                for _ in range(SIZE // len(data)):
                    digest.update(data)
                floor = SIZE / MiB / (time.perf_counter() - start)
                rates[name].append(rate)
                ratios[name].append(rate / floor)
            rates["GET, range"].append(_get(store.sign_download("bench.bin")))
        for name, values in rates.items():
            ratio = f"   x {statistics.median(ratios[name]):5.2f} of hashing alone" if name in ratios else ""
            print(f"  {name:20} {statistics.median(values):8.0f} MiB/s{ratio}")
        peak = server.communicate(input="")[0].strip()
        print(
            f"  server's peak memory {peak} MiB; client's {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB"
        )


if __name__ == "__main__":
    main()
