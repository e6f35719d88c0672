"""What an upload's constraints mean to Put Blob: its headers. Pure.

https://learn.microsoft.com/rest/api/storageservices/put-blob
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from blobkit.backend import UploadOrder
from blobkit.spec import Constraint

__all__ = ["META", "bound_headers", "put_headers"]

META: Final = "x-ms-meta-"
_CONTENT_TYPE: Final = "x-ms-blob-content-type"
# The header of each constraint that travels in one, beside metadata.
_HEADERS: Final = (
    (Constraint.CONTENT_TYPE, _CONTENT_TYPE),
    (Constraint.CACHE_CONTROL, "x-ms-blob-cache-control"),
    (Constraint.CONTENT_DISPOSITION, "x-ms-blob-content-disposition"),
    (Constraint.CONTENT_ENCODING, "x-ms-blob-content-encoding"),
    (Constraint.STORAGE_CLASS, "x-ms-access-tier"),
)


def bound_headers(order: UploadOrder) -> dict[str, str]:
    """The headers that a signature must bind, in the order in which it names them.

    The type is bound as ``x-ms-blob-content-type``, which rules over ``Content-Type``: bound the other way round, a client
    could overrule it.
    """
    spec = order.spec
    bound = {name: str(getattr(spec, constraint)) for constraint, name in _HEADERS if order.binds(constraint)}
    if order.binds(Constraint.METADATA):
        bound |= {META + name: value for name, value in spec.metadata.items()}
    return bound


def put_headers(order: UploadOrder) -> Mapping[str, str]:
    """The headers that a client sends with Put Blob.

    What is only verified afterwards is said all the same, so that the blob can be as it was asked for. A type that is not
    bound goes as plain ``Content-Type``. An MD5 is compared by Azure when it is sent, though nobody can make a client send it.
    """
    spec = order.spec
    headers = {"x-ms-blob-type": "BlockBlob"}
    for constraint, name in _HEADERS:
        if constraint in spec.constraints:
            plain = name == _CONTENT_TYPE and not order.binds(constraint)
            headers["content-type" if plain else name] = str(getattr(spec, constraint))
    headers |= {META + name: value for name, value in spec.metadata.items()}
    if spec.checksum is not None and spec.checksum.algorithm == "md5":
        headers["content-md5"] = spec.checksum.base64
    return MappingProxyType(headers)
