"""Fronts, hypervolumes and standings, by hand-made points and by definition."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitment_compress.search.front import (
    Costs,
    FixedStanding,
    Point,
    Standing,
    at_least_as_good,
    dominates,
    front,
    gain,
    hypervolume,
    standings,
)

REFERENCE = (8.0, 8.0, 8.0)
COSTS = st.lists(st.tuples(*[st.integers(0, 9)] * 3), max_size=12)


def point(name: str, goodness: float, latency: float, size: float, error: float = 0.0) -> Point:
    return Point(name, goodness, error, latency, size)


@given(COSTS)
def test_the_hypervolume_is_the_count_of_dominated_cells(points: list[tuple[int, ...]]) -> None:
    cells = sum(
        any(all(a <= b for a, b in zip(cost, (x, y, z), strict=True)) for cost in points)
        for x in range(8)
        for y in range(8)
        for z in range(8)
    )
    costs: list[Costs] = [(float(a), float(b), float(c)) for a, b, c in points]
    assert hypervolume(costs, REFERENCE) == pytest.approx(cells)


@given(st.lists(st.tuples(*[st.integers(1, 4)] * 3), min_size=1, max_size=12))
def test_the_front_is_what_nothing_dominates(values: list[tuple[int, ...]]) -> None:
    points = [point(f"p{index}", -a, b, c) for index, (a, b, c) in enumerate(values)]
    best = front(points)
    assert best
    for one in points:
        beaten = any(dominates(other.costs, one.costs) for other in points)
        assert beaten != any(one.costs == kept.costs for kept in best)
    assert len({kept.costs for kept in best}) == len(best)


def test_a_dominated_point_adds_nothing() -> None:
    best = point("a", 0.0, 0.5, 0.5)
    reference = (0.1, math.log(2), math.log(2))
    assert gain(point("b", -0.01, 0.6, 0.5), [best], reference) == 0.0
    assert gain(point("b", -0.01, 0.4, 0.5), [best], reference) > 0.0
    assert gain(point("b", -0.2, 0.1, 0.1), [best], reference) == 0.0


def test_a_lower_score_within_two_errors_is_no_difference() -> None:
    fixed = point("fixed", -0.010, 0.7, 0.3, error=0.003)
    found = point("found", -0.018, 0.7, 0.2, error=0.003)
    assert at_least_as_good(found, fixed)
    assert standings(["fixed"], [fixed, found])[0].standing is Standing.ON_FRONT
    above = replace(fixed, goodness=-0.018 - 1e-4, name="below")
    assert standings(["below"], [above, found]) == (
        FixedStanding("below", Standing.DOMINATED, "found"),
    )
    assert not at_least_as_good(replace(found, goodness=-0.019), fixed)


def test_latency_within_its_noise_is_no_difference() -> None:
    fixed = replace(point("fixed", -0.01, 0.50, 0.3), latency_noise_ratio=0.05)
    assert at_least_as_good(point("found", -0.01, 0.52, 0.3), fixed)
    assert not at_least_as_good(point("found", -0.01, 0.53, 0.3), fixed)
    same = standings(["fixed"], [replace(fixed, latency_ratio=0.51), point("f", -0.01, 0.5, 0.3)])
    assert same == (FixedStanding("fixed", Standing.EQUALLED, "f"),)


def test_a_recipe_that_was_not_measured_is_said_to_be_so() -> None:
    assert standings(["gone"], [point("a", 0.0, 1.0, 1.0)]) == (
        FixedStanding("gone", Standing.NOT_MEASURED),
    )
