"""Draws a portfolio: score over latency, the area of a dot for its size, the front as a stair.

The SVG stands alone (no script, no font, no link) and follows the reader's light or dark scheme.
Dots carry numbers and a list beside the plot says what they are, so crowded variants stay legible.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fitment_compress.fronts import Candidate, Quantity, candidates
from fitment_compress.page.labels import Box
from fitment_compress.page.markup import Markup, element, join
from fitment_compress.page.plots import Plot, svg_text
from fitment_compress.wording import count_bytes, duration, score_text
from fitment_contract.portfolio import Portfolio

WIDTH, HEIGHT = 1080, 540
_FRAME: Final = Box(84, 90, 560, 476)
_LIST_X: Final = 600
_PITCH: Final = 30.0

_STYLE: Final = """
text{font:13px system-ui,sans-serif;fill:#1f2933}
.title{font-size:17px;font-weight:600}.faint,.tick{fill:#52606d}
.name,.number,.label{font-weight:600}.label tspan{font-weight:400}.label,.tick{font-size:11.5px}
.label{paint-order:stroke;stroke:#ffffff;stroke-width:3px}
.ground{fill:#ffffff}.grid{stroke:#d9dfe5}.axis{stroke:#7b8794}
.stair{stroke:#0b7285;fill:none;stroke-width:1.5;stroke-opacity:.55}
.dot{fill:#ffffff;fill-opacity:.7;stroke:#52606d}.dot.best{fill:#15aabf;stroke:#0b7285}
.error{stroke:#52606d}
@media (prefers-color-scheme:dark){
text{fill:#e4e7eb}.faint,.tick{fill:#9aa5b1}.ground{fill:#16191d}.grid{stroke:#323f4b}
.label{stroke:#16191d}.stair{stroke:#3bc9db}.dot{fill:#16191d;stroke:#9aa5b1}
.dot.best{fill:#0c8599;stroke:#3bc9db}.error{stroke:#9aa5b1}}
"""


def draw(portfolio: Portfolio) -> str:
    """The SVG of a portfolio with at least one listed entry."""
    of = candidates(portfolio)
    pair = (Quantity.LATENCY, Quantity.SCORE)
    plot = Plot(of, pair, _FRAME, portfolio.baseline, alone=True)
    title = f"{portfolio.model} version {portfolio.model_version}"
    legend = (
        "area: file size; diamond: baseline; bar: standard error; triangle: far below; "
        f"{portfolio.build_host}"
    )
    picture = element(
        "svg",
        element("style", Markup(_STYLE)),
        element("rect", _class="ground", width=WIDTH, height=HEIGHT),
        svg_text(24, 32, title, "title"),
        svg_text(24, 54, legend, "faint"),
        plot.draw(),
        _list(of),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        width=WIDTH,
        height=HEIGHT,
        role="img",
        aria_label=plot.told(),
    )
    return f"{picture}\n"


def _list(of: Sequence[Candidate]) -> Markup:
    pitch = min(_PITCH, (_FRAME.bottom - _FRAME.top + 40) / len(of))
    lines = []
    for position, one in enumerate(of):
        y = _FRAME.top + 6 + position * pitch
        numbers = (
            f"{score_text(one.score.metric, one.score.value)} · {duration(one.seconds)} · "
            f"{count_bytes(one.variant.artifact.size_bytes)}"
        )
        kind = "dot best" if one.entry.pareto else "dot"
        lines.append(element("circle", _class=kind, cx=_LIST_X, cy=y - 4, r=5))
        lines.append(svg_text(_LIST_X + 32, y, str(one.number), "number", "end"))
        lines.append(svg_text(_LIST_X + 42, y, one.name, ""))
        lines.append(svg_text(WIDTH - 16, y, numbers, "faint", "end"))
    return join(*lines)
