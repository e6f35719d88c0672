"""What a service asks of an upload (:class:`UploadSpec`), and who sees to it (:class:`Enforcement`)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from types import MappingProxyType
from typing import Final, NamedTuple, NoReturn, Self

from blobkit.blobs import UPLOAD_ID_KEY, Checksum
from blobkit.errors import InvalidArgument

__all__ = ["Constraint", "Enforcement", "GiB", "KiB", "MiB", "Route", "SpecFields", "TiB", "UploadSpec", "spec_of"]

KiB: Final = 1024
MiB: Final = 1024 * KiB
GiB: Final = 1024 * MiB
TiB: Final = 1024 * GiB

METADATA_LIMIT: Final = 2 * KiB  # S3's limit, the smallest of the three; it counts names and values
_RESERVED: Final = len(UPLOAD_ID_KEY) + 32  # our own mark: its name and 32 hex digits
_TYPE: Final = re.compile(r"[!#$&^_.+\-A-Za-z0-9]+/[!#$&^_.+\-A-Za-z0-9]+(?:; ?[!-~]+(?: [!-~]+)*)?\Z")
_MAX_SIZE: Final = 2**63 - 1
_LONG: Final = 128  # characters; a longer text is checked anew each time rather than noted
_NOTED: Final = 256


class Constraint(StrEnum):
    """One thing that can be asked of an upload. Each ends enforced by somebody, or as an error before anything is signed."""

    SIZE = "size"
    SIZE_RANGE = "size_range"
    CONTENT_TYPE = "content_type"
    CHECKSUM = "checksum"
    METADATA = "metadata"
    IF_ABSENT = "if_absent"
    CACHE_CONTROL = "cache_control"
    CONTENT_DISPOSITION = "content_disposition"
    CONTENT_ENCODING = "content_encoding"
    STORAGE_CLASS = "storage_class"


# A bit for each constraint, in the order of the enumeration.
_SIZE, _SIZE_RANGE, _CONTENT_TYPE, _CHECKSUM, _METADATA = (1 << place for place in range(5))
_IF_ABSENT, _CACHE_CONTROL, _CONTENT_DISPOSITION, _CONTENT_ENCODING, _STORAGE_CLASS = (1 << n for n in range(5, 10))


class Enforcement(StrEnum):
    """Who sees to a constraint.

    ``SIGNATURE``: bound in what was signed; another request is refused. ``PROVIDER``: the provider checks it when it
    commits. ``COMPLETION``: blobkit checks it afterwards, in ``complete()`` or ``verify_upload()``.
    """

    SIGNATURE = "signature"
    PROVIDER = "provider"
    COMPLETION = "completion"


class Route(StrEnum):
    """How the bytes arrive: one signed PUT, one signed form POST, or a chunked session."""

    PUT = "put"
    POST = "post"
    CHUNKED = "chunked"


class SpecFields(NamedTuple):
    """What was given of an :class:`UploadSpec`: one tuple, since specs are made for each request and slots cost more."""

    content_type: str | None
    size: int | None
    min_size: int | None
    max_size: int | None
    checksum: Checksum | None
    metadata: Mapping[str, str]
    cache_control: str | None
    content_disposition: str | None
    content_encoding: str | None
    storage_class: str | None
    if_absent: bool


_NO_METADATA: Final[Mapping[str, str]] = MappingProxyType({})


class UploadSpec:
    """The constraints of an upload: frozen, hashable, cheap to reuse (signing with a known spec is the fast path).

    Args:
        content_type: The media type the object must have. None: whatever the client sends is stored.
        size: The exact size in bytes. Not together with ``min_size``/``max_size``.
        min_size: The least size in bytes.
        max_size: The greatest size in bytes.
        checksum: The digest of the whole object.
        metadata: Names ``[a-z][a-z0-9_]*``, values trimmed printable ASCII; 2 KiB in all including blobkit's own mark.
        cache_control, content_disposition, content_encoding, storage_class: Stored with the object.
        if_absent: Only create; never overwrite.

    Raises:
        InvalidArgument: A value that no provider could hold, or that contradicts another.
    """

    __slots__ = ("_hash", "constraints", "fields")
    constraints: frozenset[Constraint]
    fields: SpecFields
    _hash: int

    def __init__(
        self,
        *,
        content_type: str | None = None,
        size: int | None = None,
        min_size: int | None = None,
        max_size: int | None = None,
        checksum: Checksum | None = None,
        metadata: Mapping[str, str] | None = None,
        cache_control: str | None = None,
        content_disposition: str | None = None,
        content_encoding: str | None = None,
        storage_class: str | None = None,
        if_absent: bool = False,
    ) -> None:
        _fill(self, (
            content_type, size, min_size, max_size, checksum, metadata,
            cache_control, content_disposition, content_encoding, storage_class, if_absent,
        ))  # fmt: skip

    @property
    def content_type(self) -> str | None:
        """The media type the object must have."""
        return self.fields[0]

    @property
    def size(self) -> int | None:
        """The exact size, bytes."""
        return self.fields[1]

    @property
    def min_size(self) -> int | None:
        """The least size, bytes."""
        return self.fields[2]

    @property
    def max_size(self) -> int | None:
        """The greatest size, bytes."""
        return self.fields[3]

    @property
    def checksum(self) -> Checksum | None:
        """The digest of the whole object."""
        return self.fields[4]

    @property
    def metadata(self) -> Mapping[str, str]:
        """Stored with the object; sorted by name, read-only."""
        return self.fields[5]

    @property
    def cache_control(self) -> str | None:
        """Stored with the object."""
        return self.fields[6]

    @property
    def content_disposition(self) -> str | None:
        """Stored with the object."""
        return self.fields[7]

    @property
    def content_encoding(self) -> str | None:
        """Stored with the object."""
        return self.fields[8]

    @property
    def storage_class(self) -> str | None:
        """Stored with the object."""
        return self.fields[9]

    @property
    def if_absent(self) -> bool:
        """Only create; never overwrite."""
        return self.fields[10]

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("UploadSpec is immutable")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("UploadSpec is immutable")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, UploadSpec):
            return NotImplemented
        return self is other or self.fields == other.fields

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:  # most specs are signed once and never looked up
            made = hash((*self.fields[:5], *self.metadata.items(), *self.fields[6:]))
            _set_hash(self, made)
            return made

    def __repr__(self) -> str:
        given = ", ".join(
            f"{name}={dict(value) if name == 'metadata' else value!r}"
            for name, value in self.fields._asdict().items()
            if value is not None and value is not False and value != {}
        )
        return f"UploadSpec({given})"

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return UploadSpec.from_json, (self.to_json(),)

    def replace(
        self,
        *,
        size: int | None = None,
        checksum: Checksum | None = None,
        metadata: Mapping[str, str] | None = None,
        if_absent: bool | None = None,
    ) -> UploadSpec:
        """A spec with these fields changed; a ``size`` takes the place of ``min_size`` and ``max_size``."""
        return UploadSpec(
            content_type=self.content_type,
            size=self.size if size is None else size,
            min_size=self.min_size if size is None else None,
            max_size=self.max_size if size is None else None,
            checksum=self.checksum if checksum is None else checksum,
            metadata=self.metadata if metadata is None else metadata,
            cache_control=self.cache_control,
            content_disposition=self.content_disposition,
            content_encoding=self.content_encoding,
            storage_class=self.storage_class,
            if_absent=self.if_absent if if_absent is None else if_absent,
        )

    def to_dict(self) -> dict[str, object]:
        """The constraints that were given, as JSON values. :meth:`from_dict` is its inverse."""
        out: dict[str, object] = {}
        for name, value in self.fields._asdict().items():
            if value is None or value is False or (name == "metadata" and not value):
                continue
            if isinstance(value, Checksum):
                out[name] = {"algorithm": value.algorithm, "digest": value.base64}
            else:
                out[name] = dict(value) if name == "metadata" else value
        return out

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> Self:
        """From what :meth:`to_dict` gave. Raises InvalidArgument for an unknown or ill-typed field."""
        if unknown := sorted(set(data) - set(SpecFields._fields)):
            raise InvalidArgument(f"unknown field in an upload spec: {', '.join(unknown)}")
        checksum = data.get("checksum")
        if checksum is not None:
            if not isinstance(checksum, Mapping) or set(checksum) != {"algorithm", "digest"}:
                raise InvalidArgument("checksum must be {algorithm, digest}")
            checksum = Checksum.from_base64(str(checksum["algorithm"]), str(checksum["digest"]))
        metadata = data.get("metadata", {})
        if not isinstance(metadata, Mapping):
            raise InvalidArgument("metadata must be an object of texts")
        return cls(
            content_type=_text(data, "content_type"),
            size=_number(data, "size"),
            min_size=_number(data, "min_size"),
            max_size=_number(data, "max_size"),
            checksum=checksum,
            metadata=metadata,
            cache_control=_text(data, "cache_control"),
            content_disposition=_text(data, "content_disposition"),
            content_encoding=_text(data, "content_encoding"),
            storage_class=_text(data, "storage_class"),
            if_absent=data.get("if_absent", False) is True,
        )

    def to_json(self) -> str:
        """Compact JSON with sorted names: equal specs give equal text."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """From what :meth:`to_json` gave. Raises InvalidArgument."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise InvalidArgument("an upload spec must be a JSON object") from error
        if not isinstance(data, dict):
            raise InvalidArgument("an upload spec must be a JSON object")
        return cls.from_dict(data)

    def allows_size(self, size: int) -> bool:
        """Whether an object of ``size`` bytes keeps ``size``, ``min_size`` and ``max_size``."""
        return (
            (self.size is None or size == self.size)
            and (self.min_size is None or size >= self.min_size)
            and (self.max_size is None or size <= self.max_size)
        )


Given = tuple[
    str | None, int | None, int | None, int | None, Checksum | None, Mapping[str, str] | None,
    str | None, str | None, str | None, str | None, bool,
]  # fmt: skip
"""The arguments of a spec, in their order."""


def spec_of(given: Given) -> UploadSpec:
    """A spec of all its arguments at once: for the verbs that take them one by one. Raises InvalidArgument."""
    made = _new_spec(UploadSpec)
    _fill(made, given)
    return made


def _fill(spec: UploadSpec, given: Given) -> None:  # noqa: C901 - a list, written out because it is hot
    """Check what is given, and put it into a new spec. Raises InvalidArgument."""
    (
        content_type, size, min_size, max_size, checksum, metadata,
        cache_control, content_disposition, content_encoding, storage_class, if_absent,
    ) = given  # fmt: skip
    shape = 0  # which constraints are given, a bit for each
    if size is not None:
        if type(size) is not int or not 0 <= size <= _MAX_SIZE:
            _check_size("size", size)
        if min_size is not None or max_size is not None:
            raise InvalidArgument("size is exact: it goes without min_size and max_size")
        shape |= _SIZE
    elif min_size is not None or max_size is not None:
        _check_range(min_size, max_size)
        shape |= _SIZE_RANGE
    if content_type is not None:
        if type(content_type) is not str or content_type not in _types:
            _check_media_type(content_type)
        shape |= _CONTENT_TYPE
    if checksum is not None:
        if not isinstance(checksum, Checksum) or checksum.composite:
            raise InvalidArgument("checksum must be a Checksum of the whole object", hint='Checksum.of("sha256", data)')
        shape |= _CHECKSUM
    kept = _NO_METADATA
    if metadata:
        kept = MappingProxyType(_checked_metadata(metadata))
        shape |= _METADATA
    if if_absent is not False:
        if if_absent is not True:
            raise InvalidArgument("if_absent must be True or False")
        shape |= _IF_ABSENT
    if cache_control is not None:
        if type(cache_control) is not str or cache_control not in _texts:
            _check_printable("cache_control", cache_control)
        shape |= _CACHE_CONTROL
    if content_disposition is not None:
        if type(content_disposition) is not str or content_disposition not in _texts:
            _check_printable("content_disposition", content_disposition)
        shape |= _CONTENT_DISPOSITION
    if content_encoding is not None:
        _check_printable("content_encoding", content_encoding)
        shape |= _CONTENT_ENCODING
    if storage_class is not None:
        _check_printable("storage_class", storage_class)
        shape |= _STORAGE_CLASS
    _set_fields(spec, _new(SpecFields, (
        content_type, size, min_size, max_size, checksum, kept,
        cache_control, content_disposition, content_encoding, storage_class, if_absent,
    )))  # fmt: skip
    _set_constraints(spec, _constraints(shape))


_new_spec: Final = object.__new__
_new: Final = tuple.__new__  # a third of the cost of the constructor that NamedTuple makes
_set_fields: Final = UploadSpec.__dict__["fields"].__set__
_set_constraints: Final = UploadSpec.__dict__["constraints"].__set__
_set_hash: Final = UploadSpec.__dict__["_hash"].__set__


@cache  # at most one entry for each of 1,024 shapes; equal shapes share one set, whose hash is computed once
def _constraints(shape: int) -> frozenset[Constraint]:
    return frozenset(constraint for place, constraint in enumerate(Constraint) if shape >> place & 1)


# What has passed lately: a service asks for the same few types and texts all the time, and names its metadata alike.
_types: Final[set[str]] = set()
_texts: Final[set[str]] = set()
_names: Final[set[str]] = set()


def _note(passed: set[str], text: str) -> None:
    if len(text) <= _LONG:
        if len(passed) >= _NOTED:
            passed.clear()
        passed.add(text)


def _check_media_type(value: object) -> None:
    if not isinstance(value, str) or _TYPE.match(value) is None:
        raise InvalidArgument(f"not a media type: {value!r}", hint='type/subtype, such as "image/png"')
    _note(_types, value)


def _is_printable(value: object) -> bool:
    """Printable ASCII, not empty, without leading, trailing or repeated space: SigV4 would collapse them."""
    return (
        isinstance(value, str)
        and value.isascii()
        and value.isprintable()
        and value != ""
        and value[0] != " " != value[-1]
        and "  " not in value
    )


def _check_printable(name: str, value: object) -> None:
    if not _is_printable(value):
        raise InvalidArgument(f"{name} must be printable ASCII without leading, trailing or repeated spaces")
    assert isinstance(value, str)
    _note(_texts, value)


def _check_name(name: object) -> None:
    if not (isinstance(name, str) and name.islower() and name.isidentifier() and name.isascii() and name[0] != "_"):
        raise InvalidArgument(f"metadata name {name!r} is not portable", hint="[a-z][a-z0-9_]*")
    if name == UPLOAD_ID_KEY:
        raise InvalidArgument(f"metadata name {name!r} is blobkit's own")
    _note(_names, name)


def _check_size(name: str, value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_SIZE:
        raise InvalidArgument(f"{name} must be a number of bytes, 0 or more")


def _check_range(low: int | None, high: int | None) -> None:
    _check_size("min_size", low)
    _check_size("max_size", high)
    if low is not None and high is not None and low > high:
        raise InvalidArgument(f"min_size {low} is greater than max_size {high}")


def _checked_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    if type(metadata) is not dict and not isinstance(metadata, Mapping):
        raise InvalidArgument(f"metadata must be a mapping of texts, not {type(metadata).__name__}")
    total = _RESERVED
    for name, value in metadata.items():
        if name not in _names:
            _check_name(name)
        if not (type(value) is str and value.isalnum() and value.isascii()) and not _is_printable(value):
            raise InvalidArgument(
                f"metadata value of {name!r} must be printable ASCII without leading, trailing or repeated spaces",
                hint="percent-encode other text",
            )
        total += len(name) + len(value)
    if total > METADATA_LIMIT:
        raise InvalidArgument(
            f"metadata takes {total} bytes with blobkit's own {_RESERVED}; the limit is {METADATA_LIMIT}"
        )
    return dict(metadata) if len(metadata) == 1 else dict(sorted(metadata.items()))


def _text(data: Mapping[str, object], name: str) -> str | None:
    value = data.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidArgument(f"{name} must be a text")
    return value


def _number(data: Mapping[str, object], name: str) -> int | None:
    value = data.get(name)
    _check_size(name, value)
    return value if isinstance(value, int) else None
