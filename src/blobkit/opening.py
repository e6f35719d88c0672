"""``open_store``: from settings to a Store, without a network."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from blobkit import arguments, ops
from blobkit.calling import Calls
from blobkit.config import OpenContext, parse
from blobkit.errors import ConfigError, InvalidArgument
from blobkit.plugins.manager import Observers, find_store_plugin
from blobkit.redaction import Secret
from blobkit.sealing import Keyring
from blobkit.store import Store

if TYPE_CHECKING:
    from blobkit.plugins.spec import Observer

__all__ = ["open_store"]


def open_store(
    source: str | Mapping[str, str | Secret],
    *,
    require: Collection[str] = (),
    clock: Callable[[], datetime] | None = None,
    timeout: timedelta = timedelta(seconds=30),
    retries: int = 3,
    sealing: Keyring | None = None,
    observers: Sequence[Observer] = (),
    env: Mapping[str, str] | None = None,
) -> Store:
    """Open a store. No network; a wrong setting shows here, a wrong credential at first use.

    Args:
        source: A URL (``s3://bucket/prefix/?region=…``), or a dict with ``provider``.
        require: Features without which the service cannot work (``{"sign_upload", "chunked"}``).
        clock: The time, for tests; aware.
        timeout: Of one network call.
        retries: Of a call that may be repeated.
        sealing: The keys of session tokens; else ``BLOBKIT_SEALING_KEYS``, else the provider's own safe place.
        observers: Who hears what happens.
        env: Instead of the process's environment.

    Raises:
        UnknownScheme, UnknownOption, PluginMissing, CredentialsMissing, ConfigError.
        Unsupported: Something of ``require`` lacks; the message names it all.
    """
    env = os.environ if env is None else env
    if isinstance(source, str):
        scheme = source.partition("://")[0] if "://" in source else ""
        if not scheme:
            raise _not_a_url()
    else:
        if not isinstance(source, Mapping) or len({"provider", "scheme"} & set(source)) == 2:
            raise _not_a_url()
        scheme = str(source.get("provider") or source.get("scheme") or "")
        if not scheme:
            raise _not_a_url()
    plugin = find_store_plugin(scheme)
    config = parse(
        source,
        scheme=plugin.scheme,
        provider=plugin.provider,
        location=plugin.location,
        options=plugin.options,
        env=env,
    )
    if arguments.age("timeout", timeout) == timedelta(0):
        raise InvalidArgument("timeout must be longer than nothing")
    arguments.number("retries", retries)
    arguments.optional("sealing", sealing, Keyring)
    if clock is not None:
        arguments.now_of(clock)
    listening = Observers(observers)
    context = OpenContext(clock=clock or (lambda: datetime.now(UTC)), timeout=timeout, retries=retries, env=env)
    backend = plugin.open(config, context)
    try:
        capabilities = ops.asserted(backend.capabilities, config.text("assert"))
        ops.check_required(capabilities, config.provider, require)
    except BaseException:
        backend.close()
        raise
    return Store(Calls(backend, config, capabilities, sealing=sealing, clock=clock, observers=listening, env=env))


def _not_a_url() -> ConfigError:
    return ConfigError(
        "a store is named by a URL or a dict with provider", hint="local:///var/lib/media, s3://bucket/prefix/"
    )
