"""Taking off the shells in which events travel: :func:`unwrap`. Pure, bounded in size and depth.

Known shells: Lambda's ``Records`` (of SQS and SNS), SQS as boto3 gives it, SNS (in SQS, over HTTP, in Lambda; raw delivery has
no shell), EventBridge, Pub/Sub (pull, push wrapped, push unwrapped with metadata headers), CloudEvents 1.0 (structured,
binary, batch, and around a Pub/Sub message), Event Grid (arrays, delivery headers), Azure queues (base64), R2 queues. What is
inside is handed to the dialects as :class:`~blobkit.events.dialect.Document`.

Sources: docs.aws.amazon.com (Lambda with SQS and SNS, SNS message formats, EventBridge events),
cloud.google.com/pubsub/docs/push, github.com/cloudevents/spec (v1.0.2, JSON format and HTTP binding),
learn.microsoft.com/azure/event-grid/event-schema, developers.cloudflare.com/queues.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, cast
from urllib.parse import unquote

from blobkit.errors import MalformedEvent
from blobkit.events.controls import (
    NotAnEvent,
    RecordError,
    SubscriptionConfirmation,
    UnsubscribeConfirmation,
    WebhookOptions,
)
from blobkit.events.dialect import Document, Item
from blobkit.events.fields import decode_base64, mapping, number, text
from blobkit.events.jsontext import loads
from blobkit.events.model import TransportInfo
from blobkit.redaction import Secret

__all__ = [
    "MAX_BYTES",
    "MAX_DEPTH",
    "NO_HEAD",
    "Headers",
    "decoded",
    "is_native",
    "lower_names",
    "unwrap",
    "unwrap_value",
]

MAX_DEPTH: Final = 4
"""So many shells may be nested. S3 through SNS and SQS to Lambda has two."""

MAX_BYTES: Final = 16 * 1024 * 1024
"""So long may a body be, and each text inside it. Ten SQS messages of their greatest size are smaller."""

Headers = Mapping[str, str] | Iterable[tuple[str, str]]
"""HTTP headers in any case; of a repeated one the last counts."""

NO_HEAD: Final[Mapping[str, str]] = MappingProxyType({})
_CLOUDEVENT_SHELLS: Final = (
    "com.amazonaws.s3.",
    "google.cloud.pubsub.",
)  # around a message that is a document of its own


def lower_names(headers: Headers | None) -> dict[str, str]:
    """Headers by lower-case name."""
    if headers is None:
        return {}
    if isinstance(headers, Mapping):
        named = cast("Mapping[str, str]", headers)  # checkers also see an iterable of pairs that is a mapping
        return {name.lower(): value for name, value in named.items()}
    return {name.lower(): value for name, value in headers}


def unwrap(
    body: object,
    headers: Headers | None = None,
    *,
    max_bytes: int = MAX_BYTES,
    raw_keys: Iterable[str] = (),
) -> list[Document | Item]:
    """The documents in a delivery, and what stands in the place of one.

    Args:
        body: Bytes, a text, a decoded JSON value, or a message object of a provider's SDK.
        headers: Of the HTTP request that delivered it.
        max_bytes: The greatest length of the body, and of each text inside it.
        raw_keys: Given on with every document.

    Raises:
        MalformedEvent: The body as a whole is too long, not JSON, or of a type that holds no events.
    """
    opening = _Opening(max_bytes, frozenset(raw_keys))
    if headers:
        opening.http(body, lower_names(headers))
    else:
        opening.anything(body)
    return opening.out


def unwrap_value(value: object, *, max_bytes: int, raw_keys: Iterable[str]) -> list[Document | Item]:
    """The same, of a body's JSON."""
    opening = _Opening(max_bytes, frozenset(raw_keys))
    opening.json_value(value, None, 0)
    return opening.out


def decoded(body: bytes | str, max_bytes: int) -> object:
    """The JSON of an outermost body: as it is, or as base64 (Azure queues). Raises MalformedEvent."""
    if len(body) > max_bytes:
        raise MalformedEvent(f"the body is longer than {max_bytes} bytes")
    try:
        return loads(body)
    except MalformedEvent:
        plain = body if isinstance(body, str) else body.decode("ascii", "replace")
        inner = decode_base64(plain)
        if not inner:
            raise
        return loads(inner)


def is_native(value: dict[str, object]) -> bool:
    """Whether it is a notification of S3 itself: ``Records``, of which the first tells of S3."""
    records = value.get("Records")
    return type(records) is list and bool(records) and type(records[0]) is dict and "s3" in records[0]


class _Opening:
    """One delivery being opened: what was found so far, and the bounds."""

    __slots__ = ("max_bytes", "out", "raw_keys")

    def __init__(self, max_bytes: int, raw_keys: frozenset[str]) -> None:
        self.max_bytes = max_bytes
        self.raw_keys = raw_keys
        self.out: list[Document | Item] = []

    # --- the outermost layer ---

    def anything(self, body: object) -> None:
        """Whatever the caller has: plain values, or a message object."""
        if isinstance(body, bytearray | memoryview):
            body = bytes(body)
        if isinstance(body, bytes | str):
            self.json_value(decoded(body, self.max_bytes), None, 0)
        elif isinstance(body, Mapping):
            self.json_value(body if isinstance(body, dict) else dict(body), None, 0)
        elif isinstance(body, list | tuple):
            self.json_value(list(body), None, 0)
        else:
            self.message_object(body)

    def message_object(self, message: object) -> None:
        """The message classes of google-cloud-pubsub, boto3 and azure-{storage-queue,servicebus,eventhub,functions}."""
        attributes, data = getattr(message, "attributes", None), getattr(message, "data", None)
        if isinstance(attributes, Mapping) and isinstance(data, bytes):
            transport = TransportInfo(
                "pubsub",
                text(getattr(message, "message_id", None)),
                attempt=number(getattr(message, "delivery_attempt", None)),
            )
            self.pubsub_data(dict(attributes), data, transport, 0)
            return
        content = getattr(message, "content", None)
        if isinstance(content, str | bytes | Mapping | list):
            transport = TransportInfo(
                "azqueue", text(getattr(message, "id", None)), attempt=number(getattr(message, "dequeue_count", None))
            )
            self.text_or_value(content, transport)
            return
        content = getattr(message, "body", None)
        if content is None and callable(get_body := getattr(message, "get_body", None)):
            content = get_body()  # azure-functions
        if content is None:
            raise MalformedEvent(f"a {type(message).__name__} holds no events", hint="bytes, a text, or decoded JSON")
        if not isinstance(content, str | bytes | Mapping | list):
            content = self.joined(content, type(message).__name__)
        ident = text(getattr(message, "message_id", None))
        shell = "sqs" if getattr(message, "receipt_handle", None) else "queue"
        self.text_or_value(
            content, TransportInfo(shell, ident, attempt=number(getattr(message, "delivery_count", None)))
        )

    def joined(self, sections: object, owner: str) -> bytes:
        """The sections of an AMQP body as one, within bounds."""
        if not isinstance(sections, Iterable):
            raise MalformedEvent(f"the body of a {owner} is not bytes")
        whole = bytearray()
        for section in sections:
            if not isinstance(section, bytes | bytearray | memoryview):
                raise MalformedEvent(f"the body of a {owner} is not bytes")
            whole += section
            if len(whole) > self.max_bytes:
                raise MalformedEvent(f"the body is longer than {self.max_bytes} bytes")
        return bytes(whole)

    def text_or_value(self, content: object, transport: TransportInfo) -> None:
        if isinstance(content, bytes | str):
            self.json_value(decoded(content, self.max_bytes), transport, 0)
        else:
            self.json_value(dict(content) if isinstance(content, Mapping) else content, transport, 0)

    def http(self, body: object, head: dict[str, str]) -> None:
        """A delivery with its HTTP headers: those of CloudEvents and Pub/Sub carry the event itself."""
        if isinstance(body, bytearray | memoryview):
            body = bytes(body)
        origin = head.get("webhook-request-origin")
        if origin is not None and not body:
            callback = head.get("webhook-request-callback")
            self.out.append(
                WebhookOptions(origin, Secret(callback) if callback else None, head.get("webhook-request-rate"))
            )
        elif "ce-specversion" in head:
            self.binary_cloudevent(body, head)
        elif "x-goog-pubsub-message-id" in head or "x-goog-pubsub-subscription-name" in head:
            self.unwrapped_pubsub(body, head)
        elif "aeg-event-type" in head:
            shell = TransportInfo(
                "eventgrid", None, head.get("aeg-subscription-name"), _attempt(head.get("aeg-delivery-count"))
            )
            self.text_or_value(body, shell)
        else:
            self.anything(body)

    def binary_cloudevent(self, body: object, head: dict[str, str]) -> None:
        """HTTP binding, binary mode: attributes are percent-encoded ``ce-`` headers (CloudEvents HTTP binding, 3.1.3.2)."""
        attributes = {name[3:]: unquote(value) for name, value in head.items() if name.startswith("ce-")}
        if "content-type" in head:
            attributes["datacontenttype"] = head["content-type"]
        data = body
        if isinstance(body, bytes | str):
            if len(body) > self.max_bytes:
                raise MalformedEvent(f"the body is longer than {self.max_bytes} bytes")
            data = _maybe_json(body)
        self.cloudevent(attributes, data, None, 0)

    def unwrapped_pubsub(self, body: object, head: dict[str, str]) -> None:
        """Push without wrapping (cloud.google.com/pubsub/docs/payload-unwrapping): attributes are headers, case is lost."""
        data = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
        if not isinstance(data, bytes):
            raise MalformedEvent("the body of an unwrapped Pub/Sub message is bytes")
        if len(data) > self.max_bytes:
            raise MalformedEvent(f"the body is longer than {self.max_bytes} bytes")
        transport = TransportInfo(
            "pubsub", head.get("x-goog-pubsub-message-id"), head.get("x-goog-pubsub-subscription-name")
        )
        attributes = {_ATTRIBUTES.get(name, name): _utf8_header(value) for name, value in head.items()}
        self.pubsub_data(attributes, data, transport, 0)

    # --- one layer ---

    def json_value(self, value: object, transport: TransportInfo | None, depth: int) -> None:
        """A JSON value at this depth."""
        if isinstance(value, dict):
            self.json_object(value, transport, depth)
        elif isinstance(value, list):
            if depth > MAX_DEPTH:
                self.fault("nested too deep", value, transport)
                return
            if not value:
                self.foreign("an empty list", value, transport)
            for item in value:
                # A list is a batch, not a shell, unless it is in another list.
                self.json_value(item, transport, depth + 1 if isinstance(item, list) else depth)
        elif isinstance(value, str):
            self.inside(value, transport, depth + 1)
        else:
            self.foreign(f"a JSON {type(value).__name__}", value, transport)

    def inside(self, content: object, transport: TransportInfo | None, depth: int) -> None:
        """A text or bytes inside a shell: JSON, base64 of JSON, or not for us."""
        if depth > MAX_DEPTH:
            self.fault("nested too deep", content, transport)
        elif isinstance(content, dict | list):
            self.json_value(content, transport, depth)  # some shells hold an object where others hold its text
        elif not isinstance(content, str | bytes):
            self.fault("the shell has no message", content, transport)
        elif len(content) > self.max_bytes:
            self.fault(f"the message is longer than {self.max_bytes} bytes", content[:1024], transport)
        else:
            value = _maybe_json(content)
            if value is not content:
                self.json_value(value, transport, depth)
                return
            plain = content if isinstance(content, str) else content.decode("ascii", "replace")
            if plain.lstrip()[:1] in ("{", "["):
                self.fault("broken JSON", content, transport)
                return
            inner = decode_base64(plain)
            value = _maybe_json(inner) if inner else inner
            if value is inner:
                self.foreign("a text", content, transport)
            else:
                self.json_value(value, transport, depth)

    def json_object(self, value: dict[str, object], transport: TransportInfo | None, depth: int) -> None:
        """A JSON object: one of the shells, or a document for the dialects."""
        if depth > MAX_DEPTH:
            self.fault("nested too deep", value, transport)
            return
        records = value.get("Records")
        if isinstance(records, list):
            self.records(value, records, transport, depth)
            return
        for mark, open_shell in _SHELLS:
            if mark in value and open_shell(self, value, transport, depth):
                return
        self.document(value, transport)

    def records(
        self, value: dict[str, object], records: list[object], transport: TransportInfo | None, depth: int
    ) -> None:
        """``Records``: of S3 itself, or Lambda's around SQS and SNS messages."""
        if is_native(value):
            self.document(value, transport)
            return
        if not records:
            self.foreign("no records", value, transport)
        for record in records:
            if not isinstance(record, dict):
                self.fault("a record that is not an object", record, transport)
            elif "Sns" in record:
                if not self.sns(mapping(record["Sns"]), transport, depth):
                    self.fault("an SNS record without a message", record, transport)
            elif not ("messageId" in record and self.sqs(record, transport, depth)):
                self.document({"Records": [record]}, transport)

    def document(self, value: dict[str, object], transport: TransportInfo | None) -> None:
        self.out.append(Document("json", NO_HEAD, value, transport, self.raw_keys))

    def fault(self, message: str, raw: object, transport: TransportInfo | None) -> None:
        self.out.append(RecordError(message, raw=raw, transport=transport))

    def foreign(self, reason: str, raw: object, transport: TransportInfo | None) -> None:
        self.out.append(NotAnEvent(reason, raw, transport))

    # --- shells: each returns False when the object only looks like it ---

    def sqs(self, value: Mapping[str, object], outer: TransportInfo | None, depth: int) -> bool:
        """An SQS message, as Lambda (camel case) or boto3 (Pascal case) writes it."""
        pascal = "Body" in value
        if not pascal and not ("body" in value and ("eventSource" in value or "receiptHandle" in value)):
            return False
        attributes = mapping(value.get("Attributes" if pascal else "attributes"))
        transport = TransportInfo(
            "sqs",
            text(value.get("MessageId" if pascal else "messageId")),
            text(value.get("eventSourceARN")),
            _attempt(attributes.get("ApproximateReceiveCount")),
            outer,
        )
        self.inside(value["Body" if pascal else "body"], transport, depth + 1)
        return True

    def sqs_messages(self, value: Mapping[str, object], outer: TransportInfo | None, depth: int) -> bool:
        """The reply of boto3's ``receive_message``."""
        messages = value["Messages"]
        if not isinstance(messages, list):
            return False
        for message in messages:
            if not self.sqs(mapping(message), outer, depth):
                self.fault("an SQS message without a body", message, outer)
        return True

    def sns(self, value: Mapping[str, object], outer: TransportInfo | None, depth: int) -> bool:
        """An SNS message (https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html)."""
        kind, topic, ident = value.get("Type"), text(value.get("TopicArn")), text(value.get("MessageId"))
        if topic is None or not isinstance(value.get("Message"), str):
            return False
        transport = TransportInfo("sns", ident, topic, None, outer)
        if kind == "Notification":
            self.inside(value["Message"], transport, depth + 1)
            return True
        if kind not in ("SubscriptionConfirmation", "UnsubscribeConfirmation"):
            return False
        token, url = value.get("Token"), value.get("SubscribeURL")
        if not isinstance(token, str) or not isinstance(url, str):
            self.fault("an SNS confirmation without token or URL", value, transport)
            return True
        control = SubscriptionConfirmation if kind == "SubscriptionConfirmation" else UnsubscribeConfirmation
        self.out.append(control(topic, Secret(token), Secret(url), ident, transport))
        return True

    def eventbridge(self, value: dict[str, object], outer: TransportInfo | None, depth: int) -> bool:
        """An EventBridge event; the dialects read it whole."""
        if "source" not in value or not isinstance(value.get("detail"), dict):
            return False
        self.document(
            value, TransportInfo("eventbridge", text(value.get("id")), text(value.get("source")), None, outer)
        )
        return True

    def structured_cloudevent(self, value: Mapping[str, object], outer: TransportInfo | None, depth: int) -> bool:
        """CloudEvents JSON format. Attribute names are lower-case in the specification, not in every sender."""
        lower = {name.lower(): item for name, item in value.items()}
        if not isinstance(lower.get("type"), str) or "source" not in lower:
            return False
        data = lower.pop("data", None)
        encoded = lower.pop("data_base64", None)
        if encoded is not None:
            data = decode_base64(encoded) if isinstance(encoded, str) else None
            if data is None:
                self.fault("the data of a CloudEvent are not base64", value, outer)
                return True
        if isinstance(data, bytes | str):
            data = _maybe_json(data)
        attributes = {name: str(item) for name, item in lower.items() if isinstance(item, str | int)}
        self.cloudevent(attributes, data, outer, depth)
        return True

    def cloudevent(self, attributes: dict[str, str], data: object, outer: TransportInfo | None, depth: int) -> None:
        transport = TransportInfo("cloudevents", attributes.get("id"), attributes.get("source"), None, outer)
        if attributes.get("type", "").startswith(_CLOUDEVENT_SHELLS):
            self.inside(data, transport, depth + 1)
        else:
            self.out.append(Document("cloudevent", attributes, data, transport, self.raw_keys))

    def pubsub_push(self, value: Mapping[str, object], outer: TransportInfo | None, depth: int) -> bool:
        """``{"message": {…}, "subscription": …}``; the REST pull reply has such items too."""
        message = value["message"]
        if not isinstance(message, dict) or not ({"attributes", "data", "messageId", "message_id"} & message.keys()):
            return False
        transport = TransportInfo(
            "pubsub",
            text(message.get("messageId")) or text(message.get("message_id")),
            text(value.get("subscription")),
            number(value.get("deliveryAttempt")),
            outer,
        )
        self.pubsub_message(message, transport, depth)
        return True

    def pubsub_pull(self, value: Mapping[str, object], outer: TransportInfo | None, depth: int) -> bool:
        """The reply of the REST ``pull``."""
        received = value["receivedMessages"]
        if not isinstance(received, list):
            return False
        for item in received:
            if not ("message" in mapping(item) and self.pubsub_push(mapping(item), outer, depth)):
                self.fault("a received message without a message", item, outer)
        return True

    def bare_pubsub(self, value: Mapping[str, object], outer: TransportInfo | None, depth: int) -> bool:
        """A PubsubMessage by itself."""
        if not isinstance(value["attributes"], dict) or not ({"data", "messageId", "message_id"} & value.keys()):
            return False
        ident = text(value.get("messageId")) or text(value.get("message_id"))
        self.pubsub_message(value, TransportInfo("pubsub", ident, None, None, outer), depth)
        return True

    def pubsub_message(self, message: Mapping[str, object], transport: TransportInfo, depth: int) -> None:
        given, data = message.get("attributes"), message.get("data")
        attributes = {name: item for name, item in mapping(given).items() if isinstance(item, str)}
        if data is None:
            decoded: bytes | None = b""
        elif isinstance(data, bytes):
            decoded = data
        else:
            decoded = decode_base64(data) if isinstance(data, str) and len(data) <= 2 * self.max_bytes else None
        if decoded is None or len(decoded) > self.max_bytes:
            self.fault("the data of a Pub/Sub message are not base64, or too long", message, transport)
            return
        self.pubsub_data(attributes, decoded, transport, depth)

    def pubsub_data(self, attributes: dict[str, str], data: bytes, transport: TransportInfo, depth: int) -> None:
        if "eventType" in attributes:
            self.out.append(Document("pubsub", attributes, data, transport, self.raw_keys))
        elif "ce-type" in attributes:  # CloudEvents over Pub/Sub, binary mode
            head = {name[3:].lower(): item for name, item in attributes.items() if name.startswith("ce-")}
            self.cloudevent(head, _maybe_json(data), transport, depth)
        elif data:
            self.inside(data, transport, depth + 1)
        else:
            self.foreign("a Pub/Sub message without data", attributes, transport)

    def r2_pull(self, value: Mapping[str, object], outer: TransportInfo | None, depth: int) -> bool:
        """The reply of Cloudflare's pull endpoint, with or without the API's envelope."""
        messages = value.get("messages") if "result" not in value else mapping(value["result"]).get("messages")
        if not isinstance(messages, list) or not all(isinstance(m, dict) and "body" in m for m in messages):
            return False
        for message in messages:
            transport = TransportInfo("r2", text(message.get("id")), None, number(message.get("attempts")), outer)
            self.inside(message["body"], transport, depth + 1)
        return True

    def r2_message(self, value: Mapping[str, object], outer: TransportInfo | None, depth: int) -> bool:
        """One message of a pull."""
        return "body" in value and self.r2_pull({"messages": [value]}, outer, depth)

    def azure_queue(self, value: Mapping[str, object], outer: TransportInfo | None, depth: int) -> bool:
        """A Storage Queue message as its REST API writes it."""
        transport = TransportInfo(
            "azqueue", text(value.get("messageId")), None, _attempt(value.get("dequeueCount")), outer
        )
        self.inside(value["messageText"], transport, depth + 1)
        return True


# By a name that every object of that shell has; asked in this order. EventBridge before Pub/Sub: "detail" may hold anything.
_SHELLS: Final = (
    ("detail-type", _Opening.eventbridge),
    ("TopicArn", _Opening.sns),
    ("MessageId", _Opening.sqs),
    ("messageId", _Opening.sqs),
    ("Messages", _Opening.sqs_messages),
    ("specversion", _Opening.structured_cloudevent),
    ("specVersion", _Opening.structured_cloudevent),
    ("message", _Opening.pubsub_push),
    ("receivedMessages", _Opening.pubsub_pull),
    ("attributes", _Opening.bare_pubsub),
    ("result", _Opening.r2_pull),
    ("messages", _Opening.r2_pull),
    ("lease_id", _Opening.r2_message),
    ("messageText", _Opening.azure_queue),
)

_ATTRIBUTES: Final = {
    name.lower(): name
    for name in (
        "notificationConfig",
        "eventType",
        "payloadFormat",
        "bucketId",
        "objectId",
        "objectGeneration",
        "eventTime",
        "overwroteGeneration",
        "overwrittenByGeneration",
    )
}


def _maybe_json(content: bytes | str) -> object:
    """The JSON value; or ``content`` itself, the same object, when it is no JSON object, array or text."""
    start = content[:64].lstrip()[:1] if isinstance(content, str) else content[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start not in _STARTS:
        return content
    try:
        return loads(content)
    except MalformedEvent:
        return content


_STARTS: Final[frozenset[bytes | str]] = frozenset({"{", "[", '"', b"{", b"[", b'"'})


def _attempt(value: object) -> int | None:
    """Delivery counts are numbers in some shells and texts in others."""
    return number(value)


def _utf8_header(value: str) -> str:
    """HTTP servers hand header bytes on as Latin-1; the sender wrote UTF-8."""
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value
