"""Amazon SQS as a source of events: ``sqs://queue?region=eu-west-1``. Importing this module loads no SDK.

Long polls take up to ten messages; what is not deleted is visible again when its lease (visibility timeout) ends.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from blobkit.backend import Classified
from blobkit.config import Kind, Location, OpenContext, Option, StoreConfig
from blobkit.errors import ConfigError, NotFound, PluginMissing, Unavailable
from blobkit.events.receiving import Message, Nap, Receiver, SourcePlugin
from blobkit_aws.config import OPTIONS as STORE_OPTIONS
from blobkit_aws.config import static_keys
from blobkit_aws.errors import classify
from blobkit_aws.signing.endpoints import check_region
from blobkit_aws.signing.sigv4 import Credentials

if TYPE_CHECKING:
    from botocore.client import BaseClient

__all__ = ["SqsConfig", "SqsPlugin", "SqsReceiver", "plugin"]

_BATCH: Final = 10  # the most that SQS takes or gives in one call
_LONGEST_POLL: Final = 20
_LONGEST_LEASE: Final = timedelta(hours=12)
_NO_QUEUE: Final = frozenset({"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"})
_GONE: Final = frozenset(
    {
        "ReceiptHandleIsInvalid",
        "MessageNotInflight",
        "InvalidParameterValue",
        "AWS.SimpleQueueService.MessageNotInflight",
    }
)
"""What SQS says of a message whose lease ended: somebody else has it by now, or it is deleted."""

_SHARED: Final = frozenset({"region", "access_key_id", "secret_access_key", "session_token", "aws_profile"})
"""The options of stores that queues have too."""

_log: Final = logging.getLogger("blobkit.events")


@dataclass(frozen=True, slots=True)
class SqsConfig:
    """The options as values."""

    queue: str
    region: str
    lease: timedelta
    account: str | None = None
    endpoint: str | None = None
    static: Credentials | None = None
    aws_profile: str | None = None


class SqsReceiver(Receiver):
    """Reads one queue. See :class:`blobkit.events.receiving.Receiver`."""

    provider = "s3"
    batch = _BATCH
    longest_retry = _LONGEST_LEASE

    def __init__(self, config: SqsConfig, context: OpenContext) -> None:
        self.name = f"sqs://{config.queue}"
        self.lease = config.lease
        self._config, self._context = config, context
        self._seconds = max(1, math.ceil(config.lease.total_seconds()))
        self._lock = threading.Lock()
        self._made: tuple[Any, str] | None = None
        self._nap = Nap()

    def receive(self, limit: int, wait: float) -> Sequence[Message]:
        """One long poll after another; a poll that runs is not interrupted."""
        end = time.monotonic() + wait
        while not self._nap.ended:
            client, url = self._client()
            left = end - time.monotonic()
            reply = client.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=limit,
                VisibilityTimeout=self._seconds,
                WaitTimeSeconds=max(0, min(_LONGEST_POLL, int(left))),
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
            )
            if found := reply.get("Messages"):
                return [_message(item, url) for item in found]
            if left < 1:  # SQS counts in whole seconds
                break
        return []

    def ack(self, messages: Sequence[Message]) -> None:
        """DeleteMessageBatch."""
        client, url = self._client()
        for entries in _entries(messages):
            reply = client.delete_message_batch(QueueUrl=url, Entries=entries)
            _check(reply.get("Failed", ()), "were not deleted")

    def retry(self, message: Message, after: float | None) -> None:
        """ChangeMessageVisibility."""
        client, url = self._client()
        (entries,) = _entries([message], math.ceil(after or 0))
        reply = client.change_message_visibility_batch(QueueUrl=url, Entries=entries)
        _check(reply.get("Failed", ()), "were not put off")

    def extend(self, messages: Sequence[Message]) -> None:
        """ChangeMessageVisibilityBatch."""
        client, url = self._client()
        for entries in _entries(messages, self._seconds):
            reply = client.change_message_visibility_batch(QueueUrl=url, Entries=entries)
            _check(reply.get("Failed", ()), "were not kept")

    def wake(self) -> None:
        """See Receiver."""
        self._nap.end()

    def classify(self, error: Exception) -> Classified | None:
        """The table of S3, and what only queues say."""
        found = classify(error)
        if found is not None and found.code in _NO_QUEUE:
            return Classified(
                NotFound,
                f"there is no queue {self._config.queue!r}",
                code=found.code,
                http_status=found.http_status,
                request_id=found.request_id,
                hint="check its name, region and account, and whether these keys may see it",
            )
        return found

    def close(self) -> None:
        """See Receiver."""
        with self._lock:
            if self._made is not None:
                self._made[0].close()

    def _client(self) -> tuple[Any, str]:
        with self._lock:
            if self._made is None:
                client: Any = _make(self._config, self._context)
                account = {"QueueOwnerAWSAccountId": self._config.account} if self._config.account else {}
                self._made = client, client.get_queue_url(QueueName=self._config.queue, **account)["QueueUrl"]
            return self._made


def _make(config: SqsConfig, context: OpenContext) -> BaseClient:
    try:
        import boto3
        import botocore.session
        from botocore.config import Config
    except ImportError as error:
        raise PluginMissing("SQS needs boto3", hint='pip install "blobkit[aws]"') from error
    session = botocore.session.Session(profile=config.aws_profile)
    if config.static is not None:
        session.set_credentials(config.static.access_key, config.static.secret_key, config.static.token)
    seconds = context.timeout.total_seconds()
    make: Any = boto3.session.Session(botocore_session=session).client  # its stubs are one package for each service
    client: BaseClient = make(
        "sqs",
        region_name=config.region,
        endpoint_url=config.endpoint,
        config=Config(
            connect_timeout=min(seconds, 10.0),
            read_timeout=seconds + _LONGEST_POLL,
            retries={"mode": "standard", "total_max_attempts": max(1, context.retries + 1)},
            user_agent_extra="blobkit",
        ),
    )
    return client


def _message(item: Mapping[str, Any], url: str) -> Message:
    system: Mapping[str, str] = item.get("Attributes") or {}
    count = system.get("ApproximateReceiveCount", "")
    given = {
        name: value["StringValue"]
        for name, value in (item.get("MessageAttributes") or {}).items()
        if "StringValue" in value
    }
    return Message(
        item["MessageId"],
        item["Body"].encode("utf-8", "surrogatepass"),
        {**item, "eventSourceARN": url},
        receipt=item["ReceiptHandle"],
        attempt=int(count) if count.isdigit() else None,
        attributes=MappingProxyType({**system, **given}),
    )


def _entries(messages: Sequence[Message], visibility: int | None = None) -> Iterable[list[dict[str, object]]]:
    more = {} if visibility is None else {"VisibilityTimeout": visibility}
    for start in range(0, len(messages), _BATCH):
        part = messages[start : start + _BATCH]
        yield [
            {"Id": str(number), "ReceiptHandle": message.receipt, **more}
            for number, message in enumerate(part, start=1)
        ]


def _check(failed: Sequence[Mapping[str, Any]], what: str) -> None:
    """Raise Unavailable for entries that may be tried again; a message that is not ours any more needs nothing."""
    left = [entry for entry in failed if entry.get("Code") not in _GONE]
    for entry in failed:
        if entry.get("Code") in _GONE:
            _log.info("a lease had ended before its message was settled or kept: %s", entry.get("Code"))
    if left:
        raise Unavailable(
            f"{len(left)} messages {what}: {left[0].get('Message') or left[0].get('Code')}", code=left[0].get("Code")
        )


def _shared() -> Iterable[Option]:
    return (option for option in STORE_OPTIONS if option.name in _SHARED)


class SqsPlugin(SourcePlugin):
    """``sqs://queue``: an SQS queue, standard or FIFO, that S3, SNS or EventBridge deliver to."""

    scheme = "sqs"
    provider = "s3"
    extra = "aws"
    location = Location(authority="queue", rest="nothing")
    options = (
        *_shared(),
        Option("account", Kind.TEXT, "The queue's owner, when it is another account."),
        Option("endpoint", Kind.TEXT, "Where SQS is, when it is not AWS; else AWS_ENDPOINT_URL_SQS."),
        Option("lease", Kind.SECONDS, "How long a message is hidden from others before it is extended.", "60"),
    )

    def open(self, config: StoreConfig, context: OpenContext) -> Receiver:
        """Check the settings."""
        region = config.text("region") or context.env.get("AWS_REGION") or context.env.get("AWS_DEFAULT_REGION")
        if not region:
            raise ConfigError("the queue's region is not known", hint="?region=eu-west-1, or AWS_REGION")
        check_region(region)
        lease = config.seconds("lease") or timedelta(seconds=60)
        if lease > _LONGEST_LEASE:
            raise ConfigError("a lease of SQS has 12 hours at most")
        endpoint = (
            config.text("endpoint") or context.env.get("AWS_ENDPOINT_URL_SQS") or context.env.get("AWS_ENDPOINT_URL")
        )
        return SqsReceiver(
            SqsConfig(
                queue=config.location["queue"],
                region=region,
                lease=lease,
                account=config.text("account"),
                endpoint=endpoint or None,
                static=static_keys(config, context.env),
                aws_profile=config.text("aws_profile") or context.env.get("AWS_PROFILE") or None,
            ),
            context,
        )


plugin = SqsPlugin()
