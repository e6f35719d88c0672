"""Events that a Ceph RADOS Gateway pushes over HTTP, to a webhook that is killed while it stores.

``bash tests/conformance/wide/rgw.sh`` installs it, starts it and runs this; elsewhere ``BLOBKIT_RGW`` names its endpoint.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import boto3
import pytest
from tests.servers.consumer import handled
from tests.servers.webhook import webhook, webhook_that_dies

ENDPOINT: Final = os.environ.get("BLOBKIT_RGW", "")
if not ENDPOINT:
    pytest.skip("a Ceph RADOS Gateway: bash tests/conformance/wide/rgw.sh", allow_module_level=True)

USER, PASSWORD = "pusher", "s3cret"
KEYS: Final = ["plain.txt", "a+b %2F é 🎈.txt", "nested/x y.bin", *[f"n/{number}" for number in range(6)]]
PATIENCE: Final = 120.0  # the gateway looks for new topics every half minute
HALTED: Final = 75.0  # it tries again at once what was refused a moment ago: longer than this is for good


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


@contextmanager
def pushed_to(server: socket.socket) -> Iterator[str]:
    """A bucket whose changes are pushed to this socket; the gateway keeps what was not taken."""
    s3, sns, name = client("s3"), client("sns"), f"pushing-{uuid.uuid4().hex[:12]}"
    address = f"http://{USER}:{PASSWORD}@127.0.0.1:{server.getsockname()[1]}/"
    # The gateway takes a password only over TLS, or what a proxy says was TLS.
    sns.meta.events.register("before-send", _as_a_proxy_does)
    topic = sns.create_topic(Name=name, Attributes={"push-endpoint": address, "persistent": "true"})["TopicArn"]
    s3.create_bucket(Bucket=name)
    config = {"Id": name, "TopicArn": topic, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}
    s3.put_bucket_notification_configuration(Bucket=name, NotificationConfiguration={"TopicConfigurations": [config]})
    try:
        yield name
    finally:
        sns.delete_topic(TopicArn=topic)


def test_nothing_is_lost_with_a_webhook_that_refuses_first_and_is_killed_while_it_stores(tmp_path: Path) -> None:
    """A queue of the gateway that comes to a halt is left, and another is filled: it must be told of whole."""
    halts: list[str] = []
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        try:
            with socket.create_server(("127.0.0.1", 0), backlog=64) as server, pushed_to(server) as bucket:
                _refuse_and_die(server, bucket, folder)
            return
        except TimeoutError as error:
            halts.append(str(error))
    pytest.fail(f"the gateway did not push for {HALTED:.0f} s, three times: {halts}")


def _refuse_and_die(server: socket.socket, bucket: str, folder: Path) -> None:
    s3, journal, refused = client("s3"), folder / "journal", folder / "refused"
    for key in KEYS:
        s3.put_object(Bucket=bucket, Key=key, Body=b"hello")
    with webhook(server, USER, "another password", refused):
        _wait_for(lambda: "holds another secret" in refused.with_suffix(".log").read_text(errors="replace"))
    assert not handled(refused)
    webhook_that_dies(server, USER, PASSWORD, journal, 3, patience=HALTED)
    with webhook(server, USER, PASSWORD, journal):
        s3.delete_object(Bucket=bucket, Key=KEYS[0])
        upload = s3.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
        part = s3.upload_part(Bucket=bucket, Key="parts", UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
        s3.complete_multipart_upload(
            Bucket=bucket,
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
