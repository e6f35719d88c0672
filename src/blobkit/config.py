"""Where a store's settings come from: a URL, a dict, ``blobkit.toml`` or the environment. One grammar, and they round-trip.

A URL is ``scheme://authority/path?option=value``; what authority and path mean is the plugin's :class:`Location`. A dict is
the same with names: ``{"provider": "s3", "bucket": "media", "prefix": "prod/", "region": "eu-west-1"}``. Credentials are not
here: they come from the provider's own chain, or from ``x_file=`` (a path) and ``x_env=`` (a variable's name) for a secret
option ``x``; the secret itself never stands in a URL or a plain dict.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from blobkit.errors import ConfigError, CredentialsMissing, UnknownOption
from blobkit.keys import check_prefix
from blobkit.redaction import Secret

__all__ = ["COMMON_OPTIONS", "Kind", "Location", "OpenContext", "Option", "StoreConfig", "load_settings", "parse"]

_TRUE: Final = frozenset({"true", "on", "yes", "1"})
_FALSE: Final = frozenset({"false", "off", "no", "0"})
_MAX_SECRET_BYTES: Final = 64 * 1024


class Kind(StrEnum):
    """What an option's text means."""

    TEXT = "text"
    FLAG = "flag"
    NUMBER = "number"
    SECONDS = "seconds"
    CHOICE = "choice"
    SECRET = "secret"  # noqa: S105 - the kind's name


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a plugin: its name, what its text means, what it is for, and its default as text (None = unset)."""

    name: str
    kind: Kind
    doc: str
    default: str | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Location:
    """How a plugin reads a URL's authority and path.

    Attributes:
        authority: The field that the authority fills (``bucket``); None when there must be none (``local:///dir``).
        segments: Fields that the first path segments fill (``container``).
        rest: ``prefix``: the remaining path is the store's prefix. ``path``: the whole path is a directory. ``nothing``:
            no path remains.
    """

    authority: str | None
    segments: tuple[str, ...] = ()
    rest: str = "prefix"

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the required fields, in the order of the URL."""
        head = () if self.authority is None else (self.authority,)
        return (*head, *self.segments, *(("path",) if self.rest == "path" else ()))


COMMON_OPTIONS: Final = (
    Option("public", Kind.FLAG, "Objects are readable by anybody: public_url() gives their plain URL.", "false"),
    Option(
        "on_short_credentials",
        Kind.CHOICE,
        "When credentials end before expires_in: raise, or cap it.",
        "raise",
        ("raise", "cap"),
    ),
    Option(
        "assert",
        Kind.TEXT,
        "Comma-separated unknown capabilities that you know to be there (put.if_absent, sign_delete).",
    ),
    Option("public_endpoint", Kind.TEXT, "What is signed for clients, where it is not what the server calls."),
)
"""The options that every provider has."""


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """A store's settings, checked: every option is known and has a value of its kind.

    Attributes:
        scheme: The URL scheme (``gs``).
        provider: The provider's name everywhere else (``gcs``).
        location: The location's fields (bucket; account and container; path; name).
        prefix: Empty, or ends in ``/``.
        options: What was given, as text, without secrets; defaults are filled in by the getters.
        secrets: What the secret options resolved to.
    """

    scheme: str
    provider: str
    location: Mapping[str, str]
    prefix: str
    options: Mapping[str, str]
    declared: Mapping[str, Option] = field(repr=False, compare=False)
    shape: Location = field(repr=False, compare=False)
    secrets: Mapping[str, Secret] = field(default_factory=lambda: MappingProxyType({}))

    def text(self, name: str) -> str | None:
        """The option's text, or its default."""
        return self.options.get(name, self.declared[name].default)

    def flag(self, name: str) -> bool:
        """The option as a truth value; unset is False."""
        return (self.text(name) or "false").lower() in _TRUE

    def number(self, name: str) -> int | None:
        """The option as a whole number."""
        text = self.text(name)
        return None if text is None else int(text)

    def seconds(self, name: str) -> timedelta | None:
        """The option as a duration."""
        text = self.text(name)
        return None if text is None else timedelta(seconds=float(text))

    def secret(self, name: str) -> Secret | None:
        """What the secret option resolved to."""
        return self.secrets.get(name)

    def to_url(self) -> str:
        """The URL that gives these settings again. Secrets given as values have no URL and raise ConfigError."""
        self._no_plain_secrets()
        values = [quote(self.location[name], safe="-_.~" if name != "path" else "/-_.~") for name in self.shape.fields]
        if self.shape.rest == "path":
            path, query = values[-1], dict(self.options)
            if self.prefix:
                query["prefix"] = self.prefix
        else:
            path = "/".join(["", *values[1:], *([quote(self.prefix, safe="/-_.~")] if self.prefix else [])])
            query = dict(self.options)
        authority = values[0] if self.shape.authority is not None else ""
        return f"{self.scheme}://{authority}{path}" + (f"?{urlencode(sorted(query.items()))}" if query else "")

    def to_dict(self) -> dict[str, str]:
        """The dict that gives these settings again; the same limits as :meth:`to_url`."""
        self._no_plain_secrets()
        prefix = {"prefix": self.prefix} if self.prefix else {}
        return {"provider": self.provider, **self.location, **prefix, **self.options}

    def _no_plain_secrets(self) -> None:
        if plain := [
            name for name in self.secrets if f"{name}_file" not in self.options and f"{name}_env" not in self.options
        ]:
            raise ConfigError(f"the secret option {plain[0]!r} was given as a value and cannot be written down")


@dataclass(frozen=True, slots=True)
class OpenContext:
    """What the caller of ``open_store`` decided for the backend, beside the settings."""

    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    timeout: timedelta = timedelta(seconds=30)
    retries: int = 3
    env: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)


def parse(
    source: str | Mapping[str, str | Secret],
    *,
    scheme: str,
    provider: str,
    location: Location,
    options: Iterable[Option],
    env: Mapping[str, str],
    common: Iterable[Option] = COMMON_OPTIONS,
) -> StoreConfig:
    """Check the URL or dict of one store, CDN or source against what its plugin declares, beside the ``common`` options.

    Raises:
        UnknownOption: An option that the plugin does not have.
        ConfigError: A missing or empty location, a bad prefix, a value that is not of its option's kind, a secret in a URL.
        CredentialsMissing: ``x_file`` or ``x_env`` names a file or variable that is not there.
    """
    declared = {option.name: option for option in (*common, *options)}
    if isinstance(source, str):
        fields, prefix, given = _from_url(source, location)
    else:
        fields, prefix, given = _from_dict(source, location)
    for name in location.fields:
        if not fields.get(name):
            raise ConfigError(f"{provider}: the {name} is missing", hint=_example(scheme, location))
        if any(ord(c) < 32 or ord(c) == 127 for c in fields[name]):
            raise ConfigError(f"{provider}: the {name} has a control character: {fields[name]!r}")
    texts: dict[str, str] = {}
    secrets: dict[str, Secret] = {}
    for name, value in given.items():
        base = name.removesuffix("_file").removesuffix("_env")
        if base != name and base in declared and declared[base].kind is Kind.SECRET and name not in declared:
            secrets[base] = _resolve(name, str(value), env)
            texts[name] = str(value)
        elif name not in declared:
            raise _unknown(name, declared, provider)
        elif declared[name].kind is Kind.SECRET:
            if not isinstance(value, Secret):
                raise ConfigError(
                    f"{provider}: the secret {name!r} must not be written down here",
                    hint=f"use {name}_file= or {name}_env=, or pass a blobkit.Secret in a dict",
                )
            secrets[name] = value
        else:
            texts[name] = _checked(declared[name], value, provider)
    return StoreConfig(
        scheme=scheme,
        provider=provider,
        location=MappingProxyType(fields),
        prefix=check_prefix(prefix),
        options=MappingProxyType(texts),
        declared=MappingProxyType(declared),
        shape=location,
        secrets=MappingProxyType(secrets),
    )


def _from_url(url: str, location: Location) -> tuple[dict[str, str], str, dict[str, str | Secret]]:
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise ConfigError("not a store URL") from error
    if parts.fragment or "#" in url:
        raise ConfigError("a store URL has no fragment", hint="write '#' as %23")
    if "@" in parts.netloc:
        raise ConfigError("a store URL carries no user or password", hint="use the provider's own credentials")
    given: dict[str, str | Secret] = {}
    for name, value in query:
        if name in given:
            raise ConfigError(f"the option {name!r} is given twice")
        given[name] = value
    authority = unquote(parts.netloc)
    if location.rest == "path":
        if authority:
            raise ConfigError(f"this URL takes three slashes: {parts.scheme}:///path")
        prefix = given.pop("prefix", "")
        return {"path": unquote(parts.path)}, str(prefix), given
    fields = {location.authority or "": authority}
    rest = parts.path.removeprefix("/")
    for name in location.segments:
        segment, _, rest = rest.partition("/")
        fields[name] = unquote(segment)
    return fields, _rest(unquote(rest), location), given


def _rest(text: str, location: Location) -> str:
    """What follows the location's fields: a prefix, or nothing."""
    if location.rest == "nothing":
        if text.strip("/"):
            raise ConfigError(f"nothing comes after the {location.fields[-1]} in this URL: {text!r}")
        return ""
    if text and not text.endswith("/"):
        raise ConfigError(f"the path after the bucket is a prefix, and a prefix ends in '/': {text!r}", hint=f"{text}/")
    return text


def _from_dict(
    source: Mapping[str, str | Secret], location: Location
) -> tuple[dict[str, str], str, dict[str, str | Secret]]:
    given = {str(name): value for name, value in source.items() if name not in ("provider", "scheme")}
    fields = {name: _place(name, given.pop(name)) for name in location.fields if name in given}
    prefix = _place("prefix", given.pop("prefix", ""))
    return fields, prefix, given


def _place(name: str, value: object) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str):
        raise ConfigError(f"the {name} must be a text, not {type(value).__name__}")
    return value


def _checked(option: Option, value: object, provider: str) -> str:
    if not isinstance(value, str | int | float):  # TOML's values; True and False are int
        raise ConfigError(f"{provider}: {option.name} must be a text, not {type(value).__name__}")
    text = ("true" if value else "false") if isinstance(value, bool) else str(value)
    try:
        match option.kind:
            case Kind.FLAG:
                good = text.lower() in _TRUE | _FALSE
            case Kind.NUMBER:
                good = int(text) >= 0
            case Kind.SECONDS:
                good = 0 < float(text) < float("inf")
            case Kind.CHOICE:
                good = text in option.choices
            case _:
                good = True
    except ValueError:
        good = False
    if not good:
        wanted = (
            " | ".join(option.choices)
            if option.choices
            else {"flag": "true or false"}.get(option.kind, option.kind.value)
        )
        raise ConfigError(f"{provider}: {option.name}={text!r} is not {wanted}")
    return text


def _unknown(name: str, declared: Mapping[str, Option], provider: str) -> UnknownOption:
    near = difflib.get_close_matches(name, declared, n=1, cutoff=0.5)
    return UnknownOption(
        f"{provider} has no option {name!r}",
        provider=provider,
        hint=f"did you mean {near[0]!r}?" if near else f"options: {', '.join(sorted(declared))}",
    )


def _resolve(name: str, where: str, env: Mapping[str, str]) -> Secret:
    if name.endswith("_env"):
        if where not in env:
            raise CredentialsMissing(f"{name}: the environment variable {where!r} is not set")
        return Secret(env[where])
    try:
        with Path(where).open(encoding="utf-8") as file:
            text = file.read(_MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise CredentialsMissing(f"{name}: cannot read {where!r}: {error.strerror}") from error
    if len(text) > _MAX_SECRET_BYTES:
        raise ConfigError(f"{name}: {where!r} is larger than a secret")
    return Secret(text.rstrip("\r\n"))


def _example(scheme: str, location: Location) -> str:
    if location.rest == "path":
        return f"{scheme}:///directory"
    named = f"{scheme}://{'/'.join(name.upper() for name in location.fields)}"
    return named if location.rest == "nothing" else f"{named}/prefix/"


def load_settings(
    source: str | os.PathLike[str] | Mapping[str, object] | None, env: Mapping[str, str]
) -> dict[str, dict[str, str | Mapping[str, str | Secret]]]:
    """The named stores and CDNs of a kit: ``{"stores": {name: url or dict}, "cdns": {…}}``.

    A dict given by the caller rules over the environment (``BLOBKIT_STORE_MEDIA=s3://…``), which rules over a file. A name
    is lower-case; ``-`` is written ``_`` in the environment.

    Raises:
        ConfigError: An unreadable file, or settings of another form.
    """
    file: Mapping[str, object] = {}
    given: Mapping[str, object] = {}
    if isinstance(source, Mapping):
        given = source
    elif source is not None:
        file = _read_toml(Path(source))
    out: dict[str, dict[str, str | Mapping[str, str | Secret]]] = {"stores": {}, "cdns": {}}
    for settings in (file, _from_env(env), given):
        if unknown := sorted(set(settings) - set(out)):
            raise ConfigError(f"unknown section {unknown[0]!r}", hint="stores, cdns")
        for section, entries in settings.items():
            if not isinstance(entries, Mapping):
                raise ConfigError(f"section {section!r} must hold named entries")
            named: dict[str, str | Mapping[str, str | Secret]] = {}
            for name, value in entries.items():
                if not isinstance(value, str | Mapping):
                    raise ConfigError(f"{section}.{name} must be a URL or a table")
                plain = str(name).lower().replace("_", "-")
                if plain in named:
                    raise ConfigError(f"{section} has two entries named {plain!r}")
                named[plain] = value
            out[section].update(named)
    return out


def _from_env(env: Mapping[str, str]) -> dict[str, dict[str, str]]:
    out: dict[str, dict[str, str]] = {"stores": {}, "cdns": {}}
    for variable, value in env.items():
        for start, section in (("BLOBKIT_STORE_", "stores"), ("BLOBKIT_CDN_", "cdns")):
            if variable.startswith(start) and len(variable) > len(start):
                out[section][variable[len(start) :].lower()] = value
    return out


def _read_toml(path: Path) -> dict[str, object]:
    import tomllib

    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"cannot read {str(path)!r}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{str(path)!r} is not TOML: {error}") from error
