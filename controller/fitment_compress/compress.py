"""The whole run: source model and data in, portfolio folder out.

Nothing heavy is imported here: models are cleaned, built, measured and timed in child processes,
so a library that crashes, hangs or eats memory costs one candidate and not the run.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from fitment_compress.child import Child, Limits
from fitment_compress.errors import (
    CandidateError,
    CompressError,
    RequestError,
    WorkerError,
)
from fitment_compress.host import describe_host, host_facts
from fitment_compress.jobs import BuildJob, Built, MeasureJob, Prepared, PrepareJob, TimeJob
from fitment_compress.pareto import draw
from fitment_compress.portfolio import Outcome, entries, refuse_foreign_folder, write_portfolio
from fitment_compress.progress import Progress, Silent
from fitment_compress.recipe import Recipe, choose, default_recipes, load_recipes
from fitment_compress.workspace import Workspace
from fitment_contract.artifact import Artifact
from fitment_contract.base import sha256_hex, utc_now
from fitment_contract.benchmark import BenchmarkMode, BenchmarkProtocol, MetricSpec
from fitment_contract.portfolio import Portfolio
from fitment_contract.variant import Needs, Variant

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Effort:
    """How long latency is measured.

    Attributes:
        alone: each candidate in its own process, also for memory and kernels.
        rounds, seconds: all candidates in turns; seconds are per candidate. Many short turns,
            because clock speeds and neighbours change within a tenth of a second.
    """

    alone: BenchmarkProtocol
    rounds: int
    seconds: float


_ALONE: Final = BenchmarkProtocol(mode=BenchmarkMode.QUICK, warmup=3, min_seconds=0.1, min_count=10)
FULL: Final = Effort(alone=_ALONE, rounds=60, seconds=1.0)
QUICK: Final = Effort(alone=_ALONE, rounds=30, seconds=0.3)


@dataclass(frozen=True)
class CompressRequest:
    """What to compress, with what, to where.

    Attributes:
        model: the source, an ONNX file.
        data: an npz with one array per model input, and optionally `label` and `slice`.
        output: the portfolio folder.
        name, model_version: what applications will ask for.
        calibration: a second npz; without it, `data` is divided.
        recipes: a YAML file in place of the default recipes.
        only: names of recipes; the baseline is always made.
        metric: how to score; None lets the labels decide.
        jobs: candidates that are measured at the same time, before the timing in turns.
        effort: how long latency is measured.
        limits: of each child process, for each job.
    """

    model: Path
    data: Path
    output: Path
    name: str
    model_version: int = 1
    calibration: Path | None = None
    recipes: Path | None = None
    only: tuple[str, ...] = ()
    metric: MetricSpec | None = None
    jobs: int = 1
    effort: Effort = FULL
    limits: Limits = field(default_factory=Limits)


def compress(request: CompressRequest, progress: Progress | None = None) -> Portfolio:
    """Build every candidate, measure it, and write the portfolio folder.

    Returns:
        What was written to `portfolio.json`.

    Raises:
        SourceError, SamplesError: model or data cannot be used.
        RecipeError, RequestError: the request cannot be carried out as it is.
        OutputError: the folder cannot be written.
        CandidateError: not even the cleaned source can be measured.
        WorkerError: checking the model and the data took the process down.
    """
    if not _NAME.fullmatch(request.name):
        raise RequestError(
            f"{request.name!r} is no name for a model.",
            "Use --name with lower-case letters, digits, dots and dashes, at most 64.",
        )
    available = load_recipes(request.recipes) if request.recipes else default_recipes()
    recipes = choose(available, request.only)
    refuse_foreign_folder(request.output)
    with tempfile.TemporaryDirectory(prefix="fitment-compress-") as root:
        return _Run(request, Workspace(Path(root)), progress or Silent()).portfolio(recipes)


class _Run:
    """One run over one workspace."""

    def __init__(self, request: CompressRequest, workspace: Workspace, progress: Progress) -> None:
        self._request = request
        self._workspace = workspace
        self._progress = progress

    def portfolio(self, recipes: Sequence[Recipe]) -> Portfolio:
        with Child(self._request.limits) as child:
            prepared = self._prepare(child)
            outcomes = self._build(child, recipes)
        outcomes = self._measure(outcomes, prepared)
        outcomes = self._time(outcomes)
        portfolio = self._assembled(outcomes, prepared)
        self._progress.stage("writing", 1)
        write_portfolio(
            self._request.output, portfolio, draw(portfolio), self._blobs(outcomes, portfolio)
        )
        self._progress.step(str(self._request.output))
        return portfolio

    def _prepare(self, child: Child) -> Prepared:
        request = self._request
        self._progress.stage("checking model and data", 1)
        prepared = child.ask(
            PrepareJob(
                workspace=str(self._workspace.root),
                model=str(request.model),
                data=str(request.data),
                calibration=None if request.calibration is None else str(request.calibration),
                metric=request.metric,
            )
        )
        split = prepared.data
        self._progress.step(
            f"{split.calibration_count} samples to calibrate, {split.evaluation_count} to evaluate"
        )
        for note in prepared.notes:
            self._progress.note(note)
        return prepared

    def _build(self, child: Child, recipes: Sequence[Recipe]) -> list[Outcome]:
        self._progress.stage("building", len(recipes))
        outcomes = []
        for recipe in recipes:
            job = BuildJob(
                workspace=str(self._workspace.root), name=recipe.name, steps=recipe.steps
            )
            try:
                outcome = Outcome(recipe, self._variant(recipe, child.ask(job)))
            except CompressError as error:
                outcome = Outcome(recipe, failure=str(error))
            outcomes.append(outcome)
            self._progress.step(recipe.name)
        return outcomes

    def _variant(self, recipe: Recipe, built: Built) -> Variant:
        return Variant(
            name=recipe.name,
            model=self._request.name,
            model_version=self._request.model_version,
            format="onnx",
            precision=built.precision,
            traits=built.traits,
            recipe=recipe.steps,
            inputs=built.inputs,
            outputs=built.outputs,
            artifact=built.artifact,
            compressed_bytes=built.compressed_bytes,
            golden=built.golden,
            needs=Needs(runtime="onnxruntime", opset=built.opset),
        )

    def _measure(self, outcomes: Sequence[Outcome], prepared: Prepared) -> list[Outcome]:
        """Each candidate alone; the baseline first, because all are compared with it."""
        self._progress.stage("measuring", len(outcomes))
        baseline, *others = outcomes
        first = self._measured(baseline, baseline, prepared)
        if first.failure is not None:
            raise CandidateError(
                f"The cleaned model itself cannot be measured: {first.failure}",
                "Run it with onnxruntime on one sample first.",
            )
        pool = ThreadPoolExecutor(max_workers=self._request.jobs)
        try:
            rest = pool.map(lambda outcome: self._measured(outcome, baseline, prepared), others)
            return [first, *rest]
        finally:
            pool.shutdown(cancel_futures=True)  # an interrupt does not wait for what is queued

    def _measured(self, outcome: Outcome, baseline: Outcome, prepared: Prepared) -> Outcome:
        variant = outcome.variant
        if variant is not None:
            job = MeasureJob(
                workspace=str(self._workspace.root),
                variant=variant,
                baseline=baseline.recipe.name,
                metric=prepared.metric,
                classification=prepared.classification,
                protocol=self._request.effort.alone,
            )
            try:
                with Child(self._request.limits) as child:
                    measured = child.ask(job)
                needs = variant.needs.model_copy(
                    update={"memory_bytes": measured.report.peak_memory_bytes}
                )
                variant = variant.model_copy(update={"needs": needs})
                outcome = replace(outcome, variant=variant, measured=measured)
            except CompressError as error:
                outcome = Outcome(outcome.recipe, failure=str(error))
        self._progress.step(outcome.recipe.name)
        return outcome

    def _time(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Latencies from interleaved rounds in place of those measured alone."""
        effort = self._request.effort
        self._progress.stage("timing in turns", 1)
        names = tuple(outcome.recipe.name for outcome in outcomes if outcome.variant is not None)
        job = TimeJob(
            workspace=str(self._workspace.root),
            names=names,
            rounds=effort.rounds,
            seconds=effort.seconds,
            threads=effort.alone.threads,
        )
        try:
            with Child(self._request.limits) as child:
                latencies = child.ask(job).latencies
        except (CandidateError, WorkerError) as error:
            self._progress.note(f"latencies were measured one candidate at a time: {error}")
            return list(outcomes)
        self._progress.step(f"{len(names)} candidates")
        timed = []
        for outcome in outcomes:
            measured = outcome.measured
            if measured is not None:
                update = {"latency": latencies[outcome.recipe.name]}
                report = measured.report.model_copy(update=update)
                measured = measured.model_copy(update={"report": report})
            timed.append(replace(outcome, measured=measured))
        return timed

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
            entries=entries(outcomes, prepared),
        )

    def _blobs(self, outcomes: Sequence[Outcome], portfolio: Portfolio) -> list[tuple[str, Path]]:
        blobs = []
        for outcome in outcomes:
            variant = outcome.variant
            if variant is None or variant.golden is None:
                continue
            files = self._workspace.candidate(variant.name)
            blobs.append((variant.artifact.digest, files.model))
            blobs.append((variant.golden.artifact.digest, files.golden))
        if portfolio.evaluation is not None:
            blobs.append((portfolio.evaluation.digest, self._workspace.evaluation))
        return blobs


def _artifact(path: Path) -> Artifact:
    content = path.read_bytes()
    return Artifact(digest=sha256_hex(content), size_bytes=len(content))
