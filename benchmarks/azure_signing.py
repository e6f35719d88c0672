"""Signing for Azure Blob Storage through the public API, beside azure-storage-blob, obstore, and the bare HMAC."""

from __future__ import annotations

import base64
import hmac
import os
from datetime import UTC, datetime, timedelta

import blobkit
from benchmarks._measure import compare, report

COUNT = 20_000


def main() -> None:  # noqa: C901 - a list of candidates
    """Print signatures a second, and the ratio to obstore, one at a time."""
    import obstore
    from azure.storage.blob import generate_blob_sas
    from obstore.store import AzureStore

    secret = os.urandom(64)
    text = base64.b64encode(secret).decode()
    os.environ["BLOBKIT_BENCHMARK_KEY"] = text
    store = blobkit.open_store("az://acct/media/?account_key_env=BLOBKIT_BENCHMARK_KEY")
    rust = AzureStore("media", account_name="acct", account_key=text)
    spec, life, key = blobkit.UploadSpec(if_absent=True), timedelta(minutes=15), "uploads/u1/2026/a.png"
    message = b"t" * 130
    session = store._calls  # a session would need a server: only its chunks are measured, of a state made by hand
    from blobkit.backend import SessionState
    from blobkit.chunking import plan

    chunks = plan(COUNT * 16 * blobkit.MiB, store.capabilities.limits.chunks, chunk_size=16 * blobkit.MiB)
    state = SessionState("k", blobkit.UploadSpec(), chunks, "0" * 32, "0" * 26, datetime.now(UTC))

    def rusty(count: int) -> None:
        for _ in range(count):
            obstore.sign(rust, "PUT", key, life)

    def rusty_batch(count: int) -> None:
        obstore.sign(rust, "PUT", [key] * count, life)

    def bare(count: int) -> None:
        for _ in range(count):
            base64.b64encode(hmac.digest(secret, message, "sha256"))

    def single(count: int) -> None:
        for _ in range(count):
            store.sign_upload(key, spec=spec, expires_in=life)

    def download(count: int) -> None:
        for _ in range(count):
            store.sign_download(key, expires_in=life)

    def batch(count: int) -> None:
        for _ in store.sign_uploads([key] * count, spec=spec, expires_in=life):
            pass

    def blocks(count: int) -> None:
        session.sign_chunks(state, range(1, count + 1), life, None, None)

    def theirs(count: int) -> None:
        end = datetime.now(UTC) + life
        for _ in range(count // 10):
            generate_blob_sas("acct", "media", key, account_key=text, permission="c", expiry=end)

    report(
        "signed URLs on one core, every item materialised (azure-storage-blob makes the query alone)",
        compare(
            {
                "obstore, one at a time": rusty,
                "obstore, in batch": rusty_batch,
                "bare HMAC-SHA256 and base64": bare,
                "sign_upload, a reused spec": single,
                "sign_download": download,
                "sign_uploads": batch,
                "sign_chunks": blocks,
                "azure-storage-blob (x10)": theirs,
            },
            count=COUNT,
        ),
    )
    store.close()


if __name__ == "__main__":
    main()
