"""The embedded store over loopback: PUT and ranged GET in MiB/s, beside bare hashing and a bare socket in the same run.

Server and client are separate processes. On a machine with few cores they share them, so both sides count.
"""

from __future__ import annotations

import http.client
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import blobkit
from blobkit import Checksum, GiB, MiB
from blobkit.hashing import hasher

SIZE = 256 * MiB
LARGE = 4 * GiB
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


def _put(request: blobkit.SignedRequest, data: bytes, size: int = SIZE) -> float:
    url = urlsplit(request.url.reveal())
    connection = http.client.HTTPConnection(url.hostname or "", url.port, blocksize=BLOCK)
    start = time.perf_counter()
    connection.putrequest("PUT", f"{url.path}?{url.query}", skip_accept_encoding=True)
    for name, value in {**request.headers, "content-length": str(size)}.items():
        connection.putheader(name, value)
    connection.endheaders()
    view = memoryview(data)
    for at in range(0, size, len(data)):
        connection.send(view[: min(len(data), size - at)])
    answer = connection.getresponse()
    answer.read()
    seconds = time.perf_counter() - start
    assert answer.status == 200, answer.status
    connection.close()
    return size / MiB / seconds


def _get(request: blobkit.SignedRequest, size: int = SIZE) -> float:
    url = urlsplit(request.url.reveal())
    connection = http.client.HTTPConnection(url.hostname or "", url.port)
    start = time.perf_counter()
    connection.request("GET", f"{url.path}?{url.query}", headers={"range": f"bytes=0-{size - 1}"})
    answer = connection.getresponse()
    buffer, total = memoryview(bytearray(BLOCK)), 0
    while got := answer.readinto(buffer):
        total += got
    assert (answer.status, total) == (206, size)
    connection.close()
    return size / MiB / (time.perf_counter() - start)


def _bare_socket() -> float:
    """MiB/s of the same bytes from another process through a loopback socket, without HTTP, disk or store: the floor."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        code = (
            "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); b = bytes(1 << 20)\n"
            "for _ in range(int(sys.argv[2])): s.sendall(b)"
        )
        words = [sys.executable, "-c", code, str(listener.getsockname()[1]), str(SIZE // BLOCK)]
        with subprocess.Popen(words), listener.accept()[0] as connection:
            start, total, buffer = time.perf_counter(), 0, memoryview(bytearray(BLOCK))
            while got := connection.recv_into(buffer):
                total += got
            assert total == SIZE
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
    """Print medians in MiB/s, the ratios to the floors, and the server's peak memory when 4 GiB went through it."""
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
        ratios: dict[str, list[float]] = {name: [] for name in rates}
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
            ratios["GET, range"].append(rates["GET, range"][-1] / _bare_socket())
        for name, values in rates.items():
            beside = "a bare socket" if name.startswith("GET") else "hashing alone"
            ratio = f"   x {statistics.median(ratios[name]):5.2f} of {beside}"
            print(f"  {name:20} {statistics.median(values):8.0f} MiB/s{ratio}")
        _put(store.sign_upload("large.bin", size=LARGE), data, LARGE)
        _get(store.sign_download("large.bin"), LARGE)
        peak = server.communicate(input="")[0].strip()
        mine = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"  after {LARGE // GiB} GiB in and out: server's peak memory {peak} MiB, client's {mine} MiB")


if __name__ == "__main__":
    main()
