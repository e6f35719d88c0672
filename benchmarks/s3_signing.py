"""Signing for S3 through the public API, beside boto3, obstore, and the bare hashes that a signature consists of.

The first row of each table is the peer that the others are compared with, round by round. boto3 and obstore bind no header;
every item of a batch is made and kept.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from datetime import timedelta
from typing import Any

import blobkit
import blobkit_aws
from benchmarks._measure import compare, report

COUNT = 20_000
CHUNKS = 10_000
MIN_PART = 5 * blobkit.MiB
KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
}


def main() -> None:  # noqa: C901 - a list of candidates
    """Print signatures a second, and the ratios to the peers."""
    import boto3
    import obstore
    from botocore.stub import Stubber
    from obstore.store import S3Store

    os.environ.update(KEYS)
    store = blobkit.open_store("s3://media/?region=eu-west-1")
    spec = blobkit.UploadSpec(content_type="image/png", size=1234, metadata={"owner": "u1"})
    life, key = timedelta(minutes=15), "uploads/u1/2026/a.png"
    client: Any = boto3.client("s3", region_name="eu-west-1")
    rust = S3Store("media", region="eu-west-1")
    stub: Any = Stubber(blobkit_aws.client(store))
    stub.add_response("create_multipart_upload", {"UploadId": "VXBsb2FkSWQ." * 8})
    with stub:
        session = store.start_upload("videos/u1/2026/clip.mp4", size=CHUNKS * MIN_PART, chunk_size=MIN_PART)
    secret, canonical, text = b"k" * 32, b"c" * 420, b"t" * 130

    def bare(count: int) -> None:
        for _ in range(count):
            hmac.digest(secret, text + hashlib.sha256(canonical).hexdigest().encode(), "sha256").hex()

    def single(count: int) -> None:
        for _ in range(count):
            store.sign_upload(key, spec=spec, expires_in=life)

    def varying(count: int) -> None:
        for number in range(count):
            store.sign_upload(
                key,
                size=number,
                content_type="image/png",
                metadata={"owner": f"u{number}"},
                cache_control="no-store",
                content_disposition="attachment",
                if_absent=True,
                expires_in=life,
            )

    def batch(count: int) -> None:
        for _ in store.sign_uploads([key] * count, spec=spec, expires_in=life):
            pass

    def theirs(count: int) -> None:
        for _ in range(count // 40):
            client.generate_presigned_url("put_object", {"Bucket": "media", "Key": key}, 900)

    def rusty(count: int) -> None:
        for _ in range(count):
            obstore.sign(rust, "PUT", key, life)

    def rusty_batch(count: int) -> None:
        obstore.sign(rust, "PUT", [key] * count, life)

    def chunks(count: int) -> None:
        made = 0
        while made < count:
            for _ in session.sign_chunks(range(1, min(CHUNKS, count - made) + 1), expires_in=life):
                made += 1

    report(
        "one at a time: 2.0 for a reused spec, 1.2 for six constraints that vary",
        compare(
            {
                "obstore, one at a time": rusty,
                "sign_upload, a reused spec": single,
                "sign_upload, six constraints that vary": varying,
            },
            count=COUNT,
        ),
    )
    report("in batch: 2.0", compare({"obstore, in batch": rusty_batch, "sign_uploads": batch}, count=COUNT))
    report(
        "chunks of a session, beside what cannot be spared: 0.8",
        compare({"bare SHA-256 and HMAC-SHA256": bare, "sign_chunks": chunks, "boto3 (x40)": theirs}, count=COUNT),
    )
    store.close()


if __name__ == "__main__":
    main()
