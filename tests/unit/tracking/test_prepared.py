"""What the driver runs by itself says, reads and raises what SQLAlchemy would have."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Update, bindparam, delete, insert, select, text, update
from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError
from tests.unit.tracking.world import World

import blobkit
from blobkit.tracking.prepared import Prepared
from blobkit.tracking.schema import inbox, orphans, outbox, uploads

UPLOAD = UUID("01890000-0000-7000-8000-000000000001")
ODD = datetime(2026, 2, 3, 4, 5, 6, 789012, tzinfo=timezone(timedelta(hours=5, minutes=30)))
NOTICE: dict[str, Any] = {
    "upload": UPLOAD,
    "seq": 1,
    "kind": "available",
    "data": '{"key":"é 日 \U0001f600 %s %(a)s :b ?"}',
    "state": "waiting",
    "attempts": 0,
    "error": None,
    "lease": None,
    "created_at": ODD,
    "retry_at": None,
    "delivered_at": ODD,
}
_put = Prepared(insert(outbox).values({name: bindparam(name) for name in NOTICE}))
_at = (outbox.c.upload == bindparam("upload"), outbox.c.seq == bindparam("seq"))


def test_rows_are_read_as_sqlalchemy_reads_them(world: World) -> None:
    upload = world.arrived()
    world.begin(store="kept")
    with world.tracker.database.write() as connection:
        assert _put.count(connection, NOTICE) == 1
    with world.tracker.database.read() as connection:
        for statement, given in (
            (select(uploads).where(uploads.c.id == bindparam("id")), {"id": upload.id}),
            (select(inbox).where(inbox.c.key == bindparam("key")), {"key": upload.key}),
            (select(outbox).where(*_at), {"upload": UPLOAD, "seq": 1}),
            (select(uploads.c.checks, uploads.c.size.is_(None)).where(uploads.c.store == "kept"), {}),
        ):
            expected = connection.execute(statement, given).first()
            found = Prepared(statement).first(connection, given)
            assert expected is not None
            assert found == list(expected)
            assert [type(value) for value in found or ()] == [type(value) for value in expected]


def test_values_are_written_as_sqlalchemy_writes_them(world: World) -> None:
    with world.tracker.database.write() as connection:
        _put.count(connection, NOTICE)
        connection.execute(insert(outbox), {**NOTICE, "seq": 2})
        columns = [column for column in outbox.c if column.name != "seq"]
        ours, theirs = connection.execute(select(*columns).order_by(outbox.c.seq)).all()
    assert ours == theirs
    assert ours.created_at == ODD
    assert ours.created_at.tzinfo is UTC


def test_values_may_be_in_the_statement_and_returned_from_it(world: World) -> None:
    def ending() -> Update:
        return update(outbox).where(*_at).values(state="dead", attempts=outbox.c.attempts + bindparam("more"))

    given = {"upload": UPLOAD, "seq": 1, "more": 2}
    with world.tracker.database.write() as connection:
        assert Prepared(ending()).count(connection, given) == 0
        _put.count(connection, NOTICE)
        assert Prepared(ending()).count(connection, given) == 1
        returned = Prepared(ending().returning(outbox.c.upload, outbox.c.state, outbox.c.attempts, outbox.c.created_at))
        assert returned.first(connection, given) == [UPLOAD, "dead", 4, ODD]
        assert Prepared(delete(outbox).where(*_at)).count(connection, given) == 1
        assert Prepared(select(outbox).where(*_at)).first(connection, given) is None


def test_a_list_that_expands_is_refused(world: World) -> None:
    statement = Prepared(select(outbox).where(outbox.c.seq.in_(bindparam("some", expanding=True))))
    with world.tracker.database.read() as connection, pytest.raises(AssertionError, match="expands"):
        statement.first(connection, {"some": [1, 2]})


def test_what_the_database_refuses_is_sqlalchemys_error_without_the_values(world: World) -> None:
    with world.tracker.database.write() as connection:
        _put.count(connection, NOTICE)
    with pytest.raises(IntegrityError) as caught, world.tracker.database.write() as connection:
        _put.count(connection, {**NOTICE, "data": "private"})
    assert "private" not in f"{caught.value}{caught.value!r}"
    assert not caught.value.connection_invalidated
    with pytest.raises(ValueError, match="zone"), world.tracker.database.write() as connection:
        _put.count(connection, {**NOTICE, "seq": 3, "created_at": ODD.replace(tzinfo=None)})


def test_a_table_that_is_not_there_is_not_a_database_that_does_not_answer(world: World) -> None:
    missing = Prepared(select(text("1")).select_from(text("blobkit_nothing")))
    error: type[Exception] = ProgrammingError if world.tracker.database.shared else blobkit.Unavailable
    with pytest.raises(error), world.tracker.database.read() as connection:
        missing.first(connection, {})


def test_what_goes_wrong_while_a_row_is_fetched_is_told_alike(world: World) -> None:
    rows = text("(SELECT CAST(1 AS BIGINT) AS v UNION ALL SELECT -9223372036854775808) AS t")
    overflowing = Prepared(
        select(text("abs(v) AS positive")).select_from(rows)
    )  # in SQLite by the step to its second row
    error: type[Exception] = DataError if world.tracker.database.shared else blobkit.Unavailable
    with pytest.raises(error), world.tracker.database.read() as connection:
        overflowing.first(connection, {})


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)  # nobody else can end one in SQLite
def test_a_connection_that_is_gone_is_unavailable_and_takes_those_like_it_along(world: World) -> None:
    """The next call is answered, whatever connection it gets."""
    database = world.tracker.database
    upload, find = world.begin(), Prepared(select(uploads.c.id).where(uploads.c.id == bindparam("id")))
    barrier = threading.Barrier(2)
    numbers: list[int] = []

    def held() -> None:
        with database.read() as connection:
            numbers.append(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
            barrier.wait(30)  # both at once: two connections

    threads = [threading.Thread(target=held) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(numbers)) == 2
    other = world.another_tracker().database
    with other.read() as connection:
        for number in numbers:
            connection.exec_driver_sql(f"SELECT pg_terminate_backend({number}, 10000)")
    with pytest.raises(blobkit.Unavailable) as caught, database.read() as connection:
        find.first(connection, {"id": upload.id})
    assert caught.value.retryable
    with database.read() as first, database.read() as second:
        for connection in (first, second):
            assert find.first(connection, {"id": upload.id}) == [upload.id]


def test_rows_to_come_are_thrown_away(world: World) -> None:
    """A statement that is not read to its end holds no lock."""
    with world.tracker.database.write() as connection:
        for seq in range(3):
            _put.count(connection, {**NOTICE, "seq": seq})
    some = Prepared(select(outbox.c.seq).order_by(outbox.c.seq))
    with world.tracker.database.read() as connection:
        assert some.first(connection, {}) == [0]
        with world.another_tracker().database.write() as other:
            other.execute(delete(outbox))
            other.execute(insert(orphans), {"store": "s", "key": "k", "size": 1, "marked_at": ODD})
        assert some.first(connection, {}) is None
