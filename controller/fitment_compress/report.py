"""The portfolio as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TextIO

from fitment_compress.fronts import PAIRS, Candidate, Quantity, candidates, front
from fitment_compress.orders import explain, order_groups
from fitment_compress.wording import (
    count_bytes,
    difference_text,
    duration,
    kernels_text,
    score_text,
    score_with_error,
)
from fitment_contract.benchmark import Score
from fitment_contract.portfolio import EntryStatus, Portfolio, PortfolioEntry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table

_DISPENSABLE: Final = ("agrees", "zstd", "integer", "precision", "worst slice", "front", "speed")
"""Columns that a narrow terminal does without, in the order in which they go."""

_NAMED: Final = 4
"""Members of a front that a line names."""

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
    console.print(_fitting_table(portfolio, console))
    _print_fronts(portfolio, console)
    _print_orders(portfolio, console)
    failed = [entry for entry in portfolio.entries if entry.status is EntryStatus.FAILED]
    if failed:
        console.print("not listed:")
    for entry in failed:
        console.print(f"  {entry.name}: {entry.failure}", markup=False)


def _print_fronts(portfolio: Portfolio, console: Console) -> None:
    """One line per pair of quantities: who is not beaten in both."""
    of = candidates(portfolio)
    if len(of) < 2:
        return
    console.print("not beaten:")
    for pair in PAIRS:
        words = " and ".join(quantity.value for quantity in pair)
        best = front(of, pair)
        said = [f"{one.name} {_said(one, pair)}" for one in best[:_NAMED]]
        rest = f", and {len(best) - _NAMED} more" if len(best) > _NAMED else ""
        console.print(f"  {words}: {', '.join(said)}{rest}", markup=False)


def _said(one: Candidate, pair: Sequence[Quantity]) -> str:
    words = {
        Quantity.SCORE: score_text(one.score.metric, one.score.value),
        Quantity.LATENCY: duration(one.seconds),
        Quantity.BYTES: count_bytes(one.variant.compressed_bytes),
    }
    return f"({', '.join(words[quantity] for quantity in pair)})"


def _print_orders(portfolio: Portfolio, console: Console) -> None:
    groups = order_groups(portfolio)
    if groups:
        console.print("same techniques, other orders:")
    for group in groups:
        console.print(f"  {explain(group)}", markup=False)


def _fitting_table(portfolio: Portfolio, console: Console) -> Table:
    """The table with as many columns as the stream is wide; what people ask for first stays."""
    headings = _headings(portfolio)
    unbounded = console.options.update(max_width=_PLAIN_WIDTH)
    hidden: list[str] = []
    while True:
        table = _table(portfolio, [name for name in headings if name not in hidden])
        spare = [name for name in _DISPENSABLE if name in headings and name not in hidden]
        if not spare or console.measure(table, options=unbounded).maximum <= console.width:
            return table
        hidden.append(spare[0])


def _headings(portfolio: Portfolio) -> list[str]:
    score, delta = portfolio.metric.name, f"vs {portfolio.baseline}"
    return [
        *("variant", "precision", "size", "zstd", score, delta, "worst slice"),
        *("agrees", "p50", "speed", "integer", "front"),
    ]


def _table(portfolio: Portfolio, shown: Sequence[str]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in shown:
        left = heading in ("variant", "precision", "worst slice")
        table.add_column(heading, justify="left" if left else "right", no_wrap=True)
    baseline = portfolio.entry(portfolio.baseline)
    assert baseline is not None
    for entry in portfolio.listed():
        cells = dict(zip(_headings(portfolio), _row(entry, baseline), strict=True))
        style = "bold" if entry.pareto else None
        table.add_row(*(cells[heading] for heading in shown), style=style)
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
