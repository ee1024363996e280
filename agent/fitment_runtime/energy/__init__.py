"""Energy per inference, from a real meter: one file per kind of meter.

Power is sampled by a thread of its own while this one rests, then while inferences run back to
back; the difference is what the inferences take. Where there is no meter, or it says too little,
there is no number: never one guessed from a chip's rating.
"""

from __future__ import annotations

import logging
import math
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from fitment_contract.benchmark import EnergyUse
from fitment_runtime.energy.battery import find_battery
from fitment_runtime.energy.ina3221 import find_ina3221
from fitment_runtime.energy.meter import Meter
from fitment_runtime.energy.pmic import find_pmic
from fitment_runtime.energy.rapl import find_rapl
from fitment_runtime.machine import ROOT

__all__ = ["Meter", "Power", "find_meter", "measure_energy"]

_log = logging.getLogger(__name__)

MIN_SAMPLES: Final = 8
"""Fewer readings of power have no spread worth the name."""

_FINDERS: Final[tuple[Callable[[Path], Meter | None], ...]] = (
    find_ina3221,
    find_pmic,
    find_rapl,
    find_battery,
)


@dataclass(frozen=True)
class Power:
    """Mean power over a stretch of time.

    Attributes:
        standard_error: of `watts`, from the spread of the readings.
    """

    watts: float
    standard_error: float
    samples: int


def find_meter(root: Path = ROOT) -> Meter | None:
    """The best meter of this machine: the whole board before the processor before the battery."""
    return next((meter for find in _FINDERS if (meter := find(root)) is not None), None)


def measure_energy(
    meter: Meter, run: Callable[[], object], limit_seconds: float
) -> EnergyUse | None:
    """What one call of `run` takes, idle power subtracted.

    Args:
        meter: what to read.
        run: one inference.
        limit_seconds: both stretches together take no longer.

    Returns:
        None when the meter gave too few readings, or no difference beyond two standard errors.
    """
    seconds = min(meter.stretch_seconds, limit_seconds / 2)
    idle = _power(meter, lambda: time.sleep(seconds))
    count, took = 0, 0.0

    def infer() -> None:
        nonlocal count, took
        begin = time.perf_counter()
        while took < seconds:
            run()
            count += 1
            took = time.perf_counter() - begin

    busy = _power(meter, infer)
    if idle is None or busy is None:
        _log.warning("energy not measured: %s gave too few readings", meter.name)
        return None
    gained = busy.watts - idle.watts
    if gained <= 2 * math.hypot(idle.standard_error, busy.standard_error):
        _log.warning("energy not measured: inferences make no difference to %s", meter.name)
        return None
    return EnergyUse(
        joules_per_inference=gained * took / count,
        idle_watts=idle.watts,
        busy_watts=busy.watts,
        meter=meter.name,
        channel=meter.channel,
        seconds=took,
        count=count,
        samples=busy.samples,
    )


def mean_power(readings: Sequence[tuple[float, float]], cumulative: bool) -> Power | None:
    """The mean over readings; None for too few.

    Args:
        readings: (seconds, watts), or (seconds, joules so far) of a meter that counts energy.
        cumulative: which of the two. A counter that stands still was read too early: only its
            steps are readings, and the mean is over the time between the first and the last.
    """
    if not cumulative:
        watts = [value for _, value in readings]
        weights = [1.0] * len(watts)
    else:
        steps = [
            (now, joules) for (_, before), (now, joules) in pairwise(readings) if joules > before
        ]
        pairs = list(pairwise(steps))
        weights = [after[0] - before[0] for before, after in pairs]
        watts = [
            (after[1] - before[1]) / weight
            for (before, after), weight in zip(pairs, weights, strict=True)
        ]
    if len(watts) < MIN_SAMPLES:
        return None
    return Power(
        watts=math.fsum(w * t for w, t in zip(watts, weights, strict=True)) / math.fsum(weights),
        standard_error=statistics.stdev(watts) / math.sqrt(len(watts)),
        samples=len(watts),
    )


def _power(meter: Meter, work: Callable[[], None]) -> Power | None:
    """Mean power while `work` is done."""
    readings: list[tuple[float, float]] = []
    ended = threading.Event()

    def sample() -> None:
        while True:
            value = meter.read()
            if value is not None:
                readings.append((time.perf_counter(), value))
            if ended.wait(meter.interval_seconds):
                return

    sampler = threading.Thread(target=sample, name="energy", daemon=True)
    sampler.start()
    try:
        work()
    finally:
        ended.set()
        sampler.join()
    return mean_power(readings, meter.cumulative)
