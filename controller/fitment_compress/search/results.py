"""What is remembered of every evaluation, and how a front is made of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fitment_compress.recipe import Recipe
from fitment_compress.search.front import Point
from fitment_compress.search.naming import named
from fitment_compress.search.rules import Techniques
from fitment_compress.search.seam import Evaluation
from fitment_contract.base import Record
from fitment_contract.variant import RecipeStep


class Result(Record):
    """One recipe as one machine evaluated it; either `evaluation` or `failure` is there.

    Attributes:
        name, steps: of the recipe.
        identity: equal for recipes that make the same model.
        climb: number of the candidate whose rungs belong together, unique in a study.
        rung: how often the candidate had been given more epochs; None where it never is, because
            it is fixed or does not learn.
        host: where it was measured.
        latency_ratio: over the baseline's on that host.
        failure: why it failed; error_kind: the class of the error.
    """

    name: str
    steps: tuple[RecipeStep, ...]
    identity: str
    climb: int
    rung: int | None
    host: str
    evaluation: Evaluation | None = None
    latency_ratio: float | None = None
    failure: str | None = None
    error_kind: str | None = None

    @property
    def recipe(self) -> Recipe:
        """What was evaluated."""
        return Recipe(self.name, self.steps)


def point_of(result: Result, baseline: Evaluation) -> Point | None:
    """The result relative to the baseline; None where it failed."""
    evaluation = result.evaluation
    if evaluation is None or result.latency_ratio is None:
        return None
    sign = 1.0 if evaluation.higher_is_better else -1.0
    return Point(
        name=result.name,
        goodness=sign * (evaluation.score - baseline.score),
        error=evaluation.score_error or 0.0,
        latency_ratio=result.latency_ratio,
        bytes_ratio=evaluation.transferred_bytes / baseline.transferred_bytes,
        latency_noise_ratio=evaluation.latency_noise_ratio,
    )


def points_of(results: Iterable[Result], baseline: Evaluation) -> tuple[Point, ...]:
    """The results that did not fail, relative to the baseline."""
    points = (point_of(result, baseline) for result in results)
    return tuple(point for point in points if point is not None)


def own_names(
    results: Iterable[Result], fixed: Mapping[str, str], techniques: Techniques
) -> list[Result]:
    """The results under the names of the fixed recipes, others under names that none of these has.

    Args:
        results: one per model.
        fixed: the names of the fixed recipes by identity.
        techniques: by name.
    """
    called = []
    for result in results:
        name = fixed.get(result.identity, result.name)
        if result.identity not in fixed and name in fixed.values():
            name = named(result.steps, fixed.values(), techniques).name
        called.append(result.model_copy(update={"name": name}))
    return called


def distinct(results: Sequence[Result]) -> tuple[Result, ...]:
    """One result per model; measured ones before failed ones, earlier ones before later ones."""
    found: dict[str, Result] = {}
    for result in sorted(results, key=lambda entry: entry.evaluation is None):
        found.setdefault(result.identity, result)
    return tuple(found[result.identity] for result in results if found[result.identity] is result)
