"""Real delivery by every way from S3 into SQS, on moto's server: duplicated, and with consumers killed in mid-batch.

What moto cannot show: its EventBridge events all have one id and one sequencer. It tells of tags with every object too.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from tests.servers.consumer import consume, consume_and_die, handled
from tests.servers.moto import moto
from tests.servers.processes import ENVIRONMENT

import blobkit
from blobkit.errors import NotFound
from blobkit.events.deadletters import DirectoryDeadLetters

REGION = "us-east-1"
ACCOUNT = "123456789012"
KEYS = ["plain.txt", "a+b %2F #?é 🎈.txt", "nested/x y.bin", *[f"n/{number}" for number in range(9)]]
SOON = timedelta(seconds=20)


@dataclass(frozen=True)
class Amazon:
    """Clients of one server."""

    endpoint: str

    def client(self, service: str) -> Any:
        """A client."""
        keys = {
            "aws_access_key_id": ENVIRONMENT["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": ENVIRONMENT["AWS_SECRET_ACCESS_KEY"],
        }
        make: Any = boto3.client
        return make(service, endpoint_url=self.endpoint, region_name=REGION, **keys)

    def url(self, queue: str, **options: str) -> str:
        """The source's URL."""
        more = "".join(f"&{name}={value}" for name, value in options.items())
        return f"sqs://{queue}?region={REGION}&endpoint={self.endpoint}{more}"


@pytest.fixture(scope="module")
def amazon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Amazon]:
    with pytest.MonkeyPatch.context() as patch, moto(tmp_path_factory.mktemp("moto")) as endpoint:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        yield Amazon(endpoint)


def wire(amazon: Amazon, bucket: str, way: str) -> str:
    """A bucket whose events arrive in a queue of the same name, by that way; returns the queue's URL."""
    s3, sqs = amazon.client("s3"), amazon.client("sqs")
    s3.create_bucket(Bucket=bucket)
    url: str = sqs.create_queue(QueueName=bucket)["QueueUrl"]
    arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{bucket}"
    events = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]
    config: dict[str, object]
    if way == "direct":
        config = {"QueueConfigurations": [{"QueueArn": arn, "Events": events}]}
    elif way.startswith("topic"):
        sns = amazon.client("sns")
        topic = sns.create_topic(Name=bucket)["TopicArn"]
        raw = {"RawMessageDelivery": "true"} if way == "topic, raw" else {}
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=raw)
        config = {"TopicConfigurations": [{"TopicArn": topic, "Events": events}]}
    else:
        bridge = amazon.client("events")
        pattern = {"source": ["aws.s3"], "detail": {"bucket": {"name": [bucket]}}}
        bridge.put_rule(Name=bucket, EventPattern=json.dumps(pattern), State="ENABLED")
        bridge.put_targets(Rule=bucket, Targets=[{"Id": "queue", "Arn": arn}])
        config = {"EventBridgeConfiguration": {}}
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=config)
    return url


WAYS = {
    "direct": ("sqs",),
    "topic": ("sqs", "sns"),
    "topic, raw": ("sqs",),
    "eventbridge": ("sqs", "eventbridge"),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_event_arrives_in_its_shells(amazon: Amazon, way: str) -> None:
    bucket = f"shells-{list(WAYS).index(way)}"
    wire(amazon, bucket, way)
    found: list[blobkit.BlobEvent] = []
    with blobkit.open_events(amazon.url(bucket)) as source:
        for delivery in source.receive(wait=timedelta(0)):  # the test event of some ways
            assert not delivery.events
            delivery.ack()
        amazon.client("s3").put_object(Bucket=bucket, Key=KEYS[1], Body=b"hello")
        for delivery in source.receive(wait=SOON):
            assert delivery.events.errors == ()
            found.extend(delivery.events)
            delivery.ack()
    (event,) = (event for event in found if event.kind != "metadata_changed")
    assert (event.key, event.bucket, event.kind, event.size) == (KEYS[1], bucket, "created", 5)
    assert event.transport is not None
    assert event.transport.shells == WAYS[way]


@pytest.mark.parametrize("way", ["direct", "topic", "eventbridge"])
def test_nothing_is_lost_with_a_consumer_that_is_killed_in_mid_batch(amazon: Amazon, way: str, tmp_path: Path) -> None:
    bucket = f"killed-{list(WAYS).index(way)}"
    queue, s3, sqs = wire(amazon, bucket, way), amazon.client("s3"), amazon.client("sqs")
    for key in KEYS:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    s3.delete_object(Bucket=bucket, Key=KEYS[0])
    # Duplicates, as SQS makes them: the same bodies once more.
    copies = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, VisibilityTimeout=0)["Messages"]
    for copy in copies:
        sqs.send_message(QueueUrl=queue, MessageBody=copy["Body"])
    journal, url = tmp_path / "journal", amazon.url(bucket, lease="2")
    consume_and_die(url, journal, 3)
    consume(url, journal, len(KEYS) + 1 + (len(KEYS) if way == "eventbridge" else 0))
    times = Counter({event: count for event, count in handled(journal).items() if event[1] != "metadata_changed"})
    assert {key for _, kind, key in times if kind == "created"} == set(KEYS)
    assert {key for _, kind, key in times if kind == "deleted"} == {KEYS[0]}
    assert len(times) == len(KEYS) + 1, "each change has one dedupe_key, however often it came"
    assert times.total() > len(times)
    left = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert (left["ApproximateNumberOfMessages"], left["ApproximateNumberOfMessagesNotVisible"]) == ("0", "0")


def test_a_message_is_retried_later_extended_and_rejected_with_its_bytes(amazon: Amazon, tmp_path: Path) -> None:
    sqs = amazon.client("sqs")
    queue = sqs.create_queue(QueueName="verbs")["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody="no JSON é")
    with blobkit.open_events(amazon.url("verbs", lease="1"), dead_letters=tmp_path / "dead") as source:
        (first,) = source.receive(wait=SOON)
        assert first.attempt == 1
        first.retry(timedelta(0))
        (again,) = source.receive(wait=SOON)
        assert again.attempt == 2
        # Its lease of one second is extended as long as it is not settled.
        assert source.receive(wait=timedelta(seconds=3)) == []
        again.reject("not JSON")
        assert isinstance(source.dead_letters, DirectoryDeadLetters)
        (letter,) = source.dead_letters
        assert (letter.raw, letter.reason) == ("no JSON é".encode(), "not JSON")
    attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert attributes["ApproximateNumberOfMessages"] == "0"


def test_a_queue_that_is_not_there_says_so(amazon: Amazon) -> None:
    with blobkit.open_events(amazon.url("nowhere")) as source, pytest.raises(NotFound) as caught:
        source.receive(wait=timedelta(0))
    assert (caught.value.provider, caught.value.operation) == ("s3", "receive")
