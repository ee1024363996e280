"""The portfolio as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TextIO

from fitment_compress.errors import RequestError
from fitment_compress.fronts import PAIRS, Candidate, Quantity, candidates, front, picks
from fitment_compress.orders import explain, order_groups
from fitment_compress.waterfall import State, states
from fitment_compress.wording import (
    count_bytes,
    difference_text,
    duration,
    kernels_text,
    noise_text,
    printable,
    recipe_text,
    score_text,
    score_with_error,
    step_text,
)
from fitment_contract.benchmark import Score
from fitment_contract.portfolio import EntryStatus, LayerSensitivity, Portfolio, PortfolioEntry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table

_DISPENSABLE: Final = (
    *("took", "parameters", "agrees", "integer", "size", "precision", "worst slice"),
    *("front", "speed"),
)
"""Columns that a narrow terminal does without, in the order in which they go."""

_LEFT: Final = ("variant", "precision", "worst slice", "step")
"""Columns of words; these fold where there is no room, numbers never do."""

_NAMED: Final = 4
"""Members of a front that a line names."""

_PLAIN_WIDTH: Final = 400
"""Columns for pipes and files: never wrap what a program may read."""


def print_portfolio(portfolio: Portfolio, stream: TextIO) -> None:
    """Write the table, and below it who is not beaten, which order won, what failed and why.

    Plain where `stream` is no terminal.
    """
    console = _console(stream)
    split, source = portfolio.data, portfolio.source
    macs = "unknown" if source.macs is None else f"{source.macs:,}"
    taught = f", {split.training_count} to learn from" if split.training_count else ""
    console.print(
        f"{portfolio.model} version {portfolio.model_version}: {source.parameters:,} parameters, "
        f"{macs} MACs, scored on {split.evaluation_count} samples, calibrated with "
        f"{split.calibration_count} others{taught}"
    )
    console.print(printable(f"measured on {portfolio.build_host}"))
    console.print(_variants_table(portfolio, console))
    _print_picks(portfolio, console)
    _print_fronts(portfolio, console)
    _print_orders(portfolio, console)
    failed = [entry for entry in portfolio.entries if entry.status is EntryStatus.FAILED]
    if failed:
        console.print("not listed:")
    for entry in failed:
        _item(console, f"{entry.name}: {entry.failure}")


def print_recipe(portfolio: Portfolio, name: str, stream: TextIO) -> None:
    """Write what each step of one recipe did, and how sensitive layers were where that was tried.

    Raises:
        RequestError: no recipe is called `name`.
    """
    entry = portfolio.entry(name)
    if entry is None:
        names = ", ".join(each.name for each in portfolio.entries)
        raise RequestError(f"No recipe is called {name!r}.", f"There are: {names}.")
    console = _console(stream)
    console.print(printable(f"{entry.name}: {recipe_text(entry.recipe)}"))
    if entry.recipe and not entry.stages:
        console.print("not measured after each step")
    chain = states(portfolio, entry)
    console.print(_steps_table(portfolio, chain, console))
    for state in chain[1:]:
        assert state.step is not None
        for note in state.notes:
            console.print(printable(f"{state.step.technique}: {note}"))
        if state.sensitivity:
            console.print(printable(f"noise at the output, {step_text(state.step)} of one layer:"))
            console.print(_layers_table(state.sensitivity))
    if entry.failure:
        console.print(printable(f"failed: {entry.failure}"))


def _console(stream: TextIO) -> Console:
    """Says what it is given: names and reasons of others are no markup and no emoji."""
    from rich.console import Console

    width = None if stream.isatty() else _PLAIN_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def _item(console: Console, text: str) -> None:
    """A line of a list; where it is long, its other lines begin where it began."""
    from rich.padding import Padding

    console.print(Padding(printable(text), (0, 0, 0, 2), expand=False))


def _steps_table(portfolio: Portfolio, chain: Sequence[State], console: Console) -> Table:
    metric = portfolio.metric.name
    headings = ("step", metric, f"vs {portfolio.baseline}", "transfer", "p50", "size", "parameters")
    rows = []
    for state in chain:
        score, latency = state.score, state.latency
        rows.append(
            (
                printable(step_text(state.step)) if state.step else portfolio.baseline,
                score_with_error(metric, score.value, score.standard_error) if score else "",
                difference_text(metric, state.difference),
                count_bytes(state.transferred),
                "" if latency is None else duration(latency),
                count_bytes(state.size_bytes),
                "" if state.parameters is None else f"{state.parameters:,}",
                "" if state.seconds_taken is None else duration(state.seconds_taken),
            )
        )
    return _fitting_table(console, (*headings, "took"), rows)


def _layers_table(layers: Sequence[LayerSensitivity]) -> Table:
    table = _plain_table(("layer", "operator", "noise", ""), left=("layer", "operator", ""))
    for layer in sorted(layers, key=lambda each: -each.noise_ratio):
        noise = noise_text(layer.noise_ratio)
        spared = "spared" if layer.spared else ""
        table.add_row(printable(layer.layer), printable(layer.operator), noise, spared)
    return table


def _plain_table(headings: Sequence[str], left: Sequence[str]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        if heading in left:
            table.add_column(heading, overflow="fold")
        else:
            table.add_column(heading, justify="right", no_wrap=True)
    return table


def _print_picks(portfolio: Portfolio, console: Console) -> None:
    """The shortest answer: how small and how fast, against the baseline."""
    of = candidates(portfolio)
    if len(of) < 2:
        return
    baseline = next(one for one in of if one.name == portfolio.baseline)
    for words, one in picks(of):
        small = one.variant.compressed_bytes / max(baseline.variant.compressed_bytes, 1)
        change = difference_text(one.score.metric, one.entry.difference, error=True)
        console.print(
            f"{words}: {one.name}, {small:.2f}x the bytes, {_speed(one, baseline)} the speed, "
            f"{change or 'score not compared'}"
        )


def _speed(one: Candidate, baseline: Candidate) -> str:
    return f"{baseline.seconds / one.seconds:.2f}x" if one.seconds else "?"


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
        _item(console, f"{words}: {', '.join(said)}{rest}")


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
        _item(console, explain(group))


def _fitting_table(
    console: Console,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    bold: Sequence[int] = (),
) -> Table:
    """The table with as many columns as the stream is wide; what people ask for first stays."""
    unbounded = console.options.update(max_width=_PLAIN_WIDTH)
    hidden: list[str] = []
    while True:
        shown = [place for place, heading in enumerate(headings) if heading not in hidden]
        table = _plain_table([headings[place] for place in shown], left=_LEFT)
        for number, row in enumerate(rows):
            cells = (row[place] for place in shown)
            table.add_row(*cells, style="bold" if number in bold else None)
        spare = [name for name in _DISPENSABLE if name in headings and name not in hidden]
        if not spare or console.measure(table, options=unbounded).maximum <= console.width:
            return table
        hidden.append(spare[0])


def _headings(portfolio: Portfolio) -> list[str]:
    score, delta = portfolio.metric.name, f"vs {portfolio.baseline}"
    return [
        *("variant", "precision", "size", "transfer", score, delta, "worst slice"),
        *("agrees", "p50", "speed", "integer", "front"),
    ]


def _variants_table(portfolio: Portfolio, console: Console) -> Table:
    listed = portfolio.listed()
    baseline = portfolio.entry(portfolio.baseline)
    assert baseline is not None
    rows = [_row(entry, baseline) for entry in listed]
    best = [place for place, entry in enumerate(listed) if entry.pareto]
    return _fitting_table(console, _headings(portfolio), rows, best)


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
    return printable(f"{score.worst_slice} {score_text(score.metric, value)}")
