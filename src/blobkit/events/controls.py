"""What may arrive in the place of an event: handshakes, test messages, summaries, foreign messages, records with a fault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from blobkit.errors import MalformedEvent
from blobkit.events.model import TransportInfo
from blobkit.redaction import Secret

__all__ = [
    "AccountSummary",
    "Control",
    "EventGridValidation",
    "NotAnEvent",
    "RecordError",
    "SubscriptionConfirmation",
    "SubscriptionDeleted",
    "TestEvent",
    "UnsubscribeConfirmation",
    "WebhookOptions",
]


@dataclass(frozen=True, slots=True)
class TestEvent:
    """``s3:TestEvent``: sent whenever a notification is configured. Acknowledge it; nothing happened."""

    __test__ = False  # not a test, whatever pytest thinks of the name

    bucket: str | None
    time: datetime | None
    transport: TransportInfo | None = None


@dataclass(frozen=True, slots=True)
class SubscriptionConfirmation:
    """SNS asks whether the endpoint wants the topic.

    Confirm through the API, with the topic and the token, and only for a topic of yours: ``url`` may point anywhere until
    the message is verified, so nothing in this library ever fetches it.
    """

    topic: str
    token: Secret
    url: Secret
    message_id: str | None
    transport: TransportInfo | None = None


@dataclass(frozen=True, slots=True)
class UnsubscribeConfirmation:
    """SNS tells that the endpoint was unsubscribed. ``url`` would subscribe it again; nothing here follows it."""

    topic: str
    token: Secret
    url: Secret
    message_id: str | None
    transport: TransportInfo | None = None


@dataclass(frozen=True, slots=True)
class EventGridValidation:
    """Event Grid asks whether the endpoint is yours: answer 200 with ``{"validationResponse": code}`` within 30 seconds.

    It proves the endpoint to Azure, not Azure to the endpoint: check the secret first.
    """

    code: str
    url: Secret | None
    topic: str | None
    transport: TransportInfo | None = None


@dataclass(frozen=True, slots=True)
class WebhookOptions:
    """The CloudEvents handshake: ``OPTIONS`` with ``WebHook-Request-Origin``.

    Args:
        origin: Who wants to deliver (``eventgrid.azure.net``).
        callback: Where permission could be given later; nothing here calls it.
        rate: The rate asked for, as it was written.
    """

    origin: str
    callback: Secret | None = None
    rate: str | None = None


@dataclass(frozen=True, slots=True)
class SubscriptionDeleted:
    """Event Grid tells that the subscription was deleted."""

    topic: str | None
    transport: TransportInfo | None = None


@dataclass(frozen=True, slots=True)
class AccountSummary:
    """A report about a whole account (lifecycle or inventory run): a reason to reconcile, not an event of one object."""

    provider: str
    native_type: str
    account: str | None
    time: datetime | None
    raw: Mapping[str, object]
    transport: TransportInfo | None = None


Control = (
    TestEvent
    | SubscriptionConfirmation
    | UnsubscribeConfirmation
    | EventGridValidation
    | WebhookOptions
    | SubscriptionDeleted
    | AccountSummary
)


@dataclass(frozen=True, slots=True)
class NotAnEvent:
    """A message that is whole, but tells nothing of an object in a store. Acknowledge it, and look why it came here."""

    reason: str
    raw: object
    transport: TransportInfo | None = None


class RecordError(MalformedEvent):
    """One record of a batch that cannot be used; the others of the batch are not concerned.

    Attributes:
        raw: The record as it came, as far as it was decoded.
        transport: The shells it came in; None when the bare record was given.
    """

    def __init__(
        self,
        message: str,
        *,
        raw: object,
        transport: TransportInfo | None = None,
        provider: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, provider=provider, hint=hint)
        self.raw = raw
        self.transport = transport
