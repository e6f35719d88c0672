"""Any sequence of calls has the same effect on an engine as on a dictionary."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.counts import examples
from tests.unit.local.helpers import Clock, begin, get, put, send

from blobkit.blobs import Checksum, Prefix
from blobkit.errors import AlreadyExists, BlobNotFound, ChunkMismatch, PreconditionFailed
from blobkit_local.durable import FileEngine
from blobkit_local.engine import ExpiryRule, Wanted
from blobkit_local.indexed import IndexedEngine, Manners
from blobkit_local.memory import MemoryEngine

KEYS = st.sampled_from(["a", "a/b", "a/c", "a//", "b", "\u00e9", "e\u0301", "\U0001f600/x"])
DATA = st.binary(max_size=12)


@dataclass
class Version:
    """One version of the model; data None is a delete marker."""

    data: bytes | None
    etag: str
    version: str | None
    at: object


@dataclass
class Model:
    """Keys to versions, oldest first; the last is current."""

    versions: dict[str, list[Version]] = field(default_factory=dict)

    def current(self, key: str) -> Version | None:
        """What a plain read sees."""
        found = self.versions.get(key)
        return found[-1] if found and found[-1].data is not None else None

    def left(self, key: str) -> int:
        """How many versions can be read."""
        return sum(version.data is not None for version in self.versions.get(key, []))


class EngineMachine(RuleBasedStateMachine):
    """Rules common to all; subclasses choose the engine."""

    durable = False
    versioning = False

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.clock = Clock()
        self.root = Path(tempfile.mkdtemp()) if self.durable else None
        self.engine: IndexedEngine
        self.session: tuple[str, str, dict[int, bytes]] | None = None

    def build(self) -> IndexedEngine:
        """An engine on the same place."""
        manners = Manners(versioning=self.versioning)
        if self.root is not None:
            return FileEngine(self.root / "s", clock=self.clock, manners=manners)
        return MemoryEngine(clock=self.clock, manners=manners)

    @initialize()
    def start(self) -> None:
        """Open it."""
        self.engine = self.build()

    def teardown(self) -> None:
        """Throw it away."""
        self.engine.close()
        if self.root is not None:
            shutil.rmtree(self.root)

    def record(self, key: str, data: bytes, etag: str, version: str | None) -> None:
        """What a write does."""
        assert (version is not None) == self.versioning
        entry = Version(data, etag, version, self.clock.now)
        if self.versioning:
            self.model.versions.setdefault(key, []).append(entry)
        else:
            self.model.versions[key] = [entry]

    @rule(key=KEYS, data=DATA, if_absent=st.booleans())
    def write(self, key: str, data: bytes, if_absent: bool) -> None:
        """A plain or create-only write."""
        self.clock.tick()
        if if_absent and self.model.current(key):
            with pytest.raises(AlreadyExists):
                put(self.engine, key, data, if_absent=True)
            return
        info = put(self.engine, key, data, if_absent=if_absent)
        self.record(key, data, info.etag, info.version)

    @rule(source=KEYS, destination=KEYS, if_absent=st.booleans())
    def copy(self, source: str, destination: str, if_absent: bool) -> None:
        """A copy within the engine."""
        self.clock.tick()
        found = self.model.current(source)
        if found is None:
            with pytest.raises(BlobNotFound):
                self.engine.copy(source, destination, if_absent=if_absent)
        elif if_absent and self.model.current(destination):
            with pytest.raises(AlreadyExists):
                self.engine.copy(source, destination, if_absent=if_absent)
        else:
            info = self.engine.copy(source, destination, if_absent=if_absent)
            assert found.data is not None
            self.record(destination, found.data, info.etag, info.version)

    @rule(key=KEYS, purge=st.booleans(), stale=st.booleans())
    def delete(self, key: str, purge: bool, stale: bool) -> None:
        """A delete, pinned wrongly when ``stale``."""
        self.clock.tick()
        found = self.model.current(key)
        if found is not None and stale:
            from blobkit.blobs import Pin

            with pytest.raises(PreconditionFailed):
                self.engine.delete(key, pin=Pin(etag="another"), purge_versions=purge)
            return
        result = self.engine.delete(key, purge_versions=purge)
        if purge or (found is not None and not self.versioning):
            self.model.versions.pop(key, None)
        elif found is not None:
            self.model.versions[key].append(Version(None, "", None, self.clock.now))
        hidden = bool(self.model.versions.get(key)) and self.model.current(key) is None
        assert result == (hidden, self.model.left(key))

    @precondition(lambda self: self.versioning)
    @rule(key=KEYS, place=st.integers(0, 5))
    def delete_version(self, key: str, place: int) -> None:
        """One version goes; if it was the newest, the one before is current."""
        found = [entry for entry in self.model.versions.get(key, []) if entry.version]
        if not found:
            return
        entry = found[place % len(found)]
        self.engine.delete(key, version=entry.version)
        self.model.versions[key].remove(entry)
        if not self.model.versions[key]:
            del self.model.versions[key]

    @rule(key=KEYS)
    def begin_session(self, key: str) -> None:
        """Start a session in place of the one before."""
        if self.session is not None:
            self.engine.discard_session(self.session[0])
        self.session = (begin(self.engine, key, 10).upload_id, key, {})

    @precondition(lambda self: self.session is not None)
    @rule(number=st.integers(1, 3), fill=st.binary(min_size=1, max_size=1), keep=st.booleans())
    def send_chunk(self, number: int, fill: bytes, keep: bool) -> None:
        """Send a chunk, or give up half way."""
        assert self.session is not None
        upload_id, _, held = self.session
        state = self.engine.session(upload_id)
        data = fill * state.plan.chunk(number).size
        if keep:
            send(self.engine, state, number, data)
            held[number] = data
        else:
            with self.engine.incoming_chunk(upload_id, number, len(data)) as chunk:
                chunk.write(data[:-1])

    @precondition(lambda self: self.session is not None)
    @rule()
    def commit_session(self) -> None:
        """Assemble the chunks that are held, if all are."""
        assert self.session is not None
        upload_id, key, held = self.session
        self.clock.tick()
        chunks = self.engine.held(upload_id)
        assert [(chunk.number, chunk.size) for chunk in chunks] == [(n, len(held[n])) for n in sorted(held)]
        data = b"".join(held[number] for number in sorted(held))
        if len(held) < 3:
            from blobkit.backend import HeldChunk

            missing = next(number for number in (1, 2, 3) if number not in held)
            with pytest.raises(ChunkMismatch):
                self.engine.commit_session(upload_id, [*chunks, HeldChunk(missing, 4)], Wanted())
            return
        info = self.engine.commit_session(upload_id, chunks, Wanted(checksum=Checksum.of("sha256", data)))
        self.record(key, data, info.etag, info.version)
        self.session = None

    @rule(seconds=st.integers(1, 20))
    def expire(self, seconds: int) -> None:
        """Sweep everything older below ``a``."""
        self.engine.set_expiry_rules([ExpiryRule("a", timedelta(seconds=seconds))])
        now = self.clock.now
        self.engine.sweep(
            now=now, sessions_older_than=now - timedelta(days=9), temps_older_than=now + timedelta(days=99999)
        )
        before = now - timedelta(seconds=seconds)
        for key in [key for key in self.model.versions if key.startswith("a")]:
            left = [entry for entry in self.model.versions[key] if entry.at >= before]  # type: ignore[operator]
            self.model.versions[key] = left
            if not left:
                del self.model.versions[key]

    @precondition(lambda self: self.durable)
    @rule()
    def reopen(self) -> None:
        """Close and open again."""
        self.engine.close()
        self.engine = self.build()

    @invariant()
    def the_engine_holds_what_the_model_holds(self) -> None:
        """Every read agrees."""
        if not hasattr(self, "engine"):
            return
        live = {key: entry for key in self.model.versions if (entry := self.model.current(key)) is not None}
        order = sorted(live, key=lambda key: key.encode())
        assert [item.key for item in self.engine.list("")] == order
        assert [item.key for item in self.engine.list("a")] == [key for key in order if key.startswith("a")]
        groups = list(dict.fromkeys(key[: key.find("/") + 1] if "/" in key else key for key in order))
        assert [item.key for item in self.engine.list("", delimiter="/")] == groups
        assert all(isinstance(item, Prefix) == item.key.endswith("/") for item in self.engine.list("", delimiter="/"))
        for key, entry in live.items():
            info = self.engine.head(key)
            assert (info.etag, info.version) == (entry.etag, entry.version)
            assert get(self.engine, key) == entry.data
            assert info.checksums["crc32c"] == Checksum.of("crc32c", entry.data or b"")
        for key, versions in self.model.versions.items():
            for entry in versions:
                if entry.version is not None and entry.data is not None:
                    assert get(self.engine, key, version=entry.version) == entry.data

    @invariant()
    def no_file_is_without_an_owner(self) -> None:
        """What the index names is there, and nothing else."""
        if not hasattr(self, "engine"):
            return
        there = {name for batch in self.engine.extents.written_before(float("inf")) for name in batch}
        with self.engine.index.read() as rows:
            assert there == rows.extents()


class _Durable(EngineMachine):
    durable = True


class _DurableVersioned(EngineMachine):
    durable = True
    versioning = True


class _MemoryVersioned(EngineMachine):
    versioning = True


_SETTINGS = settings(max_examples=examples(25), stateful_step_count=40, deadline=None)
TestDurable = _Durable.TestCase
TestDurableVersioned = _DurableVersioned.TestCase
TestMemory = EngineMachine.TestCase
TestMemoryVersioned = _MemoryVersioned.TestCase
for case in (TestDurable, TestDurableVersioned, TestMemory, TestMemoryVersioned):
    case.settings = _SETTINGS
del case  # it would be collected once more under this name
