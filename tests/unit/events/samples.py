"""Deliveries as providers write them, made here from parts; and the encodings of keys, one per provider."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote_plus

SNS_TOPIC = "arn:aws:sns:eu-west-1:123456789012:uploads"
ACCOUNT = "/subscriptions/0/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/acct"


def s3_record(
    key: str = "a+b%20c.txt",
    *,
    native: str = "ObjectCreated:Put",
    source: str = "aws:s3",
    sequencer: str = "0055AED6DCD90281E5",
    bucket: str = "media",
    **item: object,
) -> dict[str, object]:
    """One native record; ``key`` as it stands on the wire."""
    return {
        "eventVersion": "2.1",
        "eventSource": source,
        "eventTime": "2026-01-02T03:04:05.678Z",
        "eventName": native,
        "s3": {
            "bucket": {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"},
            "object": {"key": key, "size": 7, "eTag": "abc", "sequencer": sequencer, **item},
        },
    }


def s3(*records: dict[str, object]) -> dict[str, object]:
    """A native notification."""
    return {"Records": list(records) or [s3_record()]}


def sns(message: object) -> dict[str, object]:
    """An SNS notification around a message."""
    return {
        "Type": "Notification",
        "MessageId": "sns-1",
        "TopicArn": SNS_TOPIC,
        "Message": message if isinstance(message, str) else json.dumps(message),
        "Timestamp": "2026-01-02T03:04:06.000Z",
    }


def sqs_lambda(*bodies: object) -> dict[str, object]:
    """What Lambda is given for messages of a queue."""
    return {
        "Records": [
            {
                "messageId": f"m{number}",
                "receiptHandle": "r",
                "body": body if isinstance(body, str) else json.dumps(body),
                "attributes": {"ApproximateReceiveCount": "2"},
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:q",
            }
            for number, body in enumerate(bodies)
        ]
    }


def sqs_boto3(*bodies: object) -> dict[str, object]:
    """What boto3's ``receive_message`` gives."""
    return {"Messages": [{"MessageId": "m0", "ReceiptHandle": "r", "Body": json.dumps(body)} for body in bodies]}


def eventbridge(key: str = "a b.txt", native: str = "Object Created", **detail: object) -> dict[str, object]:
    """An EventBridge event of S3; keys are as they are."""
    item = {"key": key, "size": 7, "etag": "abc", "sequencer": "55AED6DCD90281E5"}
    return {
        "version": "0",
        "id": "eb-1",
        "detail-type": native,
        "source": "aws.s3",
        "time": "2026-01-02T03:04:05Z",
        "detail": {"bucket": {"name": "media"}, "object": item, "reason": "PutObject", **detail},
    }


def gcs_attributes(key: str = "a b.txt", native: str = "OBJECT_FINALIZE", **more: str) -> dict[str, str]:
    """The attributes of a Cloud Storage notification."""
    return {
        "eventType": native,
        "payloadFormat": "NONE",
        "bucketId": "media",
        "objectId": key,
        "objectGeneration": "1700000000000001",
        "eventTime": "2026-01-02T03:04:05.678901Z",
        **more,
    }


def pubsub_push(attributes: dict[str, str], payload: object = None) -> dict[str, object]:
    """A wrapped Pub/Sub push."""
    message: dict[str, object] = {"attributes": attributes, "messageId": "p-1"}
    if payload is not None:
        message["data"] = base64.b64encode(json.dumps(payload).encode()).decode()
    return {"message": message, "subscription": "projects/p/subscriptions/s"}


def eventgrid(
    key: str = "a b.txt", native: str = "Microsoft.Storage.BlobCreated", *, topic: str = ACCOUNT, **data: object
) -> dict[str, object]:
    """An event in Event Grid's schema; names in ``subject`` are as they are."""
    return {
        "topic": topic,
        "subject": f"/blobServices/default/containers/media/blobs/{key}",
        "eventType": native,
        "id": "eg-1",
        "eventTime": "2026-01-02T03:04:05.6789012Z",
        "data": {"api": "PutBlob", "eTag": "0x1", "contentLength": 7, "sequencer": "0" * 31 + "1", **data},
        "dataVersion": "",
    }


def validation(topic: str = ACCOUNT) -> dict[str, object]:
    """Event Grid's handshake."""
    return {
        "id": "v-1",
        "topic": topic,
        "subject": "",
        "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
        "eventTime": "2026-01-02T03:04:05Z",
        "data": {"validationCode": "code-1", "validationUrl": "https://rp.eventgrid.azure.net/validate?id=1"},
    }


def azure_cloudevent(key: str = "a b.txt") -> dict[str, object]:
    """The same as a CloudEvent."""
    return {
        "specversion": "1.0",
        "id": "ce-1",
        "source": ACCOUNT,
        "type": "Microsoft.Storage.BlobCreated",
        "subject": f"/blobServices/default/containers/media/blobs/{key}",
        "time": "2026-01-02T03:04:05Z",
        "data": {"api": "PutBlockList", "contentLength": 7},
    }


def r2(key: str = "a b.txt") -> dict[str, object]:
    """A Cloudflare R2 notification."""
    return {
        "account": "x",
        "action": "PutObject",
        "bucket": "media",
        "object": {"key": key, "size": 7, "eTag": "abc"},
        "eventTime": "2026-01-02T03:04:05.678Z",
    }


def deliveries(key: str) -> dict[str, object]:
    """The same key as each provider writes it."""
    wire = quote_plus(key)
    return {
        "aws": s3(s3_record(wire)),
        "minio": s3(s3_record(wire, source="minio:s3", native="s3:ObjectCreated:Put")),
        "ceph": s3(s3_record(key, source="ceph:s3", sequencer="F7E6D75DC742D108")),
        "eventbridge": eventbridge(key),
        "r2": r2(key),
        "sqs": sqs_lambda(s3(s3_record(wire))),
        "sns": sns(s3(s3_record(wire))),
        "sqs of sns": sqs_boto3(sns(s3(s3_record(wire)))),
        "pubsub": pubsub_push(gcs_attributes(key)),
        "event grid": [eventgrid(key)],
        "cloudevent": azure_cloudevent(key),
        "storage queue": base64.b64encode(json.dumps(eventgrid(key)).encode()),
    }
