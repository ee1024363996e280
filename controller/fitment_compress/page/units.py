"""One unit for a whole column, so that its numbers line up and compare at a glance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Final

_SECONDS: Final = (("µs", 1e-6), ("ms", 1e-3), ("s", 1.0))
_BYTES: Final = (("B", 1.0), ("kB", 1e3), ("MB", 1e6), ("GB", 1e9))
_COUNTS: Final = (("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9))


@dataclass(frozen=True)
class Unit:
    """How the numbers of a column are written.

    Attributes:
        symbol: written in the heading.
        size: of the unit, in the unit of the values.
        decimals: the same for all, so that the points stand under each other.
    """

    symbol: str
    size: float
    decimals: int

    def text(self, value: float) -> str:
        """`1,234.5`, without the symbol."""
        return f"{value / self.size:,.{self.decimals}f}"


def seconds_unit(values: Iterable[float]) -> Unit:
    """The unit of durations in seconds."""
    return _chosen(values, _SECONDS)


def bytes_unit(values: Iterable[float]) -> Unit:
    """The unit of sizes in bytes, decimal."""
    return _chosen(values, _BYTES)


def count_unit(values: Iterable[float]) -> Unit:
    """The unit of counts: thousands, millions, as fits."""
    return _chosen(values, _COUNTS)


def _chosen(values: Iterable[float], units: tuple[tuple[str, float], ...]) -> Unit:
    """The unit in which the middle value has digits before the point; two digits for the least."""
    positive = [value for value in values if value > 0]
    if not positive:
        return Unit(*units[0], decimals=0)
    middle = median(positive)
    symbol, size = next(
        ((symbol, size) for symbol, size in reversed(units) if middle >= size), units[0]
    )
    least = min(positive) / size
    whole = size == 1.0 and units is not _SECONDS
    decimals = 0 if whole or least >= 50 else 1 if least >= 1 else 2
    return Unit(symbol, size, decimals)
