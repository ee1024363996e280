"""What the parent asks a child process to do, and the answers: one JSON line each way."""

from __future__ import annotations

from typing import Annotated, ClassVar, Generic, Literal, TypeVar

from pydantic import Field, TypeAdapter

from fitment_contract.artifact import Artifact
from fitment_contract.base import Bytes, Count, Record, Seconds
from fitment_contract.benchmark import (
    Agreement,
    BenchmarkProtocol,
    BenchmarkReport,
    Difference,
    Latency,
    MetricSpec,
)
from fitment_contract.portfolio import DataSplit, LayerSensitivity, SourceModel
from fitment_contract.variant import Golden, RecipeStep, TensorSpec, Variant


class ModelFile(Record):
    """A model in the workspace.

    Attributes:
        key: names the stage whose file it is; see `fitment_compress.lineage`.
        format: `onnx` or `tflite`.
    """

    key: str
    format: str = "onnx"


class Prepared(Record):
    """The source is cleaned and the data is divided.

    Attributes:
        metric: what scores candidates; `agreement` without labels.
        classification: agreement compares decisions, not numbers.
        operators, weighted_operators: the types of the cleaned model's nodes, and of those whose
            second input is constant.
        notes: what the owner of the model may want to know.
    """

    source: SourceModel
    data: DataSplit
    metric: MetricSpec
    classification: bool
    operators: tuple[str, ...] = ()
    weighted_operators: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Built(Record):
    """A stage's file and golden outputs exist; it was loaded and run once.

    The fields are those of `fitment_contract.variant.Variant` and, from `parameters` on, those of
    `fitment_contract.portfolio.StageResult`.

    Attributes:
        traits: of the steps of this job alone.
        opset: of an ONNX file.
        peak_activation_bytes: see `fitment_contract.portfolio.PortfolioEntry`.
    """

    format: str
    precision: str
    traits: tuple[str, ...]
    opset: Count | None
    artifact: Artifact
    compressed_bytes: Bytes
    golden: Golden
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    seconds: Seconds
    parameters: Count | None = None
    macs: Count | None = None
    peak_activation_bytes: Bytes | None = None
    sensitivity: tuple[LayerSensitivity, ...] = ()
    notes: tuple[str, ...] = ()


class Measured(Record):
    """A candidate was loaded, checked, scored and timed in a process of its own."""

    report: BenchmarkReport
    agreement: Agreement
    difference: Difference | None = None


class Timed(Record):
    """Latencies that may be compared, by key: measured in turns by one process."""

    latencies: dict[str, Latency]


AnswerT = TypeVar("AnswerT", bound=Record)


class Job(Record, Generic[AnswerT]):
    """Something a child does in the folder `workspace`."""

    answer: ClassVar[type[Record]]
    workspace: str


class PrepareJob(Job[Prepared]):
    """Check and clean the model, check and divide the data."""

    answer = Prepared
    kind: Literal["prepare"] = "prepare"
    model: str
    data: str
    calibration: str | None = None
    training: str | None = None
    metric: MetricSpec | None = None


class BuildJob(Job[Built]):
    """Make a stage's file and its golden outputs.

    Attributes:
        key: of the stage.
        parent: the stage that the steps start from; None for the cleaned source.
        classification: the model decides between classes; what learns is taught decisions.
        seed: of every random choice.
    """

    answer = Built
    kind: Literal["build"] = "build"
    key: str
    parent: ModelFile | None = None
    steps: tuple[RecipeStep, ...] = ()
    classification: bool = True
    seed: int = 0


class MeasureJob(Job[Measured]):
    """Measure a stage alone.

    Attributes:
        key: of the stage.
        variant: what it would be rolled out as.
        baseline: the stage whose values per sample this one's are compared with; itself for the
            baseline.
    """

    answer = Measured
    kind: Literal["measure"] = "measure"
    key: str
    variant: Variant
    baseline: str
    metric: MetricSpec
    classification: bool
    protocol: BenchmarkProtocol


class TimeJob(Job[Timed]):
    """Time all models in turns.

    Attributes:
        rounds: turns that each model gets.
        seconds: timed seconds per model, over all rounds.
        threads: intra-op threads.
    """

    answer = Timed
    kind: Literal["time"] = "time"
    models: tuple[ModelFile, ...]
    rounds: Count
    seconds: Seconds
    threads: Count = 1


AnyJob = Annotated[PrepareJob | BuildJob | MeasureJob | TimeJob, Field(discriminator="kind")]


class Told(Record):
    """One line from a child that is still at work.

    Attributes:
        share: how much is done, 0 to 1.
        what: what it is doing.
    """

    share: float
    what: str


class Answer(Record):
    """The last line from a child about a job: a result, or an error by the name of its class.

    Attributes:
        result: the answer record as JSON text.
    """

    result: str | None = None
    error: str | None = None
    problem: str = ""
    fix: str = ""


def parse_job(line: str) -> PrepareJob | BuildJob | MeasureJob | TimeJob:
    """The job in one line of JSON."""
    adapter: TypeAdapter[PrepareJob | BuildJob | MeasureJob | TimeJob] = TypeAdapter(AnyJob)
    return adapter.validate_json(line)
