"""The timed pass: inferences one after the other, each with its own time.

Latency is single-stream with nearest-rank percentiles, as the MLPerf inference rules ask.
Confidence intervals come from batches of consecutive inferences (Law, Simulation Modeling and
Analysis, §9.5), because inferences that follow each other share caches, clocks and neighbours: they
are not independent, and a formula for independent ones would promise too much.
"""

from __future__ import annotations

import gc
import math
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice, pairwise
from typing import TYPE_CHECKING, Final, TypeAlias

from fitment_contract.benchmark import BenchmarkProtocol, Latency, Sustained
from fitment_runtime.session import Session

if TYPE_CHECKING:
    from fitment_runtime.session import Array

    Feed = Mapping[str, Array]

Records: TypeAlias = "Sequence[float] | Array"
"""Seconds per inference, in the order in which they were measured."""

MIN_BATCHES: Final = 10
MAX_BATCHES: Final = 30
"""Between these, batches have about as many inferences as there are batches: long enough to be
independent of each other, and enough of them for their spread."""

_MIN_BATCH_COUNT: Final = 5
_MAX_RECORDS: Final = 1 << 20
"""Times kept of one pass: 8 MiB. A model of some microseconds would fill a small device's memory in
a minute; beyond this only every n-th is kept, with a larger n whenever they are this many again."""

_WARMUP_SHARE: Final = 0.05
_MAX_WARMUP_SECONDS: Final = 1.0
_SUSTAINED_SECONDS: Final = 30.0  # how much of the begin and of the end retention compares
_T_975: Final = (
    *(2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093),
    *(2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045),
)
"""Student's t for 95 %, two-sided, with 9 to 29 degrees of freedom."""


@dataclass(frozen=True)
class Timing:
    """What one timed pass recorded.

    Attributes:
        records: seconds per inference, in order: of all, or of every n-th where they were many.
        count: inferences that ran.
        wall_seconds: from the first to the end of the last.
        cpu_seconds: processor time that this thread took meanwhile.
    """

    records: Sequence[float]
    count: int
    wall_seconds: float
    cpu_seconds: float

    @property
    def cpu_share(self) -> float:
        """Processor time over wall time; below 1 the thread waited."""
        return self.cpu_seconds / self.wall_seconds if self.wall_seconds > 0 else 1.0


def time_inferences(
    session: Session,
    feeds: Sequence[Feed],
    protocol: BenchmarkProtocol,
    clock: Callable[[], float] = time.perf_counter,
    cpu_clock: Callable[[], float] = time.thread_time,
) -> Timing:
    """Single-stream latency: warm up, then time for as long and as often as the protocol says.

    Warming up takes `protocol.warmup` inferences and at least a twentieth of `min_seconds` (at most
    a second), because governors raise the clock only after some tens of milliseconds of work.

    Args:
        session: the loaded model.
        feeds: inputs, cycled through; at least one.
        protocol: warm-up, seconds and count.
        clock: seconds that never go back.
        cpu_clock: seconds of processor time that this thread took.

    Raises:
        InferenceFailure: an inference failed.
    """
    inputs = cycle(feeds)
    _warm_up(session, inputs, protocol, clock)
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()  # a collection in the middle would be taken for a slow inference
    try:
        return _timed(session, inputs, len(feeds), protocol, clock, cpu_clock)
    finally:
        if collecting:
            gc.enable()


def summarise(timing: Timing, threads: int) -> Latency:
    """Percentiles by nearest rank, with intervals where there were enough inferences."""
    ordered = _sorted(timing.records)
    return Latency(
        p50_seconds=nearest_rank(ordered, 0.50),
        p90_seconds=nearest_rank(ordered, 0.90),
        p95_seconds=nearest_rank(ordered, 0.95),
        p99_seconds=nearest_rank(ordered, 0.99),
        mean_seconds=float(ordered.mean()),
        count=timing.count,
        threads=threads,
        p50_interval_seconds=batch_interval(timing.records, 0.50),
        p95_interval_seconds=batch_interval(timing.records, 0.95),
    )


def nearest_rank(ordered: Records, share: float) -> float:
    """The smallest value of `ordered` (ascending) that at least `share` of the values reach."""
    return float(ordered[max(math.ceil(share * len(ordered)), 1) - 1])


def median(values: Records) -> float:
    """The nearest-rank median."""
    return nearest_rank(_sorted(values), 0.50)


def in_batches(records: Records, batches: int) -> Iterator[Records]:
    """Consecutive records in so many groups of about the same count."""
    bounds = [len(records) * number // batches for number in range(batches + 1)]
    return (records[begin:end] for begin, end in pairwise(bounds))


def batch_interval(records: Records, share: float) -> tuple[float, float] | None:
    """The 95 % confidence interval of a quantile, from its spread over consecutive batches.

    The quantile of all values, plus and minus Student's t times the standard error over batches.
    None for fewer than `MIN_BATCHES` batches that each have a value beyond the quantile.

    Args:
        records: in the order in which they were measured.
        share: which quantile, between 0 and 1.
    """
    # Rounded first: in floating point 1 / (1 - 0.95) is a little more than 20.
    least = max(_MIN_BATCH_COUNT, math.ceil(round(1.0 / (1.0 - share), 6)))
    wanted = min(max(math.isqrt(len(records)), MIN_BATCHES), MAX_BATCHES)
    batches = min(wanted, len(records) // least)
    if batches < MIN_BATCHES:
        return None
    found = [nearest_rank(_sorted(batch), share) for batch in in_batches(records, batches)]
    mean = math.fsum(found) / batches
    variance = math.fsum((value - mean) ** 2 for value in found) / (batches - 1)
    half = _T_975[batches - MIN_BATCHES] * math.sqrt(variance / batches)
    centre = nearest_rank(_sorted(records), share)
    return max(centre - half, 0.0), centre + half


def ends(records: Records, share: float) -> tuple[Array, Array]:
    """The records of the first and of the last `share` of the time that all of them took."""
    import numpy as np

    values = np.asarray(records)
    finished = values.cumsum()
    whole = finished[-1]
    begun = finished - values
    return values[finished <= share * whole], values[begun >= (1.0 - share) * whole]


def sustained(timing: Timing) -> Sustained | None:
    """Throughput, and how it held; None for a pass too short to have a begin and an end.

    Throughput counts everything between inferences as well, as an application has it.
    """
    if timing.wall_seconds < 2 * _SUSTAINED_SECONDS:
        return None
    share = _SUSTAINED_SECONDS / timing.wall_seconds
    first, last = (len(end) for end in ends(timing.records, share))
    if first == 0:
        return None
    return Sustained(
        throughput_per_second=timing.count / timing.wall_seconds,
        retention=last / first,
        seconds=timing.wall_seconds,
    )


def _warm_up(
    session: Session,
    inputs: Iterator[Feed],
    protocol: BenchmarkProtocol,
    clock: Callable[[], float],
) -> None:
    begin = clock()
    for feed in islice(inputs, protocol.warmup):
        session.run(feed)
    seconds = min(protocol.min_seconds * _WARMUP_SHARE, _MAX_WARMUP_SECONDS)
    while clock() - begin < seconds:
        session.run(next(inputs))


def _timed(
    session: Session,
    inputs: Iterator[Feed],
    different: int,
    protocol: BenchmarkProtocol,
    clock: Callable[[], float],
    cpu_clock: Callable[[], float],
) -> Timing:
    """The loop itself: two readings of the clock and one number kept per inference."""
    run, min_count = session.run, protocol.min_count
    min_seconds, max_seconds = protocol.min_seconds, protocol.max_seconds
    records, count, stride = array("d"), 0, 1
    # Thinned out by a number that shares no factor with that of the inputs, so that each of them
    # stays in the records as often as the others.
    factor = next(number for number in range(2, different + 2) if math.gcd(number, different) == 1)
    cpu_begin = cpu_clock()
    begin = clock()
    while True:
        for feed in islice(inputs, stride - 1):
            run(feed)
        feed = next(inputs)
        start = clock()
        run(feed)
        end = clock()
        records.append(end - start)
        count += stride
        elapsed = end - begin
        if elapsed >= max_seconds or (elapsed >= min_seconds and count >= min_count):
            break
        if len(records) == _MAX_RECORDS:
            records, stride = records[::factor], stride * factor
    return Timing(records, count, elapsed, cpu_clock() - cpu_begin)


def _sorted(records: Records) -> Array:
    import numpy as np

    return np.sort(np.asarray(records))
