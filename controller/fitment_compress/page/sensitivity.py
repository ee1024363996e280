"""Which layers suffer most when they alone are compressed, and which were therefore spared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from fitment_compress.page.markup import Markup, element, join
from fitment_compress.page.sections import (
    bar,
    heading,
    most_important,
    number,
    paragraph,
    picture,
    scrolling,
)
from fitment_compress.wording import noise_text, step_text
from fitment_contract.portfolio import LayerSensitivity, Portfolio, PortfolioEntry

_WIDTH: Final = 240
_MOST: Final = 8
"""Charts on the page."""

_SHOWN: Final = 24
"""Layers in a chart; of a larger model, the most sensitive ones and every spared one."""

Layers = tuple[LayerSensitivity, ...]


def sensitivity_charts(portfolio: Portfolio) -> Markup | None:
    """One chart per different result; None when no technique tried layers one by one."""
    found: dict[tuple[str, Layers], list[PortfolioEntry]] = {}
    for entry in portfolio.entries:
        for stage in entry.stages:
            if stage.sensitivity:
                found.setdefault((step_text(stage.step), stage.sensitivity), []).append(entry)
    if not found:
        return None
    shown, rest = most_important(
        list(found.items()), _MOST, lambda item: any(entry.pareto for entry in item[1]), "results"
    )
    charts = (
        _chart(step, layers, [entry.name for entry in entries]) for (step, layers), entries in shown
    )
    return join(element("div", *charts, _class="charts"), rest)


def most_sensitive(layers: Sequence[LayerSensitivity]) -> list[LayerSensitivity]:
    """The layers worth showing, the most sensitive first."""
    ordered = sorted(layers, key=lambda layer: -layer.noise_ratio)
    return [
        layer for place, layer in enumerate(ordered, start=1) if place <= _SHOWN or layer.spared
    ]


def _chart(step: str, layers: Layers, names: Sequence[str]) -> Markup:
    shown = most_sensitive(layers)
    low, high = _decades(layers)
    head = element(
        "thead",
        element(
            "tr",
            heading("layer", _class="l"),
            heading("operator", _class="l"),
            heading(
                "noise at the output",
                f"{noise_text(low)} to {noise_text(high)}, log scale",
                colspan=2,
            ),
            heading("decision", _class="l"),
        ),
    )
    body = element("tbody", *(_row(layer, low, high) for layer in shown))
    caption = element("caption", f"{step} in {', '.join(names)}")
    rest = len(layers) - len(shown)
    left_out = paragraph(f"{rest} less sensitive layers are not shown.", kind="note")
    table = scrolling(element("table", caption, head, body, _class="layers"), step)
    return element("div", table, left_out if rest else Markup(""))


def _row(layer: LayerSensitivity, low: float, high: float) -> Markup:
    share = 0.0
    if layer.noise_ratio > 0:
        share = math.log(layer.noise_ratio / low) / math.log(high / low)
    drawing = bar("spared" if layer.spared else "there", 0.5, 0.5 + share * (_WIDTH - 1))
    return element(
        "tr",
        element("th", layer.layer, scope="row", _class="l"),
        element("td", layer.operator, _class="l"),
        picture(drawing),
        number(noise_text(layer.noise_ratio)),
        element("td", "spared" if layer.spared else "", _class="l"),
    )


def _decades(layers: Layers) -> tuple[float, float]:
    """Powers of ten below the least and above the largest noise."""
    noises = [layer.noise_ratio for layer in layers if layer.noise_ratio > 0] or [1e-3]
    low = 10.0 ** (math.ceil(math.log10(min(noises))) - 1)
    high = 10.0 ** math.ceil(math.log10(max(noises)))
    return low, high if high > low else 10 * low
