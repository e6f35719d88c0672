"""Events that a Ceph RADOS Gateway pushes over HTTP, to a webhook that is killed while it stores.

``bash tests/conformance/wide/rgw.sh`` installs it, starts it and runs this; elsewhere ``BLOBKIT_RGW`` names its endpoint.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import boto3
import pytest
from tests.servers.consumer import handled
from tests.servers.processes import free_port
from tests.servers.webhook import webhook, webhook_that_dies

ENDPOINT: Final = os.environ.get("BLOBKIT_RGW", "")
if not ENDPOINT:
    pytest.skip("a Ceph RADOS Gateway: bash tests/conformance/wide/rgw.sh", allow_module_level=True)

USER, PASSWORD = "pusher", "s3cret"
KEYS: Final = ["plain.txt", "a+b %2F é 🎈.txt", "nested/x y.bin", *[f"n/{number}" for number in range(6)]]
PATIENCE: Final = 120.0  # the gateway looks for new topics every half minute


def client(service: str) -> Any:
    """A client of the gateway."""
    make: Any = boto3.client
    return make(
        service,
        endpoint_url=ENDPOINT,
        region_name="default",
        aws_access_key_id="testkey",
        aws_secret_access_key="testsecret",
    )


def _as_a_proxy_does(request: Any, **_: object) -> None:
    """Say that the request came over TLS."""
    request.headers["X-Forwarded-Proto"] = "https"


@pytest.fixture
def port() -> Iterator[int]:
    """A bucket whose changes are pushed to this port; the gateway keeps what was not taken."""
    port, s3, sns = free_port(), client("s3"), client("sns")
    address = f"http://{USER}:{PASSWORD}@127.0.0.1:{port}/"
    # The gateway takes a password only over TLS, or what a proxy says was TLS.
    sns.meta.events.register("before-send", _as_a_proxy_does)
    topic = sns.create_topic(Name="uploads", Attributes={"push-endpoint": address, "persistent": "true"})["TopicArn"]
    s3.create_bucket(Bucket="pushing")
    config = {"Id": "uploads", "TopicArn": topic, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}
    s3.put_bucket_notification_configuration(
        Bucket="pushing", NotificationConfiguration={"TopicConfigurations": [config]}
    )
    yield port
    sns.delete_topic(TopicArn=topic)


def test_nothing_is_lost_with_a_webhook_that_refuses_first_and_is_killed_while_it_stores(
    port: int, tmp_path: Path
) -> None:
    s3, journal, refused = client("s3"), tmp_path / "journal", tmp_path / "refused"
    for key in KEYS:
        s3.put_object(Bucket="pushing", Key=key, Body=b"hello")
    with webhook(port, USER, "another password", refused):
        _wait_for(lambda: "holds another secret" in refused.with_suffix(".log").read_text(errors="replace"))
    assert not handled(refused)
    webhook_that_dies(port, USER, PASSWORD, journal, 3)
    with webhook(port, USER, PASSWORD, journal):
        s3.delete_object(Bucket="pushing", Key=KEYS[0])
        upload = s3.create_multipart_upload(Bucket="pushing", Key="parts")["UploadId"]
        part = s3.upload_part(Bucket="pushing", Key="parts", UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
        s3.complete_multipart_upload(
            Bucket="pushing",
            Key="parts",
            UploadId=upload,
            MultipartUpload={"Parts": [{"ETag": part, "PartNumber": 1}]},
        )
        _wait_for(lambda: _complete(journal))
    times = handled(journal)
    assert {key for _, kind, key in times if kind == "created"} == {*KEYS, "parts"}
    assert {key for _, kind, key in times if kind == "deleted"} == {KEYS[0]}
    assert times.total() > len(times), "what was stored and not answered is pushed again, with the same dedupe_key"


def _wait_for(condition: Callable[[], bool]) -> None:
    """The gateway pushes when it likes, into another process: there is nothing to wait on."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def _complete(journal: Path) -> bool:
    seen = {(kind, key) for _, kind, key in handled(journal)}
    return {*(("created", key) for key in (*KEYS, "parts")), ("deleted", KEYS[0])} <= seen
