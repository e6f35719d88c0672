"""Upload and download beside the clients that everybody uses: same server, same run, same parts, same concurrency.

Ratios are medians over rounds in which every client has its turn. ``BLOBKIT_BENCH_SIZE`` (bytes; 1 GiB),
``BLOBKIT_BENCH_ROUNDS`` (3), ``BLOBKIT_BENCH_SPARSE`` (bytes; 20 GiB), ``BLOBKIT_BENCH_DIR`` (a directory in memory, if
there is one) and ``BLOBKIT_BENCH_SERVERS`` (``rclone,ceph,gcs,azure,memory``) change what is measured. No client computes
checksums beyond what its provider requires. Ceph's gateway is measured where ``BLOBKIT_RGW`` names one::

    BLOBKIT_BENCH_SERVERS=ceph bash tests/conformance/wide/rgw.sh .venv/bin/python -m benchmarks transfer

blobkit's completion ends with a HEAD of what it made, to verify and describe it; rclone's own client does the same, boto3 and
obstore do not. On S3 that costs one round trip. ``rclone serve s3`` reads the whole object for it, since its etag is a digest
that it computes when it is first asked: about 1.6 seconds of its processor a GiB. So both stand twice in the table of uploads:
as they are, and with the same HEAD ("then HEAD"), which is the equal work.
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from tests.servers.processes import ENVIRONMENT
from tests.servers.rclone import rclone

MIB = 1024 * 1024
SIZE = int(os.environ.get("BLOBKIT_BENCH_SIZE", str(1024 * MIB)))
ROUNDS = int(os.environ.get("BLOBKIT_BENCH_ROUNDS", "3"))
SPARSE = int(os.environ.get("BLOBKIT_BENCH_SPARSE", str(20 * 1024 * MIB)))
KEY = "bench.bin"
S3_CLIENTS = [
    "blobkit",
    "boto3",
    "boto3, then HEAD",
    "s3transfer + CRT",
    "obstore",
    "obstore, then HEAD",
    "rclone",
]
Figures = dict[str, list[dict[str, float]]]

GCS_SERVER = """
import json, sys
from pathlib import Path
from blobkit_gcs.testing import StrictGcs
with StrictGcs() as server:
    server.create_bucket("media")
    Path(sys.argv[1]).write_text(json.dumps(server.service_account.info))
    print(server.endpoint, flush=True)
    sys.stdin.read()
"""


def one(name: str, way: str, given: Mapping[str, str], env: Mapping[str, str]) -> dict[str, float]:
    """One transfer in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks._clients", name, way, json.dumps(dict(given))],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **env},
    )
    if done.returncode:
        raise RuntimeError(f"{name} {way}: {done.stderr[-2000:]}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


UNABLE = {
    ("rclone serve s3", "upload", "s3transfer + CRT"): (
        "it takes only an answer <InitiateMultipartUploadResult>, and rclone answers <InitiateMultipartUpload>"
    ),
}
"""Who cannot do what with which server, and why."""


def compare(
    title: str,
    clients: list[str],
    given: Mapping[str, str],
    folder: Path,
    env: Mapping[str, str],
    emptied: Callable[[], None] = lambda: None,
) -> None:
    """Both ways, and a table for each: wall and CPU seconds a GiB, and blobkit's ratio to each.

    ``emptied`` is called before each upload: a server in memory has to forget what the one before it stored.
    """
    source, target = folder / "source", folder / "target"
    with source.open("wb") as file:
        for _ in range(SIZE // MIB):
            file.write(os.urandom(MIB))
    for way in ("upload", "download"):
        figures: Figures = {}
        for name in (name for name in clients if way == "upload" or not name.endswith(", then HEAD")):
            if why := UNABLE.get((title, way, name)):
                print(f"  {name}: not measured: {why}")
            else:
                figures[name] = []
        for _ in range(ROUNDS):
            for name in list(figures):
                own = {**given, "file": str(source if way == "upload" else target), "key": KEY}
                if way == "upload":
                    emptied()
                try:
                    figures[name].append(one(name, way, own, env))
                except RuntimeError as error:
                    if name == "blobkit":
                        raise
                    print(f"  {name}: not measured: {str(error).strip().splitlines()[-1][:150]}")
                    del figures[name]
                target.unlink(missing_ok=True)
        table(f"{title}: {way} of {SIZE // MIB} MiB", figures, SIZE)
    source.unlink()


def table(title: str, figures: Figures, size: int) -> None:
    """Medians, and medians of blobkit's ratios to each."""
    print(f"{title}\n  {'client':20} {'s/GiB':>8} {'CPU s/GiB':>10} {'peak MiB':>9}   blobkit's wall   blobkit's CPU")
    scale = 1024 * MIB / size
    ours = figures["blobkit"]
    for name, rows in figures.items():
        wall = statistics.median(row["wall"] for row in rows) * scale
        cpu = statistics.median(row["cpu"] for row in rows) * scale
        peak = max(row["peak"] for row in rows)
        ratios = [
            statistics.median(mine[what] / max(row[what], 1e-9) for mine, row in zip(ours, rows, strict=True))
            for what in ("wall", "cpu")
        ]
        told = "" if name == "blobkit" else f"   x {ratios[0]:8.2f}        x {ratios[1]:8.2f}"
        print(f"  {name:20} {wall:8.2f} {cpu:10.2f} {peak:9.0f}{told}", flush=True)


def s3(folder: Path) -> None:
    """rclone serving S3."""
    with rclone(folder) as server:
        given = {"endpoint": server, "bucket": "media", "url": f"s3://media/?profile=custom&endpoint={server}"}
        compare("rclone serve s3", S3_CLIENTS, given, folder, ENVIRONMENT)


def ceph(folder: Path) -> None:
    """Ceph's gateway. It keeps what was deleted or replaced until it collects it, and its store is in memory: so each upload
    begins with an empty bucket, and after a collection."""
    server = os.environ.get("BLOBKIT_RGW", "")
    if not server:
        print("Ceph: not measured: bash tests/conformance/wide/rgw.sh .venv/bin/python -m benchmarks transfer")
        return
    import boto3

    client = boto3.client("s3", endpoint_url=server, region_name="us-east-1")
    client.create_bucket(Bucket="bench")
    begun = client.create_multipart_upload(Bucket="bench", Key=KEY)  # the first one makes a pool, which takes seconds
    client.abort_multipart_upload(Bucket="bench", Key=KEY, UploadId=begun["UploadId"])

    def emptied() -> None:
        client.delete_object(Bucket="bench", Key=KEY)
        if "CEPH_CONF" in os.environ:
            collect = ["radosgw-admin", "gc", "process", "--include-all"]
            subprocess.run(collect, check=True, capture_output=True)

    given = {
        "endpoint": server,
        "bucket": "bench",
        "url": f"s3://bench/?profile=ceph&versioning=off&endpoint={server}",
    }
    try:
        compare("Ceph RGW", S3_CLIENTS, given, folder, {}, emptied)
    finally:
        emptied()
        client.delete_bucket(Bucket="bench")


def gcs(folder: Path) -> None:
    """The strict server of Cloud Storage, XML multipart as transfer_manager has it."""
    key = folder / "key.json"
    server = subprocess.Popen(
        [sys.executable, "-c", GCS_SERVER, str(key)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        endpoint = server.stdout.readline().strip()
        where = f"endpoint={quote(endpoint, safe='')}&service_account_file={quote(str(key), safe='')}"
        given = {
            "endpoint": endpoint,
            "bucket": "media",
            "service_account": str(key),
            "url": f"gs://media/?chunks=multipart&{where}",
        }
        compare("StrictGcs", ["blobkit", "transfer_manager"], given, folder, {})
    finally:
        server.communicate(input="")


def azure(folder: Path) -> None:
    """Azurite, where this checkout has it."""
    try:
        azurite = importlib.import_module("tests.servers.azurite")
    except ImportError:
        print("Azurite: not measured, there is no server for it here")
        return
    if why := azurite.missing():
        print(f"Azurite: not measured: {why}")
        return
    from azure.storage.blob import BlobServiceClient

    with azurite.azurite(folder, https=False) as server:
        credential = {"account_name": azurite.ACCOUNT, "account_key": azurite.KEY}
        with BlobServiceClient(server.url, credential=credential) as client:
            client.create_container("media")
        given = {
            "bucket": "media",
            "account_url": server.url,
            "account": azurite.ACCOUNT,
            "account_key": azurite.KEY,
            "url": f"az://{azurite.ACCOUNT}/media/?{server.with_key}",
        }
        compare("Azurite", ["blobkit", "azure-storage-blob"], given, folder, {})


SPARSE_UPLOAD = """
import resource, sys, time
from datetime import UTC, datetime, timedelta
from blobkit.chunking import ChunkLimits, plan
from blobkit.plans import PlanChunk, PlanChunks, UploadPlan
from blobkit.signed import Receipt
from blobkit.transfer import upload
file, size, port = sys.argv[1], int(sys.argv[2]), sys.argv[3]
later = datetime.now(UTC) + timedelta(hours=1)
cut = plan(size, ChunkLimits(max_count=10_000), chunk_size=64 << 20)
items = [PlanChunk(c.number, c.offset, c.size, "PUT", f"http://127.0.0.1:{port}/{c.number}", {}, later) for c in cut]
chunks = PlanChunks(64 << 20, len(cut), 1, 10_000, 1, False, "any", "inline", items, Receipt("header", "ETag"), (200,))
start = time.perf_counter()
upload(file, UploadPlan("u", "k", later, None, size, "parts", parts=chunks), checksum=sys.argv[4] or None)
usage = resource.getrusage(resource.RUSAGE_SELF)
seconds, cpu = time.perf_counter() - start, usage.ru_utime + usage.ru_stime
print(f"  {size >> 30} GiB sparse, {sys.argv[4] or 'no checksum'}: {seconds:.1f} s, {cpu / (size / 2**30):.2f} CPU s/GiB, "
      f"peak {usage.ru_maxrss // 1024} MiB")
"""


@contextmanager
def sink() -> Iterator[str]:
    """A server that forgets; gives its port."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks._sink"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def memory(folder: Path) -> None:
    """The peak of memory, whatever the size."""
    file = folder / "sparse"
    print("memory")
    with sink() as port:
        for size, checksum in ((1 << 30, ""), (SPARSE, ""), (SPARSE, "crc32c")):
            with file.open("wb") as out:
                out.truncate(size)
            subprocess.run([sys.executable, "-c", SPARSE_UPLOAD, str(file), str(size), port, checksum], check=True)


def main() -> None:
    """Print all tables."""
    named = os.environ.get("BLOBKIT_BENCH_DIR") or ("/dev/shm" if Path("/dev/shm").is_dir() else None)
    measures = {"rclone": s3, "ceph": ceph, "gcs": gcs, "azure": azure, "memory": memory}
    for server in os.environ.get("BLOBKIT_BENCH_SERVERS", ",".join(measures)).split(","):
        measure = measures[server]
        with tempfile.TemporaryDirectory(dir=named, prefix="blobkit-bench-") as folder:
            measure(Path(folder))


if __name__ == "__main__":
    main()
