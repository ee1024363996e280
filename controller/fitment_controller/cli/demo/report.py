"""What `fitment demo` shows at its end: one object, as a table or as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fitment_contract.base import Record
from fitment_contract.portfolio import Portfolio, PortfolioEntry


class DemoVariant(Record):
    """One candidate of the portfolio, as the build host measured it."""

    name: str
    status: str
    precision: str | None = None
    size_bytes: int | None = None
    accuracy: float | None = None
    accuracy_standard_error: float | None = None
    latency_p50_seconds: float | None = None
    pareto: bool = False
    failure: str | None = None


class DemoDeviceResult(Record):
    """What one device got, why, and what it measured.

    Attributes:
        accuracy: on the evaluation split that came with the model, measured on the device.
        accuracy_local: on the device's own samples, which never leave it.
        reasons: the selection's sentences: first why this variant, then why not the others.
        next_variant: what would be picked now that this device and its like have measured.
    """

    device: str
    device_class: str
    region: str
    simulated: bool
    variant: str | None
    digest: str | None
    phase: str | None
    accuracy: float | None
    accuracy_standard_error: float | None
    accuracy_local: float | None
    latency_p50_seconds: float | None
    latency_p95_seconds: float | None
    peak_memory_bytes: int | None
    bytes_transferred: int
    reasons: tuple[str, ...]
    next_variant: str | None
    next_reason: str

    def document(self) -> dict[str, Any]:
        """As JSON shows it: `class` is a reserved word only in Python."""
        fields = self.model_dump(mode="json")
        return {"device": fields.pop("device"), "class": fields.pop("device_class"), **fields}


class DemoReport(Record):
    """The whole demonstration in one object."""

    apiVersion: Literal["fitment/v1"] = "fitment/v1"
    kind: Literal["DemoReport"] = "DemoReport"
    example: str
    portfolio: tuple[DemoVariant, ...]
    devices: tuple[DemoDeviceResult, ...]
    rollout: dict[str, Any]
    wall_seconds: float
    url: str | None = None

    @property
    def succeeded(self) -> bool:
        """Every device has its variant active and measured, and the rollout is complete."""
        return self.rollout.get("state") == "completed" and all(
            device.phase == "active" and device.latency_p50_seconds is not None
            for device in self.devices
        )

    def document(self) -> dict[str, Any]:
        """As `-o json` prints it."""
        fields = self.model_dump(mode="json", exclude={"devices"})
        return {**fields, "devices": [device.document() for device in self.devices]}


def demo_variant(entry: PortfolioEntry) -> DemoVariant:
    """The line of a portfolio's entry."""
    row = DemoVariant(name=entry.name, status=entry.status.value, failure=entry.failure)
    if entry.variant is None or entry.benchmark is None:
        return row
    score = entry.benchmark.score()
    return row.model_copy(
        update={
            "precision": entry.variant.precision,
            "size_bytes": entry.variant.artifact.size_bytes,
            "accuracy": score.value if score else None,
            "accuracy_standard_error": score.standard_error if score else None,
            "latency_p50_seconds": entry.benchmark.latency.p50_seconds,
            "pareto": entry.pareto,
        }
    )


def demo_variants(portfolio: Portfolio) -> tuple[DemoVariant, ...]:
    """All candidates of a portfolio."""
    return tuple(demo_variant(entry) for entry in portfolio.entries)


def device_result(
    device: Mapping[str, Any],
    model: Mapping[str, Any],
    before: Mapping[str, Any],
    after: Mapping[str, Any],
) -> DemoDeviceResult:
    """One device's result.

    Args:
        device: its page, as the API gives it.
        model: the demonstrated model on it, from that page.
        before: its selection before the rollout.
        after: its selection with the rollout's evidence.
    """
    return DemoDeviceResult(
        device=device["id"],
        device_class=device["device_class"],
        region=device["region"],
        simulated=device["simulated"],
        variant=model.get("active"),
        digest=model.get("active_digest"),
        phase=model.get("phase"),
        accuracy=model.get("accuracy"),
        accuracy_standard_error=model.get("accuracy_standard_error"),
        accuracy_local=_local_accuracy(device, model.get("active_digest")),
        latency_p50_seconds=model.get("latency_p50_seconds"),
        latency_p95_seconds=model.get("latency_p95_seconds"),
        peak_memory_bytes=model.get("peak_memory_bytes"),
        bytes_transferred=model.get("bytes_transferred", 0),
        reasons=tuple(f"{v['variant']}: {v['reason']}" for v in before["verdicts"]),
        next_variant=after["chosen"],
        next_reason=after["verdicts"][0]["reason"] if after["verdicts"] else after["reason"],
    )


def _local_accuracy(device: Mapping[str, Any], digest: str | None) -> float | None:
    """From the newest benchmark of `digest`: the score on the device's own samples."""
    for row in device.get("benchmarks", ()):
        if row["digest"] == digest and row["local_accuracy"]:
            return float(row["local_accuracy"]["value"])
    return None


def render(report: DemoReport) -> RenderableType:
    """The fleet table, and under it each device's reason and next pick."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("device", "class", "region", "variant", "phase"):
        table.add_column(name, no_wrap=True)
    for name in ("accuracy", "own data", "p50", "p95", "memory", "moved"):
        table.add_column(name, justify="right", no_wrap=True)
    for device in report.devices:
        table.add_row(*_cells(device))
    return Group(table, Text(), *_reasons(report.devices))


def _cells(device: DemoDeviceResult) -> list[str]:
    name = f"{device.device} (simulated)" if device.simulated else device.device
    glyph = "✔" if device.phase == "active" else "✘"
    return [
        name,
        device.device_class,
        device.region,
        device.variant or "-",
        f"{glyph} {device.phase or 'unknown'}",
        _percent(device.accuracy, device.accuracy_standard_error),
        _percent(device.accuracy_local, None),
        _milliseconds(device.latency_p50_seconds),
        _milliseconds(device.latency_p95_seconds),
        _megabytes(device.peak_memory_bytes),
        f"{device.bytes_transferred / 1000:.0f} kB",
    ]


def _reasons(devices: Sequence[DemoDeviceResult]) -> list[Text]:
    lines = [Text("why, and what these measurements change", "bold")]
    for device in devices:
        chosen = device.reasons[0] if device.reasons else "nothing fits"
        lines.append(Text.assemble((f"{device.device:<15}", "cyan"), chosen))
        if device.next_variant != device.variant:
            lines.append(
                Text(f"{'':<15}next pick {device.next_variant}: {device.next_reason}", "yellow")
            )
        else:
            lines.append(Text(f"{'':<15}next pick unchanged: {device.next_reason}", "dim"))
    return lines


def _percent(value: float | None, error: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 100:.1f} %" if error is None else f"{value * 100:.1f} ± {error * 100:.1f} %"


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.3f} ms"


def _megabytes(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e6:.1f} MB"
