"""Signing for Google Cloud Storage through the public API, beside bare RSA of the same length and google-cloud-storage.

What one core can do is counted in the processor's own seconds, so that a busy machine measures the same; what many cores can
do together is counted by the wall, on a machine with nothing else to do.
"""

from __future__ import annotations

import json
import tempfile
import time
from datetime import timedelta
from hashlib import sha256
from hmac import digest
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from google.cloud import storage
from google.oauth2 import service_account

import blobkit
from benchmarks._measure import compare, report

COUNT = 200
HMAC_COUNT = 20_000


def main() -> None:  # noqa: C901 - a list of candidates
    """Print signatures a second: RSA beside bare RSA on one core, then on all of them, then HMAC on one."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    info = {
        "type": "service_account",
        "client_email": "a@b.test",
        "private_key": pem,
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "key.json")
        path.write_text(json.dumps(info))
        Path(folder, "hmac").write_text("s" * 40)
        with_key = blobkit.open_store(f"gs://media/?service_account_file={path}")
        with_hmac = blobkit.open_store(f"gs://media/?hmac_access_id=GOOG1E&hmac_secret_file={folder}/hmac")
    spec = blobkit.UploadSpec(content_type="image/png", max_size=5 * blobkit.MiB)
    life, key, text = timedelta(minutes=15), "uploads/u1/2026/a.png", b"t" * 130
    login: Any = service_account.Credentials.from_service_account_info(info)  # type: ignore[no-untyped-call]
    theirs: Any = storage.Client(project="p", credentials=login).bucket("media")

    def bare(count: int) -> None:
        for _ in range(count):
            private.sign(text, padding.PKCS1v15(), hashes.SHA256())

    def single(count: int) -> None:
        for _ in range(count):
            with_key.sign_upload(key, spec=spec, expires_in=life)

    def batch(count: int) -> None:
        for _ in with_key.sign_uploads([key] * count, spec=spec, expires_in=life):
            pass

    def sdk(count: int) -> None:
        for _ in range(count):
            theirs.blob(key).generate_signed_url(version="v4", expiration=life, method="PUT", credentials=login)

    def hmac(count: int) -> None:
        for _ in range(count):
            with_hmac.sign_upload(key, spec=spec, expires_in=life)

    def hmac_batch(count: int) -> None:
        for _ in with_hmac.sign_uploads([key] * count, spec=spec, expires_in=life):
            pass

    def bare_hmac(count: int) -> None:
        secret, canonical = b"s" * 32, b"c" * 400
        for _ in range(count):
            sha256(canonical).hexdigest()
            digest(secret, text, "sha256").hex()

    rsa_names = {"bare RSA-2048": bare, "sign_upload with a service account's key": single, "google-cloud-storage": sdk}
    report("RSA, one core", compare(rsa_names, count=COUNT, rounds=15, clock=time.process_time))
    report(
        "RSA, every core (by the wall)",
        compare({"sign_upload, one by one": single, "sign_uploads": batch}, count=COUNT * 4),
    )
    hmac_names = {"bare SHA-256 and HMAC": bare_hmac, "sign_upload with an HMAC key": hmac, "sign_uploads": hmac_batch}
    report("HMAC, one core", compare(hmac_names, count=HMAC_COUNT, clock=time.process_time))
    with_key.close()
    with_hmac.close()


if __name__ == "__main__":
    main()
