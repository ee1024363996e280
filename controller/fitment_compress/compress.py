"""The whole run: source model and data in, portfolio folder out.

Nothing heavy is imported here: models are cleaned, built, measured and timed in child processes,
so a library that crashes, hangs or eats memory costs one candidate and not the run.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fitment_compress.child import Limits
from fitment_compress.converter import environment
from fitment_compress.errors import OutputError, RequestError, SourceError
from fitment_compress.lineage import origin
from fitment_compress.portfolio import refuse_foreign_folder
from fitment_compress.progress import Progress, Silent
from fitment_compress.recipe import Recipe, choose, default_recipes, load_recipes
from fitment_compress.run import Run
from fitment_compress.workspace import Workspace
from fitment_contract.base import sha256_hex
from fitment_contract.benchmark import BenchmarkMode, BenchmarkProtocol, MetricSpec
from fitment_contract.portfolio import Portfolio

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
        calibration: a second npz; without it, samples to learn from calibrate, or `data` is
            divided.
        training: an npz of samples to learn from, with or without labels.
        recipes: a YAML file in place of the default recipes.
        only: names of recipes; the baseline is always made.
        metric: how to score; None lets the labels decide.
        jobs: candidates that are built and measured at the same time, before the timing in turns.
        effort: how long latency is measured.
        limits: of each child process, for each job.
        seed: of every random choice.
        budget_seconds: what the run may take; recipes that do not fit are listed as such.
        search: explore more recipes than are given, until the budget is spent.
        storage: the URL of the search's database, which other machines may share; None keeps it
            in the work folder.
        work: where a run keeps what it has so far; None puts it beside the output and removes it
            when the portfolio is complete.
    """

    model: Path
    data: Path
    output: Path
    name: str
    model_version: int = 1
    calibration: Path | None = None
    training: Path | None = None
    recipes: Path | None = None
    only: tuple[str, ...] = ()
    metric: MetricSpec | None = None
    jobs: int = 1
    effort: Effort = FULL
    limits: Limits = field(default_factory=Limits)
    seed: int = 0
    budget_seconds: float | None = None
    search: bool = False
    storage: str | None = None
    work: Path | None = None


def require_name(name: str) -> None:
    """Refuse what no model can be called.

    Raises:
        RequestError: it is no name.
    """
    if not _NAME.fullmatch(name):
        raise RequestError(
            f"{name!r} is no name for a model.",
            "Use --name with lower-case letters, digits, dots and dashes, at most 64.",
        )


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
    require_name(request.name)
    if request.search and request.budget_seconds is None:
        raise RequestError(
            "A search needs to know when to end.", "Give it a budget, for example --budget 20m."
        )
    recipes = choose(_available(request), request.only)
    refuse_foreign_folder(request.output)
    with _workspace(request) as workspace:
        return Run(request, workspace, progress or Silent()).portfolio(recipes)


def _available(request: CompressRequest) -> tuple[Recipe, ...]:
    if request.recipes is not None:
        recipes = load_recipes(request.recipes)
        if any(recipe.name == recipes[0].name for recipe in recipes[1:]):
            raise RequestError(
                f"In {request.recipes}, a recipe with steps is called {recipes[0].name!r}, as the "
                "source itself is.",
                "Give it another name.",
            )
        return recipes
    converts = environment.status().installed
    return default_recipes(learns=request.training is not None, converts=converts)


@contextmanager
def _workspace(request: CompressRequest) -> Iterator[Workspace]:
    """Where this run keeps its files; an interrupted run over the same files goes on there."""
    folder = request.work or request.output.with_name(f".{request.output.name}.work")
    root = folder / _origin(request)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"Cannot write {folder}: {error.strerror or error}.", "Name another folder with --work."
        ) from error
    try:
        yield Workspace(root)
    except OutputError as error:
        kept = f"What was made is kept: --work {folder} goes on with it."
        raise OutputError(error.problem, f"{error.fix} {kept}") from error
    if request.work is None:
        shutil.rmtree(folder, ignore_errors=True)


def _origin(request: CompressRequest) -> str:
    """The key of all that the run starts from: other files or options, another workspace."""
    files = (request.model, request.data, request.calibration, request.training)
    metric = "" if request.metric is None else request.metric.model_dump_json()
    identity = f"{request.name}@{request.model_version}"
    effort = request.effort.alone.model_dump_json()
    return origin(*(_digest(path) for path in files), metric, identity, effort)


def _digest(path: Path | None) -> str:
    if path is None:
        return "none"
    try:
        return sha256_hex(path.read_bytes())
    except OSError as error:
        raise SourceError(
            f"Cannot read {path}: {error.strerror or error}.", "Name a file that exists."
        ) from error
