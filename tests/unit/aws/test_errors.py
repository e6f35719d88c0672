"""What goes wrong with S3 is told by its own name, with the provider's words and what helps, and leaves nothing half made."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from unittest import mock

import botocore.auth
import botocore.exceptions
import pytest
from botocore.exceptions import ClientError
from tests.servers.processes import free_port

import blobkit
from blobkit import errors
from blobkit.errors import BlobkitError
from blobkit.store import Store
from blobkit_aws.errors import _CODES, _LOCAL, _STATUSES, classify

from .conftest import Opened
from .strict import REGION, Fault, StrictS3

ENV = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}


def each(*calls: Callable[[], object]) -> tuple[Callable[[], object], ...]:
    """The calls, typed."""
    return calls


def told(error: BlobkitError, code: str, status: int | None) -> None:
    """Assert that the error has the provider's words, a request id, a hint, and survives pickling."""
    assert (error.provider, error.code, error.http_status) == ("s3", code, status)
    assert error.hint, "nothing says what would help"
    if status is not None:
        assert error.request_id
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (type(error), str(error))


# --- before anything is contacted ---


def test_a_missing_region_is_an_error_and_no_guess() -> None:
    with pytest.raises(errors.ConfigError, match="region") as failure:
        blobkit.open_store("s3://media/", env=ENV)
    assert "?region=" in str(failure.value)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        with blobkit.open_store("s3://media/", env={**ENV, name: "eu-west-1"}) as store:
            assert "%2Feu-west-1%2Fs3" in store.sign_download("k").url.reveal()


@pytest.mark.parametrize(
    ("url", "env", "kind"),
    [
        ("s3://media/?region=EU West", ENV, errors.ConfigError),
        ("s3://media/?region=eu-west-1/evil", ENV, errors.ConfigError),
        ("s3://a/?region=eu-west-1", ENV, errors.ConfigError),
        ("s3://me_dia!/?region=eu-west-1", ENV, errors.ConfigError),
        ("s3://media/?region=eu-west-1&profile=nobody", ENV, errors.ConfigError),
        ("s3://media/?region=eu-west-1&profile=minio", ENV, errors.ConfigError),
        ("s3://media/?region=eu-west-1&endpoint=localhost:9000", ENV, errors.ConfigError),
        ("s3://media/?region=eu-west-1&endpoint=https://s3.example&fips=true", ENV, errors.ConfigError),
        ("s3://media/?region=cn-north-1&fips=true", ENV, errors.ConfigError),
        ("s3://media/?region=eu-west-1&sse_kms_key_id=k", ENV, errors.ConfigError),
        ("s3://media/?region=eu-west-1&tagging=a%3D1%26a%3D2", ENV, errors.ConfigError),
        ("s3://media/?region=eu-west-1&regoin=x", ENV, errors.UnknownOption),
        ("s3://media/?region=eu-west-1&secret_access_key=x", ENV, errors.ConfigError),
        ("s3://media/?region=eu-west-1", {"AWS_ACCESS_KEY_ID": "a"}, errors.CredentialsMissing),
        ("s3://media/?region=eu-west-1", {"AWS_SECRET_ACCESS_KEY": "a"}, errors.CredentialsMissing),
        ("s3://media/?region=eu-west-1&access_key_id=a", {}, errors.CredentialsMissing),
        ("s3://media/?region=eu-west-1", {**ENV, "AWS_CREDENTIAL_EXPIRATION": "soon"}, errors.ConfigError),
        ("s3://media/?profile=r2&endpoint=https://a.r2.cloudflarestorage.com&public_endpoint=https://cdn.example", ENV,
         errors.ConfigError),
        ("s3://media/?profile=spaces&region=fra1&public_endpoint=https://m.fra1.cdn.digitaloceanspaces.com", ENV,
         errors.ConfigError),
    ],
)  # fmt: skip
def test_settings_that_cannot_work_are_refused_at_start_up(
    url: str, env: dict[str, str], kind: type[BlobkitError]
) -> None:
    with pytest.raises(kind) as failure:
        blobkit.open_store(url, env=env)
    assert type(failure.value) is kind or kind is errors.ConfigError


def test_an_access_point_has_a_host_of_its_own() -> None:
    arn = "arn:aws:s3:eu-west-1:123456789012:accesspoint/reports"
    for option in ("endpoint", "public_endpoint"):
        with pytest.raises(errors.ConfigError, match="own host"):
            blobkit.open_store({"provider": "s3", "bucket": arn, option: "https://s3.example"}, env=ENV)


# --- at the server ---


def test_a_bucket_that_is_not_there(opened: Opened) -> None:
    store = opened(bucket="elsewhere")
    for call in each(
        lambda: store.stat("k"),
        lambda: store.write("k", b"1"),
        lambda: store.start_upload("k", size=1),
        lambda: list(store.list()),
    ):
        with pytest.raises(errors.BucketNotFound) as failure:
            call()
        told(failure.value, "NoSuchBucket", 404)


def test_a_wrong_region(server: StrictS3) -> None:
    env = {"AWS_ACCESS_KEY_ID": "AKIASTRICT", "AWS_SECRET_ACCESS_KEY": "x"}
    url = f"s3://media/?profile=aws&region=ap-south-1&endpoint={server.endpoint}"
    with blobkit.open_store(url, env=env, retries=0) as store, pytest.raises(errors.ConfigError) as failure:
        store.write("k", b"1")
    told(failure.value, "AuthorizationHeaderMalformed", 400)
    assert "?region=" in str(failure.value)


def test_keys_that_the_server_does_not_know(server: StrictS3) -> None:
    url = f"s3://media/?profile=aws&region={REGION}&endpoint={server.endpoint}"
    with blobkit.open_store(url, env=ENV, retries=0) as store:
        for call in each(lambda: store.stat("k"), lambda: store.write("k", b"1")):
            with pytest.raises(errors.PermissionDenied) as failure:
                call()
            told(failure.value, "InvalidAccessKeyId", 403)


@pytest.mark.parametrize("server", [{"token": "good"}], indirect=True)
def test_a_token_that_has_expired(server: StrictS3, opened: Opened) -> None:
    store = opened(token="old")
    for call in each(lambda: store.stat("k"), lambda: store.write("k", b"1"), lambda: store.start_upload("k", size=1)):
        with pytest.raises(errors.CredentialsExpired) as failure:
            call()
        told(failure.value, "ExpiredToken", 400)
    assert (server.uploads, server.objects) == ({}, {})


def test_a_clock_that_is_wrong(store: Store) -> None:
    late = datetime.now(UTC) - timedelta(hours=1)
    with mock.patch("botocore.auth.get_current_datetime", return_value=late):
        plain = {"s3v4": botocore.auth.S3SigV4Auth}
        with mock.patch.dict("botocore.auth.AUTH_TYPE_MAPS", plain):
            for call in each(lambda: store.stat("k"), lambda: store.write("k", b"1")):
                with pytest.raises(errors.ClockSkew) as failure:
                    call()
                told(failure.value, "RequestTimeTooSkewed", 403)
                assert "NTP" in str(failure.value)


def test_an_endpoint_that_does_not_answer() -> None:
    url = f"s3://media/?profile=custom&endpoint=http://127.0.0.1:{free_port()}"
    with blobkit.open_store(url, env=ENV, retries=0) as store, pytest.raises(errors.ConnectionFailed) as failure:
        store.start_upload("k", size=1)
    told(failure.value, "EndpointConnectionError", None)
    assert failure.value.retryable


def test_a_profile_that_does_not_exist() -> None:
    url = "s3://media/?region=eu-west-1&aws_profile=nobody-has-this"
    with blobkit.open_store(url, env={}) as store, pytest.raises(errors.CredentialsMissing) as failure:
        store.sign_download("k")
    told(failure.value, "ProfileNotFound", None)


ANSWERS = [
    ("AccessDenied", 403, errors.PermissionDenied),
    ("SignatureDoesNotMatch", 403, errors.PermissionDenied),
    ("SlowDown", 503, errors.Throttled),
    ("InternalError", 500, errors.Unavailable),
    ("ServiceUnavailable", 503, errors.Unavailable),
    ("RequestTimeout", 400, errors.Unavailable),
    ("PermanentRedirect", 301, errors.ConfigError),
    ("OperationAborted", 409, errors.Unavailable),
    ("ConditionalRequestConflict", 409, errors.PreconditionFailed),
    ("EntityTooLarge", 400, errors.InvalidArgument),
    ("EntityTooSmall", 400, errors.ChunkMismatch),
    ("InvalidPart", 400, errors.ChunkMismatch),
    ("KeyTooLongError", 400, errors.InvalidKey),
    ("InvalidStorageClass", 400, errors.InvalidArgument),
    ("NotImplemented", 501, errors.Unsupported),
    ("MethodNotAllowed", 405, errors.Unsupported),
    ("SomethingNew", 418, errors.InvalidArgument),
    ("SomethingNew", 599, errors.Unavailable),
    ("502", 502, errors.Unavailable),
]


@pytest.mark.parametrize(("code", "status", "kind"), ANSWERS)
def test_an_answer_is_told_with_the_providers_words(
    server: StrictS3, store: Store, code: str, status: int, kind: type[BlobkitError]
) -> None:
    server.faults.append(Fault("PutObject", status, code))
    with pytest.raises(kind) as failure:
        store.write("k", b"1")
    assert type(failure.value) is kind
    assert failure.value.request_id == "REQ1"
    assert failure.value.http_status == status
    assert failure.value.code == code
    assert (failure.value.operation, failure.value.key) == ("write", "k")
    assert isinstance(failure.value.__cause__, ClientError)
    assert failure.value.retryable == issubclass(kind, errors.TransientError)


def test_a_head_without_a_reason_asks_for_it(server: StrictS3, store: Store) -> None:
    server.denied |= {"HeadObject", "GetObject"}
    with pytest.raises(errors.PermissionDenied) as failure:
        store.stat("k")
    told(failure.value, "AccessDenied", 403)


def test_a_body_that_breaks_off_is_a_connection_that_failed() -> None:
    import urllib3.exceptions

    known = classify(urllib3.exceptions.ProtocolError("broken"))
    assert known is not None
    assert known.error is errors.ConnectionFailed


def test_every_error_of_the_tables_can_be_made_with_all_that_a_provider_says() -> None:
    for row in {*_CODES.values(), *_LOCAL.values(), *_STATUSES.values()}:
        made = row.error("m", code="c", http_status=400, request_id="r", retryable=False, hint="h")
        assert (made.message, made.code, made.http_status, made.request_id, made.hint) == ("m", "c", 400, "r", "h")


def test_every_name_of_the_tables_is_one_that_botocore_or_a_status_has() -> None:
    for name in _LOCAL:
        assert issubclass(getattr(botocore.exceptions, name), botocore.exceptions.BotoCoreError), name
    assert all(issubclass(row.error, BlobkitError) for row in (*_CODES.values(), *_LOCAL.values(), *_STATUSES.values()))
    assert set(range(400, 417)) & set(_STATUSES)


def test_what_is_not_the_sdks_is_left_alone() -> None:
    assert classify(KeyError("k")) is None
    assert classify(OSError("disk")) is None


def test_the_common_runtime_that_is_missing_is_named() -> None:
    known = classify(botocore.exceptions.MissingDependencyException(msg="needs the CRT"))
    assert known is not None
    assert known.error is errors.PluginMissing
    assert known.hint is not None
    assert "boto3[crt]" in known.hint
