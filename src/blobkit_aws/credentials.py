"""Where keys come from: given ones, or botocore's chain; refreshed, and frozen for each signature.

Static keys need no SDK. The chain (profile, web identity, container, instance metadata) is botocore's own, and refreshing may
ask the network: that is done under one lock, so that a thousand threads cause one refresh.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Final, Protocol

from blobkit.errors import CredentialsExpired, CredentialsMissing
from blobkit_aws.signing.sigv4 import Credentials

if TYPE_CHECKING:
    import botocore.credentials
    import botocore.session
    from mypy_boto3_s3.client import S3Client

__all__ = ["ChainKeys", "ExpressKeys", "Keys", "StaticKeys"]

_AGAIN: Final = 60.0  # seconds between two refreshes that were forced because the keys end too soon
_EARLY: Final = 60  # keys that end so soon are not handed out without asking for new ones


class Keys(Protocol):
    """A source of keys."""

    def ready(self, until: int) -> Credentials | None:
        """Keys that last until then, if that needs no I/O now."""
        ...

    def get(self, until: int) -> Credentials:
        """Keys that last until then if a refresh can make them; else the longest there are. Raises CredentialsMissing."""
        ...


class StaticKeys:
    """One set of keys, for ever."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def ready(self, until: int) -> Credentials:
        """The keys."""
        return self._credentials

    def get(self, until: int) -> Credentials:
        """The keys."""
        return self._credentials


class ChainKeys:
    """The keys of a botocore session.

    Args:
        session: The session whose chain is asked.
    """

    def __init__(self, session: botocore.session.Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._last: Credentials | None = None
        self._forced: float | None = None

    def ready(self, until: int) -> Credentials | None:
        """The keys of last time, while they last until then."""
        last = self._last
        if last is None or (last.ends is not None and last.ends < max(until, int(time.time()) + _EARLY)):
            return None
        return last

    def get(self, until: int) -> Credentials:
        """Keys from the chain, refreshed when they would end before ``until``."""
        with self._lock:  # single flight: whoever waited finds the fresh ones
            known = self.ready(until)
            if known is not None:
                return known
            found = self._session.get_credentials()
            if found is None:
                raise CredentialsMissing(
                    "no AWS credentials were found",
                    provider="s3",
                    hint="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role of the machine",
                )
            try:
                keys = _frozen(found)
                if keys.ends is not None and keys.ends < until and self._may_force():
                    _refresh(found)
                    keys = _frozen(found)
            except RuntimeError as error:  # botocore's: what the source gave had ended already
                raise CredentialsExpired(
                    "the source of the AWS credentials gives expired ones",
                    provider="s3",
                    hint="get new temporary credentials",
                ) from error
            if self._last is not None and keys == self._last:
                return self._last  # the same object: signers are kept by it
            self._last = keys
            return keys

    def _may_force(self) -> bool:
        now = time.monotonic()
        if self._forced is not None and now - self._forced < _AGAIN:
            return False
        self._forced = now
        return True


class ExpressKeys:
    """The keys of a directory bucket's sessions, which last five minutes.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateSession.html

    Args:
        client: Makes the client that asks for them.
        bucket: The bucket.
    """

    def __init__(self, client: Callable[[], S3Client], bucket: str) -> None:
        self._client = client
        self._bucket = bucket
        self._lock = threading.Lock()
        self._last: Credentials | None = None

    def ready(self, until: int) -> Credentials | None:
        """The keys of the last session, while they last until then."""
        last = self._last
        return last if last is not None and last.ends is not None and last.ends >= until else None

    def get(self, until: int) -> Credentials:
        """The keys of the last session, or of a new one."""
        with self._lock:
            known = self.ready(until)
            if known is None:
                made = self._client().create_session(Bucket=self._bucket)["Credentials"]
                known = self._last = Credentials(
                    made["AccessKeyId"],
                    made["SecretAccessKey"],
                    made["SessionToken"],
                    int(made["Expiration"].timestamp()),
                )
            return known


def _refresh(found: botocore.credentials.Credentials) -> None:
    """Refresh earlier than botocore would by itself; it has no public way. What fails leaves the keys that there are."""
    lock, refresh = getattr(found, "_refresh_lock", None), getattr(found, "_protected_refresh", None)
    if lock is not None and refresh is not None:  # not those that never end
        with lock:
            refresh(is_mandatory=False)


def _frozen(found: botocore.credentials.Credentials) -> Credentials:
    frozen = found.get_frozen_credentials()
    if not frozen.access_key or not frozen.secret_key:
        raise CredentialsMissing("the source of the AWS credentials gives half of a key pair", provider="s3")
    ends: datetime | None = getattr(found, "_expiry_time", None)
    return Credentials(
        frozen.access_key, frozen.secret_key, frozen.token, None if ends is None else int(ends.timestamp())
    )
