"""What is worth evaluating, given everything that is known. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

from fitment_compress.errors import TechniqueError
from fitment_compress.recipe import Recipe
from fitment_compress.search import ladder
from fitment_compress.search.front import Costs, Point
from fitment_compress.search.results import Result, point_of
from fitment_compress.search.seam import Evaluation
from fitment_compress.search.space import Space

WORTHLESS_RATIO: Final = 2.0
"""Latency and bytes above this multiple of the baseline's add nothing to the front."""


SUSPICIOUS: Final = 2
"""Recipes that failed, before what only they had in common is held to be the reason."""


class Judge:
    """Compares candidates with what others have shown.

    Args:
        space: of the candidates.
        baseline: what scores are compared with.
        tolerated_loss: of the score, as a share of the baseline's; beyond it a candidate is of no
            use, however small.

    Attributes:
        lowest: the goodness that is tolerated.
    """

    def __init__(self, space: Space, baseline: Evaluation, tolerated_loss: float) -> None:
        self._space = space
        self._baseline = baseline
        self.lowest = -tolerated_loss * abs(baseline.score)

    def is_promising(self, recipe: Recipe, known: Sequence[Result]) -> bool:
        """Whether nothing that is known says that the recipe must fail or lose too much."""
        if self._space.problem(recipe) is not None:
            return False
        if not useless(known).isdisjoint(step.technique for step in recipe.steps):
            return False
        return not any(self._speaks_against(result, recipe) for result in known)

    def _speaks_against(self, result: Result, recipe: Recipe) -> bool:
        if result.error_kind == TechniqueError.__name__:
            return recipe.steps[: len(result.steps)] == result.steps
        point = point_of(result, self._baseline)
        return (
            point is not None
            and ladder.collapsed(point, self.lowest)
            and self._space.harsher_or_equal(recipe, result.recipe)
        )

    def deserves_more(self, points: Sequence[Point], climb: int, known: Sequence[Result]) -> bool:
        """Whether a candidate should be given the epochs of the next rung.

        Args:
            points: what it reached so far, rung by rung.
            climb: its number.
            known: everything that is known, its own results included.
        """
        climbs: dict[int, list[Point]] = {}
        measured = []
        for result in known:
            point = point_of(result, self._baseline)
            if point is None:
                continue
            measured.append(point)
            if result.rung is not None and result.climb != climb:
                climbs.setdefault(result.climb, []).append(point)
        others = [
            ladder.Climber(tuple(reached))
            for reached in climbs.values()
            if len(reached) >= len(points)
        ]
        return ladder.deserves_more(
            ladder.Climber(tuple(points)), others, measured, self._reference()
        )

    def _reference(self) -> Costs:
        worthless = math.log(WORTHLESS_RATIO)
        return (-self.lowest, worthless, worthless)


def useless(known: Sequence[Result]) -> set[str]:
    """Techniques that were part of several recipes that could not be built, and of no other."""
    failed: Counter[str] = Counter()
    worked: set[str] = set()
    for result in known:
        techniques = {step.technique for step in result.steps}
        if result.evaluation is not None:
            worked |= techniques
        elif result.error_kind == TechniqueError.__name__:
            failed.update(techniques)
    return {name for name, count in failed.items() if count >= SUSPICIOUS} - worked
