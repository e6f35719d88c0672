"""What a store on S3 can do, as data, from its profile."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType

from blobkit.backend import Capabilities, Feature, Limits, Verdict
from blobkit.chunking import ChunkLimits
from blobkit.spec import Constraint, Enforcement, Route
from blobkit_aws.profiles import MAX_PART, MAX_PARTS, MIN_PART, Profile

__all__ = ["capabilities"]

_SIGNED = Enforcement.SIGNATURE
_PROVIDER = Enforcement.PROVIDER
_HEADERS = (
    Constraint.CONTENT_TYPE,
    Constraint.METADATA,
    Constraint.CACHE_CONTROL,
    Constraint.CONTENT_DISPOSITION,
    Constraint.CONTENT_ENCODING,
)
_STORED = (Constraint.CACHE_CONTROL, Constraint.CONTENT_DISPOSITION, Constraint.CONTENT_ENCODING)


def _verdict(known: bool | None, who: Enforcement) -> Verdict:
    return None if known is None else who if known else False


def _some(checksums: frozenset[str] | None) -> bool | None:
    return None if checksums is None else bool(checksums)


def _enforces(profile: Profile) -> dict[tuple[Route, Constraint], Verdict]:
    put = _verdict(profile.signed_headers, _SIGNED)
    form = _verdict(profile.form, _SIGNED)
    cells: dict[tuple[Route, Constraint], Verdict] = {}
    for constraint in _HEADERS:
        cells[Route.PUT, constraint] = put
        cells[Route.POST, constraint] = form
        if form and constraint in _STORED:
            cells[Route.POST, constraint] = _verdict(profile.form_headers, _SIGNED)
        cells[Route.CHUNKED, constraint] = _PROVIDER  # said by the service itself, at the start
    for route, who in ((Route.PUT, _SIGNED), (Route.POST, _SIGNED), (Route.CHUNKED, _PROVIDER)):
        cells[route, Constraint.STORAGE_CLASS] = _verdict(profile.storage_class, who)
    if not profile.form:
        cells[Route.POST, Constraint.STORAGE_CLASS] = form
    cells |= {
        (Route.PUT, Constraint.SIZE): put,
        (Route.PUT, Constraint.SIZE_RANGE): False,  # Content-Length is signed as one number: a range needs a form
        (Route.PUT, Constraint.CHECKSUM): _verdict(_some(profile.put_checksums), _SIGNED),
        (Route.PUT, Constraint.IF_ABSENT): _verdict(profile.put_if_absent, _SIGNED),
        (Route.POST, Constraint.SIZE): form,
        (Route.POST, Constraint.SIZE_RANGE): form,
        (Route.POST, Constraint.CHECKSUM): _verdict(_some(profile.form_checksums), _SIGNED) if form else form,
        (Route.POST, Constraint.IF_ABSENT): False,  # a form has no conditions on the object that is there
        (Route.CHUNKED, Constraint.SIZE): _PROVIDER if profile.commit_size else False,
        (Route.CHUNKED, Constraint.SIZE_RANGE): False,  # complete() adds up the parts
        (Route.CHUNKED, Constraint.CHECKSUM): False,  # of several parts S3 keeps no SHA and no MD5: complete() verifies
        (Route.CHUNKED, Constraint.IF_ABSENT): _verdict(profile.commit_if_absent, _PROVIDER),
    }
    return cells


def capabilities(profile: Profile, *, public: bool, versioning: bool | None) -> Capabilities:
    """What a store of this profile can do.

    Args:
        profile: The service.
        public: Whether the user says that everybody may read.
        versioning: Whether the bucket keeps versions; None when the user does not say.
    """
    if not profile.versioned_conditions and versioning is not False:
        ignored = False if versioning else None
        profile = replace(profile, put_if_absent=ignored, if_match=ignored)
    features: dict[Feature, bool | None] = {
        Feature.SIGN_UPLOAD: True,
        Feature.SIGN_FORM: profile.form,
        Feature.SIGN_DOWNLOAD: True,
        Feature.SIGN_HEAD: True,
        Feature.SIGN_DELETE: True,
        Feature.RESPONSE_OVERRIDES: profile.overrides,
        Feature.CHUNKED: True,
        Feature.CHUNK_CHECKSUMS: profile.part_md5,
        Feature.LIST_UPLOADS: profile.list_uploads,
        Feature.IF_ABSENT: profile.put_if_absent,
        Feature.IF_MATCH: profile.if_match,
        Feature.COPY: profile.copy,
        Feature.COPY_IF_ABSENT: profile.copy_if_absent,
        Feature.DELETE_PINNED: profile.delete_pinned,
        Feature.VERSIONS: False if profile.versions is False else versioning,
        Feature.ORDERED_LIST: profile.ordered,
        Feature.START_AFTER: profile.start_after,
        Feature.LIST_DIR: True,
        Feature.PUBLIC_URL: public,
        Feature.DATA_PLANE: False,
    }
    return Capabilities(
        enforces=MappingProxyType(_enforces(profile)),
        features=MappingProxyType(features),
        limits=Limits(
            max_expiry=timedelta(seconds=profile.max_life),
            max_put=profile.max_put,
            max_copy=profile.max_object if profile.copy_parts else MAX_PART,
            chunks=ChunkLimits(
                min_chunk=MIN_PART,
                max_chunk=profile.max_part,
                max_count=MAX_PARTS,
                max_object=profile.max_object,
                equal=profile.equal_parts,
            ),
        ),
    )
