"""What is believed, and what is not: SNS signatures, tokens, secrets, and what a webhook answers."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from blobkit.errors import BlobkitError, InvalidArgument, Unavailable, UntrustedEvent
from blobkit.events import ParsedEvents, Request, SharedSecret, SubscriptionConfirmation, Webhook, parse_events
from blobkit_aws.events import SnsVerifier, ceph_push, confirm_subscription, eventbridge_destination, minio_webhook
from blobkit_aws.events.sns import string_to_sign
from blobkit_azure.events.eventgrid import EVENT_GRID_APP, EVENT_GRID_ROLE, EntraVerifier, EventGridVerifier
from blobkit_gcs.events.push import PushVerifier
from blobkit_local.changes import SIGNATURE_HEADER, signature
from blobkit_local.events import WebhookVerifier

from . import samples

NOW = datetime(2026, 1, 2, 3, 5, tzinfo=UTC)
CERTIFICATE = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-" + "0" * 32 + ".pem"
SUBSCRIPTION = "projects/p/subscriptions/s"
PUSHER = "pusher@p.iam.gserviceaccount.com"


@cache
def private_key() -> rsa.RSAPrivateKey:
    """One key for all tests."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def certificate() -> bytes:
    """A certificate of that key, in PEM."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    built = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(private_key().public_key())
    built = built.serial_number(1).not_valid_before(NOW - timedelta(days=1)).not_valid_after(NOW + timedelta(days=1))
    return built.sign(private_key(), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def signed_sns(version: str = "2", **changed: str) -> dict[str, object]:
    """A signed notification; what is ``changed`` is signed too."""
    message = {**samples.sns(samples.s3()), "SignatureVersion": version, "SigningCertURL": CERTIFICATE, **changed}
    algorithm = hashes.SHA1() if version == "1" else hashes.SHA256()
    made = private_key().sign(string_to_sign(message), padding.PKCS1v15(), algorithm)
    return {**message, "Signature": base64.b64encode(made).decode()}


class Fetched:
    """A key server that counts."""

    def __init__(self, body: bytes | BlobkitError) -> None:
        self.body, self.urls = body, list[str]()

    def __call__(self, url: str) -> bytes:
        self.urls.append(url)
        if isinstance(self.body, BlobkitError):
            raise self.body
        return self.body


def sns_verifier(fetch: Fetched, *, now: datetime = NOW, min_version: int = 1) -> SnsVerifier:
    """A verifier of one topic."""
    return SnsVerifier([samples.SNS_TOPIC], fetch=fetch, clock=lambda: now, min_version=min_version)


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_signed_sns_message_is_believed_and_its_certificate_fetched_once(version: str) -> None:
    fetch = Fetched(certificate())
    verifier = sns_verifier(fetch)
    for _ in range(2):
        assert verifier.verify(signed_sns(version)).who == samples.SNS_TOPIC
    assert fetch.urls == [CERTIFICATE]


@pytest.mark.parametrize("field", ["Message", "MessageId", "Timestamp", "Type", "Subject"])
def test_a_tampered_field_is_not_believed(field: str) -> None:
    message = signed_sns()
    changed = "2026-01-02T03:04:07.000Z" if field == "Timestamp" else f"{message.get(field)}x"
    with pytest.raises(UntrustedEvent):
        sns_verifier(Fetched(certificate())).verify({**message, field: changed})


@pytest.mark.parametrize(
    "address",
    [
        "https://sns.s3-us-west-2.amazonaws.com/SimpleNotificationService-%s.pem",
        "https://sns.eu-west-1.amazonaws.com.evil.tld/SimpleNotificationService-%s.pem",
        "https://user@sns.eu-west-1.amazonaws.com/SimpleNotificationService-%s.pem",
        "https://sns.eu-west-1.amazonaws.com:444/SimpleNotificationService-%s.pem",
        "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-%s.pem",
        "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-%s.pem",
        "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-%s.pem\n",
        "https://sns.eu-west-1.amazonaws.com/other-%s.pem",
    ],
)
def test_a_certificate_elsewhere_is_not_even_fetched(address: str) -> None:
    fetch = Fetched(certificate())
    with pytest.raises(UntrustedEvent):
        sns_verifier(fetch).verify(signed_sns(SigningCertURL=address.replace("%s", "0" * 32)))
    assert fetch.urls == []


@pytest.mark.parametrize(
    "changed",
    [
        {"TopicArn": "arn:aws:sns:eu-west-1:999999999999:uploads"},
        {"Timestamp": "2026-01-02T02:04:00.000Z"},
        {"Timestamp": "2026-01-02T04:06:00.000Z"},
    ],
)
def test_foreign_stale_and_future_messages_are_refused_before_anything_is_fetched(changed: dict[str, str]) -> None:
    fetch = Fetched(certificate())
    with pytest.raises(UntrustedEvent):
        sns_verifier(fetch).verify(signed_sns(**changed))
    assert fetch.urls == []


@pytest.mark.parametrize("answer", [Unavailable("down"), UntrustedEvent("404"), b"<html>sign in</html>", b"x" * 20_000])
def test_a_certificate_that_cannot_be_had_is_an_outage_and_is_not_asked_for_at_once_again(
    answer: bytes | BlobkitError,
) -> None:
    fetch = Fetched(answer)
    verifier = sns_verifier(fetch)
    for _ in range(3):
        with pytest.raises(Unavailable):  # a 4xx would tell SNS that the message was delivered
            verifier.verify(signed_sns())
    assert fetch.urls == [CERTIFICATE]


def test_a_certificate_that_is_not_valid_any_more_is_not_believed() -> None:
    late = NOW + timedelta(days=2)
    message = signed_sns(Timestamp=late.strftime("%Y-%m-%dT%H:%M:%S.000Z"))
    with pytest.raises(UntrustedEvent):
        sns_verifier(Fetched(certificate()), now=late).verify(message)


def test_a_signature_of_another_key_and_a_raw_delivery_are_not_believed() -> None:
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    message = signed_sns()
    forged = base64.b64encode(stranger.sign(string_to_sign(message), padding.PKCS1v15(), hashes.SHA256())).decode()
    verifier = sns_verifier(Fetched(certificate()))
    with pytest.raises(UntrustedEvent):
        verifier.verify({**message, "Signature": forged})
    body = json.dumps(message).encode()
    for headers in ({"x-amz-sns-rawdelivery": "true"}, {"x-amz-sns-topic-arn": samples.SNS_TOPIC + "x"}):
        with pytest.raises(UntrustedEvent):
            verifier.authenticate(Request.of("POST", headers, "", body))
    assert verifier.authenticate(Request.of("POST", {"x-amz-sns-topic-arn": samples.SNS_TOPIC}, "", body)).by == "sns"


def test_version_one_can_be_refused() -> None:
    with pytest.raises(UntrustedEvent):
        sns_verifier(Fetched(certificate()), min_version=2).verify(signed_sns("1"))


def b64(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwks() -> bytes:
    """The public key as a key set."""
    numbers = private_key().public_key().public_numbers()
    key = {"kty": "RSA", "use": "sig", "kid": "k1", "n": b64(numbers.n.to_bytes(256, "big")), "e": "AQAB"}
    return json.dumps({"keys": [key]}).encode()


def token(header: dict[str, Any] | None = None, **changed: object) -> str:
    """A token as Google signs it."""
    claims: dict[str, object] = {
        "iss": "https://accounts.google.com",
        "aud": "https://app.example/push",
        "email": PUSHER,
        "email_verified": True,
        "iat": NOW.timestamp() - 60,
        "exp": NOW.timestamp() + 3600,
        **changed,
    }
    head = {"alg": "RS256", "kid": "k1", "typ": "JWT", **(header or {})}
    text = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(claims).encode())}"
    return f"{text}.{b64(private_key().sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def push(bearer: str | None, subscription: str = SUBSCRIPTION) -> Request:
    """A push with that token."""
    body = json.dumps({**samples.pubsub_push(samples.gcs_attributes()), "subscription": subscription}).encode()
    return Request.of("POST", {"Authorization": f"Bearer {bearer}"} if bearer else {}, "", body)


def push_verifier(fetch: Callable[[str], bytes]) -> PushVerifier:
    """A verifier of one account and subscription."""
    return PushVerifier(
        "https://app.example/push",
        service_accounts=[PUSHER],
        subscriptions=[SUBSCRIPTION],
        fetch=fetch,
        now=NOW.timestamp,
    )


def test_googles_token_is_believed() -> None:
    assert push_verifier(Fetched(jwks())).authenticate(push(token())).who == PUSHER


@pytest.mark.parametrize(
    "bad",
    [
        {"header": {"alg": "none"}},
        {"header": {"alg": "HS256"}},
        {"header": {"kid": "other"}},
        {"header": {"crit": ["x"]}},
        {"aud": "https://other.example/"},
        {"iss": "https://evil.example"},
        {"email": "other@p.iam.gserviceaccount.com"},
        {"email_verified": False},
        {"email_verified": "true"},
        {"exp": NOW.timestamp() - 3600},
        {"exp": None},
        {"iat": NOW.timestamp() + 3600},
    ],
    ids=str,
)
def test_a_token_that_is_wrong_in_one_thing_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(UntrustedEvent):
        push_verifier(Fetched(jwks())).authenticate(push(token(**bad)))


def test_a_changed_token_an_absent_one_and_another_subscription_are_refused() -> None:
    verifier = push_verifier(Fetched(jwks()))
    head, claims, made = token().split(".")
    for request in (
        push(f"{head}.{claims}.{made[:-6]}AAAAAA"),
        push(f"{head}.{claims}."),
        push(None),
        push(token(), "projects/evil/subscriptions/s"),
    ):
        with pytest.raises(UntrustedEvent):
            verifier.authenticate(request)


TENANT = "11111111-2222-3333-4444-555555555555"


def entra_token(header: dict[str, Any] | None = None, *, without: tuple[str, ...] = (), **changed: object) -> str:
    """A token as Entra signs it for Event Grid."""
    claims = {
        "iss": f"https://login.microsoftonline.com/{TENANT}/v2.0",
        "aud": "api://events",
        "azp": EVENT_GRID_APP,
        "roles": [EVENT_GRID_ROLE],
        "email": None,
        "email_verified": None,
    }
    return token(header, **{name: value for name, value in {**claims, **changed}.items() if name not in without})


def entra(fetch: Callable[[str], bytes]) -> EntraVerifier:
    """A verifier of one tenant."""
    return EntraVerifier(TENANT, audience="api://events", fetch=fetch, now=NOW.timestamp)


@pytest.mark.parametrize("version", [1, 2])
def test_entras_token_is_believed(version: int) -> None:
    fetch = Fetched(jwks())
    of_one: dict[str, Any] = {"iss": f"https://sts.windows.net/{TENANT}/", "appid": EVENT_GRID_APP.upper()}
    given = entra_token(**of_one, without=("azp",)) if version == 1 else entra_token()
    request = Request.of("POST", {"Authorization": f"Bearer {given}"}, "", b"")
    assert entra(fetch).authenticate(request).who == EVENT_GRID_APP
    assert fetch.urls == [f"https://login.microsoftonline.com/{TENANT}/discovery/v2.0/keys"]


@pytest.mark.parametrize(
    "bad",
    [
        {"header": {"alg": "none"}},
        {"header": {"alg": "HS256"}},
        {"header": {"kid": "other"}},
        {"iss": "https://login.microsoftonline.com/99999999-2222-3333-4444-555555555555/v2.0"},
        {"aud": "api://other"},
        {"azp": "00000000-0000-0000-0000-000000000000"},
        {"roles": ["Other"]},
        {"roles": None},
        {"exp": NOW.timestamp() - 3600},
        {"nbf": NOW.timestamp() + 3600},
    ],
    ids=str,
)
def test_entras_token_that_is_wrong_in_one_thing_is_refused(bad: dict[str, Any]) -> None:
    request = Request.of("POST", {"Authorization": f"Bearer {entra_token(**bad)}"}, "", b"")
    with pytest.raises(UntrustedEvent):
        entra(Fetched(jwks())).authenticate(request)


def test_a_tenant_is_one_tenant() -> None:
    with pytest.raises(InvalidArgument):
        EntraVerifier("common", audience="api://events")


def test_the_senders_of_the_s3_family_repeat_their_secret() -> None:
    def request(value: str) -> Request:
        return Request.of("POST", {"Authorization": value}, "", b"")

    basic = "Basic " + base64.b64encode(b"ceph:p\xc3\xa9").decode()
    for verifier, good, bad in (
        (minio_webhook("t0ken"), "Bearer t0ken", "Bearer other"),
        (minio_webhook("ApiKey t0ken"), "ApiKey t0ken", "Bearer t0ken"),
        (ceph_push("ceph", "old", "p\u00e9"), basic, basic[:-1]),
        (eventbridge_destination("authorization", "key"), "key", "Key"),
    ):
        assert verifier.authenticate(request(good)).by == "secret"
        with pytest.raises(UntrustedEvent):
            verifier.authenticate(request(bad))


def test_a_subscription_is_confirmed_through_the_api_and_only_of_a_topic_of_yours() -> None:
    asked: list[tuple[str, str]] = []

    class Client:
        def confirm_subscription(self, *, TopicArn: str, Token: str) -> None:  # noqa: N803 - boto3's names
            asked.append((TopicArn, Token))

    body = {
        **samples.sns("x"),
        "Type": "SubscriptionConfirmation",
        "Token": "t0ken",
        "SubscribeURL": "https://evil.test",
    }
    (control,) = parse_events(body).controls
    assert isinstance(control, SubscriptionConfirmation)
    confirm_subscription(control, Client(), [samples.SNS_TOPIC])
    with pytest.raises(UntrustedEvent):
        confirm_subscription(control, Client(), ["arn:aws:sns:eu-west-1:123456789012:other"])
    assert asked == [(samples.SNS_TOPIC, "t0ken")]


SECRET = SharedSecret.header("x-events", "old", "new")


def grid(secret: str | None, body: object = None, **headers: str) -> tuple[str, dict[str, str], str, bytes]:
    """A delivery of Event Grid with that secret."""
    given = {"aeg-event-type": "Notification", **headers, **({"X-Events": secret} if secret else {})}
    return "POST", given, "", json.dumps([samples.eventgrid()] if body is None else body).encode()


def webhook() -> Webhook:
    """A webhook of one account."""
    return Webhook(EventGridVerifier(SECRET, sources=[samples.ACCOUNT]))


@pytest.mark.parametrize("secret", ["old", "new"])
def test_a_secret_can_be_replaced_without_losing_a_delivery(secret: str) -> None:
    response, found = webhook().handle(*grid(secret))
    assert (response.status, len(found)) == (200, 1)


@pytest.mark.parametrize(("secret", "status"), [(None, 401), ("wrong", 403), ("ol", 403), ("Old", 403)])
def test_a_delivery_without_its_secret_is_refused(secret: str | None, status: int) -> None:
    response, found = webhook().handle(*grid(secret))
    assert (response.status, len(found)) == (status, 0)


def test_a_delivery_of_another_account_is_refused() -> None:
    other = samples.ACCOUNT.replace("acct", "other")
    response, found = webhook().handle(*grid("new", [samples.eventgrid(topic=other)]))
    assert (response.status, len(found)) == (403, 0)


def test_event_grids_handshake_is_answered_only_after_the_secret_was_checked() -> None:
    response, _ = webhook().handle(*grid("new", [samples.validation()]))
    assert (response.status, json.loads(response.body)) == (200, {"validationResponse": "code-1"})
    response, _ = webhook().handle(*grid("wrong", [samples.validation()]))
    assert (response.status, response.body) == (403, b"")


def test_the_cloudevents_handshake_names_only_a_known_origin() -> None:
    for origin, secret, status in (
        ("eventgrid.azure.net", "new", 200),
        ("evil.example", "new", 403),
        ("eventgrid.azure.net", "wrong", 403),
    ):
        headers = {"WebHook-Request-Origin": origin, "X-Events": secret, "WebHook-Request-Rate": "120"}
        response, _ = webhook().handle("OPTIONS", headers, "", b"")
        assert response.status == status
        assert response.headers.get("WebHook-Allowed-Origin") == (origin if status == 200 else None)


@pytest.mark.parametrize(
    "failure",
    [Unavailable("down"), UntrustedEvent("nonsense")],
    ids=["the key server is down", "the key server answers nonsense"],
)
def test_a_key_server_that_cannot_be_asked_is_answered_503(failure: BlobkitError) -> None:
    request = push(token())
    hook = Webhook(push_verifier(Fetched(failure)))
    response, found = hook.handle("POST", request.headers, "", request.body)
    assert (response.status, len(found)) == (503, 0)
    assert int(response.headers["Retry-After"]) > 0


def test_a_failing_database_is_answered_503_and_a_stored_event_200() -> None:
    kept: list[ParsedEvents] = []

    def fails(_: ParsedEvents) -> None:
        raise OSError("disk full")

    assert webhook().receive(*grid("new"), store=fails).status == 503
    assert webhook().receive(*grid("new"), store=kept.append).status == 200
    assert [event.key for found in kept for event in found] == ["a b.txt"]


def test_other_methods_and_long_bodies_are_refused() -> None:
    assert webhook().handle("GET", {}, "", b"")[0].status == 405
    assert Webhook(SECRET, max_bytes=10).handle("POST", {}, "", b"x" * 11)[0].status == 413


def test_an_unreadable_body_is_400_to_event_grid_and_200_to_others() -> None:
    hook = Webhook(SECRET)
    for headers, status in (({"aeg-event-type": "Notification"}, 400), ({}, 200)):
        response, found = hook.handle("POST", {"X-Events": "new", **headers}, "", b"{")
        assert (response.status, len(found.errors)) == (status, 1)


def test_the_embedded_stores_signature_is_checked() -> None:
    body, now = b"{}", int(NOW.timestamp())
    verifier = WebhookVerifier("old", "new", now=lambda: now)
    for key, sent, given, good in (
        (b"new", now, body, True),
        (b"old", now, body, True),
        (b"other", now, body, False),
        (b"new", now - 3600, body, False),
        (b"new", now, b"{} ", False),
    ):
        request = Request.of("POST", {SIGNATURE_HEADER: signature(key, body, sent)}, "", given)
        if good:
            assert verifier.authenticate(request).by == "secret"
        else:
            with pytest.raises(UntrustedEvent):
                verifier.authenticate(request)
    with pytest.raises(InvalidArgument):
        WebhookVerifier("")


def test_secrets_do_not_print() -> None:
    assert "new" not in repr(SECRET)
    assert "hush" not in repr(Request.of("POST", {"authorization": "hush"}, "code=hush", b"hush"))
