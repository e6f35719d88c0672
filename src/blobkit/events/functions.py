"""For functions that a platform calls with a batch, as AWS Lambda does: :func:`handle_batch`.

::

    def handler(event, context):
        return handle_batch(event, lambda parsed: remember(parsed))

SQS repeats a whole batch when one message of it fails, unless the function names those that failed and the event source mapping
has ``ReportBatchItemFailures``: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, TypedDict

from blobkit.errors import MalformedEvent
from blobkit.events.controls import RecordError
from blobkit.events.deadletters import DeadLetter, DeadLetters
from blobkit.events.fields import mapping, number, text
from blobkit.events.parse import ParsedEvents, parse_events

__all__ = ["BatchItemFailure", "BatchResponse", "handle_batch"]

_log: Final = logging.getLogger("blobkit.events")


class BatchItemFailure(TypedDict):
    """One message that comes again."""

    itemIdentifier: str


class BatchResponse(TypedDict):
    """What Lambda wants to hear. An empty list: every message was handled."""

    batchItemFailures: list[BatchItemFailure]


def handle_batch(
    event: Mapping[str, object],
    handle: Callable[[ParsedEvents], object],
    *,
    dead_letters: DeadLetters | None = None,
) -> BatchResponse:
    """Call ``handle`` for each SQS message of a Lambda event, and report those for which it raised.

    Of a FIFO queue nothing after the first failure is handled: the rest is reported too, so that the order is kept. A message
    of which something cannot be read is put among the dead letters after ``handle`` has seen the rest; without a place for
    them it is reported, so that the queue's redrive policy takes it in the end.

    An event that holds no SQS messages (S3 or SNS calls the function itself) is handled as a whole; what ``handle`` raises is
    raised, because that is what makes Lambda try again.

    Args:
        event: What Lambda gave.
        handle: Stores what a message says, durably: it will not come again after this returns.
        dead_letters: Where messages go that cannot be read.

    Raises:
        MalformedEvent: The event as a whole is not one.
    """
    records = event.get("Records")
    messages = [mapping(record) for record in records] if isinstance(records, list) else []
    if not messages or not all(_is_sqs(message) for message in messages):
        handle(parse_events(event))
        return BatchResponse(batchItemFailures=[])
    failed: list[str] = []
    for message in messages:
        ident = str(message["messageId"])
        if (failed and _fifo(message)) or not _handled(message, ident, handle, dead_letters):
            failed.append(ident)
    return BatchResponse(batchItemFailures=[BatchItemFailure(itemIdentifier=ident) for ident in failed])


def _handled(
    message: Mapping[str, object],
    ident: str,
    handle: Callable[[ParsedEvents], object],
    dead_letters: DeadLetters | None,
) -> bool:
    try:
        parsed = _parsed(message)
        if parsed or parsed.controls or parsed.foreign:
            handle(parsed)
        if not parsed.errors:
            return True
        reason = "; ".join(sorted({error.message for error in parsed.errors}))
        if dead_letters is None:
            _log.error("message %s cannot be read, and there is no place for dead letters: %s", ident, reason)
            return False
        dead_letters.put(_letter(message, ident, reason))
    except Exception:
        _log.exception("message %s was not handled, and comes again", ident)
        return False
    return True


def _parsed(message: Mapping[str, object]) -> ParsedEvents:
    try:
        return parse_events({"Records": [message]})
    except MalformedEvent as error:
        return ParsedEvents(errors=[RecordError(error.message, raw=message)])


def _letter(message: Mapping[str, object], ident: str, reason: str) -> DeadLetter:
    attributes = mapping(message.get("attributes"))
    return DeadLetter(
        source=str(message.get("eventSourceARN", "sqs")),
        message_id=ident,
        raw=str(message.get("body", "")).encode("utf-8", "surrogatepass"),
        reason=reason,
        time=datetime.now(UTC),
        attempt=number(attributes.get("ApproximateReceiveCount")),
        attributes=MappingProxyType({name: value for name, value in attributes.items() if isinstance(value, str)}),
    )


def _is_sqs(message: Mapping[str, object]) -> bool:
    return text(message.get("messageId")) is not None and "body" in message


def _fifo(message: Mapping[str, object]) -> bool:
    return str(message.get("eventSourceARN", "")).endswith(".fifo")
