"""How a command line names stores and objects.

::

    STORE    NAME            a store of blobkit.toml or BLOBKIT_STORE_NAME
             NAME:           the same
             SCHEME://…      a store's URL

    TARGET   NAME:KEY        one word
             STORE-URL KEY   two words

A word that starts like a URL (``scheme://``) is one, and the next word is the key, whatever it looks like; a key is never
written into the URL, whose path means different things for each provider.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from blobkit.errors import InvalidArgument

__all__ = [
    "STORE_HELP",
    "TARGET_HELP",
    "Target",
    "is_url",
    "several_targets",
    "store_and_prefix",
    "store_word",
    "take_target",
]

TARGET_HELP: Final = "NAME:KEY, or two words: STORE-URL KEY."
STORE_HELP: Final = "A configured store's NAME, or a STORE-URL."
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-]*\Z")


@dataclass(frozen=True, slots=True)
class Target:
    """One object: the store as it was written (a name or a URL), and the key as it was written (perhaps empty)."""

    store: str
    key: str

    def named(self, filename: str) -> Target:
        """The same with ``filename`` as the key's last segment, where the key is empty or ends in ``/``."""
        if self.key and not self.key.endswith("/"):
            return self
        if not filename:
            raise InvalidArgument("the key is missing", hint=TARGET_HELP)
        return Target(self.store, self.key + filename)


def is_url(word: str) -> bool:
    """Whether a word starts like a URL."""
    return _URL.match(word) is not None


def store_word(word: str) -> str:
    """A store alone. Raises InvalidArgument for a word that is neither a name nor a URL."""
    if _URL.match(word):
        return word
    name = word.removesuffix(":")
    if not _NAME.match(name):
        raise InvalidArgument(f"not a store: {word!r}", hint=STORE_HELP)
    return name


def take_target(words: Sequence[str], *, key_optional: bool = False) -> tuple[Target, list[str]]:
    """The first target of ``words``, and the words after it.

    Raises:
        InvalidArgument: There is none, or its key is missing.
    """
    if not words:
        raise InvalidArgument("the target is missing", hint=TARGET_HELP)
    first, rest = words[0], list(words[1:])
    if _URL.match(first):
        if rest:
            return Target(first, rest[0]), rest[1:]
        if key_optional:
            return Target(first, ""), []
        raise InvalidArgument("the key is missing after the store's URL", hint=TARGET_HELP)
    name, colon, key = first.partition(":")
    if not colon or not _NAME.match(name):
        raise InvalidArgument(f"not a target: {first!r}", hint=TARGET_HELP)
    if not key and not key_optional:
        raise InvalidArgument(f"the key is missing after {first!r}", hint=TARGET_HELP)
    return Target(name, key), rest


def several_targets(
    words: Sequence[str], *, exactly: int | None = None, last_key_optional: bool = False
) -> list[Target]:
    """All words as targets. Raises InvalidArgument when they are not, or not ``exactly`` so many."""
    targets: list[Target] = []
    rest = list(words)
    while rest and (exactly is None or len(targets) < exactly):
        last = exactly is not None and len(targets) == exactly - 1
        target, rest = take_target(rest, key_optional=last and last_key_optional)
        targets.append(target)
    if rest:
        raise InvalidArgument(f"one word too many: {rest[0]!r}", hint=TARGET_HELP)
    if not targets or (exactly is not None and len(targets) < exactly):
        raise InvalidArgument("a target is missing", hint=TARGET_HELP)
    return targets


def store_and_prefix(words: Sequence[str]) -> tuple[str, str]:
    """A store and what keys start with: ``NAME``, ``NAME:PREFIX``, ``STORE-URL`` or ``STORE-URL PREFIX``."""
    hint = "NAME, NAME:PREFIX, STORE-URL, or two words: STORE-URL PREFIX"
    if not words:
        raise InvalidArgument("the store is missing", hint=hint)
    first, rest = words[0], list(words[1:])
    if _URL.match(first):
        store, prefix = first, rest.pop(0) if rest else ""
    else:
        name, _, prefix = first.partition(":")
        store = store_word(name)
    if rest:
        raise InvalidArgument(f"one word too many: {rest[0]!r}", hint=hint)
    return store, prefix
