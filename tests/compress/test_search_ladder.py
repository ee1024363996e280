"""Who climbs, what fits, and how durations are learnt."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from fitment_compress.recipe import Recipe
from fitment_compress.search.budget import Budget, Durations
from fitment_compress.search.front import Point
from fitment_compress.search.judge import Judge, useless
from fitment_compress.search.ladder import Climber, collapsed, deserves_more
from fitment_compress.search.results import Result
from fitment_compress.search.space import Space
from support.search_landscape import FACTS, Clock, duration_seconds, measured, stand_ins, step

REFERENCE = (0.05, math.log(2.0), math.log(2.0))
BASELINE = Point("fp32", 0.0, 0.0, 1.0, 1.0)


def climber(name: str, *goodness: float, latency: float = 0.5, size: float = 0.5) -> Climber:
    points = [
        Point(f"{name}.{rung}", value, 0.001, latency, size) for rung, value in enumerate(goodness)
    ]
    return Climber(tuple(points))


def judged(one: Climber, *others: Climber) -> bool:
    measured = [BASELINE, *(point for entry in (one, *others) for point in entry.points)]
    return deserves_more(one, others, measured, REFERENCE)


def test_the_first_candidate_may_climb() -> None:
    assert judged(climber("a", -0.20))


def test_what_is_dominated_even_with_hope_may_not() -> None:
    other = climber("b", 0.001, latency=0.4, size=0.4)
    assert not judged(climber("a", -0.02), other)
    assert judged(climber("a", -0.02, size=0.05), other)


def test_only_the_best_third_climbs() -> None:
    sizes = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    # Each is faster where it is larger, so that none is dominated.
    group = [
        climber(f"c{index}", -0.01, latency=1.0 - size, size=size)
        for index, size in enumerate(sizes)
    ]
    climbing = [judged(one, *(other for other in group if other is not one)) for one in group]
    assert climbing.count(True) == 2


def test_a_rise_that_was_seen_three_times_is_expected_and_no_more() -> None:
    """A candidate 6.5 points down cannot become useful where nobody ever rose by more than one."""
    rose = [climber(f"b{index}", -0.02, -0.01, latency=0.9, size=0.9) for index in range(3)]
    assert judged(climber("a", -0.065, latency=0.3, size=0.3), *rose[:2])
    assert not judged(climber("a", -0.065, latency=0.3, size=0.3), *rose)
    assert judged(climber("a", -0.04, latency=0.3, size=0.3), *rose)


def test_a_collapse_is_one_beyond_chance() -> None:
    assert collapsed(Point("a", -0.06, 0.004, 1.0, 1.0), lowest=-0.05)
    assert not collapsed(Point("a", -0.06, 0.006, 1.0, 1.0), lowest=-0.05)


def test_what_is_harsher_than_a_collapse_is_not_promising() -> None:
    judge = Judge(Space(FACTS, techniques=stand_ins()), measured(Recipe("fp32")), 0.05)
    mild, harsh = (Recipe("r", (step("magnitude-prune", sparsity=s),)) for s in (0.9, 0.95))

    def known(score: float) -> list[Result]:
        found = replace(measured(mild), score=score)
        return [
            Result(
                name="r",
                steps=mild.steps,
                identity="0",
                climb=0,
                rung=None,
                host="h",
                evaluation=found,
                latency_ratio=1.0,
            )
        ]

    assert judge.is_promising(harsh, known(0.90))
    assert not judge.is_promising(harsh, known(0.60))
    recovered = Recipe("r", (*harsh.steps, step("recover")))
    assert judge.is_promising(recovered, known(0.60))


def test_a_technique_that_only_ever_failed_is_useless() -> None:
    def result(*techniques: str, kind: str | None = None) -> Result:
        steps = tuple(step(technique) for technique in techniques)
        found = None if kind else measured(Recipe("r", steps))
        return Result(
            name="r",
            steps=steps,
            identity="0",
            climb=0,
            rung=None,
            host="h",
            evaluation=found,
            error_kind=kind,
        )

    failed = result("codebook", "depthwise-separable", kind="TechniqueError")
    assert useless([failed]) == set()
    assert useless([failed, failed]) == {"codebook", "depthwise-separable"}
    assert useless([failed, failed, result("codebook")]) == {"depthwise-separable"}
    crashed = result("fp16", kind="WorkerError")
    assert useless([crashed, crashed]) == set()


def test_a_budget_ends_and_has_a_grace() -> None:
    clock = Clock()
    begin = clock()
    budget = Budget(100.0, clock)
    clock.sleep(60.0)
    assert (budget.spent, budget.left) == (60.0, 40.0)
    assert budget.deadline == pytest.approx(begin + 110.0)
    clock.sleep(49.0)
    assert budget.left < 0.0
    assert not budget.past_deadline
    clock.sleep(1.0)
    assert budget.past_deadline


def test_durations_are_learnt_per_technique_and_epoch() -> None:
    durations = Durations(stand_ins())
    quick = Recipe("q", (step("int8-static"),))
    slow = Recipe("s", (step("magnitude-prune"), step("recover", epochs=4.0), step("int8-static")))
    for epochs in (0.5, 2.0, 8.0, 0.5, 2.0, 8.0):
        steps = (step("magnitude-prune"), step("recover", epochs=epochs))
        recipe = Recipe("r", steps)
        durations.learn(recipe, duration_seconds(recipe))
        durations.learn(quick, duration_seconds(quick))
    for recipe in (quick, slow):
        actual = duration_seconds(recipe)
        assert 0.8 * actual < durations.expected(recipe) < 1.5 * actual
