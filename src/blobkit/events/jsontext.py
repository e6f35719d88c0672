"""JSON in: msgspec where it is installed (three times as fast), the standard library otherwise and in doubt.

What msgspec refuses is tried with the standard library, so both accept the same: lone surrogates, for one, are the fault of
a single record and must not lose the others of its batch.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from functools import cache
from typing import Final, NoReturn

from blobkit.errors import MalformedEvent

__all__ = ["loads"]


def loads(text: bytes | str) -> object:
    """The JSON value.

    Raises:
        MalformedEvent: Not JSON (NaN and Infinity are not), not UTF-8, or nested too deep to be read.
    """
    try:
        return _fast()(text)
    except (ValueError, RecursionError):
        pass
    try:
        return _plain(text)
    except RecursionError as error:
        raise MalformedEvent("the JSON is nested too deep") from error
    except ValueError as error:
        raise MalformedEvent("not JSON") from error


@cache
def _fast() -> Callable[[bytes | str], object]:
    try:
        decode: Callable[[bytes | str], object] = importlib.import_module("msgspec.json").Decoder().decode
    except ImportError:
        return _plain
    return decode


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse)


def _plain(text: bytes | str) -> object:
    if isinstance(text, bytes):
        text = text.decode("utf-8-sig")  # .NET clients write a byte order mark
    value: object = _DECODER.decode(text)
    return value
