"""The table of models and the page of one model version."""

from __future__ import annotations

from datetime import datetime

from fitment_contract.base import Record
from fitment_contract.portfolio import PortfolioEntry, SourceModel
from fitment_controller.domain import FleetSummary, ModelVersion


class ModelRow(Record):
    """One line of the table of models."""

    name: str
    version: int
    variant_count: int
    failed_count: int
    metric: str
    baseline: str
    baseline_accuracy: float | None
    pushed_at: datetime
    actor: str


class VariantRow(Record):
    """One candidate of a portfolio, with what the build host measured and who runs it.

    Attributes:
        accuracy_loss: against the baseline, positive is worse whatever the metric's direction.
        device_count: devices whose applications use it now.
        failure: why it is not listed.
    """

    name: str
    status: str
    format: str | None = None
    precision: str | None = None
    traits: tuple[str, ...] = ()
    digest: str | None = None
    size_bytes: int | None = None
    compressed_bytes: int | None = None
    accuracy: float | None = None
    accuracy_standard_error: float | None = None
    accuracy_loss: float | None = None
    worst_slice: str | None = None
    worst_slice_accuracy: float | None = None
    agreement: float | None = None
    latency_p50_seconds: float | None = None
    latency_p95_seconds: float | None = None
    peak_memory_bytes: int | None = None
    pareto: bool = False
    device_count: int = 0
    failure: str | None = None


class ModelDetail(ModelRow):
    """The page of a model version."""

    source: SourceModel
    build_host: str
    variants: tuple[VariantRow, ...]


def model_row(version: ModelVersion) -> ModelRow:
    """The line of a model version."""
    portfolio = version.portfolio
    baseline = portfolio.entry(portfolio.baseline)
    listed = portfolio.listed()
    return ModelRow(
        name=version.model,
        version=version.version,
        variant_count=len(listed),
        failed_count=len(portfolio.entries) - len(listed),
        metric=portfolio.metric.name,
        baseline=portfolio.baseline,
        baseline_accuracy=_accuracy(baseline),
        pushed_at=version.pushed_at,
        actor=version.actor,
    )


def model_detail(version: ModelVersion, fleet: FleetSummary) -> ModelDetail:
    """The page of a model version; the fleet's summary says how many run what."""
    portfolio = version.portfolio
    baseline = portfolio.entry(portfolio.baseline)
    running: dict[str | None, int] = {}
    for cell in fleet.variants:
        if cell.model == version.model:
            running[cell.variant] = running.get(cell.variant, 0) + cell.count
    row = model_row(version)
    return ModelDetail(
        **{name: getattr(row, name) for name in ModelRow.model_fields},
        source=portfolio.source,
        build_host=portfolio.build_host,
        variants=tuple(
            _variant_row(entry, baseline, running.get(entry.name, 0)) for entry in portfolio.entries
        ),
    )


def _variant_row(
    entry: PortfolioEntry, baseline: PortfolioEntry | None, device_count: int
) -> VariantRow:
    row = VariantRow(name=entry.name, status=entry.status.value, failure=entry.failure)
    if entry.variant is None:
        return row
    variant = entry.variant
    return row.model_copy(
        update={
            "format": variant.format,
            "precision": variant.precision,
            "traits": variant.traits,
            "digest": variant.digest,
            "size_bytes": variant.artifact.size_bytes,
            "compressed_bytes": variant.compressed_bytes,
            "agreement": entry.agreement.value if entry.agreement else None,
            "pareto": entry.pareto,
            "device_count": device_count,
            **_measured(entry, baseline),
        }
    )


def _measured(entry: PortfolioEntry, baseline: PortfolioEntry | None) -> dict[str, object]:
    report = entry.benchmark
    if report is None:
        return {}
    score = report.score()
    numbers: dict[str, object] = {
        "latency_p50_seconds": report.latency.p50_seconds,
        "latency_p95_seconds": report.latency.p95_seconds,
        "peak_memory_bytes": report.peak_memory_bytes,
    }
    if score is not None:
        worst = score.slices.get(score.worst_slice) if score.worst_slice else None
        reference = _accuracy(baseline)
        loss = None if reference is None else reference - score.value
        numbers |= {
            "accuracy": score.value,
            "accuracy_standard_error": score.standard_error,
            "accuracy_loss": loss if loss is None or score.higher_is_better else -loss,
            "worst_slice": score.worst_slice,
            "worst_slice_accuracy": worst.value if worst else None,
        }
    return numbers


def _accuracy(entry: PortfolioEntry | None) -> float | None:
    score = entry.benchmark.score() if entry and entry.benchmark else None
    return score.value if score else None
