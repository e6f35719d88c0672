"""Storage events from raw bodies, beside bare ``json.loads``, Powertools for AWS Lambda and the CloudEvents SDK."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import blobkit
from benchmarks._measure import compare, report

COUNT = 5_000
KEY = "uploads/2026/red+flower.jpg"


def record(number: int) -> dict[str, object]:
    """A record of S3, with everything that it carries."""
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "eu-west-1",
        "eventTime": "2026-01-02T03:04:05.678Z",
        "eventName": "ObjectCreated:Put",
        "userIdentity": {"principalId": "AWS:AIDAIOSFODNN7EXAMPLE"},
        "requestParameters": {"sourceIPAddress": "192.0.2.1"},
        "responseElements": {"x-amz-request-id": "C3D13FE58DE4C810", "x-amz-id-2": "b" * 76},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "uploads",
            "bucket": {
                "name": "media",
                "ownerIdentity": {"principalId": "A3NL1KOZZKEXAMPLE"},
                "arn": "arn:aws:s3:::media",
            },
            "object": {
                "key": KEY,
                "size": number,
                "eTag": "d41d8cd98f00b204e9800998ecf8427e",
                "versionId": "096fKKXTRTtl3on89fVO.nfljtsv6qko",
                "sequencer": f"0055AED6DCD9{number:06X}",
            },
        },
    }


def cloudevent(number: int) -> str:
    """The same as Event Grid tells it, as a CloudEvent."""
    return json.dumps(
        {
            "specversion": "1.0",
            "id": f"event-{number}",
            "source": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/account",
            "type": "Microsoft.Storage.BlobCreated",
            "subject": "/blobServices/default/containers/media/blobs/uploads/2026/red flower.jpg",
            "time": "2026-01-02T03:04:05.678Z",
            "data": {
                "api": "PutBlob",
                "contentLength": number,
                "eTag": "0x8D4BCC2E4835CD0",
                "sequencer": f"{number:032x}",
            },
        }
    )


def main() -> None:
    """Print records a second of each way in, and the ratio to bare ``json.loads`` of the same bodies."""
    bodies = [json.dumps({"Records": [record(number)]}) for number in range(100)]
    queued = [json.dumps({"Records": [record(number) for number in range(10)]}) for _ in range(100)]
    batches = [
        json.dumps({"Records": [_lambda(body) for body in bodies[start : start + 10]]}) for start in range(0, 100, 10)
    ]
    events = [cloudevent(number) for number in range(100)]

    def key(body: str) -> object:
        return [event.key for event in blobkit.parse_events(body)]

    def whole(body: str) -> object:
        return [(event.size, event.dedupe_key) for event in blobkit.parse_events(body)]

    report(
        "S3 records from the bodies of SQS messages, one in each",
        compare({"json.loads": _each(bodies, json.loads), "parse_events": _each(bodies, key),
                 "parse_events, with size and dedupe_key": _each(bodies, whole), **_powertools(bodies, 1)}, count=COUNT),
    )  # fmt: skip
    report(
        "S3 records from the bodies of SQS messages, ten in each",
        compare({"json.loads": _each(queued, json.loads, 10), "parse_events": _each(queued, key, 10),
                 **_powertools(queued, 10)}, count=COUNT),
    )  # fmt: skip
    report(
        "S3 records from Lambda's events, ten SQS messages in each: JSON in JSON",
        compare({"json.loads, both": _each(batches, _both, 10), "parse_events": _each(batches, key, 10),
                 **_powertools_sqs(batches)}, count=COUNT),
    )  # fmt: skip
    report(
        "CloudEvents",
        compare(
            {"json.loads": _each(events, json.loads), "parse_events": _each(events, key), **_sdk(events)}, count=COUNT
        ),
    )


def _each(bodies: list[str], read: Callable[[str], object], records: int = 1) -> Callable[[int], object]:
    def run(count: int) -> None:
        for number in range(count // records):
            read(bodies[number % len(bodies)])

    return run


def _lambda(body: str) -> dict[str, object]:
    return {
        "messageId": "059f36b4-87a3-44ab-83d2-661975830a7d",
        "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a...",
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": "1545082649183",
            "SenderId": "AIDAIENQZJOLO23YVJ4VO",
            "ApproximateFirstReceiveTimestamp": "1545082649185",
        },
        "messageAttributes": {},
        "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:uploads",
        "awsRegion": "eu-west-1",
    }


def _both(batch: str) -> object:
    return [json.loads(message["body"]) for message in json.loads(batch)["Records"]]


def _powertools(bodies: list[str], records: int) -> dict[str, Callable[[int], object]]:
    try:
        from aws_lambda_powertools.utilities.data_classes import S3Event
        from aws_lambda_powertools.utilities.parser.models import S3Model
    except ImportError:
        print("  (aws-lambda-powertools[parser] is not installed)")
        return {}

    def classes(body: str) -> object:
        return [record.s3.get_object.key for record in S3Event(json.loads(body)).records]

    def model(body: str) -> object:
        parsed: Any = S3Model.model_validate_json(body)
        return [record.s3.object.key for record in parsed.Records]

    return {
        "Powertools, data classes (not decoded)": _each(bodies, classes, records),
        "Powertools, parser (not decoded)": _each(bodies, model, records),
    }


def _powertools_sqs(batches: list[str]) -> dict[str, Callable[[int], object]]:
    try:
        from aws_lambda_powertools.utilities.data_classes import S3Event, SQSEvent
    except ImportError:
        return {}

    def classes(batch: str) -> object:
        return [
            record.s3.get_object.key
            for message in SQSEvent(json.loads(batch)).records
            for record in S3Event(message.json_body).records
        ]

    return {"Powertools, data classes": _each(batches, classes, 10)}


def _sdk(events: list[str]) -> dict[str, Callable[[int], object]]:
    try:
        from cloudevents.core.formats.json import JSONFormat
        from cloudevents.core.v1.event import CloudEvent
    except ImportError:
        print("  (cloudevents is not installed)")
        return {}
    form = JSONFormat()

    def read(body: str) -> object:
        return form.read(CloudEvent, body).get_subject()

    return {"CloudEvents SDK": _each(events, read)}


if __name__ == "__main__":
    main()
