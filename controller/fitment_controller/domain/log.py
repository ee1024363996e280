"""The one log of the fleet."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from fitment_contract.base import Count, DeviceId, Name, Record, Timestamp
from fitment_contract.messages import EventLevel


class LogEntry(Record):
    """A line of the one log: what headquarters decided and what devices said.

    Attributes:
        id: grows; the cursor for following the log.
        name: what happened (`device-registered`, `stratum-failed`, `phase-changed`).
        actor: who caused it: a person's name, `controller`, or the device's id.
        evidence: the numbers behind it.
    """

    id: Count
    at: Timestamp
    level: EventLevel = EventLevel.INFO
    name: Name
    actor: str
    device: DeviceId | None = None
    rollout: str | None = None
    message: str
    evidence: dict[str, Any] = Field(default_factory=dict)
