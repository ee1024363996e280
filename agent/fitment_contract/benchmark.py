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

BENCHMARK_PROTOCOL: Final = "fitment-bench/2"
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
        p50_interval_seconds, p95_interval_seconds: 95 % confidence intervals, from the spread of
            consecutive batches: inferences one after the other are not independent of each other.
            None when there were too few inferences for ten batches.
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
    p50_interval_seconds: tuple[Measured, Measured] | None = None
    p95_interval_seconds: tuple[Measured, Measured] | None = None


class Sustained(Record):
    """What the device keeps up with over a minute and more.

    Attributes:
        throughput_per_second: inferences per second over the whole time, back to back.
        retention: throughput of the last 30 seconds over that of the first 30: below 1 the device
            slows down with heat.
    """

    throughput_per_second: Annotated[float, Field(gt=0)]
    retention: Annotated[float, Field(ge=0)]
    seconds: Measured


class EnergyUse(Record):
    """Energy per inference, from a real meter; never guessed from a chip's rating.

    Attributes:
        joules_per_inference: (busy - idle power) times the time of one inference.
        idle_watts, busy_watts: mean power just before, and while, inferences ran back to back.
        meter: what measured: `ina3221`, `pmic`, `rapl`, `battery`.
        channel: which rail or domain of the meter, for example `VDD_IN`.
        samples: readings of the meter while inferences ran.
    """

    joules_per_inference: Annotated[float, Field(ge=0)]
    idle_watts: Annotated[float, Field(ge=0)]
    busy_watts: Annotated[float, Field(ge=0)]
    meter: Name
    channel: str
    seconds: Measured
    count: Count
    samples: Count


class BenchmarkMode(str, Enum):
    """How much a benchmark measures: `quick` inside rollouts, `full` on demand.

    A full one also measures what the device sustains, and energy where there is a meter.
    """

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
        attempts: how often timing is begun at most, while the conditions change under it.
    """

    version: str = BENCHMARK_PROTOCOL
    mode: BenchmarkMode = BenchmarkMode.QUICK
    warmup: Count = 10
    min_seconds: Seconds = 10.0
    min_count: Annotated[int, Field(ge=1)] = 200
    max_seconds: Annotated[float, Field(gt=0)] = 30.0
    wall_limit_seconds: Annotated[float, Field(gt=0)] = 180.0
    memory_limit_bytes: Bytes = 512 * 1024 * 1024
    threads: Annotated[int, Field(ge=1)] = 1
    attempts: Annotated[int, Field(ge=1, le=10)] = 3


QUICK: Final = BenchmarkProtocol()
"""The terms inside rollouts: at least 10 seconds of inferences."""

FULL: Final = BenchmarkProtocol(
    mode=BenchmarkMode.FULL, min_seconds=60.0, max_seconds=120.0, wall_limit_seconds=600.0
)
"""The terms on demand: at least 60 seconds, so that heat has its say."""


class Conditions(Record):
    """The state of the machine while it measured.

    Attributes:
        isa: features that decide which kernels a runtime picks.
        governor: the kernel's policy for clocks, of the core that measured.
        affinity: the cores that inferences were allowed to run on.
        cpu_share: processor time that the measuring thread got over wall time; below 1 somebody
            else had the core, or a quota held it back.
    """

    architecture: str | None = None
    isa: tuple[str, ...] = ()
    governor: str | None = None
    threads: Count | None = None
    affinity: tuple[Count, ...] = ()
    cpu_share: Annotated[float, Field(ge=0)] | None = None
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
        sustained: only of a full benchmark.
        energy: only of a full benchmark, where there is a meter.
        attempts: how often timing was begun, because conditions changed under it.
        valid, invalid_reason: conditions changed under the last attempt too: it proves nothing.
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
    sustained: Sustained | None = None
    energy: EnergyUse | None = None
    attempts: Annotated[int, Field(ge=1)] = 1
    valid: bool = True
    invalid_reason: Detail | None = None

    def score(self, dataset: str = "shipped") -> Score | None:
        """The score on `dataset`, if it was measured."""
        return next((score for score in self.scores if score.dataset == dataset), None)


class SessionTuning(Record):
    """The session options with which a variant ran fastest on one fingerprint.

    Attributes:
        digest, fingerprint: what was tuned, and where.
        affinity: cores to stay on; empty for all.
        providers: execution providers or delegates in order of preference; empty for the CPU.
        arena: whether the runtime keeps freed memory for the next inference.
        p50_seconds: with these options; `reference_p50_seconds` with one thread and no options,
            measured in turns with them.
        candidates: how many combinations were measured.
    """

    digest: Digest
    fingerprint: Fingerprint
    threads: Annotated[int, Field(ge=1)]
    affinity: tuple[Count, ...] = ()
    providers: tuple[str, ...] = ()
    arena: bool = True
    p50_seconds: Measured
    reference_p50_seconds: Measured
    candidates: Count
    measured_at: Timestamp


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
