"""A pass proves nothing when the machine changed under it or held it back, and only then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitment_contract.benchmark import BenchmarkMode
from fitment_contract.device import PowerSource
from fitment_runtime.conditions import Snapshot
from fitment_runtime.latency import Timing
from fitment_runtime.validity import Terms, fault_of

QUICK = Terms(BenchmarkMode.QUICK, one_thread=True)
FULL = Terms(BenchmarkMode.FULL, one_thread=True)
NOW = Snapshot(
    firmware_throttling=0,
    power_source=PowerSource.MAINS,
    affinity=(0, 1, 2, 3),
    governors={0: "ondemand", 1: "ondemand"},
    withheld_seconds=7.0,
)


def pass_of(records: Sequence[float], cpu_share: float = 1.0) -> Timing:
    wall = float(sum(records))
    return Timing(records, len(records), wall, wall * cpu_share)


def noisy(level: float, count: int, spread: float = 0.02, seed: int = 0) -> list[float]:
    noise = np.random.default_rng(seed).normal(1.0, spread, count)
    return [float(value) for value in level * np.abs(noise)]


STEADY = pass_of(noisy(0.01, 1000))


def test_a_steady_pass_proves_what_it_says() -> None:
    assert fault_of(NOW, NOW, STEADY, QUICK) is None
    assert fault_of(Snapshot(), Snapshot(), STEADY, QUICK) is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"power_source": PowerSource.BATTERY}, "from mains to battery"),
        ({"affinity": (2, 10)}, "from 0, 1, 2, 3 to 2, 10 "),
        ({"governors": {0: "ondemand", 1: "powersave"}}, "to ondemand, powersave"),
        ({"firmware_throttling": 0x10001}, "stronger"),
        ({"firmware_throttling": 0x40000}, "cooled down"),
        ({"withheld_seconds": 7.5}, "for 5% of"),
    ],
)
def test_what_changed_under_a_pass_is_named_with_the_next_step(
    change: dict[str, Any], says: str
) -> None:
    assert says in str(fault_of(NOW, replace(NOW, **change), STEADY, QUICK))


@pytest.mark.parametrize(
    "change",
    [
        {"power_source": PowerSource.UNKNOWN},  # unreadable for once is no change
        {"temperature_celsius": 70.0},
        {"core": 3},
        {"withheld_seconds": 7.05},
        {"withheld_seconds": None},
    ],
)
def test_what_does_not_touch_the_numbers_is_no_fault(change: dict[str, Any]) -> None:
    assert fault_of(NOW, replace(NOW, **change), STEADY, QUICK) is None


# Who had the core


def waited(own: float, median: float, share: float) -> Timing:
    """`own` seconds of processor time for each inference, of which half take `median`."""
    count = 2000
    return Timing([median] * count, count, own * count / share, own * count)


def test_short_inferences_on_a_crowded_machine_are_mostly_not_interrupted() -> None:
    assert fault_of(NOW, NOW, waited(0.001, 0.001, share=0.4), QUICK) is None


def test_inferences_that_mostly_waited_are_a_fault() -> None:
    found = fault_of(NOW, NOW, waited(0.010, 0.020, share=0.5), QUICK)
    assert "got 50% of the time" in str(found)
    assert fault_of(NOW, NOW, waited(0.010, 0.012, share=0.85), QUICK) is None


def test_several_threads_or_an_accelerator_tell_nothing_about_waiting() -> None:
    others = Terms(BenchmarkMode.QUICK, one_thread=False)
    assert fault_of(NOW, NOW, waited(0.010, 0.020, share=0.5), others) is None


def test_a_model_whose_inputs_differ_in_cost_did_not_wait() -> None:
    """The median is far above the mean, and the thread had the core all the time."""
    records = ([0.02] * 5 + [0.001] * 3) * 100
    assert fault_of(NOW, NOW, pass_of(records), QUICK) is None


# Whether the speed moved


@pytest.mark.parametrize("level", [0.0002, 0.01, 0.1])
@pytest.mark.parametrize("ratio", [1.3, 3.0])
def test_a_step_in_the_middle_is_a_fault(level: float, ratio: float) -> None:
    half = int(5 / level)
    records = noisy(level, half) + noisy(level * ratio, int(half / ratio), seed=1)
    assert "times as slow" in str(fault_of(NOW, NOW, pass_of(records), QUICK))
    assert "times as fast" in str(fault_of(NOW, NOW, pass_of(records[::-1]), QUICK))


def test_a_steady_slope_is_a_fault() -> None:
    records = [0.001 * (1 + index / 10_000) for index in range(10_000)]
    assert "times as slow" in str(fault_of(NOW, NOW, pass_of(records), QUICK))


def test_what_heat_does_is_the_result_of_a_full_benchmark() -> None:
    records = noisy(0.01, 3000) + noisy(0.015, 2000, seed=1)
    assert fault_of(NOW, NOW, pass_of(records), FULL) is None
    assert "times as fast" in str(fault_of(NOW, NOW, pass_of(records[::-1]), FULL))


def test_too_few_inferences_tell_no_change() -> None:
    assert fault_of(NOW, NOW, pass_of([1.0, 1.0, 1.0, 9.0, 9.0, 9.0]), QUICK) is None


def test_the_shortest_passes_tell_no_change() -> None:
    short = pass_of([0.001] * 200 + [0.002] * 200)
    assert fault_of(NOW, NOW, short, QUICK) is None
    assert fault_of(NOW, NOW, waited(0.00001, 0.0001, share=0.5), QUICK) is None


@given(
    seed=st.integers(0, 1 << 30),
    spread=st.floats(0.001, 0.3),
    count=st.sampled_from([30, 120, 600, 5000]),
)
@settings(max_examples=150, deadline=None)
def test_noise_alone_is_never_a_change(seed: int, spread: float, count: int) -> None:
    records = noisy(10.0 / count, count, spread, seed)
    assert fault_of(NOW, NOW, pass_of(records), QUICK) is None


@given(
    seed=st.integers(0, 1 << 30),
    busy=st.floats(0.1, 0.9),
    slice_seconds=st.floats(0.003, 0.05),
)
@settings(max_examples=50, deadline=None)
def test_neighbours_that_come_and_go_do_not_refuse_short_inferences(
    seed: int, busy: float, slice_seconds: float
) -> None:
    """Inferences of 0.3 ms; a neighbour takes the core now and then, for whole slices."""
    rng = np.random.default_rng(seed)
    records = np.abs(rng.normal(0.0003, 0.000005, 20_000))
    hit = rng.random(20_000) < 0.0003 / 0.003 * busy
    records[hit] += slice_seconds
    own = 0.0003 * len(records)
    timing = Timing(records, len(records), float(records.sum()), own)
    assert fault_of(NOW, NOW, timing, QUICK) is None
