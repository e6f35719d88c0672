"""Find the plugin of one scheme in one group of entry points. Bundled ones need no scan; only the one asked for is imported."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from blobkit.errors import ConfigError, PluginMissing, UnknownScheme

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["Group"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Group(Generic[T]):
    """One group of entry points.

    Args:
        name: The group (``blobkit.stores``).
        noun: What its plugins are, in messages (``store plugin``).
        kind: The class that they derive.
        bundled: Scheme to ``module:attribute``, of this distribution.
        extras: Scheme to the extra that installs what it needs; also of schemes whose plugin is not bundled.
    """

    name: str
    noun: str
    kind: type
    bundled: Mapping[str, str]
    extras: Mapping[str, str]

    def find(self, scheme: str, asked: str) -> T:
        """The plugin of a lower-case scheme; ``asked`` is what the user wrote.

        Raises:
            UnknownScheme: Nobody installed has it; the message lists who is.
            ConfigError: Two distributions claim it, or what was loaded is no plugin.
            PluginMissing: The plugin's module cannot be imported.
        """
        if target := self.bundled.get(scheme):
            return self._load(scheme, target)
        found = [point for point in self._scan() if point.name == scheme]
        if not found:
            extra = self.extras.get(scheme)
            raise UnknownScheme(
                f"no {self.noun} for {asked!r}; installed: {', '.join(self.schemes())}",
                hint=f'pip install "blobkit[{extra}]"'
                if extra
                else f"install a package with an entry point in {self.name}",
            )
        if len(found) > 1:
            owners = " and ".join(sorted(_owner(point) for point in found))
            raise ConfigError(f"the scheme {scheme!r} is claimed twice, by {owners}", hint="uninstall one of them")
        return self._load(scheme, found[0].value)

    def schemes(self) -> list[str]:
        """Every scheme that a bundled plugin or an installed distribution claims, sorted; one claimed twice counts too."""
        return sorted({*self.bundled, *(point.name for point in self._foreign())})

    def _scan(self) -> list[EntryPoint]:
        """The entry points that are not ours. Raises ConfigError when one claims a bundled scheme."""
        foreign = self._foreign()
        for point in foreign:
            if point.name in self.bundled:
                raise ConfigError(
                    f"the scheme {point.name!r} is claimed twice, by blobkit and {_owner(point)}",
                    hint="uninstall the other one",
                )
        return foreign

    def _foreign(self) -> list[EntryPoint]:
        from importlib.metadata import entry_points

        points = {(point.name, point.value, _owner(point)): point for point in entry_points(group=self.name)}
        return [point for point in points.values() if self.bundled.get(point.name) != point.value]

    def _load(self, scheme: str, target: str) -> T:
        module, _, attribute = target.partition(":")
        try:
            plugin = getattr(importlib.import_module(module), attribute)
        except ImportError as error:
            extra = self.extras.get(scheme, scheme)
            raise PluginMissing(
                f"the plugin of {scheme!r} cannot be imported: {error}", hint=f'pip install "blobkit[{extra}]"'
            ) from error
        if not isinstance(plugin, self.kind):
            raise ConfigError(f"{target} is not a {self.kind.__name__}")
        return cast("T", plugin)


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value
