"""Maps numbers to shares of an axis, and chooses the numbers to write beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

VISIBLE_SHARE: Final = 0.15
"""Scores worse than the best by more than this share of it are drawn at the edge, so that one
collapsed variant does not squeeze all others into a line."""

_MOST_TICKS: Final = 6
_LEAST_GAP: Final = 0.14
"""Share of an axis that the words beside a tick need."""

_LOG_STEPS: Final = ((1, 1.5, 2, 3, 5, 7), (1, 1.5, 2, 3, 5), (1, 2, 5), (1, 3), (1,))


@dataclass(frozen=True)
class Scale:
    """An axis from `low` to `high`, both in the unit of the values.

    Attributes:
        ticks: round values in view.
        logarithmic: equal ratios are equal lengths.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    logarithmic: bool = False

    def share(self, value: float) -> float:
        """Where the value lies: 0 at `low`, 1 at `high`, never beyond."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.logarithmic:
            low, high, at = math.log10(low), math.log10(high), math.log10(at)
        return (at - low) / (high - low)

    def hides(self, value: float) -> bool:
        """Whether the value is below the axis, and drawn at its end."""
        return value < self.low


def logarithmic(values: Sequence[float]) -> Scale:
    """An axis for positive values that differ by factors, with some room at both ends."""
    smallest, largest = max(min(values), 1e-12), max(*values, 1e-12)
    room = 10 ** max(0.08 * math.log10(largest / smallest), 0.04)
    low, high = smallest / room, largest * room
    return Scale(low, high, _logarithmic_ticks(low, high), logarithmic=True)


def for_scores(goodness: Sequence[float], error: float, important: Sequence[float] = ()) -> Scale:
    """A linear axis for scores, turned so that higher is better.

    Args:
        goodness: at least one value; what is far below the best is left out of view.
        error: the largest standard error, for which there shall be room.
        important: those of them that decide how far down the view reaches; without any, all.
    """
    best = max(goodness)
    worst = best - VISIBLE_SHARE * abs(best)
    floor = min((value for value in important or goodness if value >= worst), default=best)
    room = max(0.12 * (best - floor), 1.2 * error) or 0.01
    low, high = floor - room, best + room
    return Scale(low, high, linear_ticks(low, high))


def linear_ticks(low: float, high: float, most: int = _MOST_TICKS) -> tuple[float, ...]:
    """Round numbers at equal distances."""
    span = high - low
    step = 10.0 ** math.floor(math.log10(span / most))
    step = next(step * factor for factor in (1, 2, 5, 10, 20) if span / (step * factor) <= most)
    first, last = math.ceil(low / step), math.floor(high / step)
    return tuple(index * step for index in range(first, last + 1))


def _logarithmic_ticks(low: float, high: float) -> tuple[float, ...]:
    if high / low < 3:
        return linear_ticks(low, high, most=5)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for steps in _LOG_STEPS:
        ticks = [step * 10.0**decade for decade in decades for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        gaps = [math.log(b / a) / math.log(high / low) for a, b in pairwise(ticks)]
        if min(gaps, default=1.0) >= _LEAST_GAP:
            return tuple(ticks)
    return tuple(ticks[:: math.ceil(len(ticks) / _MOST_TICKS)])
