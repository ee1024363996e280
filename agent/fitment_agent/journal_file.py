"""The journal's database: opened, made when there is none, and read and written as one."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from fitment_agent.errors import StorageError

SCHEMA_VERSION: Final = 2

_SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE deployments (model TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE proofs (
    model TEXT NOT NULL, digest TEXT NOT NULL, assignment TEXT NOT NULL, benchmark TEXT,
    PRIMARY KEY (model, digest)
) WITHOUT ROWID;
CREATE TABLE tunings (
    digest TEXT NOT NULL, fingerprint TEXT NOT NULL, record TEXT NOT NULL,
    UNIQUE (digest, fingerprint)
);
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT, channel TEXT NOT NULL, body TEXT NOT NULL
);
CREATE TABLE history (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, model TEXT NOT NULL,
    generation INTEGER NOT NULL, variant TEXT NOT NULL, phase TEXT NOT NULL, reason TEXT
);
"""


class JournalFile:
    """The open database of a journal. Used from one thread.

    Args:
        path: the database file.
        clock: tells the wall time.

    Attributes:
        faults: what was wrong when it was opened, in sentences; empty when all was well.
        volatile: it lives in memory only, because the storage cannot be written.
    """

    def __init__(self, path: Path, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self.faults: list[str] = []
        self.volatile = False
        self._connection = self._open(path)

    def _open(self, path: Path) -> sqlite3.Connection:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                return connect(path)
            except (sqlite3.OperationalError, sqlite3.NotSupportedError):
                raise
            except sqlite3.DatabaseError as error:
                self.faults.append(f"the journal was set aside: {error}")
                set_aside(path, self._clock())
                return connect(path)
        except (OSError, sqlite3.OperationalError) as error:
            self.faults.append(f"the journal is in memory only: {error}")
            self.volatile = True
            return connect(Path(":memory:"))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._connection:
                yield self._connection
        except sqlite3.Error as error:
            raise StorageError(
                f"The journal cannot be written: {error}.",
                "Make room on the disk and check that the agent may write to it.",
            ) from None

    def _rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise StorageError(
                f"The journal cannot be read: {error}.", "Restart the agent: it begins a new one."
            ) from None

    def _meta(self, key: str) -> str | None:
        rows = self._rows("SELECT value FROM meta WHERE key = ?", key)
        return str(rows[0][0]) if rows else None


def set_meta(connection: sqlite3.Connection, key: str, value: object) -> None:
    """Set one of the single values, inside a transaction."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, str(value)))


def connect(path: Path) -> sqlite3.Connection:
    """A connection with full durability, and the tables in place.

    Raises:
        sqlite3.OperationalError: the storage cannot be written.
        sqlite3.DatabaseError: the file is no sound journal of this version.
    """
    connection = sqlite3.connect(path, timeout=5.0)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA cache_size=-256")  # KiB; the journal is small and memory dear
        _require_sound(connection)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _require_sound(connection: sqlite3.Connection) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == 0:
        connection.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version={SCHEMA_VERSION};COMMIT;")
        return
    if version != SCHEMA_VERSION:
        raise sqlite3.DatabaseError(f"schema version {version} is not {SCHEMA_VERSION}")
    verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise sqlite3.DatabaseError(str(verdict))


def set_aside(path: Path, now: datetime) -> None:
    """Rename a database that cannot be read, so that a fresh one can be begun."""
    stamp = now.strftime("%Y%m%dT%H%M%S")
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.replace(f"{path}{suffix}", f"{path}.corrupt-{stamp}{suffix}")
