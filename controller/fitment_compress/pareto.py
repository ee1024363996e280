"""Draws a portfolio: score over latency, the area of a dot for its size, the front as a line.

The SVG stands alone (no script, no font, no link) and follows the reader's light or dark scheme.
Dots carry numbers and a list beside the plot says what they are, so crowded variants stay legible.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from fitment_compress.wording import count_bytes, duration, score_text
from fitment_contract.benchmark import Score
from fitment_contract.portfolio import Portfolio, PortfolioEntry

WIDTH, HEIGHT = 1080, 540
_LEFT, _TOP, _RIGHT, _BOTTOM = 84, 64, 560, 468
_LIST_X: Final = 592
_VISIBLE_SHARE: Final = 0.15
"""Scores worse than the best by more than this share of it are drawn at the lower edge, so that
one collapsed variant does not squeeze all others into a line."""

_STYLE: Final = """
text{font:13px system-ui,sans-serif;fill:#1f2933}
.title{font-size:17px;font-weight:600}.faint{fill:#52606d}
.ground{fill:#ffffff}.grid{stroke:#d9dfe5}.axis{stroke:#7b8794}
.front{stroke:#0b7285;fill:none;stroke-width:2}
.dot{fill:#adb5bd;stroke:#52606d}.best{fill:#15aabf;stroke:#0b7285}
.error{stroke:#52606d}.number{font-size:11px;font-weight:600}
@media (prefers-color-scheme:dark){
text{fill:#e4e7eb}.faint{fill:#9aa5b1}.ground{fill:#16191d}.grid{stroke:#323f4b}
.axis{stroke:#7b8794}.front{stroke:#3bc9db}.dot{fill:#52606d;stroke:#9aa5b1}
.best{fill:#0c8599;stroke:#3bc9db}.error{stroke:#9aa5b1}}
"""


@dataclass(frozen=True)
class _Point:
    """One listed variant in the units of the plot.

    Attributes:
        goodness: the score, or its negative where lower is better.
        clipped: it is worse than the plot reaches down.
    """

    number: int
    entry: PortfolioEntry
    score: Score
    seconds: float
    size_bytes: int
    x: float
    y: float
    radius: float
    clipped: bool


class _Scale:
    """Maps latency (logarithmic) and goodness (linear) to the plot."""

    def __init__(self, seconds: Sequence[float], goodness: Sequence[float], error: float) -> None:
        low, high = math.log10(min(seconds)), math.log10(max(seconds))
        room = max(0.08 * (high - low), 0.04)
        self._low, self._high = low - room, high + room
        self.best = max(goodness)
        worst = self.best - _VISIBLE_SHARE * abs(self.best)
        self.floor = min(value for value in goodness if value >= worst)
        self._room = max(0.12 * (self.best - self.floor), 1.1 * error) or 0.01

    def x(self, seconds: float) -> float:
        share = (math.log10(seconds) - self._low) / (self._high - self._low)
        return _LEFT + share * (_RIGHT - _LEFT)

    def y(self, goodness: float) -> float:
        bottom, top = self.floor - self._room, self.best + self._room
        share = (min(max(goodness, bottom), top) - bottom) / (top - bottom)
        return _BOTTOM - share * (_BOTTOM - _TOP)

    def latency_ticks(self) -> list[float]:
        """Seconds at 1, 1.5, 2, 3, 5, 7 of each decade in view, thinned where they are many."""
        first, last = math.floor(self._low), math.ceil(self._high)
        steps = (1, 1.5, 2, 3, 5, 7) if self._high - self._low < 1.2 else (1, 3)
        ticks = [step * 10.0**decade for decade in range(first, last + 1) for step in steps]
        return [tick for tick in ticks if self._low <= math.log10(tick) <= self._high]

    def goodness_ticks(self) -> list[float]:
        """About five round numbers in view."""
        span = self.best - self.floor + 2 * self._room
        step = 10.0 ** math.floor(math.log10(span / 4))
        step = next(step * factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 6)
        first = math.ceil((self.floor - self._room) / step)
        last = math.floor((self.best + self._room) / step)
        return [index * step for index in range(first, last + 1)]


def draw(portfolio: Portfolio) -> str:
    """The SVG of a portfolio with at least one listed entry."""
    entries = portfolio.listed()
    goodness = [_goodness(_score(entry), _score(entry).value) for entry in entries]
    error = max(_score(entry).standard_error or 0.0 for entry in entries)
    scale = _Scale([_seconds(entry) for entry in entries], goodness, error)
    points = _points(entries, scale)
    body = (
        _frame(portfolio, scale, _score(entries[0])),
        _front(points),
        *(_dot(point, scale) for point in points),
        *_numbers(points),
        _list(points),
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img">'
        f"<style>{_STYLE}</style>"
        f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}"/>{"".join(body)}</svg>\n'
    )


def _score(entry: PortfolioEntry) -> Score:
    score = entry.benchmark.score() if entry.benchmark else None
    assert score is not None  # a listed entry was scored
    return score


def _seconds(entry: PortfolioEntry) -> float:
    assert entry.benchmark is not None
    return entry.benchmark.latency.p50_seconds


def _goodness(score: Score, value: float) -> float:
    return value if score.higher_is_better else -value


def _points(entries: Sequence[PortfolioEntry], scale: _Scale) -> list[_Point]:
    sizes = [entry.variant.artifact.size_bytes for entry in entries if entry.variant]
    points = []
    for number, (entry, size) in enumerate(zip(entries, sizes, strict=True), start=1):
        score = _score(entry)
        goodness = _goodness(score, score.value)
        points.append(
            _Point(
                number=number,
                entry=entry,
                score=score,
                seconds=_seconds(entry),
                size_bytes=size,
                x=scale.x(_seconds(entry)),
                y=scale.y(goodness),
                radius=4 + 10 * math.sqrt(size / max(sizes)),
                clipped=goodness < scale.floor,
            )
        )
    return points


def _frame(portfolio: Portfolio, scale: _Scale, score: Score) -> str:
    parts = [
        _text(_LEFT, 28, f"{portfolio.model} version {portfolio.model_version}", "title"),
        _text(
            _LEFT,
            48,
            f"area: file size; bar: standard error; triangle: far below; {portfolio.build_host}",
            "faint",
        ),
    ]
    for tick in scale.goodness_ticks():
        y = scale.y(tick)
        parts.append(_line("grid", _LEFT, y, _RIGHT, y))
        label = score_text(score.metric, _goodness(score, tick))
        parts.append(_text(_LEFT - 8, y + 4, label, anchor="end"))
    for tick in scale.latency_ticks():
        x = scale.x(tick)
        parts.append(_line("grid", x, _TOP, x, _BOTTOM))
        parts.append(_text(x, _BOTTOM + 20, duration(tick), anchor="middle"))
    parts.append(_line("axis", _LEFT, _BOTTOM, _RIGHT, _BOTTOM))
    parts.append(_line("axis", _LEFT, _TOP, _LEFT, _BOTTOM))
    middle = (_LEFT + _RIGHT) / 2
    parts.append(_text(middle, _BOTTOM + 44, "median latency on the build host", "faint", "middle"))
    direction = "" if score.higher_is_better else ", lower is better"
    centre = (_TOP + _BOTTOM) / 2
    parts.append(
        f'<text class="faint" text-anchor="middle" transform="translate(22 {centre:.1f}) '
        f'rotate(-90)">{escape(score.metric + direction)}</text>'
    )
    return "".join(parts)


def _front(points: Sequence[_Point]) -> str:
    """The line through the variants that none beats in both score and latency."""
    line: list[_Point] = []
    for point in sorted(points, key=lambda item: (item.x, item.y)):
        if not point.clipped and (not line or point.y < line[-1].y):
            line.append(point)
    path = " ".join(f"{point.x:.1f},{point.y:.1f}" for point in line)
    return f'<polyline class="front" points="{path}"/>'


def _dot(point: _Point, scale: _Scale) -> str:
    kind = "dot best" if point.entry.pareto else "dot"
    title = f"<title>{escape(point.entry.name)}</title>"
    x, y, radius = point.x, point.y, point.radius
    if point.clipped:
        triangle = f"{x - 7:.1f},{y - 10:.1f} {x + 7:.1f},{y - 10:.1f} {x:.1f},{y + 2:.1f}"
        return f'<polygon class="{kind}" points="{triangle}">{title}</polygon>'
    circle = (
        f'<circle class="{kind}" fill-opacity="0.7" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}">'
        f"{title}</circle>"
    )
    error = point.score.standard_error
    if not error:
        return circle
    value = _goodness(point.score, point.score.value)
    return _line("error", x, scale.y(value - error), x, scale.y(value + error)) + circle


def _numbers(points: Sequence[_Point]) -> list[str]:
    """Each dot's number beside it, where it covers no other number or dot's centre."""
    taken = [(point.x, point.y) for point in points]
    labels = []
    for point in points:
        reach = point.radius + 9
        around = [
            (
                point.x + reach * stretch * math.cos(angle),
                point.y + reach * stretch * math.sin(angle),
            )
            for stretch in (1.0, 1.5, 2.0)
            for angle in (0.0, math.pi, -0.8, 0.8, math.pi + 0.8, math.pi - 0.8, -1.57, 1.57)
        ]
        spot = max(around[:8], key=lambda place: _distance(place, taken))
        free = [place for place in around if _distance(place, taken) >= 14]
        spot = free[0] if free else spot
        taken.append(spot)
        labels.append(
            f'<text class="number" text-anchor="middle" x="{spot[0]:.1f}" '
            f'y="{spot[1] + 4:.1f}">{point.number}</text>'
        )
    return labels


def _distance(place: tuple[float, float], others: Sequence[tuple[float, float]]) -> float:
    return min(math.dist(place, other) for other in others)


def _list(points: Sequence[_Point]) -> str:
    pitch = min(30.0, (_BOTTOM - _TOP + 40) / len(points))
    lines = []
    for position, point in enumerate(points):
        y = _TOP + 6 + position * pitch
        kind = "dot best" if point.entry.pareto else "dot"
        numbers = (
            f"{score_text(point.score.metric, point.score.value)} · {duration(point.seconds)} · "
            f"{count_bytes(point.size_bytes)}"
        )
        lines.append(f'<circle class="{kind}" cx="{_LIST_X}" cy="{y - 4:.1f}" r="5"/>')
        lines.append(_text(_LIST_X + 28, y, str(point.number), "number", "end"))
        lines.append(_text(_LIST_X + 36, y, point.entry.name))
        lines.append(_text(WIDTH - 16, y, numbers, "faint", "end"))
    return "".join(lines)


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return (
        f'<text class="{kind}" text-anchor="{anchor}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'
    )
