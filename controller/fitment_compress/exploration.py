"""The search's view of a run: recipes in, measurements out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from fitment_compress.jobs import Prepared
from fitment_compress.progress import Progress
from fitment_compress.recipe import Recipe
from fitment_compress.search.explore import SearchRequest, SearchResult, search, study_name
from fitment_compress.search.rules import SourceFacts
from fitment_compress.search.seam import Evaluation
from fitment_compress.search.space import Space
from fitment_compress.workshop import Workshop

LATENCY_NOISE_RATIO: Final = 0.1
"""Medians of one file, measured alone at different moments of a run, lay this far apart."""


@dataclass(frozen=True)
class Exploration:
    """What to search, and for how long.

    Attributes:
        seconds: wall-clock time.
        storage: the URL of a database that other machines may share.
        jobs: candidates at a time.
        seed: of the sampler and of every training.
        origin: the key of everything that the run starts from.
    """

    seconds: float
    storage: str
    jobs: int
    seed: int
    origin: str


def sqlite_url(path: Path) -> str:
    """The storage of a search that nobody shares."""
    return f"sqlite:///{path.absolute()}"


def explore(
    exploration: Exploration,
    fixed: Sequence[Recipe],
    prepared: Prepared,
    workshop: Workshop,
    progress: Progress,
) -> SearchResult:
    """Evaluate the fixed recipes, then search until the time is up.

    Raises:
        RequestError: Optuna is missing, or the storage cannot be opened.
        CompressError: not even the baseline can be measured.
    """
    began = time.monotonic()
    space = Space(
        SourceFacts(
            opset=workshop.stages(())[-1].built.opset or prepared.source.opset,
            operators=frozenset(prepared.operators),
            weighted_operators=frozenset(prepared.weighted_operators),
            can_learn=find_spec("torch") is not None,
        )
    )
    # Another seed makes other models of the same recipes: they share neither files nor results.
    origin = (exploration.origin, space.digest(), str(exploration.seed))
    request = SearchRequest(
        study=study_name(prepared.source.file_name, origin),
        storage=exploration.storage,
        budget_seconds=max(0.0, exploration.seconds - (time.monotonic() - began)),
        fixed=tuple(fixed),
        jobs=exploration.jobs,
        seed=exploration.seed,
    )
    with workshop.inside(progress):
        return search(request, space, WorkshopEvaluator(workshop), progress)


def with_front(fixed: Sequence[Recipe], result: SearchResult) -> list[Recipe]:
    """The fixed recipes and, behind them, what else nothing that was found is better than."""
    names = {point.name for point in result.front} - {recipe.name for recipe in fixed}
    return [*fixed, *(found.recipe for found in result.results if found.name in names)]


def described(result: SearchResult) -> list[str]:
    """What the search did and found, one sentence per line."""
    failed = sum(found.evaluation is None for found in result.results)
    beaten = [standing for standing in result.fixed if standing.by is not None]
    lines = [
        f"the search measured {len(result.points)} recipes in {result.spent_seconds:.0f} s, "
        f"{failed} failed; {len(result.front)} are not beaten; it ended: {result.ending.value}"
    ]
    lines += [
        f"{standing.name} is {standing.standing.value} by {standing.by}" for standing in beaten
    ]
    return lines


class WorkshopEvaluator:
    """Evaluates recipes by building and measuring their stages."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop

    def evaluate(self, recipe: Recipe, deadline: float) -> Evaluation:
        """See `fitment_compress.search.seam.Evaluator.evaluate`."""
        began = time.monotonic()
        last = self._workshop.stages(recipe.steps, deadline)[-1]
        score = last.measured.report.score()
        assert score is not None
        difference = last.measured.difference
        return Evaluation(
            score=score.value,
            score_error=None if difference is None else difference.standard_error,
            higher_is_better=score.higher_is_better,
            latency_seconds=last.measured.report.latency.p50_seconds,
            transferred_bytes=last.built.compressed_bytes,
            seconds_spent=time.monotonic() - began,
            latency_noise_ratio=LATENCY_NOISE_RATIO,
        )

    def is_made(self, recipe: Recipe) -> bool:
        """See `fitment_compress.search.seam.Evaluator.is_made`."""
        return self._workshop.is_made(recipe.steps)

    def cancel(self) -> None:
        """See `fitment_compress.search.seam.Evaluator.cancel`."""
        self._workshop.cancel()
