"""Candidates are timed in turns, and slow ones do not make the run endless."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from fitment_compress.timing import MIN_COUNT, MIN_ROUNDS, WARMUP, _rounds, summarise
from fitment_contract.variant import TensorSpec

FEEDS = [{"x": np.zeros(1)}]


class Clock:
    """Time that passes only while a session runs."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ran: list[str] = []

    def __call__(self) -> float:
        return self.now


class Slow:
    """A session whose inferences take a known time."""

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()

    def __init__(self, name: str, seconds: float, clock: Clock) -> None:
        self._name, self._seconds, self._clock = name, seconds, clock

    def run(self, feeds: Mapping[str, Any]) -> list[Any]:
        self._clock.now += self._seconds
        self._clock.ran.append(self._name)
        return []


def timed(rounds: int, seconds: float, *cost: float) -> tuple[Clock, dict[str, list[float]]]:
    clock = Clock()
    loaded = {str(i): (Slow(str(i), each, clock), FEEDS) for i, each in enumerate(cost)}
    return clock, _rounds(loaded, rounds, seconds, clock)


def test_each_candidate_gets_its_own_durations() -> None:
    _, durations = timed(4, 0.0, 0.5, 0.25)
    assert set(durations["0"]) == {0.5}
    assert set(durations["1"]) == {0.25}
    assert len(durations["0"]) == 4 * MIN_COUNT


def test_rounds_interleave_and_begin_with_another_candidate_each_time() -> None:
    clock, _ = timed(3, 0.0, 1.0, 1.0, 1.0)
    turns = [clock.ran[i] for i in range(0, len(clock.ran), WARMUP + MIN_COUNT)]
    assert turns == ["0", "1", "2", "1", "2", "0", "2", "0", "1"]


def test_fast_candidates_are_timed_for_the_seconds_asked_for() -> None:
    _, durations = timed(10, 1.0, 0.001)
    assert sum(durations["0"]) == pytest.approx(1.0, rel=0.05)


def test_slow_candidates_end_the_rounds_early() -> None:
    _, durations = timed(60, 1.0, 10.0, 10.0)
    assert len(durations["0"]) == len(durations["1"]) == MIN_ROUNDS * MIN_COUNT


def test_percentiles_are_nearest_ranks() -> None:
    latency = summarise([i / 100 for i in range(1, 101)], threads=1)
    assert (latency.p50_seconds, latency.p95_seconds, latency.p99_seconds) == (0.5, 0.95, 0.99)
    assert latency.count == 100
