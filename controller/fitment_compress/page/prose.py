"""What the page says in words: the summary, the winners, the failures, the method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fitment_compress.fronts import Candidate, picks
from fitment_compress.orders import OrderGroup, explain, score_difference
from fitment_compress.page.markup import Markup, element, join
from fitment_compress.page.sections import DASH, heading, minus, number, paragraph, scrolling
from fitment_compress.wording import (
    TIMES,
    count_bytes,
    difference_text,
    duration,
    recipe_text,
    score_with_error,
    step_text,
)
from fitment_contract.benchmark import BenchmarkReport
from fitment_contract.portfolio import EntryStatus, Portfolio


def facts(portfolio: Portfolio) -> Markup:
    """Model, data, metric, host and date."""
    source, split = portfolio.source, portfolio.data
    macs = "" if source.macs is None else f", {source.macs:,} MACs"
    labelled = f"{split.evaluation_count:,} to evaluate"
    if split.evaluation_share_labelled < 1:
        labelled += f" ({100 * split.evaluation_share_labelled:.0f} % with labels)"
    trained = "none to learn from"
    if split.training_count:
        share = f"{100 * split.training_share_labelled:.0f} % with labels"
        trained = f"{split.training_count:,} to learn from ({share})"
    options = "".join(f", {key} {value}" for key, value in portfolio.metric.options.items())
    moment = portfolio.created_at.strftime("%Y-%m-%d %H:%M %Z").strip()
    said = {
        "Model": f"{source.file_name}, {count_bytes(source.size_bytes)}, opset {source.opset}",
        "Size": f"{source.parameters:,} parameters{macs}",
        "Samples": f"{labelled}, {split.calibration_count:,} to calibrate, {trained}",
        "From": split.source,
        "Metric": f"{portfolio.metric.name}{options}",
        "Measured on": portfolio.build_host,
        "Built": moment,
    }
    pairs = (
        element("div", element("dt", key), element("dd", value)) for key, value in said.items()
    )
    return element("dl", *pairs, _class="facts")


def glance(portfolio: Portfolio, of: Sequence[Candidate]) -> Markup:
    """What most people came for: how small and how fast without a loss."""
    baseline = next(one for one in of if one.name == portfolio.baseline)
    cards = (_card(words, one, baseline) for words, one in picks(of))
    return element("div", *cards, _class="glance")


def _card(words: str, one: Candidate, baseline: Candidate) -> Markup:
    small = one.variant.compressed_bytes / max(baseline.variant.compressed_bytes, 1)
    fast = baseline.seconds / one.seconds if one.seconds else 1.0
    change = difference_text(one.score.metric, one.entry.difference, error=True)
    size, time = count_bytes(one.variant.compressed_bytes), duration(one.seconds)
    return element(
        "div",
        element("p", words, _class="note"),
        element("p", one.name, _class="called"),
        element(
            "ul",
            element("li", element("b", f"{small:.2f}{TIMES}"), f" the bytes ({size})"),
            element("li", element("b", f"{fast:.2f}{TIMES}"), f" the speed ({time})"),
            element("li", minus(change) or "score not compared"),
        ),
        _class="card",
        data_v=one.number,
    )


def order_section(groups: Sequence[OrderGroup], metric: str) -> Markup:
    """Each group of orders: who won, by how much, and all of them in their rank."""
    return element("div", *(_group(group, metric) for group in groups), _class="orders")


def _group(group: OrderGroup, metric: str) -> Markup:
    title = element("h3", " + ".join(step_text(step) for step in group.steps))
    head = element(
        "thead",
        element(
            "tr",
            heading("rank"),
            heading("order", _class="l"),
            heading("variant", _class="l"),
            heading(metric, "± standard error"),
            heading("difference", "from the best order"),
            heading("transferred"),
            heading("latency p50"),
        ),
    )
    rows = [
        _order_row(place, one, group.ranked[0]) for place, one in enumerate(group.ranked, start=1)
    ]
    for entry in group.failed:
        cells = (
            element("td", DASH),
            element("th", recipe_text(entry.recipe), scope="row", _class="l"),
            element("td", entry.name, _class="l"),
            element("td", f"Failed: {entry.failure or 'no reason given.'}", colspan=4, _class="l"),
        )
        rows.append(element("tr", *cells))
    table = element("table", head, element("tbody", *rows))
    return join(title, paragraph(explain(group)), scrolling(table, "Orders"))


def _order_row(place: int, one: Candidate, winner: Candidate) -> Markup:
    metric = one.score.metric
    behind = (
        "" if one is winner else difference_text(metric, score_difference(one, winner), error=True)
    )
    return element(
        "tr",
        element("td", str(place)),
        element("th", recipe_text(one.entry.recipe), scope="row", _class="l"),
        element("td", one.name, _class="l"),
        number(score_with_error(metric, one.score.value, one.score.standard_error)),
        element("td", "best") if one is winner else number(behind),
        number(count_bytes(one.variant.compressed_bytes)),
        number(duration(one.seconds)),
        data_v=one.number,
    )


def failures(portfolio: Portfolio) -> Markup | None:
    """The candidates that are not listed, each with its recipe and reason."""
    failed = [entry for entry in portfolio.entries if entry.status is EntryStatus.FAILED]
    if not failed:
        return None
    pairs = (
        element(
            "div",
            element("dt", entry.name),
            element(
                "dd",
                element("p", entry.failure or "No reason was given."),
                paragraph(recipe_text(entry.recipe), kind="note"),
            ),
        )
        for entry in failed
    )
    return element("dl", *pairs, _class="failures")


def method(portfolio: Portfolio, of: Sequence[Candidate]) -> Markup:
    """How the numbers came about, for a reader who wants to trust them."""
    points = (*_conditions(portfolio, of), *_MEANINGS)
    return element("ul", *(element("li", point) for point in points), _class="method")


def _conditions(portfolio: Portfolio, of: Sequence[Candidate]) -> tuple[str, ...]:
    """On what machine, on which samples, how often."""
    split, reports = portfolio.data, [_report(one) for one in of]
    counts = sorted(report.latency.count for report in reports)
    inferences = f"{counts[0]:,}" if counts[0] == counts[-1] else f"{counts[0]:,} to {counts[-1]:,}"
    threads = ", ".join(sorted({str(report.latency.threads) for report in reports}))
    protocols = ", ".join(sorted({f"{each.protocol} ({each.mode.value})" for each in reports}))
    runtimes = ", ".join(sorted({f"{each.runtime} {each.runtime_version}" for each in reports}))
    taught = (
        f", and none of the {split.training_count:,} samples to learn from"
        if split.training_count
        else ""
    )
    return (
        f"Every number was measured on the final file, on this host: {portfolio.build_host}. "
        f"Variants ran with {runtimes}; protocol {protocols}.",
        f"Scores are of {split.evaluation_count:,} samples. None of them is one of the "
        f"{split.calibration_count:,} samples for calibration{taught}.",
        f"A difference compares the same samples with {portfolio.baseline}, and its standard error "
        "is that of the differences per sample. Under two standard errors it is called no "
        "difference. Bars in the pictures are one standard error of the score itself.",
        f"Latency is that of one inference after the other, threads: {threads}; {inferences} were "
        "timed per variant. All variants were loaded in one process and timed in turns: many short "
        "rounds, each starting with another variant, so that a change of the clock speed or a busy "
        "neighbour meets all of them alike.",
    )


_MEANINGS: Final = (
    "Convolutions and matrix products count as integer only where the runtime's own optimised "
    "graph has an integer kernel for them.",
    "Transferred bytes are those of the file compressed for transport. The peak of activations is "
    "what the intermediate tensors of one inference need at once; the peak of the process is "
    "resident memory beyond what it had before loading.",
    "A variant is on the front when no other is at least as good in score, median latency and "
    "transferred bytes, and better in one of them.",
    "Orders are ranked by score; where scores do not differ, by transferred bytes; where these are "
    "within one percent, by latency. The standard error between two orders adds those of their "
    "differences from the baseline as if they were independent, which is cautious.",
)


def _report(one: Candidate) -> BenchmarkReport:
    assert one.entry.benchmark is not None
    return one.entry.benchmark
