"""A strict stand-in for Google Cloud Storage, for tests: :class:`StrictGcs`.

No public emulator verifies signatures, size ranges, form policies or XML multipart uploads of GCS: forged URLs pass. This one
does, with canonical strings put together by google-cloud-storage itself. It holds everything in memory, listens on loopback
only, and is as strict as Google's documentation; it is not Google.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from blobkit.serving import listening, running
from blobkit_gcs.testing.app import App
from blobkit_gcs.testing.checks import Checks
from blobkit_gcs.testing.engine import Bucket, Engine, Stored
from blobkit_gcs.testing.faults import Fault, Faults
from blobkit_gcs.testing.identity import Identity, ServiceAccount
from blobkit_gcs.testing.json_api import JsonApi
from blobkit_gcs.testing.multipart import Multipart
from blobkit_gcs.testing.notifications import Subscriber, push_body
from blobkit_gcs.testing.resumable import Sessions
from blobkit_gcs.testing.verification import Call
from blobkit_gcs.testing.xml_api import XmlApi

__all__ = ["Call", "Checks", "Fault", "Faults", "ServiceAccount", "StrictGcs"]


class StrictGcs:
    """A server on a free port of 127.0.0.1, from entering the context to leaving it.

    Example::

        with StrictGcs() as server:
            server.create_bucket("media")
            client = storage.Client(
                credentials=service_account.Credentials.from_service_account_info(server.service_account.info),
                project="strict-project",
                client_options={"api_endpoint": server.endpoint},
            )

    Attributes:
        endpoint: ``http://127.0.0.1:PORT``: JSON API, uploads, XML API (path style), ``/token`` and signBlob.
        faults: Things that go wrong on demand.

    Raises:
        PluginMissing: uvicorn is not installed.
    """

    def __init__(self, *, checks: Checks | None = None, now: Callable[[], float] = time.time) -> None:
        """``checks``: all of them unless tests of tests need one off. ``now``: seconds since the epoch."""
        self._stack = ExitStack()
        self._checks = checks or Checks()
        self._now = now
        sock = self._stack.enter_context(listening("127.0.0.1", 0))
        self._sock = sock
        self.endpoint = f"http://127.0.0.1:{sock.getsockname()[1]}"
        self.identity = Identity(self.endpoint, lambda: self._moment().timestamp())
        self._engine = Engine()
        self._sessions = Sessions(self._engine, self._checks)
        self._json = JsonApi(self._engine, self.identity, self._sessions, self._checks, self.endpoint)
        xml = XmlApi(
            self._engine,
            self.identity,
            self._sessions,
            Multipart(self._engine, self._checks),
            self._checks,
            self._moment,
            self.endpoint,
        )
        self._app = App(self._engine, self.identity, self._sessions, self._json, xml, self._moment)

    def _moment(self) -> datetime:
        return datetime.fromtimestamp(self._now(), UTC)

    def __enter__(self) -> Self:
        self._stack.enter_context(running(self._app, self._sock))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    # --- what it is ---

    @property
    def service_account(self) -> ServiceAccount:
        """The account that may sign and call."""
        return self.identity.account

    @property
    def hmac(self) -> tuple[str, str]:
        """The account's HMAC key: access id and secret."""
        return self.identity.hmac

    @property
    def faults(self) -> Faults:
        """Things that go wrong on demand."""
        return self._app.faults

    @property
    def calls(self) -> int:
        """How many requests arrived."""
        return self._app.calls

    # --- what it holds ---

    def create_bucket(self, name: str, *, versioning: bool = False, cors: Sequence[Mapping[str, object]] = ()) -> None:
        """A bucket, empty. ``cors`` as the JSON API has it: ``origin``, ``method``, ``responseHeader``, ``maxAgeSeconds``."""
        self._engine.create_bucket(Bucket(name, versioning, tuple(cors)))

    def bind_host(self, host: str, bucket: str) -> None:
        """Let requests to this host name, whatever their port, be about this bucket, as a load balancer or a CNAME does.

        ``BUCKET.127.0.0.1``, ``BUCKET.localhost`` and ``BUCKET.storage.googleapis.com`` need no binding. The name is taken
        from the ``Host`` header: a client may send it to 127.0.0.1.
        """
        self._app.bound[host.lower()] = bucket

    def find(self, bucket: str, key: str, generation: int | None = None) -> Stored | None:
        """What is stored, or None."""
        return self._engine.find(bucket, key, generation)

    def expire_sessions(self) -> None:
        """As if a week had passed for every resumable session."""
        self._sessions.expire_all()

    def rewrite_in_steps(self, size: int | None) -> None:
        """Let each call of a rewrite move so many bytes; None: all at once."""
        self._json.rewrite_step = size

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Tell each change as the body of a Pub/Sub push; call the result to stop."""

        def listener(event: str, stored: Stored, more: Mapping[str, str]) -> None:
            subscriber(push_body(event, stored, more, self.endpoint))

        self._engine.listeners.append(listener)
        return lambda: self._engine.listeners.remove(listener)
