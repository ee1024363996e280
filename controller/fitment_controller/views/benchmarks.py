"""What devices measured: one row per report, valid or not."""

from __future__ import annotations

from datetime import datetime

from fitment_contract.base import Record
from fitment_contract.benchmark import (
    BenchmarkReport,
    Conditions,
    EnergyUse,
    Latency,
    Score,
    Sustained,
)
from fitment_controller.decisions.evidence import usable
from fitment_controller.domain import Evidence


class BenchmarkRow(Record):
    """One report.

    Attributes:
        received_at: by headquarters; devices' clocks may be years off.
        usable: it may inform decisions: valid, and by today's protocol.
        unusable_reason: what changed under it, or by which other protocol it measured.
        attempts: how often timing was begun, because conditions changed.
        sustained, energy: of full benchmarks; energy where there is a meter.
        accuracy, local_accuracy: on the shipped split, and on samples that never leave the device.
    """

    id: str
    device: str
    model: str
    variant: str
    digest: str
    mode: str
    received_at: datetime
    simulated: bool
    usable: bool
    unusable_reason: str | None = None
    attempts: int
    runtime: str
    latency: Latency
    load_seconds: float
    first_inference_seconds: float
    peak_memory_bytes: int
    sustained: Sustained | None = None
    energy: EnergyUse | None = None
    accuracy: Score | None = None
    local_accuracy: Score | None = None
    conditions: Conditions


def benchmark_row(evidence: Evidence) -> BenchmarkRow:
    """The row of a stored report."""
    report = evidence.report
    return BenchmarkRow(
        id=report.id,
        device=evidence.device,
        model=report.model,
        variant=report.variant,
        digest=report.digest,
        mode=report.mode.value,
        received_at=evidence.received_at,
        simulated=report.simulated,
        usable=usable(report),
        unusable_reason=unusable_reason(report),
        attempts=report.attempts,
        runtime=f"{report.runtime} {report.runtime_version}",
        latency=report.latency,
        load_seconds=report.load_seconds,
        first_inference_seconds=report.first_inference_seconds,
        peak_memory_bytes=report.peak_memory_bytes,
        sustained=report.sustained,
        energy=report.energy,
        accuracy=report.score(),
        local_accuracy=report.score("local"),
        conditions=report.conditions,
    )


def unusable_reason(report: BenchmarkReport) -> str | None:
    """Why a report informs no decision; None when it does."""
    if not report.valid:
        return report.invalid_reason or "the device did not say why"
    return None if usable(report) else f"measured by {report.protocol}"
