"""Find and load the plugin of one scheme, and the typed facade over pluggy for observers."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar, cast

from blobkit.errors import ConfigError, PluginMissing, UnknownScheme
from blobkit.plugins import bundled
from blobkit.plugins.spec import CdnPlugin, Observer, StorePlugin

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    import pluggy

    from blobkit.blobs import BlobInfo
    from blobkit.signed import SignedRequest

__all__ = ["Observers", "find_cdn_plugin", "find_store_plugin", "installed_cdns", "installed_schemes"]

P = TypeVar("P")
_log = logging.getLogger("blobkit.plugins")


@dataclass(frozen=True, slots=True)
class _Group(Generic[P]):
    """One kind of plugin.

    Attributes:
        name: The group of entry points.
        noun: What its plugins are, in messages.
        kind: The class that they derive.
        bundled: Those of this distribution.
        extras: The extra that installs what a scheme needs.
    """

    name: str
    noun: str
    kind: type
    bundled: Mapping[str, str]
    extras: Mapping[str, str]


_STORES: Final[_Group[StorePlugin]] = _Group(
    "blobkit.stores",
    "store plugin",
    StorePlugin,
    bundled.STORES,
    {"s3": "aws", "gs": "gcs", "az": "azure", "local": "local", "memory": "local"},
)
_CDNS: Final[_Group[CdnPlugin]] = _Group("blobkit.cdns", "CDN", CdnPlugin, bundled.CDNS, {})


def find_store_plugin(scheme: str) -> StorePlugin:
    """The plugin of a URL scheme or provider name. Bundled ones need no scan; only the one asked for is imported.

    Raises:
        UnknownScheme: Nobody installed has it; the message lists who is.
        ConfigError: Two distributions claim it, or what was loaded is no plugin.
        PluginMissing: The plugin's module cannot be imported.
    """
    name = scheme.lower()
    return _find(_STORES, bundled.PROVIDERS.get(name, name), scheme)


def find_cdn_plugin(scheme: str) -> CdnPlugin:
    """The plugin of a CDN. Raises as :func:`find_store_plugin`."""
    return _find(_CDNS, scheme.lower(), scheme)


def installed_schemes() -> list[str]:
    """Every scheme that a bundled plugin or an installed distribution claims, sorted; one claimed twice counts too."""
    return _installed(_STORES)


def installed_cdns() -> list[str]:
    """Every CDN that a bundled plugin or an installed distribution claims, sorted; one claimed twice counts too."""
    return _installed(_CDNS)


def _find(group: _Group[P], name: str, asked: str) -> P:
    if target := group.bundled.get(name):
        return _load(group, name, target)
    found = [point for point in _scan(group) if point.name == name]
    if not found:
        extra = group.extras.get(name)
        raise UnknownScheme(
            f"no {group.noun} for {asked!r}; installed: {', '.join(_installed(group))}",
            hint=f'pip install "blobkit[{extra}]"'
            if extra
            else f"install a package with an entry point in {group.name}",
        )
    if len(found) > 1:
        owners = " and ".join(sorted(_owner(point) for point in found))
        raise ConfigError(f"the scheme {name!r} is claimed twice, by {owners}", hint="uninstall one of them")
    return _load(group, name, found[0].value)


def _installed(group: _Group[P]) -> list[str]:
    return sorted({*group.bundled, *(point.name for point in _foreign(group))})


def _scan(group: _Group[P]) -> list[EntryPoint]:
    """The entry points that are not ours. Raises ConfigError when one claims a bundled scheme."""
    foreign = _foreign(group)
    for point in foreign:
        if point.name in group.bundled:
            raise ConfigError(
                f"the scheme {point.name!r} is claimed twice, by blobkit and {_owner(point)}",
                hint="uninstall the other one",
            )
    return foreign


def _foreign(group: _Group[P]) -> list[EntryPoint]:
    from importlib.metadata import entry_points

    points = {(point.name, point.value, _owner(point)): point for point in entry_points(group=group.name)}
    return [point for point in points.values() if group.bundled.get(point.name) != point.value]


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value


def _load(group: _Group[P], name: str, target: str) -> P:
    module, _, attribute = target.partition(":")
    try:
        plugin = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        extra = group.extras.get(name, name)
        raise PluginMissing(
            f"the plugin of {name!r} cannot be imported: {error}", hint=f'pip install "blobkit[{extra}]"'
        ) from error
    if not isinstance(plugin, group.kind):
        raise ConfigError(f"{target} is not a {group.kind.__name__}")
    return cast("P", plugin)


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
