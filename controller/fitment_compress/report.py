"""The portfolio as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TextIO

from fitment_compress.wording import count_bytes, duration, score_text, score_with_error
from fitment_contract.benchmark import Difference, KernelCounts, Score
from fitment_contract.portfolio import EntryStatus, Portfolio, PortfolioEntry

if TYPE_CHECKING:
    from rich.table import Table

SIGNIFICANT_ERRORS: Final = 2.0
"""Differences below this many standard errors are called none."""

_PLAIN_WIDTH: Final = 400
"""Columns for pipes and files: never wrap what a program may read."""


def print_portfolio(portfolio: Portfolio, stream: TextIO) -> None:
    """Write the table, and below it what failed and why; plain where `stream` is no terminal."""
    from rich.console import Console

    terminal = stream.isatty()
    console = Console(file=stream, width=None if terminal else _PLAIN_WIDTH, highlight=False)
    split, source = portfolio.data, portfolio.source
    macs = "unknown" if source.macs is None else f"{source.macs:,}"
    console.print(
        f"{portfolio.model} version {portfolio.model_version}: {source.parameters:,} parameters, "
        f"{macs} MACs, scored on {split.evaluation_count} samples, calibrated with "
        f"{split.calibration_count} others"
    )
    console.print(f"measured on {portfolio.build_host}")
    console.print(_table(portfolio))
    failed = [entry for entry in portfolio.entries if entry.status is EntryStatus.FAILED]
    if failed:
        console.print("not listed:")
    for entry in failed:
        console.print(f"  {entry.name}: {entry.failure}", markup=False)


def difference_text(metric: str, difference: Difference | None) -> str:
    """The difference from the baseline, or that there is none beyond chance."""
    if difference is None:
        return ""
    error = difference.standard_error or 0.0
    if abs(difference.value) <= SIGNIFICANT_ERRORS * error or difference.value == 0.0:
        return "no difference"
    return score_text(metric, difference.value, signed=True)


def kernels_text(kernels: KernelCounts) -> str:
    """How many convolutions and matrix products the runtime really runs on integers."""
    parts = []
    if kernels.convolutions:
        parts.append(f"{kernels.integer_convolutions}/{kernels.convolutions} conv")
    if kernels.matmuls:
        parts.append(f"{kernels.integer_matmuls}/{kernels.matmuls} matmul")
    return ", ".join(parts)


def _table(portfolio: Portfolio) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("variant", no_wrap=True)
    table.add_column("precision")
    for heading in ("size", "zstd", portfolio.metric.name, f"vs {portfolio.baseline}"):
        table.add_column(heading, justify="right")
    table.add_column("worst slice")
    for heading in ("agrees", "p50", "speed", "integer"):
        table.add_column(heading, justify="right")
    table.add_column("front", justify="center")
    baseline = portfolio.entry(portfolio.baseline)
    assert baseline is not None
    for entry in portfolio.listed():
        table.add_row(*_row(entry, baseline), style="bold" if entry.pareto else None)
    return table


def _row(entry: PortfolioEntry, baseline: PortfolioEntry) -> tuple[str, ...]:
    variant, report = entry.variant, entry.benchmark
    assert variant is not None
    assert report is not None
    assert baseline.benchmark is not None
    score = report.score()
    assert score is not None
    p50 = report.latency.p50_seconds
    return (
        entry.name,
        variant.precision,
        count_bytes(variant.artifact.size_bytes),
        count_bytes(variant.compressed_bytes),
        score_with_error(score.metric, score.value, score.standard_error),
        difference_text(score.metric, entry.difference),
        _worst(score),
        "" if entry.agreement is None else f"{100 * entry.agreement.value:.1f} %",
        duration(p50),
        f"{baseline.benchmark.latency.p50_seconds / p50:.2f}x",
        kernels_text(report.kernels),
        "●" if entry.pareto else "",
    )


def _worst(score: Score) -> str:
    if score.worst_slice is None:
        return ""
    value = score.slices[score.worst_slice].value
    return f"{score.worst_slice} {score_text(score.metric, value)}"
