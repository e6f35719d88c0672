"""Proof that a message comes from one of your SNS topics: :class:`SnsVerifier`.

Source: https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html. Beyond it:

* Topics are an allow-list. Anybody with an AWS account can have SNS send you messages that are validly signed.
* The certificate's host is built from the region of the allow-listed topic. The pattern that many validators use also fits
  hosts that anyone can own, such as a bucket named "sns" (``sns.s3-us-west-2.amazonaws.com``).
* A message is believed for an hour, and nothing is fetched for a topic that is not yours.
"""

from __future__ import annotations

import base64
import binascii
import re
import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from blobkit.errors import InvalidArgument, MalformedEvent, TransientError, Unavailable, UntrustedEvent
from blobkit.events.auth import Clock, Proof, Request
from blobkit.events.controls import SubscriptionConfirmation
from blobkit.events.fetching import Fetch, https_fetch
from blobkit.events.fields import text, time
from blobkit.events.jsontext import loads

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = ["SnsClient", "SnsVerifier", "confirm_subscription", "string_to_sign"]

_ARN: Final = re.compile(r"arn:(aws[a-z-]*):sns:([a-z0-9-]+):[0-9]{12}:[A-Za-z0-9_-]{1,256}(?:\.fifo)?\Z")
_SUFFIX: Final = {
    "aws": "amazonaws.com",
    "aws-us-gov": "amazonaws.com",
    "aws-cn": "amazonaws.com.cn",
    "aws-eusc": "amazonaws.eu",
    "aws-iso": "c2s.ic.gov",
    "aws-iso-b": "sc2s.sgov.gov",
    "aws-iso-e": "cloud.adc-e.uk",
    "aws-iso-f": "csp.hci.ic.gov",
}
_NOTIFICATION: Final = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_CONFIRMATION: Final = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_SIGNED: Final = {
    "Notification": _NOTIFICATION,
    "SubscriptionConfirmation": _CONFIRMATION,
    "UnsubscribeConfirmation": _CONFIRMATION,
}
_MAX_CERTIFICATE: Final = 16 * 1024
_KEPT: Final = 32
_PAUSE: Final = 1.0


def _now() -> datetime:
    return datetime.now(UTC)


class SnsVerifier:
    """Verifies SNS messages: HTTP deliveries with :meth:`authenticate`, messages from anywhere else with :meth:`verify`.

    Args:
        topics: The ARNs of your topics.
        min_version: 2 refuses SHA-1 signatures; set the topic's attribute ``SignatureVersion`` to 2 first.
        max_age: How far a message's timestamp may be from now. SNS retries for up to an hour by default; remember the
            ``dedupe_key`` of events against replays within it.
        fetch: How to get a certificate. One at a time; after a failure none for a second, whoever asks.
        clock: The time, aware.

    Raises:
        InvalidArgument: No topic, or one that is not a topic's ARN.
    """

    def __init__(
        self,
        topics: Collection[str],
        *,
        min_version: int = 1,
        max_age: timedelta = timedelta(hours=1),
        fetch: Fetch | None = None,
        clock: Clock = _now,
    ) -> None:
        if isinstance(topics, str) or not topics:
            raise InvalidArgument("topics is a collection of ARNs, and not empty")
        if min_version not in (1, 2):
            raise InvalidArgument("min_version is 1 or 2")
        self._certificate_urls = {topic: _certificate_url(topic) for topic in topics}
        self._min_version, self._max_age, self._clock = min_version, max_age, clock
        self._fetch: Fetch = fetch or partial(https_fetch, max_bytes=_MAX_CERTIFICATE)
        self._certificates: OrderedDict[str, Certificate] = OrderedDict()
        self._lock = threading.Lock()
        self._fetching = threading.Lock()
        self._failed: float | None = None

    def authenticate(self, request: Request) -> Proof:
        """An HTTP delivery. Raw deliveries are refused: they are not signed.

        Raises:
            UntrustedEvent: It is not from one of your topics, or was changed, or is old.
            TransientError: The certificate could not be fetched.
        """
        if request.headers.get("x-amz-sns-rawdelivery", "").lower() == "true":
            raise UntrustedEvent(
                "a raw SNS delivery is not signed", hint="turn raw message delivery off for HTTP subscriptions"
            )
        if not request.body:
            raise UntrustedEvent("an SNS message is missing", code="missing")
        try:
            message = loads(request.body)
        except MalformedEvent as error:
            raise UntrustedEvent("not an SNS message") from error
        if not isinstance(message, dict):
            raise UntrustedEvent("not an SNS message")
        topic = request.headers.get("x-amz-sns-topic-arn")
        if topic is not None and topic != message.get("TopicArn"):
            raise UntrustedEvent("header and body name different topics")
        return self.verify(message)

    def verify(self, message: Mapping[str, object]) -> Proof:
        """An SNS message as decoded JSON (from a queue, or ``Records[].Sns`` in Lambda).

        Messages of FIFO topics carry no signature: trust the queue's policy instead, and check the topic.

        Raises:
            UntrustedEvent: It is not from one of your topics, or was changed, or is old.
            TransientError: The certificate could not be fetched.
        """
        topic = message.get("TopicArn")
        if not isinstance(topic, str) or topic not in self._certificate_urls:
            raise UntrustedEvent("the topic is not one of yours")
        sent = time(message.get("Timestamp"))
        if sent is None or abs(self._clock() - sent) > self._max_age:
            raise UntrustedEvent("the message is too old, or from the future")
        version = message.get("SignatureVersion")
        if version not in ("1", "2") or int(version) < self._min_version:
            raise UntrustedEvent("the message has no signature of an accepted version")
        url = text(message.get("SigningCertURL")) or text(message.get("SigningCertUrl"))
        if url is None or not self._certificate_urls[topic].fullmatch(url):
            raise UntrustedEvent("the certificate is not at the address of the topic's region")
        try:
            signature = base64.b64decode(str(message.get("Signature")), validate=True)
        except (binascii.Error, ValueError) as error:
            raise UntrustedEvent("the signature is not base64") from error
        data = string_to_sign(message)  # before anything is fetched
        _check(self._certificate(url), signature, data, version == "1")
        return Proof("sns", topic)

    def _certificate(self, url: str) -> Certificate:
        with self._lock:
            certificate = self._certificates.get(url)
        if certificate is None:
            certificate = self._fetched(url)
        now = self._clock()
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise UntrustedEvent("the certificate is not valid now")
        with self._lock:
            self._certificates[url] = certificate
            self._certificates.move_to_end(url)
            while len(self._certificates) > _KEPT:
                self._certificates.popitem(last=False)
        return certificate

    def _fetched(self, url: str) -> Certificate:
        """A certificate from the topic's region. What is there instead is an outage: SNS takes any 4xx as delivered."""
        with self._fetching:
            with self._lock:
                known = self._certificates.get(url)
            if known is not None:
                return known
            if self._failed is not None and monotonic() - self._failed < _PAUSE:
                raise Unavailable("a certificate could not be fetched a moment ago")
            try:
                certificate = _read(self._fetch(url))
            except (TransientError, UntrustedEvent, OSError) as error:
                self._failed = monotonic()
                if isinstance(error, TransientError):
                    raise
                raise Unavailable("the address of the certificate gave none") from error
            with self._lock:
                self._certificates[url] = certificate
            return certificate


def string_to_sign(message: Mapping[str, object]) -> bytes:
    """Name and value of each signed field that is there, each followed by a line feed.

    Raises:
        UntrustedEvent: Of no signed type, or a field is not a text.
    """
    kind = message.get("Type")
    names = _SIGNED.get(kind) if isinstance(kind, str) else None
    if names is None:
        raise UntrustedEvent("not an SNS message")
    lines: list[str] = []
    for name in names:
        value = message.get(name)
        if value is None and name == "Subject":  # Lambda writes null for none
            continue
        if not isinstance(value, str):
            raise UntrustedEvent(f"the SNS message has no {name}")
        lines.append(f"{name}\n{value}\n")
    try:
        return "".join(lines).encode("utf-8")
    except UnicodeEncodeError as error:
        raise UntrustedEvent("the SNS message is not Unicode") from error


class SnsClient(Protocol):
    """What is used of ``boto3.client("sns")``."""

    def confirm_subscription(self, *, TopicArn: str, Token: str) -> object:  # noqa: N803 - boto3's names
        """https://docs.aws.amazon.com/sns/latest/api/API_ConfirmSubscription.html."""
        ...


def confirm_subscription(control: SubscriptionConfirmation, client: SnsClient, topics: Collection[str]) -> None:
    """Confirm a subscription through the API, when its topic is one of yours. ``SubscribeURL`` is never fetched.

    Raises:
        UntrustedEvent: The topic is not one of ``topics``.
    """
    if control.topic not in topics:
        raise UntrustedEvent("the topic is not one of yours")
    client.confirm_subscription(TopicArn=control.topic, Token=control.token.reveal())


def _certificate_url(topic: str) -> re.Pattern[str]:
    found = _ARN.match(topic)
    suffix = _SUFFIX.get(found[1]) if found else None
    if found is None or suffix is None:
        raise InvalidArgument(f"not the ARN of an SNS topic: {topic!r}")
    host = re.escape(f"sns.{found[2]}.{suffix}")
    return re.compile(rf"https://{host}/SimpleNotificationService-[0-9a-f]{{32}}\.pem")


def _read(pem: bytes) -> Certificate:
    from cryptography import x509

    if len(pem) > _MAX_CERTIFICATE:
        raise UntrustedEvent("the certificate is too long")
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise UntrustedEvent("the certificate cannot be read") from error


def _check(certificate: Certificate, signature: bytes, data: bytes, sha1: bool) -> None:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < 2048:
        raise UntrustedEvent("the certificate's key is not RSA, or too short")
    algorithm = hashes.SHA1() if sha1 else hashes.SHA256()  # noqa: S303 - version 1 of the protocol; see min_version
    try:
        key.verify(signature, data, padding.PKCS1v15(), algorithm)
    except InvalidSignature as error:
        raise UntrustedEvent("the signature is wrong") from error
    except UnsupportedAlgorithm as error:
        raise UntrustedEvent("this system refuses SHA-1", hint="set the topic's SignatureVersion to 2") from error
