"""Signing on the embedded store through the public API, beside bare HMAC-SHA256 of a string of the same length."""

from __future__ import annotations

import hmac
from datetime import timedelta

import blobkit
from benchmarks._measure import compare, report

COUNT = 50_000


def main() -> None:  # noqa: C901 - a list of candidates
    """Print signatures a second, and the ratio to bare HMAC."""
    store = blobkit.open_store("memory://bench")
    spec = blobkit.UploadSpec(content_type="image/png", max_size=5 * blobkit.MiB, metadata={"owner": "u1"})
    life = timedelta(minutes=15)
    session = store.start_upload("videos/clip.mp4", size=COUNT * 1024, chunk_size=1024)
    key, text = b"k" * 32, "blobkit-local-1\nuploads/u1/2026/a.png\n1800000000\nbk-max=5242880\nbk-type=image/png\n"

    def bare(count: int) -> None:
        for _ in range(count):
            hmac.digest(key, text.encode(), "sha256").hex()

    def single(count: int) -> None:
        for _ in range(count):
            store.sign_upload("uploads/u1/2026/a.png", spec=spec, expires_in=life)

    def varying(count: int) -> None:
        for number in range(count):
            store.sign_upload("uploads/u1/2026/a.png", size=number, content_type="image/png", expires_in=life)

    def batch(count: int) -> None:
        for _ in store.sign_uploads(["uploads/u1/2026/a.png"] * count, spec=spec, expires_in=life):
            pass

    def download(count: int) -> None:
        for _ in range(count):
            store.sign_download("uploads/u1/2026/a.png", expires_in=life)

    def chunks(count: int) -> None:
        for _ in session.sign_chunks(range(1, count + 1), expires_in=life):
            pass

    report(
        "signed URLs on one core, every item materialised",
        compare(
            {
                "bare HMAC-SHA256": bare,
                "sign_upload, a reused spec": single,
                "sign_upload, constraints that vary": varying,
                "sign_uploads": batch,
                "sign_download": download,
                "session.sign_chunks": chunks,
            },
            count=COUNT,
        ),
    )
    store.close()


if __name__ == "__main__":
    main()
