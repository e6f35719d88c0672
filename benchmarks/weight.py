"""What a fresh process pays: importing blobkit, opening a store, the first signed URL. Beside boto3 when it is installed."""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

ROUNDS = 11
CASES = {
    "an empty process": "pass",
    "import blobkit": "import blobkit",
    "open memory:// and sign one URL": "import blobkit; blobkit.open_store('memory://bench').sign_upload('k')",
    "open s3:// and sign one URL": "import blobkit; blobkit.open_store('s3://media/?region=eu-west-1').sign_upload('k')",
    "open gs:// and sign one URL": "import blobkit; blobkit.open_store('gs://media/').sign_upload('k')",
}
PEER = (
    "import boto3; c = boto3.client('s3', region_name='eu-west-1', aws_access_key_id='a', aws_secret_access_key='b');"
    "c.generate_presigned_url('put_object', Params={'Bucket': 'b', 'Key': 'k'})"
)


def environment(folder: Path) -> dict[str, str]:
    """Static credentials of both clouds, where their own tools look for them."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    key = folder / "key.json"
    key.write_text(
        json.dumps(
            {
                "type": "service_account",
                "client_email": "a@b.test",
                "private_key": private.decode(),
                "token_uri": "https://oauth2.googleapis.com/token",
            }
        )
    )
    keys = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "k" * 40}
    return {**os.environ, **keys, "GOOGLE_APPLICATION_CREDENTIALS": str(key)}


def main() -> None:
    """Print the median wall time of each case, and what it adds to an empty process."""
    cases = dict(CASES)
    if importlib.util.find_spec("boto3") is not None:
        cases["boto3: client and one URL"] = PEER
    else:
        print("boto3 is not installed: no peer")
    times: dict[str, list[float]] = {name: [] for name in cases}
    script = "import time; t = time.perf_counter(); {code}; print(time.perf_counter() - t)"
    with tempfile.TemporaryDirectory() as folder:
        env = environment(Path(folder))
        for _ in range(ROUNDS):
            for name, code in cases.items():
                words = [sys.executable, "-c", script.format(code=code)]
                done = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
                times[name].append(float(done.stdout))
    for name, values in times.items():
        print(f"  {name:44} {statistics.median(values) * 1000:10.1f} ms")


if __name__ == "__main__":
    main()
