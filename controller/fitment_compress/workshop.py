"""Builds and measures the stages of recipes in child processes, each stage once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, LifoQueue
from types import TracebackType
from typing import Final

from fitment_compress.child import Child, Limits
from fitment_compress.errors import CompressError, WorkerError
from fitment_compress.formats import RUNTIMES
from fitment_compress.jobs import (
    AnswerT,
    BuildJob,
    Built,
    Job,
    Measured,
    MeasureJob,
    ModelFile,
    Prepared,
    TimeJob,
    Told,
)
from fitment_compress.lineage import stage_keys
from fitment_compress.progress import Parts, Progress
from fitment_compress.techniques import known_techniques
from fitment_compress.timing import MIN_COUNT, MIN_ROUNDS, PATIENCE, WARMUP
from fitment_compress.workspace import Workspace
from fitment_contract.base import sha256_hex
from fitment_contract.benchmark import BenchmarkProtocol, Latency
from fitment_contract.variant import Needs, RecipeStep, Variant

BASELINE_TRAIT: Final = "baseline"
"""Of the source, which nothing was done to."""


class UnfinishedError(WorkerError):
    """A stage was not made because the run was stopped, or its time was up."""

    def __init__(self) -> None:
        super().__init__(
            "The run was stopped before this was made.",
            "Start it again; with --work, what is made already is not made again.",
        )


@dataclass(frozen=True)
class Identity:
    """What applications will ask for: the name of the model, and its version."""

    name: str
    version: int


@dataclass(frozen=True)
class Stage:
    """A model after the first steps of a recipe: built, and measured like any candidate.

    Attributes:
        file: where it lies in the workspace.
        step: the last step; None for the source.
        variant: what it is rolled out as; `name` is the stage's key.
    """

    file: ModelFile
    step: RecipeStep | None
    built: Built
    variant: Variant
    measured: Measured


@dataclass(frozen=True)
class _Order:
    """One stage to make: a step after its parent, by a deadline."""

    key: str
    parent: Stage | None
    step: RecipeStep | None
    baseline: str
    deadline: float | None


@dataclass
class _Once:
    """A stage that is being made, or was: whoever comes second waits, and gets the same."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    stage: Stage | None = None
    failure: CompressError | None = None


class Workshop:
    """Makes stages; may be asked by several threads.

    Args:
        workspace: prepared; keeps what was made for the next run over the same files.
        identity: of the model.
        prepared: what preparing found.
        protocol: how each stage is measured alone.
        limits: of each child process, for each job.
        progress: hears of every stage that is done, and how far long steps are.
        seed: of every random choice.
    """

    def __init__(
        self,
        workspace: Workspace,
        identity: Identity,
        prepared: Prepared,
        protocol: BenchmarkProtocol,
        limits: Limits,
        progress: Progress,
        seed: int = 0,
    ) -> None:
        self._workspace = workspace
        self._identity = identity
        self._prepared = prepared
        self._protocol = protocol
        self._limits = limits
        self._progress = progress
        self._seed = seed
        self._idle: LifoQueue[Child] = LifoQueue()
        self._children: list[Child] = []
        self._made: dict[str, _Once] = {}
        self._guard = threading.Lock()
        self._cancelled = False

    def __enter__(self) -> Workshop:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for child in self._children:
            child.__exit__(kind, error, trace)

    def stages(
        self, steps: Sequence[RecipeStep], deadline: float | None = None
    ) -> tuple[Stage, ...]:
        """The source and the stage after each step, built and measured.

        Args:
            steps: of a recipe.
            deadline: on the clock of `time.monotonic`; a step that is not done by then is given up.
                What was made before costs no time.

        Raises:
            UnfinishedError: the time is up, or the run was stopped.
            CompressError: a step failed, or what it made does not run.
        """
        keys = stage_keys(self._seed, steps)
        stages: list[Stage] = []
        for key, step in zip(keys, (None, *steps), strict=True):
            order = _Order(key, stages[-1] if stages else None, step, keys[0], deadline)
            stages.append(self._once(order))
        return tuple(stages)

    @contextmanager
    def inside(self, progress: Progress) -> Iterator[None]:
        """Stages are made for somebody who reports steps of their own."""
        outer, self._progress = self._progress, Parts(progress)
        try:
            yield
        finally:
            self._progress = outer

    def cancel(self) -> None:
        """Give up what is being made, now: whoever asked for it gets an `UnfinishedError`."""
        self._cancelled = True
        with self._guard:
            children = list(self._children)
        for child in children:
            child.stop()

    def is_made(self, steps: Sequence[RecipeStep]) -> bool:
        """Whether the stage after these steps was built, now or by an earlier run."""
        return self._workspace.holds(stage_keys(self._seed, steps)[-1])

    def latencies(
        self, stages: Sequence[Stage], rounds: int, seconds: float, threads: int
    ) -> dict[str, Latency]:
        """Per key the latency in interleaved rounds over all stages.

        It may take as long as that many stages do, and what any job may take on top.

        Raises:
            CompressError: one of them failed, though each had run alone.
        """
        files = {stage.file.key: stage.file for stage in stages}
        job = TimeJob(
            workspace=str(self._workspace.root),
            models=tuple(files.values()),
            rounds=rounds,
            seconds=seconds,
            threads=threads,
        )
        inferences = MIN_ROUNDS * (WARMUP + MIN_COUNT)
        least = sum(stage.measured.report.latency.p50_seconds * inferences for stage in stages)
        needed = max(2.0 * least, PATIENCE * seconds * len(files))
        with Child(self._limits) as child:
            return child.ask(job, wall_seconds=self._limits.wall_seconds + needed).latencies

    def blobs(self, key: str, built: Built) -> list[tuple[str, Path]]:
        """Digest and file of everything that a stage is rolled out with."""
        files = self._workspace.stage(key)
        return [
            (built.artifact.digest, files.model(built.format)),
            (built.golden.artifact.digest, files.golden),
            *((encoding.digest, files.packed) for encoding in built.artifact.encodings),
        ]

    def _once(self, order: _Order) -> Stage:
        with self._guard:
            once = self._made.setdefault(order.key, _Once())
        with once.lock:
            if once.failure is not None:
                raise once.failure
            if once.stage is None:
                try:
                    once.stage = self._make(order)
                except CompressError as error:
                    if isinstance(error, WorkerError) and self._is_stopped(order):
                        raise UnfinishedError from error  # the next one may have the time
                    once.failure = error
                    raise
                self._progress.step(_described(once.stage.step))
            return once.stage

    def _is_stopped(self, order: _Order) -> bool:
        late = order.deadline is not None and time.monotonic() >= order.deadline
        return self._cancelled or late

    def _make(self, order: _Order) -> Stage:
        built = self._build(order)
        variant = self._variant(order, built)
        measured = self._measure(
            MeasureJob(
                workspace=str(self._workspace.root),
                key=order.key,
                variant=variant,
                baseline=order.baseline,
                metric=self._prepared.metric,
                classification=self._prepared.classification,
                protocol=self._protocol,
            )
        )
        needs = variant.needs.model_copy(update={"memory_bytes": measured.report.peak_memory_bytes})
        return Stage(
            file=ModelFile(key=order.key, format=built.format),
            step=order.step,
            built=built,
            variant=variant.model_copy(update={"needs": needs}),
            measured=measured,
        )

    def _build(self, order: _Order) -> Built:
        job = BuildJob(
            workspace=str(self._workspace.root),
            key=order.key,
            parent=None if order.parent is None else order.parent.file,
            steps=() if order.step is None else (order.step,),
            classification=self._prepared.classification,
            seed=self._seed,
        )
        with self._borrowed() as child:
            return self._ask(
                *(child, job, self._allowed(order)),
                told=lambda told: self._progress.part(told.share, told.what),
                intact=lambda built: self._is_intact(order.key, built),
            )

    def _is_intact(self, key: str, built: Built) -> bool:
        """Whether the files that an earlier run left are still what it says."""
        return all(
            path.is_file() and sha256_hex(path.read_bytes()) == digest
            for digest, path in self.blobs(key, built)
        )

    def _allowed(self, order: _Order) -> float:
        """The seconds that a step may take."""
        allowed = self._limits.wall_seconds
        if order.step is not None and known_techniques()[order.step.technique].learns:
            allowed = self._limits.learning_seconds
        if order.deadline is None:
            return allowed
        return min(allowed, max(0.0, order.deadline - time.monotonic()))

    def _measure(self, job: MeasureJob) -> Measured:
        child = Child(self._limits)  # a fresh one, because its memory is measured
        with self._guard:
            self._children.append(child)
        try:
            with child:
                return self._ask(child, job, self._limits.wall_seconds)
        finally:
            with self._guard:
                self._children.remove(child)

    def _ask(
        self,
        child: Child,
        job: Job[AnswerT],
        wall_seconds: float,
        *,
        told: Callable[[Told], None] = lambda _: None,
        intact: Callable[[AnswerT], bool] = lambda _: True,
    ) -> AnswerT:
        """The answer to a job, from an earlier run if it was given there and still holds."""
        question = f"{type(job).__name__} {job.model_dump_json(exclude={'workspace'})}"
        kept = _parsed(job, self._workspace.remembered(question))
        if kept is not None and intact(kept):
            return kept
        if self._cancelled or wall_seconds <= 0.0:
            raise UnfinishedError
        answer = child.ask(job, wall_seconds=wall_seconds, told=told)
        self._workspace.remember(question, answer.model_dump_json())
        return answer

    @contextmanager
    def _borrowed(self) -> Iterator[Child]:
        """A child that nobody else asks; its imports are warm after the first job."""
        try:
            child = self._idle.get_nowait()
        except Empty:
            child = Child(self._limits)
            with self._guard:
                self._children.append(child)
        try:
            yield child
        finally:
            self._idle.put(child)

    def _variant(self, order: _Order, built: Built) -> Variant:
        parent, step = order.parent, order.step
        inherited = () if parent is None else parent.variant.traits
        traits = dict.fromkeys((*inherited, *built.traits))
        traits.pop(BASELINE_TRAIT, None)
        recipe = () if parent is None or step is None else (*parent.variant.recipe, step)
        return Variant(
            name=order.key,
            model=self._identity.name,
            model_version=self._identity.version,
            format=built.format,
            precision=built.precision,
            traits=tuple(traits) or (BASELINE_TRAIT,),
            recipe=recipe,
            inputs=built.inputs,
            outputs=built.outputs,
            artifact=built.artifact,
            compressed_bytes=built.compressed_bytes,
            golden=built.golden,
            needs=Needs(runtime=RUNTIMES[built.format], opset=built.opset),
        )


def _parsed(job: Job[AnswerT], kept: str | None) -> AnswerT | None:
    """A kept answer; None where there is none, or it is damaged."""
    if kept is None:
        return None
    try:
        answer: AnswerT = type(job).answer.model_validate_json(kept)  # type: ignore[assignment]  # `answer` is AnswerT's own class
    except ValueError:
        return None
    return answer


def with_latency(stage: Stage, latency: Latency) -> Stage:
    """The stage with a latency that may be compared with other stages'."""
    report = stage.measured.report.model_copy(update={"latency": latency})
    return replace(stage, measured=stage.measured.model_copy(update={"report": report}))


def _described(step: RecipeStep | None) -> str:
    return "source" if step is None else step.technique
