"""What the command line prints: one JSON object per command, and a table made from the same object.

JSON is the contract; tables are for people and may change.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from fitment_agent import control
from fitment_agent.activation import Pointers
from fitment_agent.journal import Journal
from fitment_agent.settings import Settings
from fitment_agent.state import AgentState

Screen = dict[str, Any]


def as_json(kind: str, content: Mapping[str, Any]) -> str:
    """One object of the command line's JSON."""
    return json.dumps({"apiVersion": "fitment/v1", "kind": kind, **content}, indent=2, default=str)


def status_screen(settings: Settings, state: AgentState, journal: Journal) -> Screen:
    """The agent and its models."""
    agent = control.running_agent(settings.state_dir)
    return {
        "device": agent.device_id if agent else settings.device_id,
        "running": agent is not None,
        "pid": agent.pid if agent else None,
        "state_dir": str(settings.state_dir),
        "generation": state.generation,
        "unsent": len(journal.outbox()),
        "models": [model.model_dump(mode="json") for model in state.model_states()],
        "history": [asdict(entry) for entry in journal.history(20)],
    }


def status_text(screen: Screen) -> str:
    """The agent and its models, one line each."""
    process = f"process {screen['pid']}" if screen["running"] else "not running"
    rows: list[Sequence[str]] = [
        ("agent", process),
        ("device", screen["device"]),
        ("generation", str(screen["generation"])),
        ("unsent", str(screen["unsent"])),
    ]
    lines = [table(rows), ""]
    models = [("MODEL", "PHASE", "WANTED", "ACTIVE", "WHY")]
    models += [_status_row(model) for model in screen["models"]]
    return "\n".join([*lines, table(models) if screen["models"] else "no models"])


def _status_row(model: Mapping[str, Any]) -> tuple[str, str, str, str, str]:
    active, failure, waiting = model["active"], model["failure"], model["waiting"]
    why = f"{failure['reason']}: {failure['detail']}" if failure else ""
    if waiting:
        end = f", until {_local(waiting['until'])}" if waiting["until"] else ""
        why = f"{waiting['reason']}: {waiting['detail']}{end}"
    wanted, now = model["variant"] or "-", active["variant"] if active else "-"
    return (model["model"], model["phase"], wanted, now, why)


def _local(moment: str) -> str:
    """A moment of JSON by the clock on the device's wall."""
    return datetime.fromisoformat(moment.replace("Z", "+00:00")).astimezone().strftime("%F %R")


def models_screen(pointers: Pointers, state_dir: Path) -> Screen:
    """What applications can use."""
    return {
        "items": [
            {
                **asdict(pointer.current),
                "path": str(state_dir / pointer.current.path),
                "mode": pointer.active.mode,
                "standby": pointer.active.standby.variant if pointer.active.standby else None,
                "previous": pointer.previous.variant if pointer.previous else None,
            }
            for pointer in pointers.all().values()
        ]
    }


def models_text(screen: Screen) -> str:
    """One active variant a line."""
    if not screen["items"]:
        return "no active models"
    rows = [("MODEL", "VERSION", "VARIANT", "RUNTIME", "MODE", "STANDBY", "PREVIOUS", "PATH")]
    rows += [
        (
            item["model"],
            str(item["model_version"]),
            item["variant"],
            item["runtime"],
            item["mode"],
            item["standby"] or "-",
            item["previous"] or "-",
            item["path"],
        )
        for item in screen["items"]
    ]
    return table(rows)


def table(rows: Iterable[Sequence[Any]]) -> str:
    """Columns aligned by spaces, as wide as they need."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )
