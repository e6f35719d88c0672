"""Storage events: parsed from every provider's deliveries, proven, compared. The names here are the public ones."""

from __future__ import annotations

from blobkit.events.asgi import WebhookApp
from blobkit.events.auth import AllOf, AnyOf, Authenticator, Proof, Request, SharedSecret
from blobkit.events.controls import (
    AccountSummary,
    Control,
    EventGridValidation,
    NotAnEvent,
    RecordError,
    SubscriptionConfirmation,
    SubscriptionDeleted,
    TestEvent,
    UnsubscribeConfirmation,
    WebhookOptions,
)
from blobkit.events.deadletters import DeadLetter, DeadLetters, DirectoryDeadLetters, MemoryDeadLetters
from blobkit.events.functions import BatchResponse, handle_batch
from blobkit.events.keeping import StoreEvent, StoreEvents
from blobkit.events.model import BlobEvent, EventKind, OrderToken, TransportInfo
from blobkit.events.order import Order, compare
from blobkit.events.parse import ParsedEvents, parse_events
from blobkit.events.sources import Delivery, Source, open_events
from blobkit.events.webhook import Response, Webhook

__all__ = [
    "AccountSummary",
    "AllOf",
    "AnyOf",
    "Authenticator",
    "BatchResponse",
    "BlobEvent",
    "Control",
    "DeadLetter",
    "DeadLetters",
    "Delivery",
    "DirectoryDeadLetters",
    "EventGridValidation",
    "EventKind",
    "MemoryDeadLetters",
    "NotAnEvent",
    "Order",
    "OrderToken",
    "ParsedEvents",
    "Proof",
    "RecordError",
    "Request",
    "Response",
    "SharedSecret",
    "Source",
    "StoreEvent",
    "StoreEvents",
    "SubscriptionConfirmation",
    "SubscriptionDeleted",
    "TestEvent",
    "TransportInfo",
    "UnsubscribeConfirmation",
    "Webhook",
    "WebhookApp",
    "WebhookOptions",
    "compare",
    "handle_batch",
    "open_events",
    "parse_events",
]
