"""All variants of a model version with what the build host measured: `portfolio.json`."""

from __future__ import annotations

from enum import Enum
from typing import Literal

from fitment_contract.artifact import Artifact
from fitment_contract.base import (
    Bytes,
    Count,
    Detail,
    Digest,
    Name,
    Ratio,
    Record,
    Seconds,
    Timestamp,
)
from fitment_contract.benchmark import (
    Agreement,
    BenchmarkReport,
    Difference,
    Latency,
    MetricSpec,
    Score,
)
from fitment_contract.variant import RecipeStep, TensorSpec, Variant

PORTFOLIO_FILE = "portfolio.json"
"""The file at the root of a portfolio folder; the bytes are under `blobs/<digest>` beside it."""


class EntryStatus(str, Enum):
    """Whether a candidate made it into the portfolio."""

    LISTED = "listed"
    FAILED = "failed"


class LayerSensitivity(Record):
    """How much one layer's compression disturbs the whole model, alone.

    Attributes:
        layer: the name of the node, or of its output.
        operator: its type.
        noise_ratio: the power of the change of the model's outputs over the power of the outputs,
            when only this layer is compressed.
        spared: the layer was left as it was because of this.
    """

    layer: str
    operator: str
    noise_ratio: float
    spared: bool = False


class StageResult(Record):
    """What a model was after one step of a recipe, measured like any candidate.

    Attributes:
        step: the technique with its options.
        seconds: how long the step took on the build host.
        size_bytes, compressed_bytes, parameters, macs: of the file after the step.
        score, difference, latency: of the file after the step; None where it could not be run.
        sensitivity: per layer, where the technique tried them one by one.
        notes: what the technique says about what it did.
    """

    step: RecipeStep
    seconds: Seconds
    size_bytes: Bytes
    compressed_bytes: Bytes
    parameters: Count | None = None
    macs: Count | None = None
    score: Score | None = None
    difference: Difference | None = None
    latency: Latency | None = None
    sensitivity: tuple[LayerSensitivity, ...] = ()
    notes: tuple[str, ...] = ()


class PortfolioEntry(Record):
    """One candidate: built and measured, or failed with its reason.

    Attributes:
        name: the recipe's name, and the variant's when there is one.
        variant, benchmark, agreement: present when listed.
        difference: the score minus the baseline's; None where there is no score.
        latency_all_threads: as the benchmark's, with as many threads as the build host has cores.
        parameters, macs, peak_activation_bytes: of this candidate's own file. The peak is what the
            intermediate tensors of one inference need at once, when each is freed after its last
            use.
        stages: what each step of the recipe did, in order.
        transferred_ratio: compressed bytes over the baseline's compressed bytes.
        pareto: not dominated in accuracy, latency and bytes together.
        failure: why it failed, in one sentence.
    """

    name: Name
    status: EntryStatus
    recipe: tuple[RecipeStep, ...] = ()
    variant: Variant | None = None
    benchmark: BenchmarkReport | None = None
    agreement: Agreement | None = None
    difference: Difference | None = None
    latency_all_threads: Latency | None = None
    parameters: Count | None = None
    macs: Count | None = None
    peak_activation_bytes: Bytes | None = None
    stages: tuple[StageResult, ...] = ()
    transferred_ratio: float | None = None
    pareto: bool = False
    failure: Detail | None = None


class SourceModel(Record):
    """What the user handed in."""

    file_name: str
    digest: Digest
    size_bytes: Bytes
    opset: Count
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: Count
    macs: Count | None = None


class DataSplit(Record):
    """How the samples were divided; calibration and evaluation never share one.

    Attributes:
        training_count: samples to learn from, disjoint from evaluation as well.
        training_share_labelled: how many of them had labels.
    """

    calibration_count: Count
    evaluation_count: Count
    training_count: Count = 0
    training_share_labelled: Ratio = 0.0
    evaluation_share_labelled: Ratio
    source: str


class Portfolio(Record):
    """A model version as built.

    Attributes:
        metric: how devices score this model.
        evaluation: the labelled split that devices are scored on (an npz with one array per input,
            `label`, and optionally `slice`); None when the data had no labels.
        baseline: the name of the fp32 entry that every loss is relative to.
        build_host: what measured (CPU and runtime), for the reader.
    """

    apiVersion: Literal["fitment/v1"] = "fitment/v1"
    kind: Literal["Portfolio"] = "Portfolio"
    model: Name
    model_version: Count = 1
    created_at: Timestamp
    source: SourceModel
    data: DataSplit
    metric: MetricSpec
    evaluation: Artifact | None = None
    baseline: Name
    build_host: str
    entries: tuple[PortfolioEntry, ...]

    def listed(self) -> tuple[PortfolioEntry, ...]:
        """The entries that can be rolled out."""
        return tuple(entry for entry in self.entries if entry.status is EntryStatus.LISTED)

    def entry(self, name: str) -> PortfolioEntry | None:
        """The entry called `name`."""
        return next((entry for entry in self.entries if entry.name == name), None)
