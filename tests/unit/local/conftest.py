"""Engines to test: every law holds on the durable one and on the one in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.unit.local.helpers import Clock

from blobkit_local.durable import FileEngine
from blobkit_local.indexed import IndexedEngine, Manners
from blobkit_local.memory import MemoryEngine

MakeEngine = Callable[..., IndexedEngine]


@pytest.fixture
def clock() -> Clock:
    """A clock that the test moves."""
    return Clock()


@pytest.fixture(params=["durable", "memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[MakeEngine]:
    """Makes engines of one kind; each call without arguments has a place of its own."""
    made: list[IndexedEngine] = []

    def build(manners: Manners | None = None) -> IndexedEngine:
        engine: IndexedEngine
        if request.param == "durable":
            engine = FileEngine(tmp_path / f"store{len(made)}", clock=clock, manners=manners)
        else:
            engine = MemoryEngine(clock=clock, manners=manners)
        made.append(engine)
        return engine

    yield build
    for engine in made:
        engine.close()


@pytest.fixture
def engine(make: MakeEngine) -> IndexedEngine:
    """An engine without versions."""
    return make()


@pytest.fixture
def versioned(make: MakeEngine) -> IndexedEngine:
    """An engine with versions."""
    return make(Manners(versioning=True))
