"""The timed pass: what is timed, what is left out, and how sure the result is."""

from __future__ import annotations

import gc
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitment_contract.benchmark import BenchmarkProtocol
from fitment_contract.variant import TensorSpec
from fitment_runtime import latency as module
from fitment_runtime.latency import (
    Timing,
    batch_interval,
    ends,
    nearest_rank,
    summarise,
    sustained,
    time_inferences,
)


class FakeSession:
    """A session whose inferences take, on its own clock, what the test says."""

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()

    def __init__(self, durations: Sequence[float]) -> None:
        self.durations = list(durations)
        self.now = 0.0
        self.fed: list[Any] = []
        self.collecting: set[bool] = set()

    def run(self, feeds: Mapping[str, Any]) -> list[Any]:
        self.now += self.durations[min(len(self.fed), len(self.durations) - 1)]
        self.fed.append(feeds["x"])
        self.collecting.add(gc.isenabled())
        return []

    def clock(self) -> float:
        return self.now

    def cpu_clock(self) -> float:
        return self.now / 4


def passed(session: FakeSession, feeds: int = 2, **changes: Any) -> Timing:
    terms = {"warmup": 0, "min_seconds": 0.0, "min_count": 1, "max_seconds": 1e6, **changes}
    inputs = [{"x": number} for number in range(feeds)]
    protocol = BenchmarkProtocol(**terms)
    return time_inferences(session, inputs, protocol, session.clock, session.cpu_clock)


def pass_of(records: Sequence[float]) -> Timing:
    return Timing(records, len(records), math.fsum(records), math.fsum(records))


def test_percentiles_are_by_nearest_rank() -> None:
    session = FakeSession([float(number) for number in range(1, 101)])
    latency = summarise(passed(session, min_count=100), threads=3)
    assert latency.p50_seconds == 50
    assert latency.p90_seconds == 90
    assert latency.p95_seconds == 95
    assert latency.p99_seconds == 99
    assert (latency.mean_seconds, latency.count, latency.threads) == (50.5, 100, 3)


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=50),
    st.floats(0.01, 1.0),
)
def test_nearest_rank_is_the_smallest_value_that_enough_reach(
    values: list[float], share: float
) -> None:
    found = nearest_rank(sorted(values), share)
    assert found in values
    assert sum(value <= found for value in values) >= math.floor(share * len(values))
    assert sum(value < found for value in values) < share * len(values) + 1e-9


def test_warm_up_is_not_timed() -> None:
    timing = passed(FakeSession([100.0, 100.0, 1.0]), warmup=2, min_count=5)
    assert list(timing.records) == [1.0] * 5


@pytest.mark.parametrize(("min_seconds", "warmed"), [(1.0, 2), (20.0, 4), (1000.0, 4)])
def test_warm_up_takes_a_while_of_a_long_pass(min_seconds: float, warmed: int) -> None:
    session = FakeSession([0.25])
    timing = passed(session, warmup=2, min_seconds=min_seconds)
    assert len(session.fed) - timing.count == warmed


def test_timing_ends_when_both_seconds_and_count_are_reached() -> None:
    assert passed(FakeSession([1.0]), min_seconds=10, min_count=3).count == 10
    assert passed(FakeSession([1.0]), min_seconds=2, min_count=7).count == 7


def test_a_slow_model_is_timed_with_fewer_inferences_rather_than_not_at_all() -> None:
    assert passed(FakeSession([4.0]), min_count=200, max_seconds=30.0).count == 8


def test_inputs_take_turns() -> None:
    session = FakeSession([1.0])
    passed(session, warmup=1, min_count=4)
    assert session.fed == [0, 1, 0, 1, 0]


def test_processor_time_is_that_of_the_timed_pass() -> None:
    timing = passed(FakeSession([8.0, 8.0, 2.0]), warmup=2, min_count=10)
    assert (timing.wall_seconds, timing.cpu_seconds, timing.cpu_share) == (20.0, 5.0, 0.25)


def test_nothing_is_collected_while_inferences_are_timed() -> None:
    session = FakeSession([1.0])
    passed(session, min_count=5)
    assert session.collecting == {False}
    assert gc.isenabled()


@pytest.mark.parametrize("feeds", [1, 2, 3, 6, 8])
def test_many_records_are_thinned_out_evenly(monkeypatch: pytest.MonkeyPatch, feeds: int) -> None:
    """A small device's memory is not filled with times, and each input keeps its share."""
    monkeypatch.setattr(module, "_MAX_RECORDS", 240)
    session = FakeSession([float(number % feeds) for number in range(11_000)])
    timing = passed(session, feeds=feeds, min_count=10_000)
    assert 24 <= len(timing.records) <= 240
    assert timing.count >= 10_000
    counts = Counter(timing.records)
    assert len(counts) == feeds
    assert max(counts.values()) - min(counts.values()) <= feeds


# How sure the result is


def test_an_interval_needs_ten_batches_that_reach_beyond_the_quantile() -> None:
    assert batch_interval([1.0] * 49, 0.50) is None
    assert batch_interval([1.0] * 50, 0.50) == (1.0, 1.0)
    assert batch_interval([1.0] * 199, 0.95) is None
    assert batch_interval([1.0] * 200, 0.95) == (1.0, 1.0)


@given(st.lists(st.floats(1e-6, 1e3), min_size=50, max_size=400), st.sampled_from([0.5, 0.9]))
@settings(max_examples=50)
def test_an_interval_is_around_its_quantile(records: list[float], share: float) -> None:
    interval = batch_interval(records, share)
    if interval is not None:
        assert 0 <= interval[0] <= nearest_rank(sorted(records), share) <= interval[1]


@pytest.mark.parametrize("share", [0.50, 0.95])
def test_nineteen_of_twenty_intervals_hold_the_truth(share: float) -> None:
    """Over records that hang together as real ones do: each level lasts for 20 inferences."""
    rng = np.random.default_rng(0)

    def records(count: int) -> Any:
        levels = np.repeat(rng.normal(1.0, 0.02, count // 20), 20)
        return levels + rng.exponential(0.05, count)

    truth = float(np.quantile(records(2_000_000), share))
    held = 0
    for _ in range(400):
        interval = batch_interval(records(4000), share)
        assert interval is not None
        held += interval[0] <= truth <= interval[1]
    assert 0.90 <= held / 400 <= 0.98


# What is sustained


def test_ends_are_by_time_and_not_by_count() -> None:
    first, last = ends([1.0] * 60 + [5.0] * 12, 0.5)
    assert (len(first), len(last)) == (60, 12)


def test_retention_compares_the_last_half_minute_with_the_first() -> None:
    found = sustained(pass_of([0.1] * 300 + [0.2] * 200))
    assert found is not None
    assert found.seconds == pytest.approx(70.0)
    assert found.throughput_per_second == pytest.approx(500 / 70)
    assert found.retention == pytest.approx(0.5, abs=0.01)


def test_a_short_pass_sustains_nothing() -> None:
    assert sustained(pass_of([0.1] * 590)) is None
