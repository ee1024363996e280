"""Whether a timed pass proves something: pure decisions over what was read around it.

A pass is refused for what changed under it or held it back, never for being slow: a device that is
always busy is measured as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from fitment_contract.benchmark import BenchmarkMode
from fitment_contract.device import PowerSource, ThrottleReason
from fitment_runtime.conditions import Snapshot, throttling_between
from fitment_runtime.latency import Records, Timing, ends, in_batches, median

STEADY_SECONDS: Final = 1.0
"""Shorter passes are over before a change can be told from one hiccup of the scheduler."""

WITHHELD_SHARE: Final = 0.02
"""A quota that holds a process back for less than this leaves every percentile up to p95 alone."""

WAITED_RATIO: Final = 1.25
"""The median inference may take this many times the processor time of a mean one. Without anybody
else on the core the two are within some per cent; a quarter more is the smallest difference that
a choice between variants is made by. It is asked of the median, because a short inference seldom
meets another process: on a crowded machine the thread may get half of the time, and most
inferences are still not interrupted."""

MOVED_RATIO: Final = 1.10
"""Speed that differs by more than this between the begin and the end would be reported by chance:
the median of both is that of neither."""

MOVED_SPREADS: Final = 4.0
"""And by this many times the spread within begin and end, so that noise is not called a change. A
steady slope over the whole pass has 5.4 of them between its thirds, so that it is found."""

_MANY: Final = 300
_GROUPS: Final = 10
_FEWEST: Final = 4
_NORMAL: Final = 1.4826  # median absolute deviation to standard deviation, of a normal distribution

_NEXT_STEP: Final = {
    ThrottleReason.UNDER_VOLTAGE: "its supply gives too little voltage: use a stronger one",
    ThrottleReason.FREQUENCY_CAPPED: "its clock is capped: repeat it when it has cooled down",
    ThrottleReason.THROTTLED: "it was too hot: repeat it when it has cooled down",
    ThrottleReason.SOFT_TEMPERATURE_LIMIT: "it was too hot: repeat it when it has cooled down",
}


@dataclass(frozen=True)
class Terms:
    """What may be asked of a pass.

    Attributes:
        mode: a full benchmark is there to find out what heat does, so becoming slower is no fault.
        one_thread: every inference ran on the measuring thread alone, so that its processor time
            is theirs. Not so with several threads or an accelerator.
    """

    mode: BenchmarkMode
    one_thread: bool


def fault_of(start: Snapshot, end: Snapshot, timing: Timing, terms: Terms) -> str | None:
    """Why what was timed from `start` to `end` proves nothing, with the next step; else None."""
    return (
        _changed(start, end)
        or _throttled(start, end)
        or _withheld(start, end, timing)
        or _waited(timing, terms)
        or _moved(timing, terms)
    )


def _changed(start: Snapshot, end: Snapshot) -> str | None:
    before, after = start.power_source, end.power_source
    if before is not after and PowerSource.UNKNOWN not in (before, after):
        return (
            f"the power source changed from {before.value} to {after.value} during the "
            "measurement: repeat it"
        )
    if start.affinity != end.affinity:
        return (
            f"the cores that it may use changed from {_listed(start.affinity)} to "
            f"{_listed(end.affinity)} during the measurement: repeat it"
        )
    if start.governors != end.governors:
        return (
            f"the CPU governor changed from {_listed(set(start.governors.values()))} to "
            f"{_listed(set(end.governors.values()))} during the measurement: repeat it"
        )
    return None


def _throttled(start: Snapshot, end: Snapshot) -> str | None:
    reasons = throttling_between(start, end)
    if not reasons:
        return None
    return f"the CPU was throttled during the measurement; {_NEXT_STEP[reasons[0]]}"


def _withheld(start: Snapshot, end: Snapshot, timing: Timing) -> str | None:
    if start.withheld_seconds is None or end.withheld_seconds is None:
        return None
    withheld = end.withheld_seconds - start.withheld_seconds
    if withheld <= WITHHELD_SHARE * timing.wall_seconds:
        return None
    share = min(withheld / timing.wall_seconds, 1.0) if timing.wall_seconds > 0 else 1.0
    return (
        f"a CPU quota held the process back for {share:.0%} of the measurement: raise the quota "
        "of its control group (CPUQuota, cpu.max), or measure outside of it"
    )


def _waited(timing: Timing, terms: Terms) -> str | None:
    """The median inference took longer than its processor time: somebody else had the core."""
    if not terms.one_thread or timing.wall_seconds < STEADY_SECONDS:
        return None
    own = timing.cpu_seconds / timing.count
    waited = timing.cpu_share < 1.0 / WAITED_RATIO
    if not waited or median(timing.records) <= WAITED_RATIO * own:
        return None
    return (
        f"other processes had the core: the measuring thread got {timing.cpu_share:.0%} of the "
        "time, so that most inferences waited: repeat it when the machine is less busy"
    )


def _moved(timing: Timing, terms: Terms) -> str | None:
    """The speed at the end is not that at the begin."""
    if timing.wall_seconds < STEADY_SECONDS:
        return None
    early, late = (_levels(end) for end in ends(timing.records, 1 / 3))
    if min(len(early), len(late)) < _FEWEST:
        return None
    before, after = median(early), median(late)
    slower = after > before
    low, high = min(before, after), max(before, after)
    spread = max(_spread(early), _spread(late))
    if high <= MOVED_RATIO * low or high - low <= MOVED_SPREADS * spread:
        return None
    if slower and terms.mode is BenchmarkMode.FULL:
        return None  # what heat does to the device: retention tells
    change = high / low if low > 0 else float("inf")
    return (
        f"inferences became {change:.2f} times as {'slow' if slower else 'fast'} during the "
        "measurement: repeat it when nothing else starts or ends on the machine"
    )


def _levels(records: Records) -> Records:
    """Medians of consecutive groups where there are many records, else the records themselves."""
    if len(records) < _MANY:
        return records
    return [median(group) for group in in_batches(records, _GROUPS)]


def _spread(values: Records) -> float:
    centre = median(values)
    return _NORMAL * median([abs(value - centre) for value in values])


def _listed(values: Iterable[int] | Iterable[str]) -> str:
    return ", ".join(map(str, sorted(values))) or "none"
