"""The table of variants: every number that was measured on the final files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from fitment_compress.fronts import Candidate
from fitment_compress.page.markup import Markup, element, join
from fitment_compress.page.plots import legend_mark
from fitment_compress.page.sections import heading, number, scrolling
from fitment_compress.page.units import Unit, bytes_unit, count_unit, seconds_unit
from fitment_compress.wording import (
    TIMES,
    difference_text,
    is_significant,
    recipe_text,
    score_text,
    score_with_error,
)
from fitment_contract.benchmark import BenchmarkReport
from fitment_contract.portfolio import Portfolio

Value = Callable[[Candidate], float | None]


@dataclass(frozen=True)
class _Column:
    """A column: its heading and how it says a variant."""

    words: str
    unit: str
    cell: Callable[[Candidate], Markup]


@dataclass(frozen=True)
class _Group:
    """Columns under one heading."""

    words: str
    columns: tuple[_Column, ...]


def variants_table(portfolio: Portfolio, of: Sequence[Candidate]) -> Markup:
    """All listed variants, in their order; a script lets people sort them."""
    baseline = next(one for one in of if one.name == portfolio.baseline)
    groups = _groups(portfolio, of, baseline)
    top = join(
        element("td", colspan=2),
        *(
            element("th", group.words, scope="colgroup", colspan=len(group.columns))
            for group in groups
        ),
    )
    columns = [column for group in groups for column in group.columns]
    bottom = join(
        heading("#"),
        heading("variant", _class="l"),
        *(heading(column.words, column.unit) for column in columns),
    )
    head = element("thead", element("tr", top), element("tr", bottom, _class="sortable"))
    spans = join(
        element("colgroup", element("col"), element("col")),
        *(
            element("colgroup", *(element("col") for _ in group.columns), _class="group")
            for group in groups
        ),
    )
    caption = element("caption", "Variants with everything that was measured", _class="unseen")
    body = element("tbody", *(_row(one, columns, portfolio.baseline) for one in of))
    table = element("table", caption, spans, head, body, _class="variants")
    return scrolling(table, "All variants")


def _row(one: Candidate, columns: Sequence[_Column], baseline: str) -> Markup:
    words = "on the front" if one.entry.pareto else "beaten"
    mark = legend_mark(one.entry.pareto, one.name == baseline)
    if one.name == baseline:
        words = f"baseline, {words}"
    name = element(
        "th",
        element("svg", mark, viewBox="0 0 16 16", role="img", aria_label=words),
        element("span", one.name, _class="called"),
        scope="row",
        _class="l",
        title=recipe_text(one.entry.recipe),
    )
    cells = (column.cell(one) for column in columns)
    place = element("td", str(one.number), _class="faint")
    return element("tr", place, name, *cells, id=f"v{one.number}", data_v=one.number)


def _groups(
    portfolio: Portfolio, of: Sequence[Candidate], baseline: Candidate
) -> tuple[_Group, ...]:
    seconds = seconds_unit(one.seconds for one in of)
    threads = ", ".join(sorted({str(_report(one).latency.threads) for one in of}))
    kernels = (_Column("conv", "of all", _convolutions), _Column("matmul", "of all", _products))
    memory = (
        _sized("process", bytes_unit, of, lambda one: _report(one).peak_memory_bytes),
        _sized("activations", bytes_unit, of, lambda one: one.entry.peak_activation_bytes),
    )
    model = (
        _sized("parameters", count_unit, of, lambda one: one.entry.parameters),
        _sized("MACs", count_unit, of, lambda one: one.entry.macs),
    )
    return (
        _Group("quality", _quality(portfolio)),
        _Group("bytes", _sizes(of, baseline)),
        _Group(f"latency, {_threads(threads)}", _latencies(seconds, baseline)),
        _Group(_all_threads(of), (_numbers("p50", seconds, _all_threads_seconds),)),
        _Group("integer kernels", kernels),
        _Group("memory, peak", memory),
        _Group("model", model),
    )


def _sizes(of: Sequence[Candidate], baseline: Candidate) -> tuple[_Column, ...]:
    unit = bytes_unit(one.variant.artifact.size_bytes for one in of)
    return (
        _numbers("on disk", unit, lambda one: one.variant.artifact.size_bytes),
        _numbers("transferred", unit, lambda one: one.variant.compressed_bytes),
        _ratio("ratio", baseline, lambda one: one.entry.transferred_ratio),
    )


def _latencies(unit: Unit, baseline: Candidate) -> tuple[_Column, ...]:
    return (
        _numbers("p50", unit, lambda one: one.seconds),
        _numbers("p90", unit, lambda one: _report(one).latency.p90_seconds),
        _numbers("p99", unit, lambda one: _report(one).latency.p99_seconds),
        _ratio(
            "speed", baseline, lambda one: baseline.seconds / one.seconds if one.seconds else None
        ),
    )


def _quality(portfolio: Portfolio) -> tuple[_Column, ...]:
    metric = portfolio.metric.name

    def scored(one: Candidate) -> Markup:
        words = score_with_error(metric, one.score.value, one.score.standard_error)
        return number(words)

    def compared(one: Candidate) -> Markup:
        difference = one.entry.difference
        if difference is None:
            return number("")
        words = difference_text(metric, difference, error=True)
        if is_significant(difference):
            return number(words, difference.value)
        return element("td", words, _class="faint", data_s=f"{difference.value:.6g}")

    def worst(one: Candidate) -> Markup:
        name = one.score.worst_slice
        if name is None:
            return number("")
        value = one.score.slices[name].value
        words = join(element("span", name, _class="slice"), f" {score_text(metric, value)}")
        return element("td", words, data_s=f"{value:.6g}")

    def agrees(one: Candidate) -> Markup:
        agreement = one.entry.agreement
        return number("" if agreement is None else f"{100 * agreement.value:.1f} %")

    return (
        _Column(metric, "± standard error", scored),
        _Column("difference", f"from {portfolio.baseline}", compared),
        _Column("worst slice", "", worst),
        _Column("agrees", "with the source", agrees),
    )


def _report(one: Candidate) -> BenchmarkReport:
    assert one.entry.benchmark is not None
    return one.entry.benchmark


def _numbers(words: str, unit: Unit, value: Value) -> _Column:
    def cell(one: Candidate) -> Markup:
        found = value(one)
        return number("") if found is None else number(unit.text(found))

    return _Column(words, unit.symbol, cell)


def _sized(
    words: str, choose: Callable[[Iterable[float]], Unit], of: Sequence[Candidate], value: Value
) -> _Column:
    """A column with a unit of its own."""
    found = [value(one) for one in of]
    return _numbers(words, choose(each for each in found if each is not None), value)


def _ratio(words: str, baseline: Candidate, value: Value) -> _Column:
    return _numbers(words, Unit(f"{TIMES} {baseline.name}", 1.0, decimals=2), value)


def _convolutions(one: Candidate) -> Markup:
    kernels = _report(one).kernels
    return _share(kernels.integer_convolutions, kernels.convolutions)


def _products(one: Candidate) -> Markup:
    kernels = _report(one).kernels
    return _share(kernels.integer_matmuls, kernels.matmuls)


def _share(integer: int, total: int) -> Markup:
    return number(f"{integer}/{total}" if total else "")


def _threads(count: str) -> str:
    return f"{count} thread" if count == "1" else f"{count} threads"


def _all_threads(of: Sequence[Candidate]) -> str:
    counts = {one.entry.latency_all_threads.threads for one in of if one.entry.latency_all_threads}
    return _threads(str(max(counts))) if counts else "all threads"


def _all_threads_seconds(one: Candidate) -> float | None:
    latency = one.entry.latency_all_threads
    return None if latency is None else latency.p50_seconds
