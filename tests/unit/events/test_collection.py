"""Every delivery of a collection of documented and recorded ones is read as it is expected to be.

The collection is not part of the project. ``BLOBKIT_EVENT_SAMPLES`` names its folder: bodies as JSON files, and ``golden.json``
with what each holds, by file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

import blobkit
from blobkit.events import BlobEvent, ParsedEvents

from . import samples

FOLDER: Final = Path(os.environ.get("BLOBKIT_EVENT_SAMPLES", ""))
if not (FOLDER / "golden.json").is_file():
    pytest.skip("a collection of documented events: BLOBKIT_EVENT_SAMPLES names its folder", allow_module_level=True)

GOLDEN: Final[dict[str, list[dict[str, Any]]]] = json.loads((FOLDER / "golden.json").read_text(encoding="utf-8"))
CONTROLS: Final = {"sns-UnsubscribeConfirmation": "UnsubscribeConfirmation", "validation": "EventGridValidation"}
DELETIONS: Final = {"marker", "permanent", "version", "archived"}


def read(path: str) -> ParsedEvents:
    """A file of the collection, parsed."""
    body = json.loads((FOLDER / path).read_text(encoding="utf-8"))
    headers = None
    if isinstance(body, dict) and {"headers", "body"} <= body.keys():
        headers, body = body["headers"], body["body"]
    return blobkit.parse_events(body, headers)


def told(event: BlobEvent, row: Mapping[str, Any]) -> dict[str, object]:
    """What the event says of each thing that the row expects."""
    found: dict[str, object] = {
        "provider": event.provider,
        "kind": event.kind.value,
        "bucket": event.bucket,
        "key": event.key,
        "version": event.version,
        "etag": event.etag,
        "size": event.size,
        "time": event.time,
        "order": event.order.value if event.order else None,
        "tier": event.tier,
        "event_id": event.event_id,
        "native": event.native_type.removeprefix("Microsoft.Storage."),
    }
    if row.get("detail") in DELETIONS:
        found["detail"] = event.deletion
    if "checksums" in row:
        found["checksums"] = {"md5Hash" if name == "md5" else name: value for name, value in event.checksums.items()}
    return found


def expected(row: Mapping[str, Any], names: Iterator[str] | Mapping[str, object]) -> dict[str, object]:
    """The row in the same terms."""
    wanted: dict[str, object] = {name: row.get(name) for name in names}
    if isinstance(written := wanted["time"], str):
        time = datetime.fromisoformat(written)
        wanted["time"] = time.replace(tzinfo=UTC) if time.tzinfo is None else time
    return wanted


@pytest.mark.parametrize("path", sorted(GOLDEN))
def test_a_delivery_is_read_as_expected(path: str) -> None:
    parsed = read(path)
    rows = [row for row in GOLDEN[path] if row.get("key") is not None]
    beside = [row for row in GOLDEN[path] if row.get("key") is None]
    assert len(parsed) == len(rows)
    for event, row in zip(parsed, rows, strict=True):
        found = told(event, row)
        assert found == expected(row, found)
        assert BlobEvent.from_dict(event.to_dict()) == event
    assert parsed.errors == ()
    assert sorted(type(control).__name__ for control in parsed.controls) == sorted(
        "AccountSummary" if "control" not in row else CONTROLS[row["control"]]
        for row in beside
        if row.get("control") != "not-an-event"
    )
    assert len(parsed.foreign) == sum(row.get("control") == "not-an-event" for row in beside)


def test_every_delivery_but_those_without_expectations_was_read() -> None:
    there = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.json")}
    assert {path for path in there - set(GOLDEN) if "vectors" not in path and "recorded" not in path} == {
        "golden.json",
        "gcs/derived_jwt_claims.json",
        "gcs/ce_binary_data_complex.json",
        "gcs/ce_binary_data_testdata_simple.json",
    }


@pytest.mark.parametrize("name", ["complex", "testdata_simple"])
def test_the_data_of_eventarc_are_read_with_the_headers_of_their_binding(name: str) -> None:
    data = json.loads((FOLDER / f"gcs/ce_binary_data_{name}.json").read_text(encoding="utf-8"))
    headers = {
        "ce-specversion": "1.0",
        "ce-type": "google.cloud.storage.object.v1.finalized",
        "ce-source": f"//storage.googleapis.com/projects/_/buckets/{data['bucket']}",
        "ce-id": "1",
        "ce-subject": f"objects/{data['name']}",
    }
    (event,) = blobkit.parse_events(json.dumps(data).encode(), headers)
    assert (event.bucket, event.key, event.kind, event.version) == (
        data["bucket"],
        data["name"],
        "created",
        str(data["generation"]),
    )
    assert event.size == int(data["size"])


def test_keys_are_decoded_as_they_were_observed() -> None:
    vectors = json.loads((FOLDER / "aws/vectors_keys.json").read_text(encoding="utf-8"))
    seen = 0
    for way, rows in vectors.items():
        for row in rows:
            if way == "eventbridge":
                body: object = samples.eventbridge(row["wire"])
            else:
                source = {"aws_native": "aws:s3"}.get(way, f"{way}:s3")
                body = samples.s3(samples.s3_record(row["wire"], source=source))
            (event,) = blobkit.parse_events(body)
            assert event.key == row["key"], row
            seen += 1
    assert seen > 8


def test_subjects_of_event_grid_are_split_as_expected() -> None:
    for row in json.loads((FOLDER / "azure/vectors_subject.json").read_text(encoding="utf-8")):
        event = {**samples.eventgrid(), "subject": row["subject"]}
        parsed = blobkit.parse_events([event])
        if row["blob"] is None:
            assert not parsed
        else:
            assert [(found.bucket, found.key) for found in parsed] == [(row["container"], row["blob"])]


@pytest.mark.parametrize("path", ["aws/recorded_localstack_sqs.json", "aws/recorded_localstack_eventbridge.json"])
def test_recordings_whose_values_were_masked_are_still_events(path: str) -> None:
    recorded = json.loads((FOLDER / path).read_text(encoding="utf-8"))
    seen = 0
    for record in _records(recorded):
        parsed = blobkit.parse_events(record)
        assert parsed.errors == ()
        for event in parsed:
            assert event.kind != "other"
            assert event.dedupe_key
            seen += 1
    assert seen > 5


def _records(value: object) -> Iterator[dict[str, object]]:
    """Native records and EventBridge events anywhere in a recording."""
    if isinstance(value, dict):
        if ("s3" in value and "eventName" in value) or "detail-type" in value:
            yield value
        else:
            for item in value.values():
                yield from _records(item)
    elif isinstance(value, list):
        for item in value:
            yield from _records(item)
