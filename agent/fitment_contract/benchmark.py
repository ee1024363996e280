"""What was measured, by which protocol, under which conditions.

The same records describe a variant on the build host and on a device, because the same code
(`fitment_runtime`) measured both.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Final

from pydantic import Field

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
from fitment_contract.device import Fingerprint, PowerSource

Measured = Annotated[float, Field(ge=0.0, le=86_400.0)]
"""A measured duration in seconds: nothing that is worth a report takes longer than a day."""

Magnitude = Annotated[float, Field(ge=-1e12, le=1e12)]
"""A metric's value: bounded, so that no report can push a mean out of the numbers there are."""

BENCHMARK_PROTOCOL: Final = "fitment-bench/1"
"""Reports of different protocols are never compared."""


class MetricSpec(Record):
    """Which metric scores a model, with its options; the same on the build host and on devices."""

    name: Name
    options: dict[str, Any] = Field(default_factory=dict)


class SliceScore(Record):
    """The score of one slice of the data (a class, a person, a place)."""

    value: Magnitude
    count: Count
    standard_error: Annotated[float, Field(ge=0)] | None = None


class Score(Record):
    """One metric over one data set.

    Attributes:
        metric: name of the metric.
        dataset: `shipped` for the evaluation split that comes with the model, `local` for samples
            that live on the device and never leave it.
        value: the metric's value in its own unit (accuracies are ratios, 0 to 1).
        standard_error: of `value`; None when the metric has none.
        higher_is_better: the direction of the metric.
        data_digest: SHA-256 of the evaluation split that it was measured on; scores on different
            data do not compare.
        slices: per slice value, when the data names slices.
        worst_slice: the name of the slice with the worst value.
    """

    metric: Name
    dataset: Name = "shipped"
    value: Magnitude
    standard_error: Annotated[float, Field(ge=0)] | None = None
    count: Count
    higher_is_better: bool = True
    data_digest: Digest | None = None
    slices: dict[str, SliceScore] = Field(default_factory=dict)
    worst_slice: str | None = None


class Latency(Record):
    """Single-stream latency: the next inference starts when the last has ended.

    Attributes:
        count: timed inferences, warm-up excluded.
        threads: intra-op threads of the session.
    """

    p50_seconds: Measured
    p90_seconds: Measured
    p95_seconds: Measured
    p99_seconds: Measured
    mean_seconds: Measured
    count: Count
    threads: Count


class BenchmarkMode(str, Enum):
    """How long a benchmark takes: `quick` inside rollouts, `full` on demand."""

    QUICK = "quick"
    FULL = "full"


class BenchmarkProtocol(Record):
    """The terms under which a trial measures.

    Attributes:
        warmup: untimed inferences before the first timed one.
        min_seconds, min_count: timing ends when both are reached.
        max_seconds: timing ends here all the same, so that a slow model is measured with fewer
            inferences rather than not at all.
        wall_limit_seconds: the trial process is killed after this.
        memory_limit_bytes: the trial process is killed above this.
        threads: intra-op threads; 1 makes devices comparable.
    """

    version: str = BENCHMARK_PROTOCOL
    mode: BenchmarkMode = BenchmarkMode.QUICK
    warmup: Count = 10
    min_seconds: Seconds = 3.0
    min_count: Annotated[int, Field(ge=1)] = 200
    max_seconds: Annotated[float, Field(gt=0)] = 30.0
    wall_limit_seconds: Annotated[float, Field(gt=0)] = 120.0
    memory_limit_bytes: Bytes = 512 * 1024 * 1024
    threads: Annotated[int, Field(ge=1)] = 1


class Conditions(Record):
    """The state of the machine while it measured."""

    architecture: str | None = None
    isa: tuple[str, ...] = ()
    governor: str | None = None
    threads: Count | None = None
    temperature_start_celsius: float | None = None
    temperature_end_celsius: float | None = None
    throttled: bool | None = None
    power_source: PowerSource = PowerSource.UNKNOWN


class KernelCounts(Record):
    """The kernels that the runtime really chose for one file, counted.

    Attributes:
        operators: operator type as executed to the number of nodes.
        convolutions, integer_convolutions: how many convolutions ran, and how many of them in an
            integer kernel. A quantised file whose convolutions are not integer is only smaller.
        matmuls, integer_matmuls: the same for matrix products.
        providers: execution provider to the number of nodes it ran.
    """

    operators: dict[str, Count] = Field(default_factory=dict)
    convolutions: Count = 0
    integer_convolutions: Count = 0
    matmuls: Count = 0
    integer_matmuls: Count = 0
    providers: dict[str, Count] = Field(default_factory=dict)


class BenchmarkReport(Record):
    """One run of the protocol over one variant on one machine.

    Attributes:
        id: unique; receiving it twice is receiving it once.
        fingerprint: of the machine that measured.
        simulated: the machine's facts were declared; the numbers were measured all the same.
        load_seconds: from file to session, cold.
        first_inference_seconds: apart, because it includes lazy initialisation.
        peak_memory_bytes: peak resident size of the trial process minus its size before loading.
        scores: accuracy on each data set there was.
        valid, invalid_reason: conditions changed under the run, so that it proves nothing.
    """

    id: str
    protocol: str = BENCHMARK_PROTOCOL
    mode: BenchmarkMode = BenchmarkMode.QUICK
    model: Name
    variant: Name
    digest: Digest
    fingerprint: Fingerprint
    simulated: bool = False
    runtime: Name
    runtime_version: str
    started_at: Timestamp
    latency: Latency
    load_seconds: Measured
    first_inference_seconds: Measured
    peak_memory_bytes: Bytes
    scores: tuple[Score, ...] = ()
    kernels: KernelCounts = KernelCounts()
    conditions: Conditions = Conditions()
    valid: bool = True
    invalid_reason: Detail | None = None

    def score(self, dataset: str = "shipped") -> Score | None:
        """The score on `dataset`, if it was measured."""
        return next((score for score in self.scores if score.dataset == dataset), None)


class Agreement(Record):
    """How often a variant and the source model say the same, without any label.

    Attributes:
        value: share of samples with the same decision (classification), or 1 minus the relative
            error of the outputs (others).
        standard_error: of `value`.
        max_abs_difference: the largest difference of any output element.
    """

    value: Ratio
    standard_error: Annotated[float, Field(ge=0)] | None = None
    count: Count
    max_abs_difference: Annotated[float, Field(ge=0)]


class Difference(Record):
    """A score minus the baseline's on the same samples.

    Attributes:
        value: in the metric's unit; negative is worse where higher is better.
        standard_error: of `value`, from the differences per sample, so that what both get right
            or wrong alike does not count as uncertainty.
    """

    value: Magnitude
    standard_error: Annotated[float, Field(ge=0)] | None = None
    count: Count
