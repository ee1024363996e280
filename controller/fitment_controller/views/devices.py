"""The fleet's table and one device's page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TypeVar

from fitment_contract.base import Record
from fitment_contract.benchmark import SessionTuning
from fitment_contract.device import DeviceFacts
from fitment_contract.messages import ActiveVariant, Failure, ModelState, Waiting
from fitment_contract.phase import Phase
from fitment_controller.domain import (
    Device,
    DeviceModel,
    DeviceVitals,
    Evidence,
    LogEntry,
    LowPowerRef,
    in_use_of,
    waiting_words,
)
from fitment_controller.views.benchmarks import BenchmarkRow, benchmark_row, unusable_reason

Value = TypeVar("Value")


class ModelOnDevice(Record):
    """What one device is to run for one model, and what it has proved.

    Attributes:
        desired, desired_digest: as assigned; None when nothing is.
        desired_low_power: the second variant that is desired, with when it is used.
        active, active_digest: the variant for normal power that applications on the device use.
        low_power: the second variant that it holds.
        mode: which of the two is in use; None where there is one.
        in_use: what applications use now.
        phase: of the newest deployment, None before the device reported any.
        in_step: the device runs what is desired of it, and has proved it.
        waits: for what the deployment waits and until when, in words.
        accuracy, latency_*, peak_memory_bytes: measured on this device, on `measured_variant`.
        unusable_reason: why that measurement proves nothing; None when it does.
        tuning: the session options that the device found best.
    """

    model: str
    desired: str | None = None
    desired_digest: str | None = None
    desired_low_power: LowPowerRef | None = None
    desired_generation: int | None = None
    active: str | None = None
    active_digest: str | None = None
    active_version: int | None = None
    low_power: str | None = None
    mode: str | None = None
    in_use: str | None = None
    previous: str | None = None
    phase: str | None = None
    in_step: bool = False
    rollout: str | None = None
    waiting: Waiting | None = None
    waits: str | None = None
    failure: Failure | None = None
    tuning: SessionTuning | None = None
    measured_variant: str | None = None
    unusable_reason: str | None = None
    metric: str | None = None
    accuracy: float | None = None
    accuracy_standard_error: float | None = None
    latency_p50_seconds: float | None = None
    latency_p95_seconds: float | None = None
    peak_memory_bytes: int | None = None
    bytes_transferred: int = 0
    tries: int = 0
    reported_at: datetime | None = None


class DeviceRow(Record):
    """One line of the fleet's table. Numbers are as of `last_seen`."""

    id: str
    device_class: str
    region: str
    simulated: bool
    online: bool
    last_seen: datetime
    board: str | None = None
    power_source: str
    charge_ratio: float | None = None
    charging: bool | None = None
    temperature_celsius: float | None = None
    throttled: bool | None = None
    link: str
    metered: bool | None = None
    models: tuple[ModelOnDevice, ...] = ()


class DeviceDetail(DeviceRow):
    """One device's page: the row, everything it said of itself, and its newest history.

    Attributes:
        interval_seconds: within which it promised to speak again; None when it did not.
        benchmarks: what it measured, newest first.
    """

    fingerprint: str
    agent_version: str
    session: int
    registered_at: datetime
    interval_seconds: float | None = None
    lease_until: datetime
    facts: DeviceFacts
    vitals: DeviceVitals | None = None
    events: tuple[LogEntry, ...] = ()
    benchmarks: tuple[BenchmarkRow, ...] = ()


def device_row(device: Device, models: Iterable[DeviceModel]) -> DeviceRow:
    """The row of `device`, with vitals where they are newer than the facts."""
    facts = device.facts
    vitals = device.vitals or DeviceVitals(at=device.last_seen)
    return DeviceRow(
        id=device.id,
        device_class=device.device_class,
        region=device.region,
        simulated=facts.simulated,
        online=device.online,
        last_seen=device.last_seen,
        board=facts.hardware.board,
        power_source=facts.power.source.value,
        charge_ratio=_first(vitals.charge_ratio, facts.power.charge_ratio),
        charging=_first(vitals.charging, facts.power.charging),
        temperature_celsius=_first(vitals.temperature_celsius, facts.thermal.temperature_celsius),
        throttled=_first(vitals.throttled, facts.thermal.throttled),
        link=facts.link.kind.value,
        metered=facts.link.metered,
        models=tuple(model_on_device(model) for model in models),
    )


def device_detail(
    device: Device,
    models: Iterable[DeviceModel],
    events: Sequence[LogEntry],
    evidence: Sequence[Evidence],
) -> DeviceDetail:
    """The page of `device`."""
    row = device_row(device, models)
    return DeviceDetail(
        **{name: getattr(row, name) for name in DeviceRow.model_fields},
        fingerprint=device.fingerprint,
        agent_version=device.agent_version,
        session=device.session,
        registered_at=device.registered_at,
        interval_seconds=device.interval_seconds,
        lease_until=device.lease_until,
        facts=device.facts,
        vitals=device.vitals,
        events=tuple(events),
        benchmarks=tuple(map(benchmark_row, evidence)),
    )


def model_on_device(model: DeviceModel) -> ModelOnDevice:
    """Desired and reported of one model, flattened into one row."""
    assigned = model.assigned
    row = ModelOnDevice(model=model.model)
    if assigned is not None:
        row = row.model_copy(
            update={
                "desired": assigned.ref.variant,
                "desired_digest": assigned.ref.digest,
                "desired_low_power": assigned.ref.low_power,
                "desired_generation": assigned.generation,
                "rollout": assigned.rollout,
            }
        )
    if model.reported is None:
        return row
    state = model.reported.state
    return row.model_copy(
        update={
            **_deployment(state),
            **_measured(state),
            "in_step": assigned is not None and assigned.ref.digests == _held(state),
            "reported_at": model.reported.received_at,
        }
    )


def _deployment(state: ModelState) -> dict[str, object]:
    active, previous = state.active, state.previous
    waiting = state.waiting if state.phase is Phase.WAITING else None
    return {
        "active": _variant(active),
        "active_digest": active.digest if active else None,
        "active_version": active.model_version if active else None,
        "low_power": _variant(state.low_power),
        "mode": state.mode.value if state.mode else None,
        "in_use": _variant(in_use_of(state)),
        "previous": _variant(previous),
        "phase": state.phase.value,
        "waiting": waiting,
        "waits": waiting_words(waiting) if waiting else None,
        "tuning": state.tuning,
        "failure": state.failure,
        "bytes_transferred": state.bytes_transferred,
        "tries": state.tries,
    }


def _measured(state: ModelState) -> dict[str, object]:
    report = state.benchmark
    if report is None:
        return {}
    score = report.score()
    return {
        "measured_variant": report.variant,
        "unusable_reason": unusable_reason(report),
        "metric": score.metric if score else None,
        "accuracy": score.value if score else None,
        "accuracy_standard_error": score.standard_error if score else None,
        "latency_p50_seconds": report.latency.p50_seconds,
        "latency_p95_seconds": report.latency.p95_seconds,
        "peak_memory_bytes": report.peak_memory_bytes,
    }


def _held(state: ModelState) -> tuple[str | None, str | None]:
    """The digests of the variant for normal power and of the second one."""
    active, second = state.active, state.low_power
    return active.digest if active else None, second.digest if second else None


def _variant(active: ActiveVariant | None) -> str | None:
    return active.variant if active else None


def _first(newer: Value | None, older: Value | None) -> Value | None:
    return older if newer is None else newer
