"""The boto3 client of a store: made once, when first needed, and the same for every thread."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from blobkit.config import OpenContext
from blobkit.errors import InvalidArgument, PluginMissing
from blobkit_aws.config import S3Config
from blobkit_aws.credentials import ChainKeys, ExpressKeys, Keys, StaticKeys

if TYPE_CHECKING:
    import botocore.session
    from mypy_boto3_s3.client import S3Client

    from blobkit.store import Store

__all__ = ["Sdk", "client_of"]

_POOL: Final = 32


class Sdk:
    """Makes the client and the keys of one store; both are made when they are first asked for."""

    def __init__(self, config: S3Config, context: OpenContext) -> None:
        self._config = config
        self._context = context
        self._lock = threading.RLock()
        self._session: botocore.session.Session | None = None
        self._client: S3Client | None = None
        self._keys: Keys | None = None
        self._pid = 0
        if config.kind == "express":
            self._keys = ExpressKeys(lambda: self.client, config.bucket)
        elif config.static is not None:
            self._keys = StaticKeys(config.static)

    def session(self) -> botocore.session.Session:
        """The botocore session, with the keys that were given. Raises PluginMissing."""
        with self._lock:
            if self._session is None:
                try:
                    import botocore.session
                except ImportError as error:
                    raise PluginMissing("S3 needs boto3", hint='pip install "blobkit[aws]"') from error
                session = botocore.session.Session(profile=self._config.aws_profile)
                session.register_component("data_loader", _models(session.get_config_variable("data_path")))
                static = self._config.static
                if static is not None:
                    session.set_credentials(static.access_key, static.secret_key, static.token)
                self._session = session
            return self._session

    @property
    def keys(self) -> Keys:
        """Where signing keys come from."""
        with self._lock:
            if self._keys is None:
                self._keys = ChainKeys(self.session())
            return self._keys

    @property
    def known_keys(self) -> Keys | None:
        """The same, if they are made already: never blocks."""
        return self._keys

    @property
    def client(self) -> S3Client:
        """The client."""
        made = self._client
        if made is not None and self._pid == os.getpid():
            return made
        with self._lock:
            if self._client is None or self._pid != os.getpid():
                if self._client is not None:  # forked: connections must not be shared, and boto3 extends a session once
                    self._session = None
                self._client = self._make()
                self._pid = os.getpid()
            return self._client

    def _make(self) -> S3Client:
        session, config, context = self.session(), self._config, self._context
        try:
            import boto3
            from botocore.config import Config
        except ImportError as error:
            raise PluginMissing("S3 needs boto3", hint='pip install "blobkit[aws]"') from error
        seconds = context.timeout.total_seconds()
        style = config.style or ("path" if config.address.base != "/" else "virtual")
        client = boto3.session.Session(botocore_session=session).client(
            "s3",
            region_name=config.region,
            endpoint_url=config.endpoint,
            config=Config(
                signature_version=None if config.kind != "s3" else "s3v4",
                connect_timeout=min(seconds, 10.0),
                read_timeout=seconds,
                retries={"mode": "standard", "total_max_attempts": max(1, context.retries + 1)},
                max_pool_connections=_POOL,
                # Never a checksum that nobody asked for: it breaks services that do not know it.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                use_dualstack_endpoint=config.dual_stack or None,
                use_fips_endpoint=config.fips or None,
                # The endpoint of the settings is the one that is signed too. (Its stubs do not know the argument.)
                ignore_configured_endpoint_urls=True,  # type: ignore[call-arg]
                s3={"addressing_style": style, "us_east_1_regional_endpoint": "regional"},
                user_agent_extra="blobkit",
            ),
        )
        if config.profile.multi_delete == "md5":
            client.meta.events.register("before-call.s3.DeleteObjects", _content_md5)
        return client

    def close(self) -> None:
        """Close the client's connections."""
        with self._lock:
            if self._client is not None:
                self._client.close()


@lru_cache(maxsize=4)
def _models(path: str | None) -> object:
    """The SDK's models of its services, read once for all stores of a process: a client is then made in a fifth of the time."""
    from botocore.loaders import create_loader

    return create_loader(path)


def _content_md5(params: dict[str, Any], **_: object) -> None:
    """Content-MD5 in place of the checksum that the SDK would add, for services that know only the former.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html: one of the two is required.
    """
    digest = hashlib.md5(params["body"], usedforsecurity=False).digest()
    params["headers"]["Content-MD5"] = base64.b64encode(digest).decode("ascii")
    params["context"].get("checksum", {}).pop("request_algorithm", None)


def client_of(store: Store) -> S3Client:
    """See :func:`blobkit_aws.client`."""
    from blobkit_aws.backend import S3Backend

    store._calls.check_open("client")
    backend = store._calls.backend
    if not isinstance(backend, S3Backend):
        raise InvalidArgument(f"a store on {store.provider} has no S3 client")
    return backend.sdk.client
