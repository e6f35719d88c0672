"""Azure Storage Queues as a source of events: ``azqueue://account/queue``. Importing this module loads no SDK.

A queue has no long poll: it is asked again and again, at first often, then every few seconds.
https://learn.microsoft.com/azure/event-grid/handler-storage-queues
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from blobkit.backend import Classified
from blobkit.config import Kind, Location, OpenContext, Option, StoreConfig
from blobkit.errors import (
    BlobkitError,
    ConfigError,
    ConnectionFailed,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    PluginMissing,
    SigningUnavailable,
    Throttled,
    Unavailable,
)
from blobkit.events.receiving import Message, Nap, Receiver, SourcePlugin
from blobkit.redaction import Secret

if TYPE_CHECKING:
    from azure.storage.queue import QueueClient, QueueMessage

__all__ = ["QueueConfig", "QueuePlugin", "QueueReceiver", "plugin"]

_SHORTEST_LOOK: Final = 0.1
_LONGEST_LOOK: Final = 5.0
_LONGEST: Final = timedelta(days=7)
_GONE: Final = frozenset({"MessageNotFound", "PopReceiptMismatch"})
"""What the queue says of a message whose lease ended: somebody else has it by now, or it is deleted."""

_STATUSES: Final[dict[int, type[BlobkitError]]] = {
    400: InvalidArgument,
    401: PermissionDenied,
    403: PermissionDenied,
    404: NotFound,
    429: Throttled,
    503: Throttled,
}
_log: Final = logging.getLogger("blobkit.events")


@dataclass(frozen=True, slots=True)
class QueueConfig:
    """The options as values.

    Attributes:
        endpoint: Of the account's queues: ``https://account.queue.core.windows.net``.
    """

    account: str
    queue: str
    endpoint: str
    lease: timedelta
    connection_string: Secret | None = None
    account_key: Secret | None = None
    sas: Secret | None = None


class QueueReceiver(Receiver):
    """Reads one queue. See :class:`blobkit.events.receiving.Receiver`."""

    provider = "azure"
    batch = 32
    longest_retry = _LONGEST

    def __init__(self, config: QueueConfig, context: OpenContext) -> None:
        self.name = f"azqueue://{config.account}/{config.queue}"
        self.lease = config.lease
        self._config, self._context = config, context
        self._seconds = max(1, math.ceil(config.lease.total_seconds()))
        self._lock = threading.Lock()
        self._made: QueueClient | None = None
        self._nap = Nap()

    def receive(self, limit: int, wait: float) -> Sequence[Message]:
        """Asks until there is something."""
        end, pause = time.monotonic() + wait, _SHORTEST_LOOK
        while not self._nap.ended:
            pages = self._client().receive_messages(
                messages_per_page=limit, max_messages=limit, visibility_timeout=self._seconds
            )
            if found := [_message(item) for item in pages]:
                return found
            left = end - time.monotonic()
            if left <= 0 or self._nap.sleep(min(pause, left)):
                break
            pause = min(2 * pause, _LONGEST_LOOK)
        return []

    def ack(self, messages: Sequence[Message]) -> None:
        """Delete Message, once for each."""
        client = self._client()
        for message in messages:
            _ours(lambda message=message: client.delete_message(message.id, _receipt(message)))  # type: ignore[misc]

    def retry(self, message: Message, after: float | None) -> None:
        """Update Message: visible then."""
        self._hide(message, math.ceil(after or 0))

    def extend(self, messages: Sequence[Message]) -> None:
        """Update Message, once for each; its receipt changes."""
        for message in messages:
            self._hide(message, self._seconds)

    def _hide(self, message: Message, seconds: int) -> None:
        client = self._client()

        def call() -> None:
            updated = client.update_message(message.id, _receipt(message), visibility_timeout=seconds)
            message.receipt = updated.pop_receipt

        _ours(call)

    def wake(self) -> None:
        """See Receiver."""
        self._nap.end()

    def classify(self, error: Exception) -> Classified | None:
        """By HTTP status, and by what azure-core says of connections."""
        if not type(error).__module__.startswith("azure."):
            return None
        name, status = type(error).__name__, getattr(error, "status_code", None)
        code = _code(error)
        if name == "ClientAuthenticationError" and status is None:
            return Classified(SigningUnavailable, "no credentials of Microsoft Entra were found", code=name)
        if isinstance(status, int):
            kind = _STATUSES.get(status, Unavailable if status >= 500 else BlobkitError)
            said = (
                f"there is no queue {self._config.queue!r}" if code == "QueueNotFound" else f"Azure answered {status}"
            )
            return Classified(kind, said, code=code or name, http_status=status)
        return Classified(ConnectionFailed, f"the queue cannot be reached: {name}", code=name)

    def close(self) -> None:
        """See Receiver."""
        with self._lock:
            if self._made is not None:
                self._made.close()

    def _client(self) -> QueueClient:
        with self._lock:
            if self._made is None:
                self._made = _make(self._config, self._context)
            return self._made


def _message(item: QueueMessage) -> Message:
    content = item.content if isinstance(item.content, str) else str(item.content)
    document = {"messageId": item.id, "messageText": content, "dequeueCount": item.dequeue_count}
    return Message(
        item.id,
        content.encode("utf-8", "surrogatepass"),
        document,
        receipt=item.pop_receipt,
        attempt=item.dequeue_count,
    )


def _receipt(message: Message) -> str:
    assert isinstance(message.receipt, str)
    return message.receipt


def _code(error: Exception) -> str:
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or "")


def _ours(call: Callable[[], None]) -> None:
    """Do it, unless the message is not ours any more: then nothing needs to be done."""
    try:
        call()
    except Exception as error:
        if _code(error) not in _GONE:
            raise
        _log.info("a lease had ended before its message was settled or kept: %s", _code(error))


def _make(config: QueueConfig, context: OpenContext) -> QueueClient:
    try:
        from azure.storage.queue import QueueClient
    except ImportError as error:
        raise PluginMissing("Azure queues need azure-storage-queue", hint='pip install "blobkit[azure]"') from error
    seconds = context.timeout.total_seconds()
    settings: dict[str, Any] = {
        "connection_timeout": min(seconds, 10.0),
        "read_timeout": seconds,
        "retry_total": context.retries,
    }
    if config.connection_string is not None:
        return QueueClient.from_connection_string(config.connection_string.reveal(), config.queue, **settings)
    credential: Any
    if config.account_key is not None:
        credential = {"account_name": config.account, "account_key": config.account_key.reveal()}
    elif config.sas is not None:
        from azure.core.credentials import AzureSasCredential

        credential = AzureSasCredential(config.sas.reveal().removeprefix("?"))
    else:
        try:
            from azure.identity import DefaultAzureCredential
        except ImportError as error:
            raise PluginMissing("Microsoft Entra needs azure-identity", hint='pip install "blobkit[azure]"') from error
        credential = DefaultAzureCredential()
    return QueueClient(config.endpoint, config.queue, credential=credential, **settings)


class QueuePlugin(SourcePlugin):
    """``azqueue://account/queue``: a Storage Queue that Event Grid delivers to."""

    scheme = "azqueue"
    provider = "azure"
    extra = "azure"
    location = Location(authority="account", segments=("queue",), rest="nothing")
    options = (
        Option(
            "endpoint", Kind.TEXT, "Of the account's queues, where it is not https://ACCOUNT.queue.core.windows.net."
        ),
        Option("connection_string", Kind.SECRET, "Else AZURE_STORAGE_CONNECTION_STRING."),
        Option("account_key", Kind.SECRET, "Else AZURE_STORAGE_KEY, when AZURE_STORAGE_ACCOUNT is this account."),
        Option("sas", Kind.SECRET, "A shared access signature of the queue: process, read."),
        Option("lease", Kind.SECONDS, "How long a message is hidden from others before it is extended.", "60"),
    )

    def open(self, config: StoreConfig, context: OpenContext) -> Receiver:
        """Check the settings."""
        account, env = config.location["account"], context.env
        lease = config.seconds("lease") or timedelta(seconds=60)
        if lease > _LONGEST:
            raise ConfigError("a lease of a Storage Queue has 7 days at most")
        endpoint = config.text("endpoint") or f"https://{account}.queue.core.windows.net"
        if urlsplit(endpoint).scheme not in ("http", "https"):
            raise ConfigError(f"not an endpoint: {endpoint!r}", hint="https://…")
        given = {name: config.secret(name) for name in ("connection_string", "account_key", "sas")}
        if sum(value is not None for value in given.values()) > 1:
            raise ConfigError("connection_string, account_key and sas exclude each other")
        if not any(given.values()):
            given = _from_env(account, env)
        return QueueReceiver(QueueConfig(account, config.location["queue"], endpoint, lease, **given), context)


def _from_env(account: str, env: Mapping[str, str]) -> dict[str, Secret | None]:
    text = env.get("AZURE_STORAGE_CONNECTION_STRING")
    if text and f"AccountName={account};" in f"{text};":
        return {"connection_string": Secret(text)}
    if env.get("AZURE_STORAGE_ACCOUNT") == account and env.get("AZURE_STORAGE_KEY"):
        return {"account_key": Secret(env["AZURE_STORAGE_KEY"])}
    return {}


plugin = QueuePlugin()
