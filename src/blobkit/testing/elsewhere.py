"""What the suite runs in another process: resume a session by its token, say what is held, complete it.

``python -m blobkit.testing.elsewhere`` reads ``{"store": url, "token": …}`` from its input and writes one line of JSON.
"""

from __future__ import annotations

import json
import sys

from blobkit.errors import BlobkitError, InvalidToken
from blobkit.opening import open_store

__all__ = ["main"]


def main() -> None:
    """Resume, ask, complete; the answer tells what came of it."""
    order = json.load(sys.stdin)
    answer: dict[str, object]
    try:
        with open_store(order["store"]) as store:
            session = store.resume_upload(order["token"])
            status = session.status()
            answer = {"state": status.state, "received": list(status.received), "missing": list(status.missing)}
            if status.state == "open" and not status.missing:
                answer["completed"] = session.complete().size
    except BlobkitError as error:
        answer = {"error": type(error).__name__, "reason": error.reason if isinstance(error, InvalidToken) else None}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
