"""What a plugin implements to have its provider's records read: :class:`Dialect`.

A dialect is pure: no I/O, no SDK. The core has opened the shells (Lambda, SQS, SNS, Pub/Sub, CloudEvents …) and hands it
one :class:`Document` at a time; it gives the events in it, or None when the document is not of its provider. It never
raises for what it is given: a record that cannot be used becomes a :class:`~blobkit.events.controls.RecordError` beside
the good ones.

Entry points: group ``blobkit.dialects``, the provider's name to ``module:attribute``. Bundled dialects stand in
:mod:`blobkit.events.bundled` and are asked first; others are found by a scan when no bundled one knows a document.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from blobkit.events.controls import Control, NotAnEvent, RecordError
from blobkit.events.model import BlobEvent, TransportInfo

__all__ = ["Dialect", "Document", "Item"]

Item = BlobEvent | Control | RecordError | NotAnEvent
"""What a document may hold."""


@dataclass(slots=True)
class Document:
    """One message with its shells taken off. Dialects read it and do not change it.

    Args:
        shape: ``json``: ``body`` is a JSON object. ``pubsub``: a Pub/Sub message, ``head`` its attributes, ``body`` its
            data as bytes (empty when it has none). ``cloudevent``: ``head`` its context attributes with lower-case names,
            ``body`` its data: a JSON value, or bytes when they are not JSON.
        head: Attributes; empty for ``json``.
        body: See ``shape``.
        transport: The shells it came in.
        raw_keys: Providers whose keys the caller knows to arrive unencoded.
    """

    shape: Literal["json", "pubsub", "cloudevent"]
    head: Mapping[str, str]
    body: object
    transport: TransportInfo | None
    raw_keys: frozenset[str] = frozenset()


@runtime_checkable
class Dialect(Protocol):
    """Reads one provider's records."""

    @property
    def name(self) -> str:
        """The provider's name, as its entry point has it."""
        ...

    def parse(self, document: Document) -> Sequence[Item] | None:
        """The events, controls, faults and foreign records in ``document``, in order; None when it is another provider's.

        ``[]`` means: mine, and nothing in it.
        """
        ...
