"""A Lambda function reports what it did not handle, and nothing else."""

from __future__ import annotations

import pytest

from blobkit.events import MemoryDeadLetters, ParsedEvents, handle_batch

from . import samples


def record(key: str) -> dict[str, object]:
    """A notification of one key."""
    return samples.s3(samples.s3_record(key))


class Handler:
    """Remembers keys, and raises for some."""

    def __init__(self, *failing: str) -> None:
        self.failing, self.keys = failing, list[str]()

    def __call__(self, parsed: ParsedEvents) -> None:
        for event in parsed:
            if event.key in self.failing:
                raise OSError("database is down")
            self.keys.append(event.key)


def failures(*idents: str) -> dict[str, list[dict[str, str]]]:
    """What Lambda is told."""
    return {"batchItemFailures": [{"itemIdentifier": ident} for ident in idents]}


def test_only_the_messages_that_failed_are_reported() -> None:
    handler = Handler("b")
    batch = samples.sqs_lambda(record("a"), record("b"), samples.sns(record("c")))
    assert handle_batch(batch, handler) == failures("m1")
    assert handler.keys == ["a", "c"]
    assert handle_batch(samples.sqs_lambda(record("a")), handler) == failures()


def test_of_a_fifo_queue_nothing_after_a_failure_is_handled() -> None:
    handler = Handler("b")
    batch = samples.sqs_lambda(record("a"), record("b"), record("c"))
    for message in batch["Records"]:  # type: ignore[attr-defined]
        message["eventSourceARN"] += ".fifo"
    assert handle_batch(batch, handler) == failures("m1", "m2")
    assert handler.keys == ["a"]


def test_what_cannot_be_read_is_kept_or_left_to_the_queues_own_policy() -> None:
    handler, letters = Handler(), MemoryDeadLetters()
    half = samples.s3(samples.s3_record("good"), {"broken": True})
    batch = samples.sqs_lambda("{broken", half, {"Event": "s3:TestEvent"})
    assert handle_batch(batch, handler) == failures("m0", "m1")
    assert handle_batch(batch, handler, dead_letters=letters) == failures()
    assert [(letter.message_id, letter.attempt) for letter in letters] == [("m0", 2), ("m1", 2)]
    assert next(iter(letters)).raw == b"{broken"
    assert handler.keys == ["good", "good"]


def test_a_message_is_reported_when_it_cannot_be_kept() -> None:
    class Full:
        def put(self, letter: object) -> None:
            raise OSError("disk full")

    assert handle_batch(samples.sqs_lambda("{"), Handler(), dead_letters=Full()) == failures("m0")


def test_an_event_without_messages_is_handled_whole_and_its_failure_is_raised() -> None:
    handler = Handler("b")
    assert handle_batch(record("a"), handler) == failures()
    assert (
        handle_batch({"Records": [{"EventSource": "aws:sns", "Sns": samples.sns(record("n"))}]}, handler) == failures()
    )
    assert handler.keys == ["a", "n"]
    with pytest.raises(OSError, match="database"):
        handle_batch(record("b"), handler)
