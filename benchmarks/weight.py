"""What a fresh process pays: importing blobkit, opening a store, the first signed URL. Beside boto3 when it is installed."""

from __future__ import annotations

import importlib.util
import statistics
import subprocess
import sys

ROUNDS = 11
CASES = {
    "an empty process": "pass",
    "import blobkit": "import blobkit",
    "open memory:// and sign one URL": "import blobkit; blobkit.open_store('memory://bench').sign_upload('k')",
}
PEER = (
    "import boto3; c = boto3.client('s3', region_name='eu-west-1', aws_access_key_id='a', aws_secret_access_key='b');"
    "c.generate_presigned_url('put_object', Params={'Bucket': 'b', 'Key': 'k'})"
)


def main() -> None:
    """Print the median wall time of each case, and what it adds to an empty process."""
    cases = dict(CASES)
    if importlib.util.find_spec("boto3") is not None:
        cases["boto3: client and one URL"] = PEER
    else:
        print("boto3 is not installed: no peer")
    times: dict[str, list[float]] = {name: [] for name in cases}
    script = "import time; t = time.perf_counter(); {code}; print(time.perf_counter() - t)"
    for _ in range(ROUNDS):
        for name, code in cases.items():
            done = subprocess.run(
                [sys.executable, "-c", script.format(code=code)], capture_output=True, text=True, check=True
            )
            times[name].append(float(done.stdout))
    for name, values in times.items():
        print(f"  {name:44} {statistics.median(values) * 1000:10.1f} ms")


if __name__ == "__main__":
    main()
