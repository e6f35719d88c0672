"""Fuzz ``parse_events`` with atheris, which looks for inputs that reach new code.

    pip install atheris
    python tests/fuzz/fuzz_events.py -runs=1000000

Arguments are libFuzzer's. Half of the inputs are bytes as they come; the other half are deliveries of every provider with some
of their values replaced. Nothing but MalformedEvent may be raised, no input may take a minute by the clock on the wall, or half
a gigabyte, and what was parsed must be readable to the end: every field, its key, JSON and back.
"""

from __future__ import annotations

import base64
import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

atheris: Any = importlib.import_module("atheris")  # has no types, and is not needed to check this file

sys.path[:0] = [str(Path(__file__).parents[2])]
with atheris.instrument_imports(include=["blobkit", "blobkit_aws", "blobkit_azure", "blobkit_gcs", "blobkit_local"]):
    import blobkit
    from blobkit.errors import MalformedEvent
    from blobkit.events import BlobEvent, compare

    blobkit.parse_events("{}")  # the dialects are imported by the first delivery

from tests.unit.events import samples  # noqa: E402 - the path is set above

LIMITS = ["-timeout=60", "-rss_limit_mb=512", "-max_len=16384"]
DELIVERIES: list[object] = [
    json.loads(base64.b64decode(body)) if isinstance(body, bytes) else body
    for body in samples.deliveries("a+b %2F é.txt").values()
] + [samples.validation(), samples.s3(), samples.sqs_lambda(samples.sns(samples.s3()), samples.eventbridge())]
SEEDS = [json.dumps(body).encode() for body in DELIVERIES]
HEADERS: list[dict[str, str] | None] = [
    None,
    {"aeg-event-type": "Notification", "aeg-subscription-name": "s", "aeg-delivery-count": "1"},
    {
        "ce-specversion": "1.0",
        "ce-type": "google.cloud.storage.object.v1.finalized",
        "ce-source": "s",
        "ce-subject": "objects/k",
    },
    {"x-goog-pubsub-message-id": "1", "eventtype": "OBJECT_FINALIZE", "bucketid": "media", "objectid": "k"},
]


def mutated(seed: bytes, data: Any) -> bytes:
    """The delivery with up to four of its values replaced, or the names of them; also of one inside a text."""
    try:
        body: Any = json.loads(seed)
    except ValueError:  # a text that was mutated before
        return seed[: data.ConsumeIntInRange(0, len(seed))]
    for _ in range(data.ConsumeIntInRange(1, 4)):
        at: Any = body
        while at:
            step = data.PickValueInList(list(at)) if isinstance(at, dict) else data.ConsumeIntInRange(0, len(at) - 1)
            inner = at[step]
            if isinstance(inner, dict | list) and inner and data.ConsumeIntInRange(0, 9):
                at = inner
            elif isinstance(inner, str) and inner[:1] in ("{", "[") and data.ConsumeBool():
                at[step] = mutated(inner.encode("utf-8", "surrogatepass"), data).decode("utf-8", "replace")
                break
            else:
                at[step] = replacement(inner, data)
                break
    return json.dumps(body).encode()


def replacement(value: object, data: Any) -> object:
    """Something else."""
    kind = data.ConsumeIntInRange(0, 9)
    if kind < 4:
        return data.ConsumeUnicode(data.ConsumeIntInRange(0, 40))
    if kind == 4 and isinstance(value, str):
        place = data.ConsumeIntInRange(0, len(value))
        return value[:place] + data.ConsumeUnicode(4) + value[place + data.ConsumeIntInRange(0, 3) :]
    if kind == 5:
        return data.ConsumeInt(9)
    if kind == 6:
        return [value, value]
    return (
        {"a": value}
        if kind == 7
        else (None, True, [], {}, -1, "", [None], {"Records": [{}]})[data.ConsumeIntInRange(0, 7)]
    )


def read_whole(body: object, headers: dict[str, str] | None) -> None:
    """Parse, and read everything that was found."""
    try:
        parsed = blobkit.parse_events(body, headers)
    except MalformedEvent:
        return
    before: BlobEvent | None = None
    for event in parsed:
        assert len(event.dedupe_key) == 32
        assert event.details is event.details
        assert BlobEvent.from_dict(event.to_dict()) == event
        repr(event)
        if before is not None:
            compare(before, event)
        before = event
    for error in parsed.errors:
        assert error.message
    for control in parsed.controls:
        repr(control)


def one_input(raw: bytes) -> None:
    """One input of the fuzzer: its first two bytes say what the others are."""
    if len(raw) < 2:
        return
    headers, rest = HEADERS[raw[0] % len(HEADERS)], raw[2:]
    if raw[1] & 1:
        read_whole(rest, headers)
        return
    body = mutated(SEEDS[(raw[1] >> 1) % len(SEEDS)], atheris.FuzzedDataProvider(rest))
    read_whole(base64.b64encode(body) if raw[1] == 254 else body, headers)


def main() -> None:
    """Fuzz, from a corpus of whole deliveries."""
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(SEEDS):
            Path(corpus, f"whole-{number}").write_bytes(b"\0\1" + seed)
            Path(corpus, f"mutated-{number}").write_bytes(bytes([0, 2 * number]) + b"\0" * 40)
        atheris.Setup([*sys.argv[:1], corpus, *LIMITS, *sys.argv[1:]], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
