"""A quarantine as ``blobkit worker`` is told of it: which stores, and which checks, in which order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias, cast

import typer

from blobkit.cli import units
from blobkit.cli.importing import imported
from blobkit.errors import ConfigError, InvalidArgument, PluginMissing

if TYPE_CHECKING:
    from blobkit.quarantine import Check, Quarantine, Subject, Verdict
    from blobkit.tracking import Tracker

__all__ = ["CheckWords", "ClamavMax", "ClamavUrl", "Examiners", "Routes", "TimeLimit", "checks_of", "routes_of"]

_PANEL: Final = "Quarantine"


def _option(flag: str, metavar: str, text: str, *, least: int | None = None) -> object:
    return typer.Option(flag, metavar=metavar, help=text, rich_help_panel=_PANEL, min=least)


Routes: TypeAlias = Annotated[
    list[str] | None,
    _option("--quarantine", "STAGING=PUBLIC", "Examine uploads to a store, and serve those that pass from another."),
]
CheckWords: TypeAlias = Annotated[
    list[str] | None,
    _option(
        "--check",
        "CHECK",
        "Asked in this order: max_size=SIZE, size_matches, allowed_types=TYPE,…, content_type_matches, checksum_matches, "
        "image_limits[=PIXELS], archive_limits[=SIZE], or MODULE:FUNCTION. May be repeated.",
    ),
]
ClamavUrl: TypeAlias = Annotated[
    str | None, _option("--clamav", "URL", "Scan for viruses, last: tcp://host:3310 or unix:///run/clamav/clamd.ctl.")
]
ClamavMax: TypeAlias = Annotated[
    str, _option("--clamav-max", "SIZE", "The largest content that clamd is set up to scan; a larger one is refused.")
]
Examiners: TypeAlias = Annotated[
    int, _option("--examiners", "N", "How many uploads are examined at once, for each PUBLIC.", least=1)
]
TimeLimit: TypeAlias = Annotated[
    str, _option("--check-timeout", "SPAN", "Of one check; the upload is then examined again later.")
]


def checks_of(words: Sequence[str], clamav: str | None, clamav_max: str) -> list[Check]:
    """The checks, in the order of the words; the scanner last.

    Raises:
        InvalidArgument: A name that no check has, or a value that it cannot have.
        ConfigError: A function that cannot be imported, or is none; an address that is none.
        PluginMissing: A check needs a package that is not installed.
    """
    from blobkit.quarantine import ClamAV

    checks = [_check(word) for word in words]
    if clamav is not None:
        checks.append(ClamAV(clamav, max_bytes=units.size(clamav_max)))
    return checks


def _check(word: str) -> Check:
    name, equals, value = word.partition("=")
    found = _named().get(name.replace("-", "_"))
    if found is None:
        if ":" in word:
            return _own(word)
        raise InvalidArgument(f"no check is named {name!r}", hint=f"{', '.join(_named())}, or MODULE:FUNCTION")
    if found.value == "required" and not value:
        raise InvalidArgument(f"the check {name} needs a value", hint=f"--check {name}=…")
    if equals and (found.value == "none" or not value):
        raise InvalidArgument(f"the check {name} takes no value" if found.value == "none" else f"{word} has no value")
    if found.package is not None:
        try:
            import_module(found.package)
        except ImportError as error:
            raise PluginMissing(
                f"the check {name} needs {found.package}", hint='pip install "blobkit[quarantine]"'
            ) from error
    return found.make(value)


@dataclass(frozen=True, slots=True)
class _Known:
    """How a check is made of its value: ``none``, ``optional`` (empty: the check's own default) or ``required``."""

    make: Callable[[str], Check]
    value: str = "none"
    package: str | None = None


def _named() -> Mapping[str, _Known]:
    """The checks by the names that verdicts call them."""
    from blobkit import quarantine as checks

    return {
        "max_size": _Known(lambda value: checks.MaxSize(units.size(value)), "required"),
        "size_matches": _Known(lambda _: checks.SizeMatches()),
        "allowed_types": _Known(lambda value: checks.AllowedTypes(value.split(",")), "required"),
        "content_type_matches": _Known(lambda _: checks.ContentTypeMatches(), package="puremagic"),
        "checksum_matches": _Known(lambda _: checks.ChecksumMatches()),
        "image_limits": _Known(
            lambda value: checks.ImageLimits(max_pixels=_count(value)) if value else checks.ImageLimits(),
            "optional",
            "imagesize",
        ),
        "archive_limits": _Known(
            lambda value: checks.ArchiveLimits(max_unpacked=units.size(value)) if value else checks.ArchiveLimits(),
            "optional",
        ),
    }


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise InvalidArgument(f"not a number: {text!r}")
    return int(text)


def _own(name: str) -> Check:
    """A check of the service's own: an object that is one, or a function of the subject."""
    from blobkit.quarantine import Check, Custom

    found = imported(name, "the check")
    if isinstance(found, type) or not (isinstance(found, Check) or callable(found)):
        # A class called with a subject would give an object: and that would be taken for a pass.
        raise ConfigError(f"the check {name!r} is neither a function nor a check", hint="make an object of the class")
    if isinstance(found, Check):
        return found
    return Custom(name.partition(":")[2], cast("Callable[[Subject], Verdict | bool | None]", found))


@dataclass(frozen=True, slots=True)
class RoutesOf:
    """From where to where: the staging stores of each public one."""

    by_public: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def staging(self) -> tuple[str, ...]:
        """All staging stores."""
        return tuple(name for names in self.by_public.values() for name in names)

    def open(
        self, tracker: Tracker, checks: Sequence[Check], *, workers: int, timeout: timedelta
    ) -> dict[str, Quarantine]:
        """A quarantine for each public store, by its name. Raises what Quarantine raises."""
        from blobkit.quarantine import Quarantine

        return {
            public: Quarantine(tracker, checks=checks, staging=staging, public=public, workers=workers, timeout=timeout)
            for public, staging in self.by_public.items()
        }


def routes_of(words: Sequence[str]) -> RoutesOf:
    """``STAGING=PUBLIC`` words. Raises InvalidArgument for another form, and for a store that would lead to two places."""
    found: dict[str, tuple[str, ...]] = {}
    for word in words:
        staging, equals, public = (part.strip().lower().replace("_", "-") for part in word.partition("="))
        if not (staging and equals and public):
            raise InvalidArgument(f"--quarantine is STAGING=PUBLIC, not {word!r}", hint="--quarantine inbox=media")
        if any(staging in names for names in found.values()):
            raise InvalidArgument(f"uploads to {staging} can only go to one place")
        found[public] = (*found.get(public, ()), staging)
    return RoutesOf(found)
