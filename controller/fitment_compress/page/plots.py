"""Draws two quantities of all variants against each other, with the front as a stair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Final

from fitment_compress.fronts import Candidate, Quantity, front, goodness
from fitment_compress.page.labels import Box, Spot, place
from fitment_compress.page.markup import Markup, element, join
from fitment_compress.page.scales import Scale, for_scores, logarithmic
from fitment_compress.wording import count_bytes, duration, is_ratio, score_text, score_with_error

_DOT: Final = 4.5
_NUMBERED: Final = 36
"""Where there are more variants, only those on the front are labelled."""

_TOLD: Final = 12
"""Members of a front that the text alternative of a picture names."""


@dataclass(frozen=True)
class Plot:
    """One picture of a pair of quantities.

    Attributes:
        of: the variants, in their order.
        pair: abscissa and ordinate.
        frame: the rectangle between the axes; tick labels need 60 units left of it, 40 below it,
            and 22 above it for the name of the ordinate.
        baseline: the name of the variant that is marked as such.
        alone: no table is beside it, so the area of a dot says the size of the file, and every
            variant wants its number however many there are.
    """

    of: Sequence[Candidate]
    pair: tuple[Quantity, Quantity]
    frame: Box
    baseline: str
    alone: bool = False

    def draw(self) -> Markup:
        """Everything inside the `svg` element."""
        best = self._best
        # What matters is drawn last, over the rest, and labelled first.
        ordered = sorted(self.of, key=lambda one: (one not in best, one.name != self.baseline))
        return join(
            self._axes(),
            self._stair(best),
            *(self._mark(one, one in best) for one in reversed(ordered)),
            *self._labels(ordered, best),
        )

    def told(self) -> str:
        """The text alternative: what is drawn, and who is on the front."""
        abscissa, ordinate = (_NAMES[quantity] for quantity in self.pair)
        best = self._best
        named = "; ".join(summary(one) for one in best[:_TOLD])
        rest = f"; and {len(best) - _TOLD} more" if len(best) > _TOLD else ""
        return f"{ordinate} over {abscissa}, {len(self.of)} variants. On the front: {named}{rest}."

    @cached_property
    def _best(self) -> tuple[Candidate, ...]:
        return front(self.of, self.pair)

    @cached_property
    def _scales(self) -> dict[Quantity, Scale]:
        return {quantity: self._scale(quantity) for quantity in self.pair}

    def _scale(self, quantity: Quantity) -> Scale:
        if quantity is not Quantity.SCORE:
            return logarithmic([one.cost(quantity) for one in self.of])
        error = max(one.score.standard_error or 0.0 for one in self.of)
        important = [
            one.goodness for one in self.of if one in self._best or one.name == self.baseline
        ]
        return for_scores([one.goodness for one in self.of], error, important)

    def _x(self, value: float) -> float:
        share = self._scales[self.pair[0]].share(value)
        return self.frame.left + share * (self.frame.right - self.frame.left)

    def _y(self, value: float) -> float:
        share = self._scales[self.pair[1]].share(value)
        return self.frame.bottom - share * (self.frame.bottom - self.frame.top)

    def _at(self, one: Candidate) -> tuple[float, float]:
        return self._x(_value(one, self.pair[0])), self._y(_value(one, self.pair[1]))

    def _radius(self, one: Candidate) -> float:
        if not self.alone:
            return _DOT
        largest = max(other.variant.artifact.size_bytes for other in self.of)
        return float(4 + 9 * (one.variant.artifact.size_bytes / largest) ** 0.5)

    def _axes(self) -> Markup:
        frame, score = self.frame, self.of[0].score
        parts: list[Markup] = []
        for tick in self._scales[self.pair[1]].ticks:
            y = self._y(tick)
            parts.append(_line("grid", frame.left, y, frame.right, y))
            value = goodness(score, tick) if self.pair[1] is Quantity.SCORE else tick
            label = tick_text(self.pair[1], value, score.metric)
            parts.append(svg_text(frame.left - 8, y + 4, label, "tick", "end"))
        for tick in self._scales[self.pair[0]].ticks:
            x = self._x(tick)
            parts.append(_line("grid", x, frame.top, x, frame.bottom))
            label = tick_text(self.pair[0], tick, score.metric)
            parts.append(svg_text(x, frame.bottom + 17, label, "tick", "middle"))
        parts.append(_line("axis", frame.left, frame.bottom, frame.right, frame.bottom))
        ordinate = _NAMES[self.pair[1]]
        if self.pair[1] is Quantity.SCORE:
            ordinate = score.metric + ("" if score.higher_is_better else ", lower is better")
        parts.append(svg_text(frame.left, frame.top - 10, ordinate, "name"))
        abscissa = _NAMES[self.pair[0]]
        parts.append(svg_text(frame.right, frame.bottom + 36, abscissa, "name", "end"))
        return join(*parts)

    def _stair(self, best: Sequence[Candidate]) -> Markup:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in self._stair_points(best))
        return element("polyline", _class="stair", points=path)

    def _stair_points(self, best: Sequence[Candidate]) -> list[tuple[float, float]]:
        """What can be had for each cost: level until the next member of the front."""
        points: list[tuple[float, float]] = []
        for x, y in (self._at(one) for one in best):
            if points:
                points.append((x, points[-1][1]))
            points.append((x, y))
        return points

    def _mark(self, one: Candidate, best: bool) -> Markup:
        (x, y), r = self._at(one), self._radius(one)
        kind = "dot best" if best else "dot"
        error = Markup("")
        if self.pair[1] is Quantity.SCORE and self._scales[Quantity.SCORE].hides(one.goodness):
            mark = _polygon(kind, (x - 6, y - 9), (x + 6, y - 9), (x, y))
        elif one.name == self.baseline:
            r *= 1.3
            mark = _polygon(f"{kind} base", (x - r, y), (x, y - r), (x + r, y), (x, y + r))
        else:
            mark = element("circle", _class=kind, cx=x, cy=y, r=r)
        if self.pair[1] is Quantity.SCORE and one.score.standard_error:
            low, high = (one.goodness + sign * one.score.standard_error for sign in (-1, 1))
            error = _line("error", x, self._y(low), x, self._y(high))
        title = element("title", summary(one))
        return element("g", title, error, mark, _class="point", data_v=one.number)

    def _labels(self, ordered: Sequence[Candidate], best: Sequence[Candidate]) -> list[Markup]:
        """The number of each variant, and the name of those on the front, where there is room."""
        spots = []
        for one in ordered:
            number = str(one.number)
            if one in best:
                texts: tuple[str, ...] = (f"{number} {one.name}", number)
            else:
                texts = (number,) if self.alone or len(self.of) <= _NUMBERED else ()
            spots.append(Spot(*self._at(one), self._radius(one), texts))
        labels = []
        stair = self._stair_points(best)
        walls = [
            Box(min(x, u) - 1, min(y, v) - 1, max(x, u) + 1, max(y, v) + 1)
            for (x, y), (u, v) in pairwise(stair)
        ]
        for one, label in zip(ordered, place(spots, self.frame, walls), strict=True):
            if label is None:
                continue
            number, _, name = label.text.partition(" ")
            words = join(number, element("tspan", f" {name}") if name else "")
            kind = "label best" if one in best else "label"
            x, y = label.box.left, label.box.bottom - 3
            labels.append(element("text", words, _class=kind, x=x, y=y, data_v=one.number))
        return labels


def summary(one: Candidate) -> str:
    """`int8: 93.4 ± 0.6 %, 78 µs, 142.3 kB`."""
    score = score_with_error(one.score.metric, one.score.value, one.score.standard_error)
    size = count_bytes(one.variant.compressed_bytes)
    return f"{one.name}: {score}, {duration(one.seconds)}, {size}"


def tick_text(quantity: Quantity, value: float, metric: str) -> str:
    """A round value without digits that say nothing."""
    if quantity is Quantity.SCORE:
        return f"{100 * value:g} %" if is_ratio(metric) else score_text(metric, value)
    if quantity is Quantity.LATENCY:
        return duration(value)
    return count_bytes(value).replace(".0 ", " ")


def legend_mark(best: bool, baseline: bool = False) -> Markup:
    """How a variant is drawn, for a drawing of 16 by 16 units."""
    kind = "dot best" if best else "dot"
    if baseline:
        return _polygon(f"{kind} base", (2, 8), (8, 2), (14, 8), (8, 14))
    return element("circle", _class=kind, cx=8, cy=8, r=4.5)


def svg_text(x: float, y: float, words: str, kind: str, anchor: str = "start") -> Markup:
    """A line of text; `anchor` is the end that `x` says."""
    return element("text", words, _class=kind, x=x, y=y, text_anchor=anchor)


_NAMES: Final = {
    Quantity.SCORE: "score",
    Quantity.LATENCY: "median latency, 1 thread",
    Quantity.BYTES: "transferred size",
}


def _value(one: Candidate, quantity: Quantity) -> float:
    return one.goodness if quantity is Quantity.SCORE else one.cost(quantity)


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    return element("line", _class=kind, x1=x1, y1=y1, x2=x2, y2=y2)


def _polygon(kind: str, *corners: tuple[float, float]) -> Markup:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    return element("polygon", _class=kind, points=points)
