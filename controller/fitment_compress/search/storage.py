"""The storage of a study, and the signs of life in it: SQLite for one machine, else PostgreSQL."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable
from typing import Any, Final

from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import Study as OptunaStudy
from optuna.trial import FrozenTrial
from sqlalchemy import URL, Engine, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from fitment_compress.errors import OutputError, RequestError

BUSY_SECONDS: Final = 60
"""How long a process waits for another's transaction in SQLite."""

HEARTBEAT_SECONDS: Final = 10
GRACE_SECONDS: Final = 60
"""A trial whose process has been silent for so long is given to another."""

_PAUSES_SECONDS: Final = (0.1, 0.3, 1.0, 3.0)

Stale = Callable[[OptunaStudy, FrozenTrial], None]


def open_storage(url: str, stale: Stale) -> RDBStorage:
    """The storage at a URL; its tables are made where there are none.

    Args:
        url: `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/DATABASE`.
        stale: called for each abandoned trial, which is failed by then.

    Raises:
        RequestError: no such driver, no such database, no access.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise RequestError(
            "The storage is not the URL of a database.",
            "Write sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE.",
        ) from error
    for pause in (*_PAUSES_SECONDS, None):
        try:
            return _opened(parsed, stale)
        except ImportError as error:
            raise RequestError(
                f"The driver of {parsed.drivername} is not installed.",
                "For PostgreSQL: pip install 'psycopg[binary]'.",
            ) from error
        except (SQLAlchemyError, StorageInternalError) as error:
            # Two processes that make the tables at the same time get in each other's way once.
            if pause is None:
                raise RequestError(
                    f"The storage {parsed} cannot be opened: {_first_line(error)}",
                    "Check that the database is there and that you may write to it.",
                ) from error
            time.sleep(pause)
    raise AssertionError("the last pass returns or raises")


def _opened(url: URL, stale: Stale) -> RDBStorage:
    is_sqlite = url.get_backend_name() == "sqlite"
    options: dict[str, Any] = (
        {"connect_args": {"timeout": BUSY_SECONDS}} if is_sqlite else {"pool_pre_ping": True}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        storage = RDBStorage(
            url.render_as_string(hide_password=False),
            engine_kwargs=options,
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=GRACE_SECONDS,
            heartbeat_stale_trial_callback=stale,
        )
    if is_sqlite:
        _one_writer_at_a_time(storage.engine)
    return storage


def _one_writer_at_a_time(engine: Engine) -> None:
    """Begin every transaction of SQLite with the lock on writing.

    Optuna reads a trial's state and then writes it. SQLite has no lock on rows, so without this
    two processes could take the same queued trial (Optuna issue 4002).
    """

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver itself begins no transaction
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()


def gone(error: StorageInternalError) -> OutputError:
    """What to say when a storage that was opened cannot be read or written any more."""
    return OutputError(
        f"The storage of the search failed: {_first_line(error)}.",
        "Check that the database answers and that its disk has room; the same command then goes "
        "on where this one stopped.",
    )


def _first_line(error: Exception) -> str:
    return str(error.__cause__ or error).splitlines()[0]


class Heart:
    """Says for every running trial of this process that it is alive."""

    def __init__(self, storage: RDBStorage) -> None:
        self._storage = storage
        self._trials: set[int] = set()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="search-heartbeat", daemon=True)
        self._thread.start()

    def add(self, trial_id: int) -> None:
        """The trial runs; it is alive now."""
        self._trials.add(trial_id)
        self._storage.record_heartbeat(trial_id)

    def remove(self, trial_id: int) -> None:
        """The trial is done."""
        self._trials.discard(trial_id)

    def beat(self) -> None:
        """All are alive now."""
        for trial_id in tuple(self._trials):
            self._storage.record_heartbeat(trial_id)

    def stop(self) -> None:
        """No more signs of life."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(HEARTBEAT_SECONDS):
            try:
                self.beat()
            except StorageInternalError:
                continue  # a storage that is busy or away for a moment; the grace is longer
