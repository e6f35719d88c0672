"""Google Pub/Sub as a source of events: ``pubsub://project/subscription``. Importing this module loads no SDK.

A streaming pull holds at most ``max_unsettled`` messages, and Google's client extends their deadlines until they are settled or
the option ``max_hold`` has passed. https://cloud.google.com/pubsub/docs/pull#streamingpull_api
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol, cast

from blobkit.backend import Classified
from blobkit.config import Kind, Location, OpenContext, Option, StoreConfig
from blobkit.errors import ConfigError, NotFound, PluginMissing
from blobkit.events.receiving import Message, Receiver, SourcePlugin
from blobkit_gcs.config import service_account_key
from blobkit_gcs.errors import classify, status_of

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["PubsubConfig", "PubsubPlugin", "PubsubReceiver", "plugin"]

_LONGEST_DEADLINE: Final = 600
_AGAIN: Final = 10.0  # a subscription without a retry policy would bring a message back at once
_SHUTDOWN: Final = 30.0
_MOST_IDS: Final = 1000
_SCOPES: Final = ("https://www.googleapis.com/auth/pubsub",)
_log: Final = logging.getLogger("blobkit.events")


@dataclass(frozen=True, slots=True)
class PubsubConfig:
    """The options as values.

    Attributes:
        extension: By how much a deadline is put off at a time: so late a killed consumer's messages come again.
        emulator: ``host:port`` of an emulator, which is spoken to without credentials and encryption.
        key: A service account's JSON key, decoded.
    """

    project: str
    subscription: str
    max_messages: int
    max_hold: timedelta
    extension: timedelta
    emulator: str | None = None
    endpoint: str | None = None
    key: Mapping[str, str] | None = field(default=None, repr=False)

    @property
    def path(self) -> str:
        """The subscription's full name."""
        return f"projects/{self.project}/subscriptions/{self.subscription}"


class _SdkMessage(Protocol):
    """What is used of google-cloud-pubsub's message."""

    message_id: str
    ack_id: str
    data: bytes
    attributes: Mapping[str, str]
    delivery_attempt: int | None

    def ack_with_response(self) -> Future[object]: ...
    def nack(self) -> None: ...
    def drop(self) -> None: ...
    def modify_ack_deadline(self, seconds: int) -> None: ...


class _Client(Protocol):
    """What is used of its client."""

    def subscribe(
        self, subscription: str, *, callback: Callable[[_SdkMessage], object], flow_control: object
    ) -> Future[object]: ...
    def modify_ack_deadline(self, *, subscription: str, ack_ids: list[str], ack_deadline_seconds: int) -> None: ...
    def close(self) -> None: ...


class PubsubReceiver(Receiver):
    """Reads one subscription. See :class:`blobkit.events.receiving.Receiver`. The stream opens at the first ``receive``."""

    provider = "gcs"
    batch = 100
    lease = None  # Google's client extends
    longest_retry = timedelta(seconds=_LONGEST_DEADLINE)

    def __init__(self, config: PubsubConfig) -> None:
        self.name = f"pubsub://{config.project}/{config.subscription}"
        self._config = config
        self._lock = threading.Lock()
        self._client: _Client | None = None
        self._stream: Future[object] | None = None
        self._arrived: queue.SimpleQueue[_SdkMessage | None] = (
            queue.SimpleQueue()
        )  # None: look up, something else happened
        self._returned: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._stopped = False

    def receive(self, limit: int, wait: float) -> Sequence[Message]:
        """What the stream has brought."""
        end = time.monotonic() + wait
        found: list[Message] = []
        while not self._stopped and not found:
            stream = self._open()
            if stream is None:
                break
            left = end - time.monotonic()
            try:
                arrived = self._arrived.get(timeout=max(left, 0.001))
            except queue.Empty:
                break
            while arrived is not None:
                found.append(self._message(arrived))
                if len(found) >= limit:
                    break
                arrived = self._next()
            if not found and stream.done():
                self._failed(stream)
        if self._stopped:
            self._arrived.put(None)
        return found

    def ack(self, messages: Sequence[Message]) -> None:
        """With exactly-once delivery, until Google confirms. Else Google's client sends it soon, at the latest on close."""
        answers = [_sdk(message).ack_with_response() for message in messages]
        for answer in answers:
            try:
                answer.result(timeout=_SHUTDOWN)
            except Exception as error:
                if getattr(getattr(error, "error_code", None), "name", "") != "INVALID_ACK_ID":
                    raise
                _log.info("a deadline had passed before its message was acknowledged: it comes again")

    def retry(self, message: Message, after: float | None) -> None:
        """Let its deadline end then, and extend it no more."""
        seconds = math.ceil(_AGAIN if after is None else after)
        sdk = _sdk(message)
        if seconds <= 0 and self._stopped:
            # A nack would bring it back on this very stream, and it would wait for its deadline once more.
            sdk.drop()
            self._returned.put(sdk.ack_id)
        elif seconds <= 0:
            sdk.nack()
        else:
            sdk.drop()
            sdk.modify_ack_deadline(min(seconds, _LONGEST_DEADLINE))

    def wake(self) -> None:
        """See Receiver."""
        self._stopped = True
        self._arrived.put(None)

    def classify(self, error: Exception) -> Classified | None:
        """The table of Cloud Storage, and what only subscriptions say."""
        if type(error).__module__.startswith("google.api_core.") and status_of(error) == 404:
            return Classified(
                NotFound, f"there is no subscription {self._config.path!r}", code=type(error).__name__, http_status=404
            )
        return classify(error)

    def close(self) -> None:
        """Return what the stream brought and nobody took, flush acknowledgements, and close the stream."""
        with self._lock:
            self._stopped = True
            stream, self._stream = self._stream, None
            client, self._client = self._client, None
        if stream is not None:
            stream.cancel()
            try:
                stream.result(timeout=_SHUTDOWN)
            except Exception as error:
                _log.info("%s: the stream ended: %s", self.name, type(error).__name__)
        while not self._arrived.empty():
            arrived = self._next()
            if arrived is not None:
                self._returned.put(arrived.ack_id)
        while client is not None and (ids := _some(self._returned)):
            try:
                client.modify_ack_deadline(subscription=self._config.path, ack_ids=ids, ack_deadline_seconds=0)
            except Exception as error:
                _log.info("%s: messages were not returned, and come when their deadline ends: %s", self.name, error)
        if client is not None:
            client.close()

    def _next(self) -> _SdkMessage | None:
        try:
            return self._arrived.get_nowait()
        except queue.Empty:
            return None

    def _open(self) -> Future[object] | None:
        with self._lock:
            if self._stopped:
                return None
            if self._stream is None:
                if self._client is None:
                    self._client = _make(self._config)
                from google.cloud.pubsub_v1.types import FlowControl

                self._stream = self._client.subscribe(
                    self._config.path,
                    callback=self._arrived.put,
                    flow_control=FlowControl(
                        max_messages=self._config.max_messages,
                        max_lease_duration=self._config.max_hold.total_seconds(),
                        max_duration_per_lease_extension=math.ceil(self._config.extension.total_seconds()),
                    ),
                )
                self._stream.add_done_callback(lambda _: self._arrived.put(None))
            return self._stream

    def _failed(self, stream: Future[object]) -> None:
        """Raise why the stream ended; the next ``receive`` opens another."""
        with self._lock:
            if self._stream is stream:
                self._stream = None
        error = stream.exception(timeout=0)
        if error is not None and not self._stopped:
            raise error

    def _message(self, sdk: _SdkMessage) -> Message:
        attributes = MappingProxyType(dict(sdk.attributes))
        shell = {
            "message": {"attributes": dict(attributes), "data": sdk.data, "messageId": sdk.message_id},
            "subscription": self._config.path,
            "deliveryAttempt": sdk.delivery_attempt,
        }
        return Message(
            sdk.message_id, sdk.data, shell, receipt=sdk, attempt=sdk.delivery_attempt, attributes=attributes
        )


def _some(ids: queue.SimpleQueue[str]) -> list[str]:
    """As many as one call takes."""
    found: list[str] = []
    while len(found) < _MOST_IDS and not ids.empty():
        found.append(ids.get())
    return found


def _sdk(message: Message) -> _SdkMessage:
    return cast("_SdkMessage", message.receipt)


def _make(config: PubsubConfig) -> _Client:
    try:
        from google.cloud.pubsub_v1 import SubscriberClient
    except ImportError as error:
        raise PluginMissing("Pub/Sub needs google-cloud-pubsub", hint='pip install "blobkit[gcs]"') from error
    if config.emulator is not None:
        import grpc
        from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

        plain = SubscriberGrpcTransport(channel=grpc.insecure_channel(config.emulator))
        return cast("_Client", SubscriberClient(transport=plain))
    credentials = None  # the client finds the application's default credentials
    if config.key is not None:
        from google.oauth2 import service_account

        credentials = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
            dict(config.key), scopes=list(_SCOPES)
        )
    options = {"api_endpoint": config.endpoint} if config.endpoint else None
    return cast("_Client", SubscriberClient(credentials=credentials, client_options=options))


class PubsubPlugin(SourcePlugin):
    """``pubsub://project/subscription``: a pull subscription of the topic that Cloud Storage notifies."""

    scheme = "pubsub"
    provider = "gcs"
    extra = "gcs"
    location = Location(authority="project", segments=("subscription",), rest="nothing")
    options = (
        Option("service_account", Kind.SECRET, "A service account's JSON key; else GOOGLE_APPLICATION_CREDENTIALS."),
        Option(
            "lease", Kind.SECONDS, "How long a message is hidden from others before it is extended: 10 to 600.", "60"
        ),
        Option("endpoint", Kind.TEXT, "A regional or private endpoint: host or host:port."),
        Option("emulator", Kind.TEXT, "host:port of an emulator; else PUBSUB_EMULATOR_HOST."),
    )

    def open(self, config: StoreConfig, context: OpenContext) -> Receiver:
        """Check the settings."""
        lease = config.seconds("lease") or timedelta(seconds=60)
        if not 10 <= lease.total_seconds() <= _LONGEST_DEADLINE:
            raise ConfigError("a lease of Pub/Sub has 10 seconds to 10 minutes")
        emulator = config.text("emulator") or context.env.get("PUBSUB_EMULATOR_HOST") or None
        return PubsubReceiver(
            PubsubConfig(
                project=config.location["project"],
                subscription=config.location["subscription"],
                max_messages=config.number("max_unsettled") or 1000,
                max_hold=config.seconds("max_hold") or timedelta(hours=1),
                extension=lease,
                emulator=emulator,
                endpoint=config.text("endpoint"),
                key=None if emulator else service_account_key(config, context.env),
            )
        )


plugin = PubsubPlugin()
