"""What every repository of the store needs: moments, batches, and an upsert for both databases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, TypeVar

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

CHUNK = 500
"""Values in one IN list; SQLite and PostgreSQL both take far more, and plan slower."""

Row = Mapping[str, Any]
Value = TypeVar("Value")


def seconds(moment: datetime) -> float:
    """A moment as the database holds it."""
    return moment.timestamp()


def moment(value: float) -> datetime:
    """A moment as the program holds it."""
    return datetime.fromtimestamp(value, timezone.utc)


def chunks(values: Sequence[Value]) -> Iterator[Sequence[Value]]:
    """`values` in pieces that fit one statement."""
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]


def upsert(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert `rows`; where the primary key exists, replace the other columns."""
    _insert(connection, table, rows, replace=True)


def insert_new(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert those of `rows` whose primary key does not exist yet."""
    _insert(connection, table, rows, replace=False)


def _insert(connection: Connection, table: Table, rows: Sequence[Row], *, replace: bool) -> None:
    if not rows:
        return
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table)
    keys = [column.name for column in table.primary_key]
    others = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    if replace and others:
        statement = statement.on_conflict_do_update(index_elements=keys, set_=others)
    else:
        statement = statement.on_conflict_do_nothing(index_elements=keys)
    connection.execute(statement, [dict(row) for row in rows])
