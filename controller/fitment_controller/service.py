"""The loop over everything: messages in, decisions, desired state out.

Every public method may be called from any thread; one lock guards state changes, and each of them
is one transaction. Nothing is kept in memory that a killed controller would miss: what is desired
is committed before it is published, and `handed_over` is set only after the publisher took it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from fitment_contract.benchmark import BenchmarkProtocol
from fitment_contract.messages import Command, Desired, UpMessage
from fitment_contract.portfolio import Portfolio
from fitment_controller.blobs import BlobStore
from fitment_controller.domain import (
    Device,
    DeviceFilter,
    DeviceModel,
    Evidence,
    FleetSummary,
    LogEntry,
    Member,
    ModelVersion,
    Page,
    Plan,
    Rollout,
    RolloutRequest,
    Selection,
)


from fitment_controller.profiles import Profiles
from fitment_controller.store import Store


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
        """A rollout's plan placed a device, or not: `chosen`, `kept` or `unplaceable`."""


@dataclass(frozen=True)
class ServiceSettings:
    """What an operator may turn.

    Attributes:
        artifacts_url: prefix of artifact URLs as devices reach it; `/<digest>` is appended.
        lease_seconds: silence after which a device counts as offline.
        default_region: for devices that name none, or one that no profile describes.
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


class FleetService:
    """Headquarters' one object: EDGE surfaces call it, and it calls the store and the publisher."""

    def __init__(
        self,
        store: Store,
        blobs: BlobStore,
        profiles: Profiles,
        publisher: Publisher,
        clock: Callable[[], datetime],
        settings: ServiceSettings,
        observer: FleetObserver | None = None,
    ) -> None:
        raise NotImplementedError

    # what happens
    def receive(self, messages: Sequence[UpMessage]) -> None: raise NotImplementedError
    def tick(self) -> None: raise NotImplementedError
    def broker_connected(self) -> None: raise NotImplementedError

    # commands
    def push_model(self, portfolio: Portfolio, actor: str) -> ModelVersion: raise NotImplementedError
    def plan(self, request: RolloutRequest) -> Plan: raise NotImplementedError
    def start_rollout(self, request: RolloutRequest, actor: str) -> Rollout: raise NotImplementedError
    def pause_rollout(self, id: str, actor: str) -> Rollout: raise NotImplementedError
    def resume_rollout(self, id: str, actor: str) -> Rollout: raise NotImplementedError
    def abort_rollout(self, id: str, actor: str, revert: bool) -> Rollout: raise NotImplementedError

    # questions
    def why(self, device_id: str, model: str, objective: str | None = None) -> Selection: raise NotImplementedError
    def devices(self, which: DeviceFilter = DeviceFilter(), limit: int = 100, cursor: str | None = None) -> Page[Device]: raise NotImplementedError
    def device(self, id: str) -> Device: raise NotImplementedError  # NotFoundError
    def assignments(self, device_ids: Sequence[str]) -> dict[str, tuple[DeviceModel, ...]]: raise NotImplementedError
    def fleet_summary(self) -> FleetSummary: raise NotImplementedError
    def models(self) -> tuple[ModelVersion, ...]: raise NotImplementedError  # newest version first per model
    def model(self, name: str, version: int | None = None) -> ModelVersion: raise NotImplementedError
    def rollouts(self, limit: int = 100, cursor: str | None = None) -> Page[Rollout]: raise NotImplementedError  # newest first
    def rollout(self, id: str) -> Rollout: raise NotImplementedError
    def rollout_members(self, id: str, limit: int = 100, cursor: str | None = None) -> Page[Member]: raise NotImplementedError
    def events(self, after_id: int = 0, limit: int = 100) -> tuple[LogEntry, ...]: raise NotImplementedError  # oldest first
    def recent_events(self, limit: int = 100, device: str | None = None, rollout: str | None = None) -> tuple[LogEntry, ...]: raise NotImplementedError  # newest last
    def evidence(self, model: str, variant: str | None = None, device: str | None = None, limit: int = 100) -> tuple[Evidence, ...]: raise NotImplementedError  # newest first
    def intake(self) -> IntakeSnapshot: raise NotImplementedError
    def note_dropped(self, reason: str) -> None: raise NotImplementedError  # gateway: a payload that could not be decoded
    @property
    def profiles(self) -> Profiles: raise NotImplementedError
    @property
    def blobs(self) -> BlobStore: raise NotImplementedError
