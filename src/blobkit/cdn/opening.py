"""``open_cdn``: from settings to a Cdn, without a network. The grammar is that of stores (:mod:`blobkit.config`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from blobkit.cdn.base import Cdn, Site
from blobkit.cdn.keys import Key
from blobkit.config import Kind, Option, StoreConfig, parse
from blobkit.errors import ConfigError, CredentialsMissing
from blobkit.plugins.manager import find_cdn_plugin
from blobkit.redaction import Secret

__all__ = ["CDN_OPTIONS", "CdnContext", "open_cdn"]

CDN_OPTIONS: Final = (
    Option("store", Kind.TEXT, "The store of the same kit whose keys sign_key() is given."),
    Option("origin_path", Kind.TEXT, "What the CDN puts before the path when it asks the store: prod/."),
    Option("insecure", Kind.FLAG, "Links are http://, for a test edge.", "false"),
)
"""The options that every CDN has."""


@dataclass(frozen=True, slots=True)
class CdnContext:
    """What the caller of ``open_cdn`` decided, beside the settings."""

    clock: Callable[[], datetime] | None = None
    env: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    key: Key | None = field(default=None, repr=False)
    store_prefix: str = ""

    def site(self, config: StoreConfig) -> Site:
        """Where the settings say that the CDN is."""
        return Site(
            config.location["host"],
            base=config.prefix,
            origin_path=config.text("origin_path") or "",
            store_prefix=self.store_prefix,
            insecure=config.flag("insecure"),
            clock=self.clock,
        )

    def signing_key(self, config: StoreConfig, option: str) -> Key:
        """The caller's own key, else that of the settings.

        Raises:
            CredentialsMissing: Neither is there.
        """
        if self.key is not None:
            if config.secret(option) is not None:
                raise ConfigError(f"{config.provider}: key= and {option} are both given")
            return self.key
        found = config.secret(option)
        if found is None:
            raise CredentialsMissing(
                f"{config.provider} has no signing key",
                provider=config.provider,
                hint=f"{option}_file=, {option}_env=, or open_cdn(…, key=…)",
            )
        return found


def open_cdn(
    source: str | Mapping[str, str | Secret],
    *,
    key: Key | None = None,
    store_prefix: str = "",
    prefix_of: Callable[[str], str] | None = None,
    clock: Callable[[], datetime] | None = None,
    env: Mapping[str, str] | None = None,
) -> Cdn:
    """Open a CDN. No network, and no key that cannot sign: what is wrong shows here.

    Args:
        source: A URL (``cloudfront://d111.cloudfront.net/?key_pair_id=K2…&private_key_file=…``), whose path is where the
            store's objects are below the host, or a dict with ``provider``.
        key: The signing key itself: bytes, a PEM, or a callable ``sign(bytes) -> bytes`` (KMS, HSM).
        store_prefix: The prefix of the store whose keys :meth:`Cdn.sign_key` is given; a kit knows it from ``store=``.
        prefix_of: Gives the prefix of the store that the option ``store`` names; a kit's own.
        clock: The time, for tests; aware.
        env: Instead of the process's environment.

    Raises:
        UnknownScheme, UnknownOption, PluginMissing, CredentialsMissing, ConfigError.
    """
    env = os.environ if env is None else env
    if isinstance(source, str):
        scheme = source.partition("://")[0] if "://" in source else ""
    else:
        scheme = str(source.get("provider") or source.get("scheme") or "")
    if not scheme:
        raise ConfigError("a CDN is named by a URL or a dict with provider", hint="cloudfront://d111.cloudfront.net/?…")
    plugin = find_cdn_plugin(scheme)
    config = parse(
        source,
        scheme=plugin.scheme,
        provider=plugin.scheme,
        location=plugin.location,
        options=plugin.options,
        common=CDN_OPTIONS,
        env=env,
    )
    if (named := config.text("store")) is not None:
        if prefix_of is None:
            raise ConfigError("store= names a store of a kit", hint="blobkit.load(…).cdn(NAME), or store_prefix=")
        store_prefix = prefix_of(named)
    return plugin.open(config, CdnContext(clock, env, key, store_prefix))
