"""The terms that `bench` asks for, and the table that it prints."""

from __future__ import annotations

from typing import Any

import pytest

from fitment_agent.cli_bench import benchmark_text, terms
from fitment_contract.benchmark import (
    FULL,
    QUICK,
    BenchmarkReport,
    Conditions,
    EnergyUse,
    Latency,
    Score,
    Sustained,
)
from fitment_contract.device import PowerSource
from support.contract_samples import REPORT


def test_the_terms_are_those_of_rollouts_unless_a_full_benchmark_is_asked_for() -> None:
    assert terms(full=False, seconds=None, threads=1) == QUICK
    full = terms(full=True, seconds=None, threads=1)
    assert (full.min_seconds, full.max_seconds, full.mode) == (60.0, 120.0, FULL.mode)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("seconds", [0.1, 45.0, 600.0])
def test_limits_leave_room_for_every_attempt(full: bool, seconds: float) -> None:
    found = terms(full, seconds, threads=2)
    assert (found.min_seconds, found.threads) == (seconds, 2)
    assert found.min_seconds < found.max_seconds
    assert found.attempts * found.min_seconds < found.wall_limit_seconds / 2


def text(**changes: Any) -> str:
    latency = Latency(
        p50_seconds=0.002,
        p90_seconds=0.003,
        p95_seconds=0.004,
        p99_seconds=0.005,
        mean_seconds=0.0021,
        count=5000,
        threads=1,
        p50_interval_seconds=(0.0019, 0.0021),
    )
    return benchmark_text(REPORT.model_copy(update={"latency": latency, **changes}))


def line(table: str, name: str) -> str:
    found = [row for row in table.splitlines() if row.startswith(f"{name}  ")]
    assert len(found) == 1, table
    return found[0].removeprefix(name).strip()


def test_latencies_come_with_their_intervals() -> None:
    table = text()
    assert line(table, "latency p50") == "2.000 ms (95 %: 1.900 to 2.100)"
    assert line(table, "latency p95") == "4.000 ms"
    assert line(table, "inferences") == "5000 on 1 thread(s)"


def test_what_proves_nothing_says_so_first() -> None:
    table = text(valid=False, invalid_reason="a CPU quota held it back: raise it", attempts=3)
    assert table.splitlines()[0].startswith("NOT VALID")
    assert "a CPU quota held it back" in table.splitlines()[0]
    assert "attempt 3" in line(table, "protocol")
    assert "NOT VALID" not in text(valid=True)


def test_what_was_not_measured_is_not_in_the_table() -> None:
    table = text(conditions=Conditions(), sustained=None, energy=None)
    for name in ("sustained", "energy", "governor", "temperature", "throttled", "cores"):
        assert name not in table


def test_a_full_benchmark_says_what_is_sustained_and_what_it_takes() -> None:
    table = text(
        sustained=Sustained(throughput_per_second=480.0, retention=0.912, seconds=60.0),
        energy=EnergyUse(
            joules_per_inference=0.0123,
            idle_watts=2.5,
            busy_watts=7.25,
            meter="ina3221",
            channel="VDD_IN",
            seconds=20.0,
            count=9600,
            samples=190,
        ),
        conditions=Conditions(
            governor="schedutil",
            affinity=(4, 5),
            cpu_share=0.97,
            temperature_start_celsius=48.0,
            temperature_end_celsius=71.5,
            throttled=False,
            power_source=PowerSource.MAINS,
        ),
    )
    assert line(table, "sustained") == "480.0 inferences/s over 60 s, retention 0.912"
    assert line(table, "energy").startswith("12.300 mJ per inference (7.25 W busy, 2.50 W idle;")
    assert "ina3221 VDD_IN, 190 readings" in table
    assert line(table, "cores") == "4,5"
    assert line(table, "processor") == "97% of the time"
    assert line(table, "temperature") == "48.0 to 71.5 °C"
    assert line(table, "power") == "mains"


def test_scores_come_with_their_standard_error() -> None:
    score = Score(metric="top1", value=0.868, standard_error=0.011, count=1031)
    table = text(scores=(score, score.model_copy(update={"standard_error": None})))
    assert "0.8680 ± 0.0110 over 1031 samples" in table
    assert "0.8680 over 1031 samples" in table


def test_the_table_reads_every_report() -> None:
    assert isinstance(BenchmarkReport.model_validate(REPORT.model_dump()), BenchmarkReport)
    assert benchmark_text(REPORT)
