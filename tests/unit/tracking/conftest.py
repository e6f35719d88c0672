"""What the tests of tracking share: both databases, a clock, and a tracker over an embedded store."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from tests.servers.postgres import Postgres, postgres_server
from tests.unit.tracking.world import World

from blobkit.testing.clock import FakeClock
from blobkit.tracking import migrations
from blobkit.tracking.schema import metadata


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real server."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_postgres(postgres: Postgres) -> Iterator[str]:
    """A database with the tables. Making one takes a second; emptying it does not."""
    with postgres.database() as url:
        engine = create_engine(url)
        migrations.upgrade(engine)
        engine.dispose()
        yield url


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the tables, to be copied."""
    file = tmp_path_factory.mktemp("sqlite") / "empty.db"
    engine = create_engine(f"sqlite:///{file}")
    migrations.upgrade(engine)
    engine.dispose()
    return file


@pytest.fixture
def sqlite(tmp_path: Path, migrated_sqlite: Path) -> str:
    """The URL of an empty SQLite database with the tables."""
    shutil.copy(migrated_sqlite, tmp_path / "uploads.db")
    return f"sqlite:///{tmp_path}/uploads.db"


def emptied(url: str) -> str:
    """The same database without a row."""
    engine = create_engine(url)
    with engine.begin() as connection:
        for table in metadata.sorted_tables:
            connection.execute(table.delete())
    engine.dispose()
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database with the tables, of each kind."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite"))
    return emptied(request.getfixturevalue("migrated_postgres"))


@pytest.fixture
def clock() -> FakeClock:
    """A clock that the test moves."""
    return FakeClock()


@pytest.fixture
def world(database: str, clock: FakeClock) -> Iterator[World]:
    """A tracker with a store, on each database."""
    with World(database, clock) as made:
        yield made


@pytest.fixture
def local_world(sqlite: str, clock: FakeClock) -> Iterator[World]:
    """A tracker with a store, on SQLite: for what does not depend on the database."""
    with World(sqlite, clock) as made:
        yield made
