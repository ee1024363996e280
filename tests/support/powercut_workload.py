"""Lives the story on a recorded disk and tells the recording whatever it has told the world.

python powercut_workload.py FOLDER MARK URL [SHORTCUT]

A shortcut leaves out a part of what makes writes durable: a cut must then find damage, or the test
that looks for it cannot fail.
"""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from fitment_agent.durable import make_folder
from support.update_story import Story, opened, perform, told

_sync = os.fsync
_connect = sqlite3.connect


class _Careless(sqlite3.Connection):
    """SQLite that forgets to sync, as it does in WAL mode unless told otherwise."""

    level = "NORMAL"

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        return super().execute(
            sql.replace("synchronous=FULL", f"synchronous={self.level}"), *arguments
        )


def _sync_unless(is_spared: Callable[[str, bool], bool]) -> None:
    def sync(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if not is_spared(path, stat.S_ISDIR(os.fstat(descriptor).st_mode)):
            _sync(descriptor)

    os.fsync = sync


def _no_database_sync(level: str) -> None:
    kind = type("Careless", (_Careless,), {"level": level})
    sqlite3.connect = lambda *given, **named: _connect(*given, factory=kind, **named)


def _nothing() -> None:
    _sync_unless(lambda path, is_folder: True)
    _no_database_sync("OFF")


SHORTCUTS: dict[str, Callable[[], None]] = {
    "nothing is synced": _nothing,
    "models are not synced": lambda: _sync_unless(lambda path, _: "/partial/" in path),
    "pointers are not synced": lambda: _sync_unless(lambda path, _: path.endswith(".json.new")),
    "folders are not synced": lambda: _sync_unless(lambda path, is_folder: is_folder),
    "the journal is synced now and then": lambda: _no_database_sync("NORMAL"),
}


def main(folder: str, mark: str, url: str, shortcut: str = "") -> None:
    """Live the story."""
    if shortcut:
        SHORTCUTS[shortcut]()
    state_dir = Path(folder) / "state"
    make_folder(state_dir)
    with opened(state_dir) as state:
        for step in Story(url).steps:
            session = state.journal.next_session()
            state.journal.put_out("event", {"session": session})
            perform(state, step)  # last: what the journal syncs afterwards would help it
            Path(mark).write_text(json.dumps(told(state, session)))


if __name__ == "__main__":
    main(*sys.argv[1:])
