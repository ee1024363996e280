"""All variants of a model version with what the build host measured: `portfolio.json`."""

from __future__ import annotations

from enum import Enum
from typing import Literal

from fitment_contract.artifact import Artifact
from fitment_contract.base import Bytes, Count, Detail, Digest, Name, Ratio, Record, Timestamp
from fitment_contract.benchmark import Agreement, BenchmarkReport, Difference, MetricSpec
from fitment_contract.variant import RecipeStep, TensorSpec, Variant

PORTFOLIO_FILE = "portfolio.json"
"""The file at the root of a portfolio folder; the bytes are under `blobs/<digest>` beside it."""


class EntryStatus(str, Enum):
    """Whether a candidate made it into the portfolio."""

    LISTED = "listed"
    FAILED = "failed"


class PortfolioEntry(Record):
    """One candidate: built and measured, or failed with its reason.

    Attributes:
        name: the recipe's name, and the variant's when there is one.
        variant, benchmark, agreement: present when listed.
        difference: the score minus the baseline's; None where there is no score.
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
    parameters: Count | None = None
    macs: Count | None = None
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
    """How the samples were divided; calibration and evaluation never share one."""

    calibration_count: Count
    evaluation_count: Count
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
