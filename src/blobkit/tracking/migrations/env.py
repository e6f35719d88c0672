"""What Alembic runs: the migrations, on the connection that it was given."""

from __future__ import annotations

from alembic import context

from blobkit.tracking.migrations import VERSION_TABLE
from blobkit.tracking.schema import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("these migrations run through blobkit.tracking.migrations.upgrade(engine)")
context.configure(connection=connection, target_metadata=metadata, version_table=VERSION_TABLE, transactional_ddl=False)
context.run_migrations()
