"""The search: fixed recipes first, then whatever the sampler proposes, until the time is up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from fitment_compress.errors import CompressError, OutputError, RequestError
from fitment_compress.progress import Progress
from fitment_compress.recipe import Recipe
from fitment_compress.search import ladder
from fitment_compress.search.budget import Budget, Durations
from fitment_compress.search.front import FixedStanding, Point, front, standings
from fitment_compress.search.judge import Judge
from fitment_compress.search.results import Result, distinct, own_names, point_of, points_of
from fitment_compress.search.seam import Evaluation, Evaluator
from fitment_compress.search.space import Space
from fitment_contract.base import canonical_json, sha256_hex

if TYPE_CHECKING:
    from fitment_compress.search.study import Candidate, Study

MOST_REJECTED: Final = 60
"""Proposals in a row that are known, hopeless or too long, before the search is over."""

TRUSTED: Final = 6
"""Rejected proposals in a row, after which the sampler is not asked but chance."""

_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True)
class SearchRequest:
    """What to search, and for how long.

    Attributes:
        study: the name under which all who take part find each other; see `study_name`.
        storage: the URL of a database.
        budget_seconds: wall-clock time of this process.
        fixed: evaluated first; the baseline (no steps) ahead of all.
        jobs: candidates at a time.
        epochs: the rungs that candidates which learn climb; the space proposes the first.
        tolerated_loss: a candidate whose score is further below the baseline's, as a share of it,
            is of no use, however small.
        seed: of the sampler; None for a different one in every process.
    """

    study: str
    storage: str
    budget_seconds: float
    fixed: tuple[Recipe, ...]
    jobs: int = 1
    epochs: tuple[float, ...] = ladder.EPOCHS
    tolerated_loss: float = 0.05
    seed: int | None = None


class Ending(str, Enum):
    """Why a search ended."""

    TIME = "no time for another candidate"
    NOTHING_NEW = "nothing new to try"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class SearchResult:
    """What was found, by this process and all that share its study.

    Attributes:
        results: one per model, measured or failed, the baseline first; fixed recipes under their
            names.
        points: the measured ones relative to the baseline; front: those that none dominates.
        fixed: what became of each fixed recipe.
        spent_seconds: by this process.
    """

    results: tuple[Result, ...]
    points: tuple[Point, ...]
    front: tuple[Point, ...]
    fixed: tuple[FixedStanding, ...]
    ending: Ending
    spent_seconds: float


def study_name(model: str, digests: Iterable[str]) -> str:
    """The name of the study of a model; another for other data, other choices, another metric.

    Args:
        model: what applications ask for.
        digests: of everything that makes results incomparable, `Space.digest` among them.
    """
    return f"{model}-{sha256_hex(canonical_json(list(digests)))[:16]}"


def search(
    request: SearchRequest,
    space: Space,
    evaluator: Evaluator,
    progress: Progress,
    clock: Callable[[], float] = time.monotonic,
) -> SearchResult:
    """Evaluate the fixed recipes, then explore the space until the budget is spent.

    An interrupt (Ctrl-C) ends the search with what there is; the study can be continued.

    Raises:
        RequestError: Optuna is missing, or the storage cannot be opened.
        OutputError: the storage, or what was made, cannot be written any more.
        CompressError: not even the baseline can be evaluated.
    """
    try:
        from optuna.exceptions import StorageInternalError

        from fitment_compress.search.storage import gone
        from fitment_compress.search.study import Study
    except ImportError as error:
        raise RequestError(
            f"The search needs {error.name}.", "Install it: pip install 'fitment[search]'."
        ) from error
    budget = Budget(request.budget_seconds, clock)
    try:
        study = Study(request.storage, request.study, space, request.seed)
        try:
            return _Search(request, space, evaluator, progress, budget, study).run()
        finally:
            study.close()
    except StorageInternalError as error:
        raise gone(error) from error


class _Search:
    """One process's part in a study."""

    def __init__(
        self,
        request: SearchRequest,
        space: Space,
        evaluator: Evaluator,
        progress: Progress,
        budget: Budget,
        study: Study,
    ) -> None:
        self._request, self._space, self._evaluator = request, space, evaluator
        self._progress, self._budget, self._study = progress, budget, study
        self._durations = Durations(space.techniques)
        self._stopped = threading.Event()
        self._ending = Ending.TIME
        self._owed_seconds = 0.0
        self._faults: list[BaseException] = []
        self._telling = threading.Lock()

    def run(self) -> SearchResult:
        request = self._request
        self._progress.stage(f"searching for {_words(request.budget_seconds)}", 0)
        returned = self._study.recover()
        if returned:
            self._progress.note(f"{returned} candidates of a search that died are tried again")
        self._baseline = self._measured_baseline()
        self._judge = Judge(self._space, self._baseline, request.tolerated_loss)
        for result in self._study.results():
            if result.evaluation is not None:
                self._durations.learn(result.recipe, result.evaluation.seconds_spent)
        self._study.enqueue([recipe for recipe in request.fixed if recipe.steps])
        self._run_workers()
        return self._result()

    def _measured_baseline(self) -> Evaluation:
        """The yardstick, measured on this very machine, now or in an earlier run."""
        recipe = self._request.fixed[0]
        identity = self._space.identity(recipe)
        for result in self._study.results():
            known = result.evaluation
            if result.identity == identity and result.host == self._study.host and known:
                return known
        evaluation = self._evaluator.evaluate(recipe, self._budget.deadline)
        result = self._result_of(recipe, -1, None, evaluation)
        self._study.add(result, Point(recipe.name, 0.0, 0.0, 1.0, 1.0).costs)
        self._tell(result)
        return evaluation

    def _run_workers(self) -> None:
        workers = [
            threading.Thread(target=self._work, name=f"search-{index}", daemon=True)
            for index in range(self._request.jobs)
        ]
        for worker in workers:
            worker.start()
        try:
            self._wait(workers)
        except KeyboardInterrupt:
            self._ending = Ending.INTERRUPTED
            self._stop()
            self._wait(workers)
        if self._faults:
            raise self._faults[0]

    def _wait(self, workers: Iterable[threading.Thread]) -> None:
        for worker in workers:
            while worker.is_alive():
                worker.join(_POLL_SECONDS)
                if self._budget.past_deadline and not self._stopped.is_set():
                    self._stop()

    def _stop(self) -> None:
        self._stopped.set()
        self._evaluator.cancel()

    def _work(self) -> None:
        try:
            while not self._stopped.is_set():
                candidate = self._next()
                if candidate is None:
                    return
                self._climb(candidate)
        except BaseException as fault:  # noqa: BLE001 - raised again where the search was called
            self._faults.append(fault)
            self._stop()

    def _next(self) -> Candidate | None:
        """What is worth the time that is left; None when there is nothing."""
        self._owed_seconds = self._owed()
        too_long = 0
        while (queued := self._study.queued()) is not None:
            if self._fits(queued.recipe):
                return queued
            self._study.drop(queued)
            too_long += 1
        for rejected in range(MOST_REJECTED):
            if self._stopped.is_set() or self._durations.least() > self._left:
                return None
            idea = self._study.propose(at_random=rejected >= TRUSTED)
            fits = self._fits(idea.recipe)
            if fits and self._is_worthwhile(idea.recipe):
                candidate = self._study.claim(idea)
                if candidate is not None:
                    return candidate
            too_long += not fits
            self._study.reject(idea)
        if not too_long:
            self._ending = Ending.NOTHING_NEW
        return None

    def _fits(self, recipe: Recipe) -> bool:
        return self._durations.expected(recipe) <= self._left

    @property
    def _left(self) -> float:
        """Seconds for what is new."""
        return self._budget.left - self._owed_seconds

    def _owed(self) -> float:
        """Seconds to make here what will be listed, and what another machine or run has made."""
        found = self._found()
        missing = [
            result
            for result in found
            if result.evaluation is not None and not self._evaluator.is_made(result.recipe)
        ]
        if not missing:
            return 0.0
        listed = {recipe.name for recipe in self._request.fixed}
        listed |= {point.name for point in front(points_of(found, self._baseline))}
        seconds = (self._durations.expected(each.recipe) for each in missing if each.name in listed)
        return sum(seconds) / self._request.jobs

    def _is_worthwhile(self, recipe: Recipe) -> bool:
        """Whether the recipe is new, and nothing that is known speaks against it."""
        if self._space.identity(recipe) in self._study.taken():
            return False
        return self._judge.is_promising(recipe, self._study.results())

    def _climb(self, candidate: Candidate) -> None:
        """Evaluate a candidate, with more epochs for as long as it deserves them."""
        rungs: list[tuple[int | None, Recipe]] = [(None, candidate.recipe)]
        if not candidate.fixed and self._space.learns(candidate.recipe):
            rungs = [
                (rung, self._space.with_epochs(candidate.recipe, count))
                for rung, count in enumerate(self._request.epochs)
            ]
        points: list[Point] = []
        for rung, recipe in rungs:
            if rung and not (
                self._fits(recipe)
                and self._judge.deserves_more(points, candidate.number, self._study.results())
            ):
                break
            result = self._evaluated(recipe, candidate, rung)
            if result is None:
                self._study.give_back(candidate)
                return
            point = point_of(result, self._baseline)
            if point is None:
                break
            points.append(point)
        last = points[-1] if points else None
        self._study.finish(
            candidate,
            costs=None if last is None else last.costs,
            violation=0.0 if last is None else self._judge.lowest - last.goodness,
        )

    def _evaluated(self, recipe: Recipe, candidate: Candidate, rung: int | None) -> Result | None:
        """What is known of the recipe, else what is measured now; None when interrupted."""
        identity = self._space.identity(recipe)
        known = [entry for entry in self._study.results() if entry.identity == identity]
        if known:
            update = {"climb": candidate.number, "rung": rung, "name": recipe.name}
            result = known[0].model_copy(update=update)
        else:
            try:
                evaluation = self._evaluator.evaluate(recipe, self._budget.deadline)
            except OutputError:
                raise  # the candidate is not to blame
            except CompressError as error:
                if self._stopped.is_set() or self._budget.past_deadline:
                    return None
                result = self._result_of(recipe, candidate.number, rung, error)
            else:
                self._durations.learn(recipe, evaluation.seconds_spent)
                result = self._result_of(recipe, candidate.number, rung, evaluation)
        self._study.record(candidate, result)
        self._tell(result)
        return result

    def _result_of(
        self, recipe: Recipe, climb: int, rung: int | None, outcome: Evaluation | CompressError
    ) -> Result:
        made = Result(
            name=recipe.name,
            steps=recipe.steps,
            identity=self._space.identity(recipe),
            climb=climb,
            rung=rung,
            host=self._study.host,
        )
        if isinstance(outcome, CompressError):
            update = {"failure": str(outcome), "error_kind": type(outcome).__name__}
            return made.model_copy(update=update)
        baseline = self._baseline if recipe.steps else outcome
        ratio = outcome.latency_seconds / baseline.latency_seconds
        return made.model_copy(update={"evaluation": outcome, "latency_ratio": ratio})

    def _tell(self, result: Result) -> None:
        left = _words(max(0.0, self._budget.left))
        outcome = "" if result.failure is None else f" failed: {result.failure}"
        with self._telling:
            self._progress.step(f"{result.name}{outcome}  ({left} left)")

    def _found(self) -> list[Result]:
        """One result per model, each under a name that no other has."""
        fixed = {self._space.identity(recipe): recipe.name for recipe in self._request.fixed}
        return own_names(distinct(self._study.results()), fixed, self._space.techniques)

    def _result(self) -> SearchResult:
        results = sorted(self._found(), key=lambda result: bool(result.steps))
        points = points_of(results, self._baseline)
        return SearchResult(
            results=tuple(results),
            points=points,
            front=front(points),
            fixed=standings([recipe.name for recipe in self._request.fixed], points),
            ending=self._ending,
            spent_seconds=self._budget.spent,
        )


def _words(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120.0 else f"{seconds / 60.0:.0f} min"
