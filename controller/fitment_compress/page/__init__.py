"""The portfolio as one self-contained HTML page.

Nothing is loaded from anywhere: style, script and pictures are inside, and a content security
policy with their digests forbids the rest. Without the script everything can be read; with it,
tables sort and a variant lights up wherever it appears.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Final

from fitment_compress.fronts import PAIRS, Candidate, candidates
from fitment_compress.orders import order_groups
from fitment_compress.page.labels import Box
from fitment_compress.page.markup import Markup, element, join
from fitment_compress.page.plots import Plot, legend_mark
from fitment_compress.page.prose import facts, failures, glance, method, order_section
from fitment_compress.page.sections import paragraph, section
from fitment_compress.page.sensitivity import sensitivity_charts
from fitment_compress.page.steps import steps_table
from fitment_compress.page.variants import variants_table
from fitment_contract.portfolio import Portfolio

__all__ = ["render"]

_WIDTH, _HEIGHT = 420, 320
_FRAME: Final = Box(60, 28, _WIDTH - 12, _HEIGHT - 48)


def render(portfolio: Portfolio) -> str:
    """The page of a portfolio with at least its baseline listed."""
    of = candidates(portfolio)
    title = f"{portfolio.model} version {portfolio.model_version}"
    style, script = _asset("page.css"), _asset("page.js")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{title}: compression portfolio"),
        element("style", style),
    )
    sections = _sections(portfolio, of)
    contents = element(
        "nav",
        *(element("a", words, href=f"#{identity}") for identity, words, _ in sections),
        aria_label="Sections",
    )
    body = element(
        "body",
        element("header", element("h1", title), _lead(portfolio, of), facts(portfolio), contents),
        element("main", *(section(*parts) for parts in sections)),
        element("script", script),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _sections(portfolio: Portfolio, of: Sequence[Candidate]) -> list[tuple[str, str, Markup]]:
    groups = order_groups(portfolio)
    orders = order_section(groups, portfolio.metric.name) if groups else None
    steps = steps_table(portfolio, of)
    if steps is not None:
        steps = join(paragraph(_STEPS, kind="note"), steps)
    charts = sensitivity_charts(portfolio)
    if charts is not None:
        charts = join(paragraph(_SENSITIVITY, kind="note"), charts)
    found: tuple[tuple[str, str, Markup | None], ...] = (
        ("glance", "At a glance", glance(portfolio, of)),
        ("fronts", "Fronts", _fronts(portfolio, of)),
        (
            "variants",
            "Variants",
            join(paragraph(_VARIANTS, kind="note"), variants_table(portfolio, of)),
        ),
        ("steps", "What each step did", steps),
        ("orders", "Which order won", orders),
        ("layers", "Sensitivity of layers", charts),
        ("failed", "Not listed", failures(portfolio)),
        ("method", "How this was measured", method(portfolio, of)),
    )
    return [(identity, words, part) for identity, words, part in found if part is not None]


_VARIANTS: Final = (
    "Filled marks: on the front of score, latency and transferred bytes together. A difference "
    "under two standard errors is no difference."
)
_STEPS: Final = (
    "Solid: what is there after the step. Outlined: what the step took away. Dark: what it added. "
    "The thin line is the source. In the score, the line leads from the score before the step."
)
_SENSITIVITY: Final = (
    "Each layer was compressed alone. Noise is the power of the change of the model's outputs over "
    "the power of the outputs. Outlined layers were spared: left as they were because of it."
)


def _lead(portfolio: Portfolio, of: Sequence[Candidate]) -> Markup:
    best = sum(one.entry.pareto for one in of)
    failed = len(portfolio.entries) - len(of)
    words = f"{len(of)} variants were built and measured, {best} of them on the front of score, "
    words += "latency and transferred bytes"
    words += f"; {failed} candidates failed." if failed else "."
    return paragraph(words, kind="lead")


def _fronts(portfolio: Portfolio, of: Sequence[Candidate]) -> Markup:
    figures = []
    for pair in PAIRS:
        plot = Plot(of, pair, _FRAME, portfolio.baseline)
        figures.append(
            element(
                "svg",
                plot.draw(),
                viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
                role="img",
                aria_label=plot.told(),
            )
        )
    return join(
        element("div", *figures, _class="plots"),
        element("p", _LEGEND, _class="legend"),
        element("p", "", id="readout", aria_live="polite"),
    )


def _key(drawing: Markup, words: str) -> Markup:
    picture = element("svg", drawing, viewBox="0 0 16 16", aria_hidden="true")
    return element("span", picture, words)


_LEGEND: Final = join(
    _key(legend_mark(best=True), "on this front"),
    _key(legend_mark(best=False), "beaten in both"),
    _key(legend_mark(best=False, baseline=True), "baseline"),
    _key(element("line", _class="error", x1=8, x2=8, y1=1, y2=15), "one standard error"),
    _key(element("polygon", _class="dot", points="2,4 14,4 8,13"), "far below"),
    element("span", "Numbers are those of the table."),
)


def _asset(name: str) -> Markup:
    """A file of this package; no `</` in it could end its element early."""
    return Markup((files("fitment_compress.page") / name).read_text("utf-8"))


def _policy(style: str, script: str) -> str:
    return f"default-src 'none'; style-src {_source(style)}; script-src {_source(script)}"


def _source(content: str) -> str:
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
