"""The one log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, insert, select

from fitment_controller.domain import LogEntry
from fitment_controller.store.rows import moment, seconds
from fitment_controller.store.tables import events


class EventRows:
    """The log within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, entries: Sequence[LogEntry]) -> None:
        """Append; the database gives the ids, those in `entries` do not matter."""
        if entries:
            self._connection.execute(insert(events), [_row(entry) for entry in entries])

    def after(self, id: int, limit: int) -> list[LogEntry]:
        """Entries after `id`, oldest first."""
        query = select(events).where(events.c.id > id).order_by(events.c.id).limit(limit)
        return [_entry(row) for row in self._connection.execute(query)]

    def recent(self, limit: int, device: str | None, rollout: str | None) -> list[LogEntry]:
        """The newest entries, oldest of them first."""
        query = select(events)
        if device is not None:
            query = query.where(events.c.device == device)
        if rollout is not None:
            query = query.where(events.c.rollout == rollout)
        query = query.order_by(events.c.id.desc()).limit(limit)
        return [_entry(row) for row in self._connection.execute(query)][::-1]


def _row(entry: LogEntry) -> dict[str, Any]:
    return {
        "at": seconds(entry.at),
        "level": entry.level.value,
        "name": entry.name,
        "actor": entry.actor,
        "device": entry.device,
        "rollout": entry.rollout,
        "message": entry.message,
        "evidence": json.dumps(entry.evidence),
    }


def _entry(row: Any) -> LogEntry:
    return LogEntry(
        id=row.id,
        at=moment(row.at),
        level=row.level,
        name=row.name,
        actor=row.actor,
        device=row.device,
        rollout=row.rollout,
        message=row.message,
        evidence=json.loads(row.evidence),
    )
