"""The only SQL at headquarters: one transaction at a time, each with its repositories.

SQLite runs in WAL mode with `synchronous=FULL`: a commit that returned survives a power cut.
PostgreSQL is spoken to in the same statements.

Example:
    >>> with store.begin() as rows:                      # doctest: +SKIP
    ...     rows.devices.put([device])
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from fitment_controller.errors import StoreError
from fitment_controller.store.devices import DeviceRows
from fitment_controller.store.events import EventRows
from fitment_controller.store.models import EvidenceRows, ModelRows
from fitment_controller.store.rollouts import RolloutRows
from fitment_controller.store.states import DesiredRows, ReportedRows

_BUSY_TIMEOUT_MS = 10_000


class Rows:
    """The repositories of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self.devices = DeviceRows(connection)
        self.desired = DesiredRows(connection)
        self.reported = ReportedRows(connection)
        self.models = ModelRows(connection)
        self.evidence = EvidenceRows(connection)
        self.rollouts = RolloutRows(connection)
        self.events = EventRows(connection)


class Store:
    """The database, migrated to this version's schema when it is opened.

    Args:
        url: `sqlite:///PATH` or `postgresql://...`.

    Raises:
        StoreError: it cannot be opened, or a newer controller has migrated it.
    """

    def __init__(self, url: str) -> None:
        try:
            self._engine = _engine(url)
            _migrate(self._engine)
        except CommandError as error:
            raise StoreError(
                f"the database has a schema that this version does not know ({error})",
                "Start the controller version that wrote it, or a newer one",
            ) from None
        except SQLAlchemyError as error:
            # A URL may carry a password: the driver's own message does not repeat it.
            cause = getattr(error, "orig", None) or type(error).__name__
            raise StoreError(
                f"the database cannot be opened: {cause}", "Check its path and permissions"
            ) from None

    @contextmanager
    def begin(self) -> Iterator[Rows]:
        """One transaction: committed at the end, rolled back when the block raises."""
        with self._engine.begin() as connection:
            yield Rows(connection)

    def close(self) -> None:
        """Let go of every connection."""
        self._engine.dispose()


def _engine(url: str) -> Engine:
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_pragmas)
    return engine


def _set_pragmas(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
    cursor.close()


def _migrate(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
