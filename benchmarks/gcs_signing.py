"""Signing for Google Cloud Storage through the public API, beside bare RSA of the same length and google-cloud-storage."""

from __future__ import annotations

import json
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from google.cloud import storage
from google.oauth2 import service_account

import blobkit
from benchmarks._measure import compare, report

COUNT = 1_000


def main() -> None:  # noqa: C901 - a list of candidates
    """Print signatures a second: RSA beside bare RSA, then HMAC."""
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
        for _ in range(count * 50):
            with_hmac.sign_upload(key, spec=spec, expires_in=life)

    report(
        "signed URLs (HMAC: x50)",
        compare(
            {
                "bare RSA-2048": bare,
                "sign_upload with a service account's key": single,
                "sign_uploads, on every core": batch,
                "google-cloud-storage": sdk,
                "sign_upload with an HMAC key (x50)": hmac,
            },
            count=COUNT,
        ),
    )
    with_key.close()
    with_hmac.close()


if __name__ == "__main__":
    main()
