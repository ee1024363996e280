"""The one-screen state of everything."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from fitment_contract.base import Record
from fitment_controller.domain import FleetCell, FleetSummary, LogEntry, VariantCell
from fitment_controller.views.rollouts import RolloutRow


class BrokerStatus(Record):
    """The broker, as the gateway sees it.

    Attributes:
        connected: messages flow now.
        received, dropped: since the start, by message type and by reason.
    """

    engine: str
    url: str
    connected: bool
    received: dict[str, int]
    dropped: dict[str, int]


class FleetStatus(Record):
    """What a person looks at first.

    Attributes:
        healthy: the controller itself works; says nothing about devices.
        attention: the newest warnings and errors, newest last.
    """

    healthy: bool
    version: str
    started_at: datetime
    device_count: int
    online_count: int
    offline_count: int
    classes_by_region: tuple[FleetCell, ...]
    variants: tuple[VariantCell, ...]
    active_rollouts: tuple[RolloutRow, ...]
    attention: tuple[LogEntry, ...]
    broker: BrokerStatus


def fleet_status(
    *,
    version: str,
    started_at: datetime,
    fleet: FleetSummary,
    rollouts: Sequence[RolloutRow],
    events: Sequence[LogEntry],
    broker: BrokerStatus,
) -> FleetStatus:
    """Counts first, then what needs attention."""
    online = sum(cell.count for cell in fleet.devices if cell.online)
    total = sum(cell.count for cell in fleet.devices)
    return FleetStatus(
        healthy=broker.connected,
        version=version,
        started_at=started_at,
        device_count=total,
        online_count=online,
        offline_count=total - online,
        classes_by_region=fleet.devices,
        variants=fleet.variants,
        active_rollouts=tuple(row for row in rollouts if not row.done),
        attention=tuple(entry for entry in events if entry.level.value != "info")[-10:],
        broker=broker,
    )
