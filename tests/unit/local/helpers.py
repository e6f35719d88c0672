"""Short words for what the tests of the embedded store do all the time."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

from blobkit.backend import HeldChunk, SessionState
from blobkit.blobs import BlobInfo, Checksum, Pin
from blobkit.chunking import ChunkLimits, plan
from blobkit.spec import UploadSpec
from blobkit_local.engine import Attributes, Engine, Wanted

LIMITS = ChunkLimits(min_chunk=1, max_count=100_000)
START = datetime(2030, 1, 1, tzinfo=UTC)

WEIRD_KEYS = [
    "a b",
    "a+b",
    "a%b",
    "a%2Fb",
    "a%20b",
    "/a",
    "//a",
    "a//b",
    "a/",
    "~x",
    "!*'()",
    "#?&=;:@$,",
    '"<>{}|^[]`',
    "\u00e9",  # NFC
    "e\u0301",  # NFD
    "日本",
    "\U0001f600",
    "\u05e9\u05dc\u05d5\u05dd",
    "x" * 1024,
    "\u65e5" * 341,
    "a\\b",
    "trailing.",
    "trailing ",
    "-x",
    "CON",
    "Case",
    "case",
    "../../etc/passwd",
    "..",
    "\U0010ffff\U0010ffff",
    "\ud7ff",
    "nul\x00byte",
]
"""Of the portable corpus, and more: an engine takes what the core would refuse."""


class Clock:
    """A time that stands until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def tick(self, **by: float) -> None:
        """Move on; a second when nothing is said."""
        self.now += timedelta(**by) if by else timedelta(seconds=1)


def put(
    engine: Engine,
    key: str,
    data: bytes = b"data",
    *,
    if_absent: bool = False,
    if_match: Pin | None = None,
    checksum: Checksum | None = None,
    attributes: Attributes | None = None,
) -> BlobInfo:
    """Write an object."""
    wanted = Wanted(size=len(data), if_absent=if_absent, if_match=if_match, checksum=checksum)
    with engine.incoming(key, attributes or Attributes(), wanted) as incoming:
        incoming.write(data)
        return incoming.commit()


def get(engine: Engine, key: str, *, version: str | None = None, pin: Pin | None = None) -> bytes:
    """Read an object."""
    with engine.open(key, version=version, pin=pin)[1] as stream:
        return stream.read()


def keys(engine: Engine, prefix: str = "") -> list[str]:
    """List keys."""
    return [item.key for item in engine.list(prefix)]


def begin(
    engine: Engine,
    key: str = "big",
    size: int | None = 10,
    *,
    chunk: int = 4,
    spec: UploadSpec | None = None,
    upload_id: str | None = None,
) -> SessionState:
    """Start a session."""
    upload_id = upload_id or uuid.uuid4().hex
    state = SessionState(
        key=key,
        spec=spec or UploadSpec(),
        plan=plan(size, LIMITS, chunk_size=chunk),
        upload_id=upload_id,
        provider_id=upload_id,
        started=START,
    )
    engine.open_session(state, Attributes.of(state.spec, upload_id))
    return state


def send(engine: Engine, state: SessionState, number: int, data: bytes, checksum: Checksum | None = None) -> HeldChunk:
    """Send one chunk."""
    with engine.incoming_chunk(state.upload_id, number, len(data), checksum=checksum) as chunk:
        chunk.write(data)
        return chunk.commit()


def send_all(engine: Engine, state: SessionState, data: bytes) -> list[HeldChunk]:
    """Send every chunk."""
    cuts = state.plan.resolved(len(data))
    return [send(engine, state, cut.number, data[cut.offset : cut.offset + cut.size]) for cut in cuts]
