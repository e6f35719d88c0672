"""Find and load the plugin of one scheme, and the typed facade over pluggy for observers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from blobkit.errors import ConfigError
from blobkit.plugins import bundled
from blobkit.plugins.finding import Group
from blobkit.plugins.spec import CdnPlugin, Observer, StorePlugin

if TYPE_CHECKING:
    import pluggy

    from blobkit.blobs import BlobInfo
    from blobkit.signed import SignedRequest

__all__ = ["Observers", "find_cdn_plugin", "find_store_plugin", "installed_cdns", "installed_schemes"]

_log = logging.getLogger("blobkit.plugins")

_STORES: Final[Group[StorePlugin]] = Group(
    "blobkit.stores",
    "store plugin",
    StorePlugin,
    bundled.STORES,
    {"s3": "aws", "gs": "gcs", "az": "azure", "local": "local", "memory": "local"},
)
_CDNS: Final[Group[CdnPlugin]] = Group("blobkit.cdns", "CDN", CdnPlugin, bundled.CDNS, {})


def find_store_plugin(scheme: str) -> StorePlugin:
    """The plugin of a URL scheme or provider name. Bundled ones need no scan; only the one asked for is imported.

    Raises:
        UnknownScheme: Nobody installed has it; the message lists who is.
        ConfigError: Two distributions claim it, or what was loaded is no plugin.
        PluginMissing: The plugin's module cannot be imported.
    """
    name = scheme.lower()
    return _STORES.find(bundled.PROVIDERS.get(name, name), scheme)


def find_cdn_plugin(scheme: str) -> CdnPlugin:
    """The plugin of a CDN. Raises as :func:`find_store_plugin`."""
    return _CDNS.find(scheme.lower(), scheme)


def installed_schemes() -> list[str]:
    """Every scheme that a bundled plugin or an installed distribution claims, sorted; one claimed twice counts too."""
    return _STORES.schemes()


def installed_cdns() -> list[str]:
    """Every CDN that a bundled plugin or an installed distribution claims, sorted; one claimed twice counts too."""
    return _CDNS.schemes()


class Observers:
    """The listeners of one store, behind typed methods. Without listeners, pluggy is not even imported.

    Raises:
        ConfigError: A listener has a hook of an unknown name, or one whose arguments the specification does not have.
    """

    __slots__ = ("_manager",)

    def __init__(self, listeners: Sequence[Observer]) -> None:
        self._manager: pluggy.PluginManager | None = None
        if not listeners:
            return
        import pluggy

        mark = pluggy.HookspecMarker("blobkit")
        implement = pluggy.HookimplMarker("blobkit")
        names = [name for name in vars(Observer) if name.startswith("blobkit_")]
        for name in names:
            mark(getattr(Observer, name))
        self._manager = pluggy.PluginManager("blobkit")
        self._manager.add_hookspecs(Observer)
        for listener in listeners:
            if not isinstance(listener, Observer):
                raise ConfigError(f"an observer is an Observer, not {type(listener).__name__}")
            if unknown := [n for n in dir(listener) if n.startswith("blobkit_") and n not in names]:
                raise ConfigError(
                    f"{type(listener).__name__} has an unknown hook {unknown[0]!r}", hint=", ".join(names)
                )
            for name in names:
                if getattr(type(listener), name, None) is not getattr(Observer, name):
                    implement(getattr(type(listener), name))
            try:
                self._manager.register(listener)
            except pluggy.PluginValidationError as error:
                raise ConfigError(f"{type(listener).__name__}: {error}") from error

    def __bool__(self) -> bool:
        return self._manager is not None

    def signed(self, provider: str, operation: str, key: str, request: SignedRequest) -> None:
        """See :meth:`Observer.blobkit_signed`."""
        if self._manager is not None:
            call = self._manager.hook.blobkit_signed
            _safely(lambda: call(provider=provider, operation=operation, key=key, request=request))

    def completed(self, provider: str, blob: BlobInfo) -> None:
        """See :meth:`Observer.blobkit_completed`."""
        if self._manager is not None:
            call = self._manager.hook.blobkit_completed
            _safely(lambda: call(provider=provider, blob=blob))

    def aborted(self, provider: str, key: str, discarded: bool) -> None:
        """See :meth:`Observer.blobkit_aborted`."""
        if self._manager is not None:
            call = self._manager.hook.blobkit_aborted
            _safely(lambda: call(provider=provider, key=key, discarded=discarded))

    def promoted(self, provider: str, source: str, blob: BlobInfo) -> None:
        """See :meth:`Observer.blobkit_promoted`."""
        if self._manager is not None:
            call = self._manager.hook.blobkit_promoted
            _safely(lambda: call(provider=provider, source=source, blob=blob))


def _safely(call: Callable[[], object]) -> None:
    try:
        call()
    except Exception:
        _log.exception("an observer failed")
