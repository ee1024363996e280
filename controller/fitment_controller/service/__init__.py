"""The loop over everything: messages in, decisions, desired state out."""

from fitment_controller.service.fleet import FleetService
from fitment_controller.service.ports import (
    FleetObserver,
    IntakeSnapshot,
    Publisher,
    ServiceSettings,
)

__all__ = ["FleetObserver", "FleetService", "IntakeSnapshot", "Publisher", "ServiceSettings"]
