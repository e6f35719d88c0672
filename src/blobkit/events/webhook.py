"""Receiving events over HTTP, without a framework: :class:`Webhook`.

What is answered decides whether an event is lost: most senders take any 2xx *or 4xx* as delivered, and Event Grid drops on
400, 401 and 413. Hence:

====================================  =============================================================================
proven and parsed                     200; handshakes are answered here, and only now
a record of it cannot be used         200, and the error is beside the events: keep it, sending it again changes nothing
the body cannot be read               400 to Event Grid, which can dead-letter it; 200 to others, who would send it for ever
not proven                            401 when no credentials came, else 403
could not find out, could not store   503 with Retry-After: a key server or database is down
too long · another method             413 · 405
====================================  =============================================================================
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from blobkit.errors import MalformedEvent, TransientError, UntrustedEvent
from blobkit.events.auth import Authenticator, Request
from blobkit.events.controls import EventGridValidation, RecordError, WebhookOptions
from blobkit.events.parse import ParsedEvents, parse_events
from blobkit.events.shells import Headers

__all__ = ["EVENT_GRID_ORIGINS", "Response", "Webhook"]

EVENT_GRID_ORIGINS: Final = frozenset({"eventgrid.azure.net"})
"""Who may subscribe by the CloudEvents handshake. Sovereign clouds have other names."""

_MAX_BODY: Final = 8 * 1024 * 1024
_KEPT_RAW: Final = 64 * 1024
_log: Final = logging.getLogger("blobkit.events")


@dataclass(frozen=True, slots=True)
class Response:
    """What to answer: status, headers, body."""

    status: int
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    body: bytes = b""


class Webhook:
    """Answers the senders of one address.

    Args:
        authenticator: Proves where requests come from. There is no default: an open webhook lets anybody say that an
            upload is complete.
        origins: Who may subscribe by the CloudEvents handshake.
        max_bytes: The longest body.
        retry_after: Seconds, told with 503.
        raw_keys: See :func:`~blobkit.events.parse.parse_events`.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        *,
        origins: Collection[str] = EVENT_GRID_ORIGINS,
        max_bytes: int = _MAX_BODY,
        retry_after: int = 30,
        raw_keys: Iterable[str] = (),
    ) -> None:
        self._authenticator = authenticator
        self._origins = frozenset(origins)
        self.max_bytes: Final = max_bytes
        self._retry_after, self._raw_keys = retry_after, frozenset(raw_keys)

    def handle(
        self, method: str, headers: Headers, query: str | bytes | Mapping[str, str], body: bytes
    ) -> tuple[Response, ParsedEvents]:
        """Check and read one request. Never raises.

        Returns:
            The answer, and the events. Store the events durably *before* you give a 2xx answer; when that fails, answer
            :meth:`unavailable` instead. :meth:`receive` does both.
        """
        request = Request.of(method, headers, query, body)
        if request.method not in ("POST", "OPTIONS"):
            return Response(405, MappingProxyType({"Allow": "POST, OPTIONS"})), ParsedEvents()
        if len(body) > self.max_bytes:
            return Response(413), ParsedEvents()
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal, ParsedEvents()
        if request.method == "OPTIONS":
            return self._handshake(request)
        try:
            parsed = parse_events(body, request.headers, max_bytes=self.max_bytes, raw_keys=self._raw_keys)
        except MalformedEvent as error:
            _log.warning("an event that cannot be read: %s", error)
            status = 400 if "aeg-event-type" in request.headers else 200
            return Response(status), ParsedEvents(errors=[RecordError(error.message, raw=body[:_KEPT_RAW])])
        for control in parsed.controls:
            if isinstance(control, EventGridValidation):
                return _json({"validationResponse": control.code}), parsed
        return Response(200), parsed

    def receive(
        self,
        method: str,
        headers: Headers,
        query: str | bytes | Mapping[str, str],
        body: bytes,
        store: Callable[[ParsedEvents], object],
    ) -> Response:
        """:meth:`handle`, then ``store`` with what was found; 503 when that raises, so that the sender keeps the event."""
        response, parsed = self.handle(method, headers, query, body)
        if not parsed.anything:
            return response
        try:
            store(parsed)
        except Exception:
            return self.not_stored()
        return response

    def not_stored(self) -> Response:
        """503, in the handler of what storing raised, which is logged."""
        _log.exception("events could not be stored")
        return self.unavailable()

    def unavailable(self) -> Response:
        """503: send it again later."""
        return Response(503, MappingProxyType({"Retry-After": str(self._retry_after)}))

    def _refusal(self, request: Request) -> Response | None:
        try:
            self._authenticator.authenticate(request)
        except UntrustedEvent as error:
            _log.warning("an event of unproven origin was refused: %s", error)
            if error.code != "missing":
                return Response(403)
            challenge = getattr(
                self._authenticator, "challenge", None
            )  # SNS sends Basic credentials only when challenged
            return Response(401, MappingProxyType({"WWW-Authenticate": challenge or "Bearer"}))
        except TransientError as error:
            _log.warning("the origin of an event could not be checked: %s", error)
            return self.unavailable()
        except Exception:  # a fault of ours must not lose the event, and must not let it in
            _log.exception("the origin of an event could not be checked")
            return self.unavailable()
        return None

    def _handshake(self, request: Request) -> tuple[Response, ParsedEvents]:
        """CloudEvents HTTP Webhook, section 4: permission is given by naming the origin."""
        parsed = parse_events(b"", request.headers) if "webhook-request-origin" in request.headers else ParsedEvents()
        options = next((item for item in parsed.controls if isinstance(item, WebhookOptions)), None)
        if options is None:
            return Response(200, MappingProxyType({"Allow": "POST, OPTIONS"})), ParsedEvents()
        if options.origin.lower() not in self._origins:
            return Response(403), ParsedEvents()
        answer = {"Allow": "POST", "WebHook-Allowed-Origin": options.origin}
        if options.rate is not None:
            answer["WebHook-Allowed-Rate"] = "*"
        return Response(200, MappingProxyType(answer)), parsed


def _json(value: object) -> Response:
    body = json.dumps(value, separators=(",", ":")).encode("utf-8")
    return Response(200, MappingProxyType({"Content-Type": "application/json"}), body)
