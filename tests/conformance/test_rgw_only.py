"""What only a server with STS and a clock of its own can show: temporary keys, and how a wrong clock is told.

As ``test_rgw``: ``bash tests/conformance/wide/rgw.sh`` starts the gateway; elsewhere ``BLOBKIT_RGW`` names its endpoint.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from unittest import mock

import boto3
import botocore.auth
import httpx
import pytest

import blobkit
from blobkit.errors import ClockSkew, InvalidExpiry, PermissionDenied
from blobkit.signed import SignedRequest
from blobkit.store import Store
from blobkit.testing.clock import FakeClock

ENDPOINT: Final = os.environ.get("BLOBKIT_RGW", "")
if not ENDPOINT:
    pytest.skip("a Ceph RADOS Gateway: bash tests/conformance/wide/rgw.sh", allow_module_level=True)

KEYS: Final = {"aws_access_key_id": "testkey", "aws_secret_access_key": "testsecret"}
BUCKET: Final = "temporary"
REFUSED: Final = (400, 403)  # 400: a token that RGW cannot decrypt
DATA: Final = b"moved with temporary keys"
SEALING: Final = blobkit.Keyring.from_text("k:" + "aw" * 21 + "a=")


def service(name: str) -> Any:
    client: Any = boto3.client(name, endpoint_url=ENDPOINT, region_name="us-east-1", **KEYS)  # type: ignore[call-overload]
    return client


@pytest.fixture(scope="module")
def temporary() -> dict[str, Any]:
    """Keys of a session, as STS gives them."""
    service("s3").create_bucket(Bucket=BUCKET)
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["sts:*"], "Resource": ["*"]}]}
    policy = json.dumps(document, separators=(",", ":"))
    service("iam").put_user_policy(UserName="test", PolicyName="sessions", PolicyDocument=policy)
    found: dict[str, Any] = service("sts").get_session_token(DurationSeconds=900)["Credentials"]
    return found


def open_with(found: dict[str, Any], more: str = "", **settings: Any) -> Store:
    env = {
        "AWS_ACCESS_KEY_ID": found["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": found["SecretAccessKey"],
        "AWS_SESSION_TOKEN": found["SessionToken"],
        "AWS_CREDENTIAL_EXPIRATION": found["Expiration"].isoformat(),
    }
    url = f"s3://{BUCKET}/{uuid.uuid4().hex}/?profile=ceph&versioning=off&endpoint={ENDPOINT}{more}"
    return blobkit.open_store(url, env=env, sealing=SEALING, **settings)


@pytest.fixture
def store(temporary: dict[str, Any]) -> Iterator[Store]:
    with open_with(temporary) as opened:
        yield opened


def send(request: SignedRequest, *, url: str | None = None, fields: dict[str, str] | None = None) -> httpx.Response:
    with httpx.Client(trust_env=False) as client:
        if request.fields is not None:
            return client.post(request.url.reveal(), data=fields or dict(request.fields), files={"file": ("f", DATA)})
        return client.request(request.method, url or request.url.reveal(), headers=dict(request.headers), content=DATA)


def altered(url: str) -> list[str]:
    """The URL without its token, and with one character of it changed."""
    head, _, rest = url.partition("&X-Amz-Security-Token=")
    token, _, tail = rest.partition("&")
    middle = len(token) // 2
    while token[middle - 2 : middle + 1].count("%"):  # not inside an escape
        middle += 1
    other = token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]
    return [f"{head}&{tail}", f"{head}&X-Amz-Security-Token={other}&{tail}"]


def test_urls_of_temporary_keys_work_and_fail_without_their_token_or_with_another(store: Store) -> None:
    put = store.sign_upload("k", content_type="text/plain", expires_in=timedelta(minutes=5))
    for url in altered(put.url.reveal()):
        assert send(put, url=url).status_code in REFUSED
        assert not store.exists("k")
    assert send(put).status_code == 200
    get = store.sign_download("k", expires_in=timedelta(minutes=5))
    with httpx.Client(trust_env=False) as client:
        for url in altered(get.url.reveal()):
            assert client.get(url).status_code in REFUSED
        assert client.get(get.url.reveal()).content == DATA


def test_a_form_of_temporary_keys_works_and_fails_without_its_token_or_with_another(store: Store) -> None:
    form = store.sign_upload("f", min_size=1, max_size=100, expires_in=timedelta(minutes=5))
    assert form.fields is not None
    token = form.fields["x-amz-security-token"]
    without = {name: value for name, value in form.fields.items() if name != "x-amz-security-token"}
    assert send(form, fields=without).status_code == 403
    assert send(form, fields={**without, "x-amz-security-token": token[:-4] + "AAAA"}).status_code == 403
    assert not store.exists("f")
    assert send(form).status_code == 204


def test_a_session_of_temporary_keys_is_completed(store: Store) -> None:
    session = store.start_upload("s", size=len(DATA))
    (chunk,) = session.sign_chunks(expires_in=timedelta(minutes=5))
    with httpx.Client(trust_env=False) as client:
        for url in altered(chunk.url.reveal()):
            assert client.put(url, content=DATA).status_code in REFUSED
        assert session.status().received == ()
        assert client.put(chunk.url.reveal(), content=DATA).status_code == 200
    assert session.complete().size == len(DATA)


def test_nothing_is_signed_for_longer_than_temporary_keys_last(temporary: dict[str, Any], store: Store) -> None:
    with pytest.raises(InvalidExpiry, match="credentials end"):
        store.sign_download("k", expires_in=timedelta(hours=1))
    with open_with(temporary, "&on_short_credentials=cap") as capping:
        request = capping.sign_download("k", expires_in=timedelta(hours=1))
        assert request.expires_at == temporary["Expiration"].replace(microsecond=0)


def test_a_clock_that_is_an_hour_behind_is_told(store: Store) -> None:
    late = datetime.now(UTC) - timedelta(hours=1)
    plain = {"s3v4": botocore.auth.S3SigV4Auth}
    with (
        mock.patch.object(botocore.auth, "get_current_datetime", return_value=late),
        mock.patch.dict(botocore.auth.AUTH_TYPE_MAPS, plain),
        pytest.raises(ClockSkew) as failure,
    ):
        store.write("k", b"1")
    assert failure.value.code == "RequestTimeTooSkewed"
    assert failure.value.request_id
    assert failure.value.hint


def test_a_stolen_key_pair_without_its_token_is_refused(temporary: dict[str, Any]) -> None:
    env = {"AWS_ACCESS_KEY_ID": temporary["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": temporary["SecretAccessKey"]}
    url = f"s3://{BUCKET}/?profile=ceph&versioning=off&endpoint={ENDPOINT}"
    with blobkit.open_store(url, env=env) as store, pytest.raises(PermissionDenied):
        store.write("k", b"1")


def test_a_url_begins_a_minute_early_for_servers_whose_clock_is_behind(temporary: dict[str, Any]) -> None:
    ahead = FakeClock.ago(timedelta(seconds=-30))
    with open_with(temporary, clock=ahead) as early:
        early.write("k", DATA)
        request = early.sign_download("k", expires_in=timedelta(minutes=1))
    stamp = request.url.reveal().partition("X-Amz-Date=")[2][:16]
    assert datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) <= datetime.now(UTC)
    with httpx.Client(trust_env=False) as client:
        assert client.get(request.url.reveal()).status_code == 200
