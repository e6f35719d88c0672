"""Events in an Azure Storage Queue, on Azurite: duplicated, and with a consumer that is killed in mid-batch.

What Azurite cannot show: Event Grid. The messages are put here, in base64 as Event Grid writes them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.servers.azurite import ACCOUNT, KEY
from tests.servers.azurite_queue import azurite_queue, lacking
from tests.servers.consumer import consume, consume_and_die, handled

import blobkit
from blobkit.errors import NotFound, PermissionDenied
from blobkit.events.deadletters import DirectoryDeadLetters

KEYS = ["plain.txt", "a+b %2F #?é 🎈.txt", *[f"n/{number}" for number in range(18)]]
SOON = timedelta(seconds=20)
if reason := lacking():
    pytest.skip(reason, allow_module_level=True)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with azurite_queue(tmp_path_factory.mktemp("azurite")) as endpoint:
        yield endpoint


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", ACCOUNT)
    monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)


def queue_of(endpoint: str, name: str) -> Any:
    """A new queue's client."""
    from azure.storage.queue import QueueClient

    credential: Any = {"account_name": ACCOUNT, "account_key": KEY}
    client = QueueClient(endpoint, name, credential=credential)
    client.create_queue()
    return client


def url(endpoint: str, name: str, **options: str) -> str:
    """The source's URL."""
    return f"azqueue://{ACCOUNT}/{name}?endpoint={endpoint}" + "".join(f"&{k}={v}" for k, v in options.items())


def event(number: int, key: str, kind: str = "BlobCreated") -> str:
    """A message as Event Grid writes it."""
    body = {
        "topic": f"/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/{ACCOUNT}",
        "subject": f"/blobServices/default/containers/media/blobs/{key}",
        "eventType": f"Microsoft.Storage.{kind}",
        "id": f"e-{number}",
        "eventTime": "2026-01-02T03:04:05.6789012Z",
        "data": {"api": "PutBlob" if kind == "BlobCreated" else "DeleteBlob", "contentLength": 7},
        "dataVersion": "",
    }
    return base64.b64encode(json.dumps(body).encode()).decode()


def test_nothing_is_lost_with_a_consumer_that_is_killed_in_mid_batch(endpoint: str, tmp_path: Path) -> None:
    queue = queue_of(endpoint, "killed")
    bodies = [event(number, key) for number, key in enumerate(KEYS)]
    for body in (*bodies, *bodies[:5]):  # with duplicates
        queue.send_message(body)
    queue.send_message(event(1000, KEYS[0], "BlobDeleted"))
    journal, source = tmp_path / "journal", url(endpoint, "killed", lease="2")
    consume_and_die(source, journal, 7)
    consume(source, journal, len(KEYS) + 1)
    times = handled(journal)
    assert {key for _, kind, key in times if kind == "created"} == set(KEYS)
    assert {key for _, kind, key in times if kind == "deleted"} == {KEYS[0]}
    assert len(times) == len(KEYS) + 1
    assert times.total() > len(times)
    assert queue.get_queue_properties().approximate_message_count == 0
    queue.close()


def test_a_message_is_retried_later_extended_and_rejected_with_its_bytes(endpoint: str, tmp_path: Path) -> None:
    queue = queue_of(endpoint, "verbs")
    queue.send_message("no JSON é")
    with blobkit.open_events(url(endpoint, "verbs", lease="1"), dead_letters=tmp_path / "dead") as source:
        (first,) = source.receive(wait=SOON)
        first.retry(timedelta(0))
        (again,) = source.receive(wait=SOON)
        assert (first.attempt, again.attempt) == (1, 2)
        # Its lease of one second is extended as long as it is not settled, and its receipt with it.
        assert source.receive(wait=timedelta(seconds=3)) == []
        again.reject("not JSON")
        assert isinstance(source.dead_letters, DirectoryDeadLetters)
        (letter,) = source.dead_letters
        assert (letter.raw, letter.reason) == ("no JSON é".encode(), "not JSON")
        assert source.receive(wait=timedelta(0)) == []
    assert queue.get_queue_properties().approximate_message_count == 0
    queue.close()


def test_a_message_that_somebody_else_took_is_no_error(endpoint: str) -> None:
    queue = queue_of(endpoint, "taken")
    queue.send_message(event(1, "k"))
    with blobkit.open_events(url(endpoint, "taken")) as first, blobkit.open_events(url(endpoint, "taken")) as second:
        (late,) = first.receive(wait=SOON)
        first.receiver.retry(late.message, 0.0)
        late.message.receipt = "AgAAAAMAAAAAAAAA"  # of an earlier lease
        (holder,) = second.receive(wait=SOON)
        late.ack()
        holder.ack()
    queue.close()


def test_what_cannot_be_read_says_why(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with blobkit.open_events(url(endpoint, "nowhere")) as source, pytest.raises(NotFound) as caught:
        source.receive(wait=timedelta(0))
    assert (caught.value.provider, caught.value.code) == ("azure", "QueueNotFound")
    monkeypatch.setenv("AZURE_STORAGE_KEY", base64.b64encode(b"another key").decode())
    with blobkit.open_events(url(endpoint, "nowhere")) as source, pytest.raises(PermissionDenied):
        source.receive(wait=timedelta(0))
