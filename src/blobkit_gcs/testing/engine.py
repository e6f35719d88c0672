"""What the strict server stores: buckets, generations, noncurrent versions. In memory, not durable, thread-safe.

Generations only grow, and are never used twice (https://cloud.google.com/storage/docs/generations-preconditions).
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

import google_crc32c

from blobkit_gcs.testing.failures import Failure

__all__ = ["Bucket", "Engine", "Listener", "Preconditions", "Properties", "Stored", "crc32c_of", "md5_of"]

_FIRST: Final = 1_700_000_000_000_000  # generations look like microseconds, and must not be read so


@dataclass(frozen=True, slots=True)
class Properties:
    """What is stored beside the bytes."""

    content_type: str | None = None
    cache_control: str | None = None
    content_disposition: str | None = None
    content_encoding: str | None = None
    content_language: str | None = None
    storage_class: str = "STANDARD"
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stored:
    """One generation of one object.

    Attributes:
        md5: Base64; None for objects that were made of parts.
        crc32c: Base64, big-endian.
        etag: As the JSON API gives it: a base64 text of generation and metageneration.
        components: How many parts it was made of; None for one that was not.
    """

    bucket: str
    key: str
    data: bytes
    properties: Properties
    generation: int
    created: datetime
    md5: str | None
    crc32c: str
    metageneration: int = 1
    updated: datetime | None = None
    components: int | None = None

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.data)

    @property
    def etag(self) -> str:
        """Another one for every change of content or metadata."""
        return base64.b64encode(f"{self.generation}/{self.metageneration}".encode()).decode()

    @property
    def xml_etag(self) -> str:
        """As the XML API gives it: the MD5 in hexadecimal where there is one."""
        return base64.b64decode(self.md5).hex() if self.md5 is not None else f"-{self.etag}"


@dataclass(frozen=True, slots=True)
class Preconditions:
    """What must hold of the object that is there; generation 0 means: none is."""

    generation: int | None = None
    not_generation: int | None = None
    metageneration: int | None = None
    not_metageneration: int | None = None

    def check(self, current: Stored | None) -> None:
        """Raise 412 when they do not hold."""
        generation = current.generation if current else 0
        metageneration = current.metageneration if current else 0
        held = (
            (self.generation is None or self.generation == generation)
            and (self.not_generation is None or self.not_generation != generation)
            and (self.metageneration is None or self.metageneration == metageneration)
            and (self.not_metageneration is None or self.not_metageneration != metageneration)
        )
        if not held:
            raise Failure(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")


@dataclass(slots=True)
class Bucket:
    """One bucket.

    Attributes:
        cors: Rules as the JSON API writes them: ``origin``, ``method``, ``responseHeader``, ``maxAgeSeconds``.
    """

    name: str
    versioning: bool = False
    cors: Sequence[Mapping[str, object]] = ()
    live: dict[str, Stored] = field(default_factory=dict)
    noncurrent: dict[str, list[Stored]] = field(default_factory=dict)


def md5_of(data: bytes) -> str:
    """MD5, base64."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def crc32c_of(data: bytes) -> str:
    """CRC32C, big-endian, base64."""
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


Listener = Callable[[str, Stored, Mapping[str, str]], None]
"""Told of each change: the event type, the object, and more attributes of the notification."""


class Engine:
    """All buckets.

    Attributes:
        listeners: Told of each change, in the order of changes, by the thread that made it.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.listeners: list[Listener] = []
        self._buckets: dict[str, Bucket] = {}
        self._generations = itertools.count(_FIRST, 1009)

    def create_bucket(self, bucket: Bucket) -> None:
        """A bucket of that name, empty."""
        with self.lock:
            self._buckets[bucket.name] = bucket

    def bucket(self, name: str) -> Bucket:
        """The bucket. Raises 404."""
        try:
            return self._buckets[name]
        except KeyError:
            raise Failure(404, "notFound", "The specified bucket does not exist.", xml_code="NoSuchBucket") from None

    def find(self, bucket: str, key: str, generation: int | None = None) -> Stored | None:
        """The live object, or that generation; None when it is not there."""
        with self.lock:
            home = self.bucket(bucket)
            live = home.live.get(key)
            if generation is None or (live is not None and live.generation == generation):
                return live
            return next((old for old in home.noncurrent.get(key, ()) if old.generation == generation), None)

    def get(self, bucket: str, key: str, generation: int | None = None) -> Stored:
        """The live object, or that generation. Raises 404."""
        found = self.find(bucket, key, generation)
        if found is None:
            raise Failure(404, "notFound", f"No such object: {bucket}/{key}", xml_code="NoSuchKey")
        return found

    def put(
        self,
        bucket: str,
        key: str,
        data: bytes,
        properties: Properties,
        conditions: Preconditions,
        components: int | None = None,
        sums: tuple[str | None, str] | None = None,
    ) -> Stored:
        """Store. ``sums``: MD5 and CRC32C of the data, where they are known already. Raises 400, 404, 412."""
        if not 1 <= len(key.encode()) <= 1024:
            raise Failure(400, "invalid", "The maximum object length is 1024 characters.", xml_code="KeyTooLongError")
        with self.lock:
            home = self.bucket(bucket)
            before = home.live.get(key)
            conditions.check(before)
            md5, crc32c = sums or (md5_of(data) if components is None else None, crc32c_of(data))
            now = datetime.now(UTC)
            stored = Stored(
                bucket,
                key,
                data,
                properties,
                next(self._generations),
                now,
                md5,
                crc32c,
                updated=now,
                components=components,
            )
            home.live[key] = stored
            if before is None:
                self._tell("OBJECT_FINALIZE", stored)
                return stored
            self._tell("OBJECT_FINALIZE", stored, overwroteGeneration=before.generation)
            if home.versioning:
                home.noncurrent.setdefault(key, []).append(before)
            gone = "OBJECT_ARCHIVE" if home.versioning else "OBJECT_DELETE"
            self._tell(gone, before, overwrittenByGeneration=stored.generation)
            return stored

    def patch(self, stored: Stored, properties: Properties, conditions: Preconditions) -> Stored:
        """Other properties for the same bytes. Raises 404, 412."""
        with self.lock:
            current = self.get(stored.bucket, stored.key, stored.generation)
            conditions.check(current)
            changed = replace(
                current, properties=properties, metageneration=current.metageneration + 1, updated=datetime.now(UTC)
            )
            home = self.bucket(stored.bucket)
            if home.live.get(stored.key) is current:
                home.live[stored.key] = changed
            else:
                versions = home.noncurrent[stored.key]
                versions[versions.index(current)] = changed
            self._tell("OBJECT_METADATA_UPDATE", changed)
            return changed

    def delete(self, bucket: str, key: str, generation: int | None, conditions: Preconditions) -> Stored:
        """Delete; without a generation a versioned bucket keeps it as a noncurrent one. Raises 404, 412."""
        with self.lock:
            home = self.bucket(bucket)
            found = self.get(bucket, key, generation)
            conditions.check(found)
            if home.live.get(key) is not found:
                home.noncurrent[key].remove(found)
                self._tell("OBJECT_DELETE", found)
                return found
            del home.live[key]
            archived = home.versioning and generation is None
            if archived:
                home.noncurrent.setdefault(key, []).append(found)
            self._tell("OBJECT_ARCHIVE" if archived else "OBJECT_DELETE", found)
            return found

    def _tell(self, event: str, stored: Stored, **generations: int) -> None:
        for listener in self.listeners:
            listener(event, stored, {name: str(value) for name, value in generations.items()})

    def listed(self, bucket: str, prefix: str, *, versions: bool) -> Iterator[Stored]:
        """Objects in the order of their UTF-8 names, then of their generations."""
        with self.lock:
            home = self.bucket(bucket)
            found = [stored for key, stored in home.live.items() if key.startswith(prefix)]
            if versions:
                found += [old for key, olds in home.noncurrent.items() if key.startswith(prefix) for old in olds]
        return iter(sorted(found, key=lambda stored: (stored.key.encode(), stored.generation)))
