"""Who is not beaten in score, latency and bytes, and what beats the fixed recipes. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

SIGNIFICANT_ERRORS: Final = 2.0
"""Scores closer than this many standard errors are called equal."""

Costs = tuple[float, float, float]
"""Three quantities of which less is better."""


@dataclass(frozen=True)
class Point:
    """A measured recipe as the front sees it; quantities are relative to the baseline.

    Attributes:
        goodness: the score minus the baseline's, turned so that higher is better.
        error: its standard error.
        latency_ratio: over the baseline's on the same machine.
        bytes_ratio: of transferred bytes.
        latency_noise_ratio: how far two measurements of one file lie apart, over the latency.
    """

    name: str
    goodness: float
    error: float
    latency_ratio: float
    bytes_ratio: float
    latency_noise_ratio: float = 0.0

    @property
    def costs(self) -> Costs:
        """What hypervolumes are made of: equal ratios of latency and bytes are equal steps."""
        return (-self.goodness, math.log(self.latency_ratio), math.log(self.bytes_ratio))


class Standing(str, Enum):
    """What became of a fixed recipe."""

    ON_FRONT = "on the front"
    DOMINATED = "dominated"
    EQUALLED = "equalled"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class FixedStanding:
    """A fixed recipe, and the recipe of the front that is at least as good, if there is one."""

    name: str
    standing: Standing
    by: str | None = None


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether no cost of `one` is higher and at least one is lower."""
    return tuple(one) != tuple(other) and all(a <= b for a, b in zip(one, other, strict=True))


def front(points: Sequence[Point]) -> tuple[Point, ...]:
    """The points that no other dominates, as measured; of equal ones the first."""
    kept = []
    for index, point in enumerate(points):
        beaten = any(dominates(other.costs, point.costs) for other in points)
        if not beaten and all(other.costs != point.costs for other in points[:index]):
            kept.append(point)
    return tuple(kept)


def at_least_as_good(one: Point, other: Point) -> bool:
    """Whether `one` is worse than `other` in nothing by more than chance explains.

    The errors of the two scores are added as if they were independent, which overstates the error
    of their difference where both were scored on the same samples.
    """
    allowed = SIGNIFICANT_ERRORS * math.hypot(one.error, other.error)
    noise = max(one.latency_noise_ratio, other.latency_noise_ratio)
    return (
        one.goodness >= other.goodness - allowed
        and one.latency_ratio <= other.latency_ratio * (1.0 + noise)
        and one.bytes_ratio <= other.bytes_ratio
    )


def clearly_better(one: Point, other: Point) -> bool:
    """Whether `one` is worse in nothing as measured, and better in something beyond chance."""
    if not dominates(one.costs, other.costs):
        return False
    allowed = SIGNIFICANT_ERRORS * math.hypot(one.error, other.error)
    noise = max(one.latency_noise_ratio, other.latency_noise_ratio)
    return (
        one.goodness > other.goodness + allowed
        or one.latency_ratio * (1.0 + noise) < other.latency_ratio
        or one.bytes_ratio < other.bytes_ratio
    )


def standings(fixed: Sequence[str], points: Sequence[Point]) -> tuple[FixedStanding, ...]:
    """What became of each fixed recipe, given everything that was measured.

    A recipe that nothing beats is on the front itself, even if another equals it within noise.
    """
    best = front(points)
    return tuple(_standing(name, points, best) for name in fixed)


def _standing(name: str, points: Sequence[Point], best: Sequence[Point]) -> FixedStanding:
    own = next((point for point in points if point.name == name), None)
    if own is None:
        return FixedStanding(name, Standing.NOT_MEASURED)
    if own in best:
        return FixedStanding(name, Standing.ON_FRONT)
    better = [point for point in best if clearly_better(point, own)]
    if better:
        return FixedStanding(name, Standing.DOMINATED, _lightest(better))
    equal = [point for point in best if at_least_as_good(point, own)]
    return FixedStanding(name, Standing.EQUALLED, _lightest(equal) if equal else None)


def _lightest(points: Sequence[Point]) -> str:
    return min(points, key=lambda point: (point.bytes_ratio, point.name)).name


def hypervolume(costs: Sequence[Costs], reference: Costs) -> float:
    """The volume between the points and the reference that at least one point dominates.

    Exact, by slices along the third cost, each swept along the first: O(n² log n).
    """
    inside = [cost for cost in costs if all(a < b for a, b in zip(cost, reference, strict=True))]
    inside.sort(key=lambda cost: cost[2])
    total = 0.0
    for index, cost in enumerate(inside):
        above = inside[index + 1][2] if index + 1 < len(inside) else reference[2]
        if above > cost[2]:
            flat = [(a, b) for a, b, _ in inside[: index + 1]]
            total += _area(flat, reference[:2]) * (above - cost[2])
    return total


def _area(points: Sequence[tuple[float, float]], reference: tuple[float, float]) -> float:
    total, lowest = 0.0, reference[1]
    for a, b in sorted(points):
        if b < lowest:
            total += (reference[0] - a) * (lowest - b)
            lowest = b
    return total


def gain(point: Point, others: Sequence[Point], reference: Costs) -> float:
    """How much hypervolume the point adds to the others; zero where it is dominated."""
    costs = [other.costs for other in others]
    return max(0.0, hypervolume([*costs, point.costs], reference) - hypervolume(costs, reference))
