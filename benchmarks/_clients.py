"""One transfer by one client, in a process of its own: ``python -m benchmarks._clients CLIENT upload|download JSON``.

Prints wall seconds, CPU seconds (its children's included) and the peak of memory, without what importing cost.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from awscrt.s3 import S3Client
    from botocore.config import Config

MIB = 1024 * 1024
PART, AT_ONCE = 16 * MIB, 4
Task = Callable[[], None]


def blobkit_client(way: str, given: dict[str, str]) -> Task:
    """This library: a session for an upload, a signed URL for a download."""
    import blobkit
    from blobkit.transfer import download, upload

    ring = blobkit.Keyring.from_text("k:" + base64.b64encode(bytes(32)).decode())
    store = blobkit.open_store(given["url"], sealing=ring)
    store.exists("warm")  # the SDK is imported and its client made before the clock starts, as for the others
    path, key, size = given["file"], given["key"], Path(given["file"]).stat().st_size if way == "upload" else 0

    def run() -> None:
        if way == "download":
            download(store.sign_download(key), path, concurrency=AT_ONCE, range_size=PART)
            return
        session = store.start_upload(key, size=size, chunk_size=PART, allow_session_life=True)
        session.complete(upload(path, session, concurrency=AT_ONCE).receipts)

    return run


def boto3_client(way: str, given: dict[str, str], *, ask: bool = False) -> Task:
    """boto3 with s3transfer. No checksums beyond what S3 requires.

    Args:
        ask: After an upload, ask for what was made, as blobkit's completion does: its size, its date, whose it is.
    """
    import boto3
    from boto3.s3.transfer import TransferConfig

    client: Any = boto3.client("s3", endpoint_url=given["endpoint"], region_name="us-east-1", config=_plain())
    transfer = TransferConfig(multipart_chunksize=PART, multipart_threshold=PART, max_concurrency=AT_ONCE)

    def run() -> None:
        if way == "download":
            client.download_file(given["bucket"], given["key"], given["file"], Config=transfer)
            return
        client.upload_file(given["file"], given["bucket"], given["key"], Config=transfer)
        if ask:
            client.head_object(Bucket=given["bucket"], Key=given["key"])

    return run


def _plain() -> Config:
    from botocore.config import Config

    return Config(
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


def crt_client(way: str, given: dict[str, str]) -> Task:
    """s3transfer with the common runtime (CRT), in C.

    Not through boto3, whose CRT transfers go to AWS alone: it gives them no endpoint, and always TLS (boto3/crt.py).
    """
    from botocore.session import Session
    from s3transfer.crt import (
        BotocoreCRTCredentialsWrapper,
        BotocoreCRTRequestSerializer,
        CRTTransferManager,
        create_s3_crt_client,
    )
    from s3transfer.manager import TransferConfig

    session: Any = Session()
    keys = BotocoreCRTCredentialsWrapper(session.get_credentials()).to_crt_credentials_provider()
    client = create_s3_crt_client("us-east-1", keys, part_size=PART, use_ssl=False)
    told = {"endpoint_url": given["endpoint"], "region_name": "us-east-1", "config": _plain()}
    same = TransferConfig(multipart_chunksize=PART, multipart_threshold=PART, max_request_concurrency=AT_ONCE)
    manager: Any = CRTTransferManager(client, BotocoreCRTRequestSerializer(session, told), config=same)
    if way == "upload":
        return lambda: _crt_upload(client, given)
    return lambda: manager.download(given["bucket"], given["key"], given["file"]).result()


def _crt_upload(client: S3Client, given: dict[str, str]) -> None:
    """By the runtime itself: s3transfer has it send each part's checksum in a trailer, which neither RGW nor rclone reads."""
    from awscrt.http import HttpHeaders, HttpRequest
    from awscrt.s3 import S3RequestType

    where, size = given["endpoint"].removeprefix("http://"), Path(given["file"]).stat().st_size
    headers = HttpHeaders([("host", where), ("content-length", str(size)), ("content-type", "binary/octet-stream")])
    request = HttpRequest("PUT", f"/{given['bucket']}/{given['key']}", headers)
    begun = client.make_request(
        request=request,
        type=S3RequestType.PUT_OBJECT,
        send_filepath=given["file"],
        max_active_connections_override=AT_ONCE,
    )
    begun.finished_future.result()


def obstore_client(way: str, given: dict[str, str], *, ask: bool = False) -> Task:
    """obstore: object_store, in Rust. ``ask``: as of boto3."""
    import obstore
    from obstore.store import S3Store

    store = S3Store(
        given["bucket"],
        endpoint=given["endpoint"],
        region="us-east-1",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True, "timeout": "600s"},
    )

    def run() -> None:
        if way == "upload":
            obstore.put(store, given["key"], Path(given["file"]), chunk_size=PART, max_concurrency=AT_ONCE)
            if ask:
                obstore.head(store, given["key"])
            return
        with Path(given["file"]).open("wb") as out:  # it has no ranges in parallel to a file: its own way, a stream
            out.writelines(obstore.get(store, given["key"]).stream(min_chunk_size=MIB))

    return run


def rclone_client(way: str, given: dict[str, str]) -> Task:
    """rclone as a client, in Go."""
    program = str(Path(sys.executable).with_name("rclone"))
    remote = f":s3,provider=Other,endpoint='{given['endpoint']}',env_auth=true,force_path_style=true"
    there = f"{remote}:{given['bucket']}/{given['key']}"
    ends = (given["file"], there) if way == "upload" else (there, given["file"])
    words = [
        program, "copyto", *ends, "--config", "/dev/null", "--s3-no-check-bucket", "--s3-disable-checksum",
        "--s3-chunk-size", "16Mi", "--s3-upload-concurrency", str(AT_ONCE), "--s3-upload-cutoff", "16Mi",
        "--multi-thread-streams", str(AT_ONCE), "--multi-thread-cutoff", "16Mi", "--multi-thread-chunk-size", "16Mi",
        "--ignore-times", "--ignore-checksum",
    ]  # fmt: skip
    return lambda: subprocess.run(words, check=True).check_returncode()


def gcs_client(way: str, given: dict[str, str]) -> Task:
    """google-cloud-storage's transfer_manager, with threads as all others here."""
    from google.cloud import storage
    from google.cloud.storage import transfer_manager
    from google.oauth2 import service_account

    key = json.loads(Path(given["service_account"]).read_text())
    credentials = service_account.Credentials.from_service_account_info(key)
    client: Any = storage.Client(
        project="p", credentials=credentials, client_options={"api_endpoint": given["endpoint"]}
    )
    blob = client.bucket(given["bucket"]).blob(given["key"])
    ways: dict[str, Any] = {"chunk_size": PART, "max_workers": AT_ONCE, "worker_type": transfer_manager.THREAD}
    if way == "upload":
        return lambda: transfer_manager.upload_chunks_concurrently(given["file"], blob, checksum=None, **ways)
    return lambda: transfer_manager.download_chunks_concurrently(blob, given["file"], crc32c_checksum=False, **ways)


def azure_client(way: str, given: dict[str, str]) -> Task:
    """azure-storage-blob with max_concurrency."""
    from azure.storage.blob import BlobClient

    client = BlobClient(
        given["account_url"],
        given["bucket"],
        given["key"],
        credential={"account_name": given["account"], "account_key": given["account_key"]},
        max_block_size=PART,
        max_single_put_size=PART,
        max_chunk_get_size=PART,
        max_single_get_size=PART,
    )

    def run() -> None:
        if way == "upload":
            with Path(given["file"]).open("rb") as file:
                client.upload_blob(file, overwrite=True, max_concurrency=AT_ONCE)
            return
        with Path(given["file"]).open("wb") as out:
            client.download_blob(max_concurrency=AT_ONCE).readinto(out)

    return run


CLIENTS: dict[str, Callable[[str, dict[str, str]], Task]] = {
    "blobkit": blobkit_client,
    "boto3": boto3_client,
    "boto3, then HEAD": lambda way, given: boto3_client(way, given, ask=True),
    "s3transfer + CRT": crt_client,
    "obstore": obstore_client,
    "obstore, then HEAD": lambda way, given: obstore_client(way, given, ask=True),
    "rclone": rclone_client,
    "transfer_manager": gcs_client,
    "azure-storage-blob": azure_client,
}


def _cpu() -> float:
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, kinds))


def _peak() -> int:
    """KiB. Not ``ru_maxrss`` of this process, which begins with what the process that started it had."""
    own = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return max(int(own.split()[1]), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)


def main() -> None:
    """Run one transfer."""
    _, name, way, text = sys.argv
    task = CLIENTS[name](way, json.loads(text))
    before, start = _cpu(), time.perf_counter()
    task()
    wall, cpu = time.perf_counter() - start, _cpu() - before
    print(json.dumps({"wall": wall, "cpu": cpu, "peak": _peak() // 1024}), flush=True)
    os._exit(0)  # an SDK's threads may take their time


if __name__ == "__main__":
    main()
