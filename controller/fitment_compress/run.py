"""One run over one workspace: prepare, make every recipe, time all of them, write the folder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fitment_compress.child import Child
from fitment_compress.errors import CandidateError, CompressError, OutputError
from fitment_compress.exploration import (
    Exploration,
    described,
    explore,
    sqlite_url,
    with_front,
)
from fitment_compress.host import describe_host, host_facts
from fitment_compress.jobs import Prepared, PrepareJob
from fitment_compress.lineage import stage_keys
from fitment_compress.portfolio import Outcome, entries, pages, write_portfolio
from fitment_compress.progress import Progress
from fitment_compress.recipe import Recipe
from fitment_compress.workshop import Identity, Stage, UnfinishedError, Workshop
from fitment_compress.workspace import Workspace
from fitment_contract.artifact import Artifact
from fitment_contract.base import sha256_hex, utc_now
from fitment_contract.benchmark import Latency
from fitment_contract.portfolio import Portfolio

if TYPE_CHECKING:
    from fitment_compress.compress import CompressRequest

TIMING_SHARE: Final = 0.1
"""Of a budget, what is kept for timing all candidates in turns."""


OUT_OF_TIME: Final = (
    "The budget was spent before this recipe was made. Give a longer --budget; with --work, what "
    "is made already is not made again."
)


class Run:
    """One run over one workspace.

    Args:
        request: what to compress, with what.
        workspace: of this request.
        progress: who wants to know how far it is.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        request: CompressRequest,
        workspace: Workspace,
        progress: Progress,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._request = request
        self._workspace = workspace
        self._progress = progress
        self._clock = clock
        budget = request.budget_seconds
        self._reserved = None if budget is None else TIMING_SHARE * budget
        self._deadline = None if budget is None else clock() + (1.0 - TIMING_SHARE) * budget

    def portfolio(self, recipes: Sequence[Recipe]) -> Portfolio:
        """Everything from the source model to the written folder."""
        request = self._request
        prepared = self._prepare()
        identity = Identity(request.name, request.model_version)
        protocol = request.effort.alone
        with Workshop(
            *(self._workspace, identity, prepared, protocol),
            *(request.limits, self._progress, request.seed),
        ) as workshop:
            if request.search:
                recipes = self._searched(recipes, prepared, workshop)
            outcomes = self._make(recipes, workshop)
            outcomes = self._timed(outcomes, workshop)
            portfolio = self._assembled(outcomes, prepared)
            self._progress.stage("writing", 1)
            blobs = self._blobs(outcomes, portfolio, workshop)
            write_portfolio(request.output, portfolio, pages(portfolio), blobs)
        self._progress.step(str(request.output))
        return portfolio

    def _prepare(self) -> Prepared:
        request = self._request
        self._progress.stage("checking model and data", 1)
        job = PrepareJob(
            workspace=str(self._workspace.root),
            model=str(request.model),
            data=str(request.data),
            calibration=None if request.calibration is None else str(request.calibration),
            training=None if request.training is None else str(request.training),
            metric=request.metric,
        )
        with Child(request.limits) as child:
            prepared = child.ask(job)
        split = prepared.data
        learnt = f", {split.training_count} to learn from" if request.training else ""
        self._progress.step(
            f"{split.calibration_count} samples to calibrate{learnt}, "
            f"{split.evaluation_count} to evaluate"
        )
        for note in prepared.notes:
            self._progress.note(note)
        return prepared

    def _searched(
        self, recipes: Sequence[Recipe], prepared: Prepared, workshop: Workshop
    ) -> list[Recipe]:
        """The fixed recipes, and those that the search found nothing to be better than."""
        assert self._deadline is not None
        request = self._request
        exploration = Exploration(
            seconds=self._deadline - self._clock(),
            storage=request.storage or sqlite_url(self._workspace.study),
            jobs=request.jobs,
            seed=request.seed,
            origin=self._workspace.root.name,
        )
        result = explore(exploration, recipes, prepared, workshop, self._progress)
        for line in described(result):
            self._progress.note(line)
        return with_front(recipes, result)

    def _make(self, recipes: Sequence[Recipe], workshop: Workshop) -> list[Outcome]:
        """Each recipe's stages; the source first, because all are compared with it."""
        request = self._request
        distinct = {key for recipe in recipes for key in stage_keys(request.seed, recipe.steps)}
        self._progress.stage("building and measuring", len(distinct))
        baseline, *others = recipes
        try:
            first = Outcome(baseline, workshop.stages(()))
        except OutputError:
            raise
        except CompressError as error:
            raise CandidateError(
                f"The cleaned model itself cannot be measured: {error}",
                "Run it with onnxruntime on one sample first.",
            ) from error
        pool = ThreadPoolExecutor(max_workers=request.jobs)
        try:
            made = pool.map(lambda recipe: self._outcome(recipe, workshop), others)
            return [first, *made]
        except BaseException:
            workshop.cancel()  # an interrupt does not wait for a training that goes on for minutes
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _outcome(self, recipe: Recipe, workshop: Workshop) -> Outcome:
        try:
            return Outcome(recipe, workshop.stages(recipe.steps, self._deadline))
        except UnfinishedError as error:
            return Outcome(recipe, failure=OUT_OF_TIME if self._is_over() else str(error))
        except OutputError:
            raise  # no recipe is to blame, and all that follow would fail alike
        except CompressError as error:
            return Outcome(recipe, failure=str(error))

    def _is_over(self) -> bool:
        return self._deadline is not None and self._clock() >= self._deadline

    def _timed(self, outcomes: Sequence[Outcome], workshop: Workshop) -> list[Outcome]:
        """Latencies from interleaved rounds in place of those measured alone."""
        effort = self._request.effort
        cores = os.cpu_count() or 1
        listed = [outcome for outcome in outcomes if outcome.stages]
        every = list({stage.file.key: stage for item in listed for stage in item.stages}.values())
        self._progress.stage("timing in turns", 1 + (cores > 1))
        seconds = effort.seconds
        if self._reserved is not None:
            seconds = min(seconds, self._reserved / (1.5 * len(every)))
        single = self._latencies(workshop, every, seconds, 1)
        spread: dict[str, Latency] = {}
        if cores > 1:
            last = [outcome.stages[-1] for outcome in listed]
            spread = self._latencies(workshop, last, seconds / 2, cores)
        return [outcome.timed(single, spread) for outcome in outcomes]

    def _latencies(
        self, workshop: Workshop, stages: Sequence[Stage], seconds: float, threads: int
    ) -> dict[str, Latency]:
        try:
            latencies = workshop.latencies(stages, self._request.effort.rounds, seconds, threads)
        except CompressError as error:
            self._progress.note(f"latencies with {threads} threads are not comparable: {error}")
            return {}
        self._progress.step(f"{len(latencies)} models, {threads} threads")
        return latencies

    def _assembled(self, outcomes: Sequence[Outcome], prepared: Prepared) -> Portfolio:
        labelled = prepared.data.evaluation_share_labelled > 0
        return Portfolio(
            model=self._request.name,
            model_version=self._request.model_version,
            created_at=utc_now(),
            source=prepared.source,
            data=prepared.data,
            metric=prepared.metric,
            evaluation=_artifact(self._workspace.evaluation) if labelled else None,
            baseline=outcomes[0].recipe.name,
            build_host=describe_host(host_facts()),
            entries=entries(outcomes),
        )

    def _blobs(
        self, outcomes: Sequence[Outcome], portfolio: Portfolio, workshop: Workshop
    ) -> list[tuple[str, Path]]:
        made = [outcome.stages[-1] for outcome in outcomes if outcome.stages]
        blobs = [blob for stage in made for blob in workshop.blobs(stage.file.key, stage.built)]
        if portfolio.evaluation is not None:
            blobs.append((portfolio.evaluation.digest, self._workspace.evaluation))
        return blobs


def _artifact(path: Path) -> Artifact:
    content = path.read_bytes()
    return Artifact(digest=sha256_hex(content), size_bytes=len(content))
