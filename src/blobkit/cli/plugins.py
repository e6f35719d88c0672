"""``blobkit plugins``: which stores and CDNs can be opened on this machine, and what the others lack."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from blobkit.cli.running import Run, command
from blobkit.errors import BlobkitError

if TYPE_CHECKING:
    from blobkit.config import Option

__all__ = ["plugins"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]*")


@dataclass(frozen=True, slots=True)
class Found:
    """One scheme, as it is on this machine.

    Attributes:
        scheme, provider, extra: As its plugin says; provider and extra are empty when it cannot be loaded.
        module: Where the plugin is.
        missing: Packages of its extra that are not installed.
        problem: Why it cannot be loaded; None when it can.
        options: What its URLs may say beside the common options.
        kind: ``store`` or ``cdn``.
    """

    scheme: str
    provider: str = ""
    extra: str = ""
    module: str = ""
    missing: Sequence[str] = ()
    problem: str | None = None
    options: Sequence[Option] = ()
    kind: str = "store"

    def as_dict(self) -> Mapping[str, object]:
        """As JSON values."""
        return {
            "kind": self.kind,
            "scheme": self.scheme,
            "provider": self.provider,
            "module": self.module,
            "extra": self.extra,
            "ready": self.problem is None and not self.missing,
            "missing": list(self.missing),
            "problem": self.problem,
            "options": {option.name: option.doc for option in self.options},
        }


@command
def plugins(run: Run) -> None:
    """The plugins of stores and CDNs that are installed, and what they still need."""
    from blobkit.plugins.manager import installed_cdns, installed_schemes

    found = [*map(_look, installed_schemes()), *map(_look_at_cdn, installed_cdns())]
    if run.out.json:
        run.out.value([plugin.as_dict() for plugin in found])
        return
    run.out.table(
        ["kind", "scheme", "provider", "module", "state"],
        [[plugin.kind, f"{plugin.scheme}://", plugin.provider, plugin.module, _state(plugin)] for plugin in found],
    )


def _state(plugin: Found) -> str:
    if plugin.problem is not None:
        return plugin.problem
    if plugin.missing:
        return f'needs {", ".join(plugin.missing)}: pip install "blobkit[{plugin.extra}]"'
    return "ready"


def _look(scheme: str) -> Found:
    from blobkit.plugins.manager import find_store_plugin

    try:
        plugin = find_store_plugin(scheme)
    except BlobkitError as error:
        return Found(scheme, problem=error.message)
    module = type(plugin).__module__
    return Found(scheme, plugin.provider, plugin.extra, module, _lacking(module, plugin.extra), None, plugin.options)


def _look_at_cdn(scheme: str) -> Found:
    from blobkit.plugins.manager import find_cdn_plugin

    try:
        plugin = find_cdn_plugin(scheme)
    except BlobkitError as error:
        return Found(scheme, problem=error.message, kind="cdn")
    module = type(plugin).__module__
    lacking = _lacking(module, plugin.extra) if plugin.extra else []
    return Found(scheme, plugin.scheme, plugin.extra, module, lacking, None, plugin.options, "cdn")


def _lacking(module: str, extra: str) -> list[str]:
    """The packages of an extra that are not installed, as the metadata of the plugin's distribution name them."""
    from importlib import metadata

    lacking: list[str] = []
    for distribution in metadata.packages_distributions().get(module.partition(".")[0], ["blobkit"])[:1]:
        for requirement in metadata.requires(distribution) or ():
            package, _, marker = requirement.partition(";")
            if not re.search(rf"extra\s*==\s*['\"]{re.escape(extra)}['\"]", marker) or "platform" in marker:
                continue
            name = _NAME.match(package.strip())
            if name is not None and not _is_installed(name.group()):
                lacking.append(name.group())
    return lacking


def _is_installed(package: str) -> bool:
    from importlib import metadata

    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
