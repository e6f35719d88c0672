"""Storage events: parsed from every provider's deliveries, proven, compared. The names here are the public ones."""

from __future__ import annotations

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
from blobkit.events.keeping import StoreEvent, StoreEvents
from blobkit.events.model import BlobEvent, EventKind, OrderToken, TransportInfo
from blobkit.events.order import Order, compare
from blobkit.events.parse import ParsedEvents, parse_events
from blobkit.events.webhook import Response, Webhook

__all__ = [
    "AccountSummary",
    "AllOf",
    "AnyOf",
    "Authenticator",
    "BlobEvent",
    "Control",
    "EventGridValidation",
    "EventKind",
    "NotAnEvent",
    "Order",
    "OrderToken",
    "ParsedEvents",
    "Proof",
    "RecordError",
    "Request",
    "Response",
    "SharedSecret",
    "StoreEvent",
    "StoreEvents",
    "SubscriptionConfirmation",
    "SubscriptionDeleted",
    "TestEvent",
    "TransportInfo",
    "UnsubscribeConfirmation",
    "Webhook",
    "WebhookOptions",
    "compare",
    "parse_events",
]
