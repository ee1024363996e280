"""What the service asks of its surroundings, and what an operator may turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from fitment_contract.benchmark import BenchmarkProtocol
from fitment_contract.messages import Command, Desired
from fitment_controller.domain import Evidence


class Publisher(Protocol):
    """Sends messages down to devices."""

    def publish(self, message: Desired | Command) -> bool:
        """True once handed to the broker connection; never blocks long; thread-safe."""


class FleetObserver(Protocol):
    """Is told what passes through, for metrics. Called under the lock: count and return."""

    def update_finished(self, model: str, result: str, reason: str) -> None:
        """A deployment ended: result `succeeded` or `failed`, with the device's reason."""

    def stage_finished(self, stage: str, seconds: float) -> None:
        """A deployment left a phase after `seconds`, as seen from here."""

    def downloaded(self, region: str, encoding: str, size_bytes: int) -> None:
        """A device received payload bytes."""

    def benchmarked(self, evidence: Evidence) -> None:
        """New evidence was stored."""

    def decided(self, model: str, outcome: str, reason: str) -> None:
        """A started rollout placed a device, or not: `changed`, `unchanged` or `unplaceable`."""


class Unobserved:
    """Observes nothing."""

    def update_finished(self, model: str, result: str, reason: str) -> None:
        """See `FleetObserver`."""

    def stage_finished(self, stage: str, seconds: float) -> None:
        """See `FleetObserver`."""

    def downloaded(self, region: str, encoding: str, size_bytes: int) -> None:
        """See `FleetObserver`."""

    def benchmarked(self, evidence: Evidence) -> None:
        """See `FleetObserver`."""

    def decided(self, model: str, outcome: str, reason: str) -> None:
        """See `FleetObserver`."""


@dataclass(frozen=True)
class ServiceSettings:
    """What an operator may turn.

    Attributes:
        artifacts_url: prefix of artifact URLs as devices reach it; `/<digest>` is appended.
        lease_seconds: silence after which a device counts as offline, unless it promised to speak
            less often.
        default_region: for devices that name none, or one that no profile describes; None gives
            them the region `unassigned`, which has no rules.
        default_objective: where a request names none.
        protocol: the terms of trial benchmarks.
    """

    artifacts_url: str
    lease_seconds: float = 45.0
    default_region: str | None = None
    default_objective: str = "balanced"
    protocol: BenchmarkProtocol = field(default_factory=BenchmarkProtocol)


@dataclass(frozen=True)
class IntakeSnapshot:
    """What came in since the start: by message type, and what was dropped by reason."""

    received: Mapping[str, int]
    dropped: Mapping[str, int]
