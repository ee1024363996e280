"""Timing begins again while the machine changes under it, and gives up in good time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from fitment_contract.benchmark import BenchmarkProtocol
from fitment_contract.variant import TensorSpec
from fitment_runtime import attempts, turns
from fitment_runtime.attempts import Timed, time_steadily
from fitment_runtime.session import SessionOptions

FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"
GOVERNOR = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"


@pytest.fixture(autouse=True)
def turn_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever measures on this machine at the same time does not matter here."""
    monkeypatch.setattr(turns, "_SHARED", tmp_path)


class Meddler:
    """A session of nothing that calls `meddle` with the number of each inference."""

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()

    def __init__(self, meddle: Callable[[int], object]) -> None:
        self.meddle = meddle
        self.count = 0

    def run(self, feeds: Mapping[str, Any]) -> list[Any]:
        self.count += 1
        self.meddle(self.count)
        return []


def write(root: Path, name: str, content: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def steady(root: Path, meddle: Callable[[int], object], seconds: float = 60.0) -> Timed:
    protocol = BenchmarkProtocol(warmup=0, min_seconds=0.0, min_count=10, attempts=3)
    session, options = Meddler(meddle), SessionOptions()
    deadline = time.monotonic() + seconds
    return time_steadily(
        session, [{}], protocol, options, deadline, root, lambda stage, done, total: None
    )


def test_a_quiet_machine_is_timed_once(tmp_path: Path) -> None:
    found = steady(tmp_path, lambda count: None)
    assert (found.attempts, found.fault, found.timing.count) == (1, None, 10)


def test_what_changed_once_is_timed_again(tmp_path: Path) -> None:
    write(tmp_path, GOVERNOR, "ondemand")
    found = steady(
        tmp_path, lambda count: write(tmp_path, GOVERNOR, "powersave") if count == 5 else None
    )
    assert (found.attempts, found.fault) == (2, None)
    assert found.conditions.governor == "powersave"


def test_what_keeps_changing_is_given_up_with_its_reason(tmp_path: Path) -> None:
    write(tmp_path, GOVERNOR, "governor-0")
    found = steady(tmp_path, lambda count: write(tmp_path, GOVERNOR, f"governor-{count}"))
    assert found.attempts == 3
    assert "from governor-20 to governor-30" in str(found.fault)


def test_without_time_there_is_no_further_attempt(tmp_path: Path) -> None:
    write(tmp_path, GOVERNOR, "governor-0")
    found = steady(tmp_path, lambda count: write(tmp_path, GOVERNOR, f"governor-{count}"), 0.0)
    assert (found.attempts, found.fault is None) == (1, False)


def test_a_machine_is_let_cool_down_before_the_next_attempt(tmp_path: Path) -> None:
    write(tmp_path, FIRMWARE, "0")

    def heat(count: int) -> None:
        if count == 5:
            write(tmp_path, FIRMWARE, "40004")
            threading.Timer(0.3, write, (tmp_path, FIRMWARE, "40000")).start()

    found = steady(tmp_path, heat)
    assert (found.attempts, found.fault) == (2, None)


def test_a_machine_that_stays_hot_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "_COOL_DOWN_SECONDS", 0.0)
    write(tmp_path, FIRMWARE, "50004")
    found = steady(tmp_path, lambda count: None)
    assert found.attempts == 3
    assert "cooled down" in str(found.fault)
