"""fake-gcs-server's notifications through Google's Pub/Sub emulator: duplicated, with a consumer that is killed in mid-batch.

What they cannot show: authentication, exactly-once delivery, and the two linked halves of an overwrite.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import urllib3
from tests.servers.consumer import consume, consume_and_die, handled
from tests.servers.pubsub import PROJECT, fake_gcs, lacking, pubsub_emulator

import blobkit
from blobkit.errors import NotFound
from blobkit.events.deadletters import DirectoryDeadLetters

TOPIC = "storage-events"
KEYS = ["plain.txt", "a+b %2F #?é 🎈.txt", "nested/x y.bin", *[f"n/{number}" for number in range(20)]]
SOON = timedelta(seconds=20)
if reason := lacking():
    pytest.skip(reason, allow_module_level=True)


class Cloud:
    """Both servers, over their HTTP APIs."""

    def __init__(self, emulator: str, storage: str) -> None:
        self.emulator, self.storage = emulator, storage
        self._http = urllib3.PoolManager(retries=False)

    def call(self, method: str, url: str, body: bytes | None = None, content_type: str = "application/json") -> Any:
        """One request; its answer as JSON. Raises RuntimeError for a refusal."""
        reply = self._http.request(method, url, body=body, headers={"Content-Type": content_type})
        if reply.status >= 300:
            raise RuntimeError(f"{method} {url}: {reply.status} {reply.data!r}")
        return json.loads(reply.data) if reply.data.strip() else None

    def pubsub(self, method: str, path: str, body: object) -> Any:
        """One call of Pub/Sub."""
        return self.call(method, f"http://{self.emulator}/v1/projects/{PROJECT}/{path}", json.dumps(body).encode())

    def subscribe(self, name: str) -> str:
        """A subscription; gives the source's URL."""
        topic = f"projects/{PROJECT}/topics/{TOPIC}"
        self.pubsub("PUT", f"subscriptions/{name}", {"topic": topic, "ackDeadlineSeconds": 10})
        return f"pubsub://{PROJECT}/{name}?emulator={self.emulator}&lease=10"

    def put(self, key: str, data: bytes = b"x") -> None:
        """An object of the bucket."""
        url = f"{self.storage}/upload/storage/v1/b/media/o?uploadType=media&name={quote(key, safe='')}"
        self.call("POST", url, data, "text/plain")

    def delete(self, key: str) -> None:
        """Delete an object."""
        self.call("DELETE", f"{self.storage}/storage/v1/b/media/o/{quote(key, safe='')}")

    def close(self) -> None:
        """Close connections."""
        self._http.clear()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("pubsub")
    with pubsub_emulator(folder) as emulator, fake_gcs(folder, emulator, TOPIC) as storage:
        cloud = Cloud(emulator, storage)
        cloud.pubsub("PUT", f"topics/{TOPIC}", {})
        cloud.call("POST", f"{storage}/storage/v1/b?project={PROJECT}", b'{"name": "media"}')
        yield cloud
        cloud.close()


def test_nothing_is_lost_with_a_consumer_that_is_killed_in_mid_batch(cloud: Cloud, tmp_path: Path) -> None:
    url = cloud.subscribe("killed")
    for key in KEYS:
        cloud.put(key)
    cloud.delete(KEYS[0])
    # A notification once more, as two configurations of one bucket send it.
    again = cloud.pubsub("POST", "subscriptions/killed:pull", {"maxMessages": 5})["receivedMessages"]
    messages = [{name: item["message"][name] for name in ("attributes", "data")} for item in again]
    cloud.pubsub("POST", f"topics/{TOPIC}:publish", {"messages": messages})
    ids = [item["ackId"] for item in again]
    cloud.pubsub("POST", "subscriptions/killed:modifyAckDeadline", {"ackIds": ids, "ackDeadlineSeconds": 0})

    journal = tmp_path / "journal"
    consume_and_die(url, journal, 7)
    consume(url, journal, len(KEYS) + 1)  # what the first one held comes when its deadline has passed
    times = handled(journal)
    assert {key for _, kind, key in times if kind == "created"} == set(KEYS)
    assert {key for _, kind, key in times if kind == "deleted"} == {KEYS[0]}
    assert len(times) == len(KEYS) + 1
    assert times.total() > len(times)


def test_a_message_is_retried_and_rejected_with_its_bytes(cloud: Cloud, tmp_path: Path) -> None:
    url = cloud.subscribe("verbs")
    with blobkit.open_events(url, dead_letters=tmp_path / "dead") as source:
        cloud.put("a b")
        (first,) = source.receive(wait=SOON)
        assert first.events[0].transport is not None
        assert first.events[0].transport.source == f"projects/{PROJECT}/subscriptions/verbs"
        first.retry(timedelta(0))
        (again,) = source.receive(wait=SOON)
        assert [event.key for event in again.events] == ["a b"]
        again.reject("not wanted")
        assert isinstance(source.dead_letters, DirectoryDeadLetters)
        (letter,) = source.dead_letters
        assert letter.attributes["objectId"] == "a b"
        assert json.loads(letter.raw)["name"] == "a b"
        assert source.receive(wait=timedelta(seconds=2)) == []


def test_what_a_closed_source_held_comes_to_another(cloud: Cloud) -> None:
    url = cloud.subscribe("handed-on")
    for number in range(5):
        cloud.put(f"h/{number}")
    first = blobkit.open_events(url)
    held: list[blobkit.Delivery] = []
    while len(held) < 5:
        held += first.receive(wait=SOON)
    held[0].ack()
    first.close()
    found: set[str] = set()
    with blobkit.open_events(url) as second:
        while len(found) < 4:
            taken = second.receive(wait=SOON)
            found |= {event.key for delivery in taken for event in delivery.events}
            second.ack(taken)
    assert found == {delivery.events[0].key for delivery in held[1:]}


def test_a_subscription_that_is_not_there_says_so(cloud: Cloud) -> None:
    with (
        blobkit.open_events(f"pubsub://{PROJECT}/nowhere?emulator={cloud.emulator}") as source,
        pytest.raises(NotFound) as caught,
    ):
        source.receive(wait=SOON)
    assert caught.value.provider == "gcs"
