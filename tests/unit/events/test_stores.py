"""A store keeps what is its own, and the embedded store's webhook and listener tell the same."""

from __future__ import annotations

from pathlib import Path

import blobkit
from blobkit import BlobEvent, aio
from blobkit.events.keeping import keep_for
from blobkit_local.changes import Change, to_cloudevent, to_event

from . import samples


def changes(store: blobkit.Store) -> list[BlobEvent]:
    """What the store tells of a file that is written and deleted."""
    told: list[BlobEvent] = []
    stop = store.subscribe(told.append)
    assert stop is not None
    store.write("é +%.txt", b"hello")
    store.delete("é +%.txt")
    stop()
    return told


def test_the_webhooks_document_parses_to_the_event_that_listeners_are_told() -> None:
    with blobkit.open_store("memory://events-webhook") as store:
        info = store.write("k ü+%", b"x", content_type="text/plain")
        change = Change("created", "memory", "events-webhook", info, info.modified, 7, "id-1")
    parsed = blobkit.parse_events(to_cloudevent(change))
    assert list(parsed) == [to_event(change)]
    assert parsed[0].dedupe_key == to_event(change).dedupe_key
    assert parsed[0].order == to_event(change).order


def document(event: BlobEvent, key: str) -> dict[str, object]:
    """A webhook's document of that event's store, for another key."""
    data = {"provider": event.provider, "bucket": event.bucket, "key": key, "sequence": "0" * 16}
    return {
        "specversion": "1.0",
        "id": key,
        "source": "urn:blobkit:local",
        "type": "blobkit.object.created",
        "data": data,
    }


def test_a_store_keeps_its_own_events_with_relative_keys(tmp_path: Path) -> None:
    with blobkit.open_store(f"local://{tmp_path}/store") as store:
        told = changes(store)
        tenant = store.at("tenants/42/")
        body = [document(told[0], "tenants/42/a"), document(told[0], "tenants/43/b"), samples.eventgrid()]
        found = tenant.parse_events(body)
        assert [(item.store, item.key, item.event.key) for item in found] == [(tenant, "a", "tenants/42/a")]
        assert [event.key for event in found.elsewhere] == ["tenants/43/b", "a b.txt"]
        again = aio.AsyncStore(tenant).parse_events(body)
        assert [item.key for item in again] == ["a"]


def test_an_azure_event_of_another_account_is_not_kept() -> None:
    parsed = blobkit.parse_events([samples.eventgrid("p/a")])
    assert [item.key for item in keep_for(parsed, "azure", "media", "p/", account="acct")] == ["a"]
    assert keep_for(parsed, "azure", "media", "p/", account="other") == []
    assert keep_for(parsed, "azure", "med", "", account="acct") == []
    assert keep_for(parsed, "s3", "media", "") == []
