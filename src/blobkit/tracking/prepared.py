"""Statements that run for every event: written in SQLAlchemy, compiled once, and then run by the driver itself.

For each execution SQLAlchemy makes the statement's cache key, a context, a cursor result and its columns anew, which takes
several times as long as SQLite takes to answer, and is most of what an event costs. Here the text, the parameters' names and
the types' conversions are kept, and what is left is what only the driver can do. Connections, transactions, and what an error
means stay SQLAlchemy's. An engine's execution events (``before_cursor_execute``, ``echo``) do not see these statements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Dialect
    from sqlalchemy.engine.interfaces import DBAPICursor, DBAPIModule
    from sqlalchemy.sql.dml import UpdateBase
    from sqlalchemy.sql.selectable import SelectBase
    from sqlalchemy.types import TypeEngine

__all__ = ["Prepared", "say"]

_Answer = TypeVar("_Answer")
_Convert = Callable[[Any], Any]


class Prepared:
    """One statement, ready for any connection to a database that it can be compiled for. Thread-safe.

    Args:
        statement: Each parameter is a ``bindparam``, or has its value in it. Lists that expand (``IN``) are not for this.
    """

    __slots__ = ("_compiled", "_statement")

    def __init__(self, statement: SelectBase | UpdateBase) -> None:
        self._statement = statement
        self._compiled: Final[dict[tuple[str, str, str], _Compiled]] = {}

    def first(self, connection: Connection, given: Mapping[str, Any]) -> list[Any] | None:
        """Run it, and return its first row, None when there is none. Raises what ``Connection.execute`` raises."""
        compiled = self._for(connection.dialect)
        row: Sequence[Any] | None = compiled.run(connection, given, _first)
        return None if row is None else compiled.read(row)

    def count(self, connection: Connection, given: Mapping[str, Any]) -> int:
        """Run it, and return how many rows it changed. Raises what ``Connection.execute`` raises."""
        return self._for(connection.dialect).run(connection, given, _count)

    def _for(self, dialect: Dialect) -> _Compiled:
        key = (dialect.name, dialect.driver, dialect.paramstyle)
        compiled = self._compiled.get(key)
        if compiled is None:
            compiled = self._compiled[key] = _Compiled(self._statement, dialect)
        return compiled


class _Compiled:
    """A statement in the words of one driver."""

    __slots__ = ("_fixed", "_parameters", "_positional", "_results", "_text")

    def __init__(self, statement: SelectBase | UpdateBase, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        assert not compiled.post_compile_params, "a list that expands"
        names = compiled.params if compiled.positiontup is None else compiled.positiontup
        self._text = compiled.string
        self._positional = compiled.positiontup is not None
        self._fixed = {name: value for name, value in compiled.params.items() if not compiled.binds[name].required}
        self._parameters = [(name, _into(compiled.binds[name].type, dialect)) for name in names]
        self._results = [_out_of(column.type, dialect) for column in statement.exported_columns]

    def run(
        self, connection: Connection, given: Mapping[str, Any], answer: Callable[[DBAPICursor], _Answer]
    ) -> _Answer:
        """What the driver answers."""
        if self._fixed:
            given = {**self._fixed, **given}
        values: list[Any] | dict[str, Any]
        if self._positional:
            values = [given[name] if into is None else into(given[name]) for name, into in self._parameters]
        else:
            values = {name: given[name] if into is None else into(given[name]) for name, into in self._parameters}
        cursor = connection.connection.cursor()
        try:
            cursor.execute(self._text, values)
            return answer(cursor)
        except connection.dialect.loaded_dbapi.Error as error:
            raise _told(connection, self._text, error) from error
        finally:
            cursor.close()

    def read(self, row: Sequence[Any]) -> list[Any]:
        """A row as Python's values."""
        return [value if out is None else out(value) for value, out in zip(row, self._results, strict=True)]


def say(connection: Connection, text: str) -> None:
    """Have the driver run a statement that has no values and no answer. Raises what ``Connection.execute`` raises."""
    cursor = connection.connection.cursor()
    try:
        cursor.execute(text)
    except connection.dialect.loaded_dbapi.Error as error:
        raise _told(connection, text, error) from error
    finally:
        cursor.close()


def _first(cursor: DBAPICursor) -> Sequence[Any] | None:
    row: Sequence[Any] | None = cursor.fetchone()
    return row


def _count(cursor: DBAPICursor) -> int:
    return cursor.rowcount


def _into(kind: TypeEngine[Any], dialect: Dialect) -> _Convert | None:
    return kind.dialect_impl(dialect).bind_processor(dialect)


def _out_of(kind: TypeEngine[Any], dialect: Dialect) -> _Convert | None:
    return kind.dialect_impl(dialect).result_processor(dialect, None)


def _told(connection: Connection, text: str, error: DBAPIModule.Error) -> BaseException:
    """The error as SQLAlchemy's. Where the connection is gone, SQLAlchemy learns of it, and lets go of those like it."""
    dialect = connection.dialect
    if dialect.is_disconnect(error, connection.connection, None):
        connection.exec_driver_sql("SELECT 1")  # fails too, and tells
    return DBAPIError.instance(text, None, error, dialect.loaded_dbapi.Error, hide_parameters=True, dialect=dialect)
