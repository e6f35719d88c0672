"""What an :class:`~blobkit.spec.UploadSpec` means to S3: headers of a PUT, fields and conditions of a form. Pure.

Every value here has passed :class:`~blobkit.spec.UploadSpec`, so none has white space that Signature Version 4 would collapse.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from blobkit.backend import UploadOrder
from blobkit.blobs import UPLOAD_ID_KEY, Checksum
from blobkit.spec import Constraint, Enforcement, SpecFields, UploadSpec

__all__ = [
    "MAX_FORM",
    "META",
    "checksum_header",
    "form_parts",
    "header_lines",
    "mark",
    "put_headers",
    "said_headers",
    "values",
]

META: Final = "x-amz-meta-"
_CHECKSUM: Final = Constraint.CHECKSUM  # named once: to find a member in its enumeration takes long
_IF_ABSENT: Final = Constraint.IF_ABSENT
_SIZE: Final = Constraint.SIZE
MAX_FORM: Final = 5 * 1024**3
"""The largest object of a form, bytes: the same as of a PUT."""

_PLACES: Final = {
    header: SpecFields._fields.index(field)
    for header, field in {
        "content-type": "content_type",
        "content-length": "size",
        "cache-control": "cache_control",
        "content-disposition": "content_disposition",
        "content-encoding": "content_encoding",
        "x-amz-storage-class": "storage_class",
    }.items()
}
"""Where a header's value stands in a spec's fields."""

_FORM_NAMES: Final[Mapping[str, str]] = {
    "content-type": "Content-Type",
    "cache-control": "Cache-Control",
    "content-disposition": "Content-Disposition",
    "content-encoding": "Content-Encoding",
    "content-md5": "Content-MD5",
}


def mark(upload_id: str) -> tuple[str, str]:
    """The header that says which upload made the object."""
    return META + UPLOAD_ID_KEY, upload_id


def checksum_header(checksum: Checksum) -> tuple[str, str]:
    """The header with which S3 compares what it receives."""
    name = "content-md5" if checksum.algorithm == "md5" else f"x-amz-checksum-{checksum.algorithm}"
    return name, checksum.base64


def said_headers(spec: UploadSpec) -> dict[str, str]:
    """The headers that are stored with the object: type, metadata, caching, class."""
    content_type, _, _, _, _, metadata, cache_control, disposition, encoding, storage_class, _ = spec.fields
    headers: dict[str, str] = {}
    if content_type is not None:
        headers["content-type"] = content_type
    if cache_control is not None:
        headers["cache-control"] = cache_control
    if disposition is not None:
        headers["content-disposition"] = disposition
    if encoding is not None:
        headers["content-encoding"] = encoding
    if storage_class is not None:
        headers["x-amz-storage-class"] = storage_class
    for name, value in metadata.items():
        headers[META + name] = value
    return headers


def put_headers(order: UploadOrder) -> tuple[dict[str, str], str | None]:
    """The headers that a client sends with a PUT, all to be signed, and the Content-Length to be signed, if one is.

    What is only verified afterwards is said all the same, so that the object can be as it was asked for; but no checksum
    or precondition that the store is not known to understand.
    """
    spec = order.spec
    headers = said_headers(spec)
    if spec.checksum is not None and order.binds(_CHECKSUM):
        name, value = checksum_header(spec.checksum)
        headers[name] = value
    if spec.if_absent and order.binds(_IF_ABSENT):
        headers["if-none-match"] = "*"
    length = str(spec.size) if spec.size is not None and order.binds(_SIZE) else None
    return headers, length


def header_lines(order: UploadOrder, fixed: Mapping[str, str]) -> tuple[tuple[str, ...], str, tuple[int, ...]]:
    """The canonical headers of PUTs with the same constraints and the same names of metadata.

    Args:
        order: One of them.
        fixed: Headers with a value that they all have.

    Returns:
        The names, sorted; the lines, with ``%s`` in place of each value that varies; and for each of these its place in
        :func:`values`.
    """
    headers, length = put_headers(order)
    names = sorted({*headers, *fixed, *(() if length is None else ("content-length",))})
    fixed = {"if-none-match": "*", **fixed}
    places = {META + name: len(SpecFields._fields) + place for place, name in enumerate(order.spec.metadata)} | _PLACES
    lines = "".join([f"{name}:{fixed[name].replace('%', '%%') if name in fixed else '%s'}\n" for name in names])
    return tuple(names), lines, tuple([places.get(name, -1) for name in names if name not in fixed])


def values(spec: UploadSpec) -> tuple[object, ...]:
    """All values that a header may have, in the order of :func:`header_lines`: the checksum's, whatever its name, is last."""
    fields = spec.fields
    checksum, metadata = fields[4], fields[5]
    if checksum is None:
        return fields + tuple(metadata.values())
    return (*fields, *metadata.values(), checksum.base64)


def form_parts(order: UploadOrder) -> tuple[dict[str, str], list[Mapping[str, str] | list[str | int]]]:
    """The fields of a form, but its key, and the conditions of its policy, but those of bucket and key."""
    spec = order.spec
    headers = said_headers(spec)
    if spec.checksum is not None and order.binds(Constraint.CHECKSUM):
        name, value = checksum_header(spec.checksum)
        if name != "content-md5":
            headers["x-amz-checksum-algorithm"] = spec.checksum.algorithm.upper()
        headers[name] = value
    fields = {_FORM_NAMES.get(name, name): value for name, value in headers.items()}
    conditions: list[Mapping[str, str] | list[str | int]] = [{name: value} for name, value in fields.items()]
    if spec.size is not None and order.binds(Constraint.SIZE):
        conditions.append(["content-length-range", spec.size, spec.size])
    elif (
        Constraint.SIZE_RANGE in spec.constraints and order.enforcement[Constraint.SIZE_RANGE] is Enforcement.SIGNATURE
    ):
        high = MAX_FORM if spec.max_size is None else spec.max_size
        conditions.append(["content-length-range", spec.min_size or 0, high])
    return fields, conditions
