"""Fuzz ``parse_events`` with atheris, which looks for inputs that reach new code.

    python tests/fuzz/fuzz_events.py -runs=1000000

Arguments are libFuzzer's. Half of the inputs are bytes as they come; the other half are deliveries of every provider with some
of their values replaced. Nothing but MalformedEvent may be raised, no input may take more than five seconds or half a gigabyte,
and what was parsed must be readable to the end: every field, its key, JSON and back.
"""

from __future__ import annotations

import base64
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import atheris

sys.path[:0] = [str(Path(__file__).parents[2])]
with atheris.instrument_imports(include=["blobkit", "blobkit_aws", "blobkit_azure", "blobkit_gcs", "blobkit_local"]):
    import blobkit
    from blobkit.errors import MalformedEvent
    from blobkit.events import BlobEvent, compare

from tests.unit.events import samples  # noqa: E402 - the path is set above

LIMITS = ["-timeout=5", "-rss_limit_mb=512", "-max_len=16384"]
SEEDS: list[Any] = [
    json.loads(base64.b64decode(body)) if isinstance(body, bytes) else body
    for body in samples.deliveries("a+b %2F é.txt").values()
] + [samples.validation(), samples.s3(), samples.sqs_lambda(samples.sns(samples.s3()), samples.eventbridge())]
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


def replaced(value: Any, data: atheris.FuzzedDataProvider, depth: int = 0) -> Any:
    """The value with some of what is in it replaced."""
    if depth > 12 or not data.remaining_bytes():
        return value
    if isinstance(value, dict):
        if value and data.ConsumeProbability() < 0.1:
            value = {name: item for name, item in value.items() if data.ConsumeBool()}
        return {name: replaced(item, data, depth + 1) for name, item in value.items()}
    if isinstance(value, list):
        return [replaced(item, data, depth + 1) for item in value]
    if isinstance(value, str) and value[:1] in ("{", "[") and data.ConsumeBool():
        return json.dumps(replaced(json.loads(value), data, depth + 1))
    if data.ConsumeProbability() > 0.15:
        return value
    kind = data.ConsumeIntInRange(0, 9)
    if kind < 5:
        return data.ConsumeUnicode(data.ConsumeIntInRange(0, 40))
    if kind == 5:
        return data.ConsumeInt(9)
    return (None, True, [], {}, [{"Records": [{}]}])[kind - 6] if kind > 5 else value


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
    """One input of the fuzzer."""
    data = atheris.FuzzedDataProvider(raw)
    headers = HEADERS[data.ConsumeIntInRange(0, len(HEADERS) - 1)]
    if data.ConsumeBool():
        read_whole(data.ConsumeBytes(data.remaining_bytes()), headers)
        return
    value = replaced(SEEDS[data.ConsumeIntInRange(0, len(SEEDS) - 1)], data)
    body = json.dumps(value).encode("utf-8", "surrogatepass")
    read_whole(base64.b64encode(body) if data.ConsumeProbability() < 0.05 else body, headers)


def main() -> None:
    """Fuzz, from a corpus of whole deliveries."""
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(SEEDS):
            # The provider reads decisions from the end: no headers, bytes as they come.
            Path(corpus, str(number)).write_bytes(json.dumps(seed).encode() + b"\x01\x00")
        atheris.Setup([*sys.argv[:1], corpus, *LIMITS, *sys.argv[1:]], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
