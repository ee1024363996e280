"""The waterfall: what each step of each recipe did to score, transferred bytes and latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from fitment_compress.fronts import Candidate, goodness
from fitment_compress.page.markup import Markup, element, join
from fitment_compress.page.scales import Scale, for_scores
from fitment_compress.page.sections import bar, heading, most_important, number, picture, scrolling
from fitment_compress.page.units import Unit, bytes_unit, count_unit, seconds_unit
from fitment_compress.waterfall import State, states
from fitment_compress.wording import difference_text, duration, score_with_error, step_text
from fitment_contract.portfolio import Portfolio, PortfolioEntry

_WIDTH: Final = 100
_MOST: Final = 32
"""Recipes shown; the page stays small when a search has tried hundreds."""

_REACH: Final = 2.0
"""Bars end at this many times the source, so that one slow step does not shrink all others."""


@dataclass(frozen=True)
class _Scales:
    """The same for all recipes, so that bars compare across the whole table."""

    score: Scale | None
    bytes_: Scale
    seconds: Scale
    seconds_unit: Unit
    bytes_unit: Unit
    parameters_unit: Unit
    macs_unit: Unit


def steps_table(portfolio: Portfolio, of: Sequence[Candidate]) -> Markup | None:
    """One group of rows per recipe; None when no recipe was measured after each step."""
    source = next(one for one in of if one.name == portfolio.baseline)
    told = [entry for entry in portfolio.entries if entry.stages]
    if not told:
        return None
    recipes, rest = most_important(told, _MOST, lambda entry: entry.pareto, "recipes")
    start = states(portfolio, source.entry)[0]
    chains = [(entry, states(portfolio, entry)) for entry in recipes]
    scales = _scales([start, *(state for _, chain in chains for state in chain)], start)
    head = element("thead", element("tr", *_headings(portfolio, scales)))
    first = element(
        "tbody", _row(f"{portfolio.baseline}, the source", start, start, start, scales, portfolio)
    )
    groups = [_group(entry, chain, start, scales, portfolio) for entry, chain in chains]
    caption = element("caption", "Each recipe step by step", _class="unseen")
    table = element("table", caption, head, first, *groups, _class="steps")
    return join(scrolling(table, "What each step did"), rest)


def _headings(portfolio: Portfolio, scales: _Scales) -> tuple[Markup, ...]:
    return (
        heading("step", _class="l"),
        heading(portfolio.metric.name, "± standard error", colspan=2),
        heading("difference", f"from {portfolio.baseline}"),
        heading("transferred", scales.bytes_unit.symbol, colspan=2),
        heading("latency p50", scales.seconds_unit.symbol, colspan=2),
        heading("on disk", scales.bytes_unit.symbol),
        heading("parameters", scales.parameters_unit.symbol),
        heading("MACs", scales.macs_unit.symbol),
        heading("took"),
    )


def _group(
    entry: PortfolioEntry,
    chain: Sequence[State],
    start: State,
    scales: _Scales,
    portfolio: Portfolio,
) -> Markup:
    badge = element("span", "front", _class="badge best") if entry.pareto else Markup("")
    failed = element("span", "failed", _class="badge") if entry.failure else Markup("")
    title = element("tr", element("th", entry.name, badge, failed, colspan=12, scope="rowgroup"))
    rows = [title]
    for before, after in pairwise(chain):
        assert after.step is not None
        rows.append(_row(step_text(after.step), after, before, start, scales, portfolio))
        for note in after.notes:
            rows.append(element("tr", element("td", note, colspan=12), _class="aside"))
    if entry.failure:
        why = element("td", f"Failed: {entry.failure}", colspan=12)
        rows.append(element("tr", why, _class="aside"))
    return element("tbody", *rows, _class="recipe")


def _row(
    words: str, after: State, before: State, start: State, scales: _Scales, portfolio: Portfolio
) -> Markup:
    metric, score = portfolio.metric.name, after.score
    scored = score_with_error(metric, score.value, score.standard_error) if score else ""
    compared = difference_text(metric, after.difference, error=True)
    took = "" if after.seconds_taken is None else duration(after.seconds_taken)
    seconds = "" if after.latency is None else scales.seconds_unit.text(after.latency)
    transferred = _bar(after.transferred, before.transferred, start.transferred, scales.bytes_)
    latency = _bar(after.latency, before.latency, start.latency, scales.seconds)
    return element(
        "tr",
        element("th", words, scope="row", _class="l"),
        picture(_score_bar(after, before, start, scales.score)),
        number(scored),
        number(compared),
        picture(transferred),
        number(scales.bytes_unit.text(after.transferred)),
        picture(latency),
        number(seconds),
        number(scales.bytes_unit.text(after.size_bytes)),
        number("" if after.parameters is None else scales.parameters_unit.text(after.parameters)),
        number("" if after.macs is None else scales.macs_unit.text(after.macs)),
        number(took),
    )


def _scales(found: Sequence[State], start: State) -> _Scales:
    scores = [state.score for state in found if state.score is not None]
    latencies = [state.latency for state in found if state.latency is not None]
    scored = [goodness(score, score.value) for score in scores]
    error = max((score.standard_error or 0.0 for score in scores), default=0.0)
    return _Scales(
        score=for_scores(scored, error) if scored else None,
        bytes_=_from_zero([state.transferred for state in found], start.transferred),
        seconds=_from_zero(latencies, start.latency),
        seconds_unit=seconds_unit(latencies),
        bytes_unit=bytes_unit(state.transferred for state in found),
        parameters_unit=count_unit(s.parameters for s in found if s.parameters is not None),
        macs_unit=count_unit(state.macs for state in found if state.macs is not None),
    )


def _from_zero(values: Sequence[float], source: float | None) -> Scale:
    largest = max(values, default=1.0) or 1.0
    return Scale(0.0, min(largest, _REACH * source) if source else largest, ())


def _bar(after: float | None, before: float | None, source: float | None, scale: Scale) -> Markup:
    """What is there after the step, solid; what the step took away or added, beside it."""
    if after is None:
        return Markup("")
    now = _WIDTH * scale.share(after)
    was = now if before is None else _WIDTH * scale.share(before)
    parts = [bar("there", 0.0, min(now, was))]
    if was > now:
        parts.append(bar("gone", now, was))
    if now > was:
        parts.append(bar("more", was, now))
    if after > scale.high:
        parts.append(element("path", _class="cut", d=f"M{_WIDTH - 8} 3.5l5 3.5l-5 3.5z"))
    if source is not None:
        parts.append(_tick(_WIDTH * scale.share(source)))
    return join(*parts)


def _score_bar(after: State, before: State, start: State, scale: Scale | None) -> Markup:
    """Where the score is, how sure that is, and where it was before the step."""
    if after.score is None or scale is None:
        return Markup("")
    value, error = goodness(after.score, after.score.value), after.score.standard_error or 0.0
    x, parts = _WIDTH * scale.share(value), []
    if before.score is not None:
        was = _WIDTH * scale.share(goodness(before.score, before.score.value))
        parts.append(element("path", _class="path", d=f"M{was:.1f} 7H{x:.1f}"))
    if scale.hides(value):
        parts.append(element("path", _class="over", d="M8 2l-6 5l6 5z"))
    else:
        low, high = (_WIDTH * scale.share(value + sign * error) for sign in (-1, 1))
        parts.append(element("path", _class="error", d=f"M{low:.1f} 7H{high:.1f}"))
        parts.append(element("circle", _class="dot best", cx=x, cy=7, r=3))
    if start.score is not None:
        at = _WIDTH * scale.share(goodness(start.score, start.score.value))
        parts.insert(0, _tick(at))
    return join(*parts)


def _tick(x: float) -> Markup:
    return element("path", _class="source", d=f"M{x:.1f} 0v14")
