"""Opens the journal's database, and makes it when there is none."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

SCHEMA_VERSION: Final = 1

_SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE deployments (model TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE proofs (
    model TEXT NOT NULL, digest TEXT NOT NULL, assignment TEXT NOT NULL, benchmark TEXT,
    PRIMARY KEY (model, digest)
) WITHOUT ROWID;
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT, channel TEXT NOT NULL, body TEXT NOT NULL
);
CREATE TABLE history (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, model TEXT NOT NULL,
    generation INTEGER NOT NULL, variant TEXT NOT NULL, phase TEXT NOT NULL, reason TEXT
);
"""


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
