"""Conditions are read under a root prefix; what is missing is None, never an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from fitment_contract.device import PowerSource
from fitment_runtime import memory
from fitment_runtime.conditions import (
    conditions_between,
    invalid_reason,
    isa_features,
    snapshot,
)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


PI = {
    "proc/cpuinfo": "processor : 0\nFeatures : fp asimd evtstrm asimddp cpuid\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
    "sys/class/thermal/thermal_zone0/temp": "48312\n",
    "sys/class/thermal/thermal_zone1/temp": "51250\n",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "50000\n",
}
LAPTOP = {
    "proc/cpuinfo": "processor\t: 0\nflags\t\t: fpu avx2 avx512_vnni sse4_2\n",
    "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "7\n",
    "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "2\n",
    "sys/class/power_supply/AC/type": "Mains\n",
    "sys/class/power_supply/AC/online": "1\n",
    "sys/class/power_supply/BAT0/type": "Battery\n",
    "sys/class/power_supply/BAT0/status": "Full\n",
}
BATTERY = {
    "sys/class/power_supply/AC/online": "0\n",
    "sys/class/power_supply/BAT0/status": "Discharging\n",
}


def test_an_empty_machine_has_unknown_conditions(tmp_path: Path) -> None:
    now = snapshot(tmp_path)
    found = conditions_between(now, now, threads=2, root=tmp_path)
    assert (found.isa, found.governor, found.temperature_start_celsius) == ((), None, None)
    assert (found.throttled, found.power_source, found.threads) == (None, PowerSource.UNKNOWN, 2)
    assert invalid_reason(now, now) is None


def test_a_raspberry_pi_is_read(tmp_path: Path) -> None:
    now = snapshot(write(tmp_path, PI))
    found = conditions_between(now, now, threads=1, root=tmp_path)
    assert found.isa == ("asimd", "asimddp")
    assert found.governor == "ondemand"
    assert found.temperature_end_celsius == 51.25
    assert found.throttled is False  # bits 16 to 19 tell of earlier times


def test_throttling_now_makes_a_run_invalid(tmp_path: Path) -> None:
    start = snapshot(write(tmp_path, PI))
    write(tmp_path, {"sys/devices/platform/soc/soc:firmware/get_throttled": "50004\n"})
    end = snapshot(tmp_path)
    assert conditions_between(start, end, 1, tmp_path).throttled is True
    assert "throttled" in str(invalid_reason(start, end))


def test_throttle_events_between_make_a_run_invalid(tmp_path: Path) -> None:
    start = snapshot(write(tmp_path, LAPTOP))
    assert isa_features(tmp_path) == ("avx2", "avx512_vnni", "sse4_2")
    assert conditions_between(start, start, 1, tmp_path).throttled is False
    write(
        tmp_path,
        {"sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "3\n"},
    )
    assert "throttled" in str(invalid_reason(start, snapshot(tmp_path)))


def test_a_changed_power_source_makes_a_run_invalid(tmp_path: Path) -> None:
    start = snapshot(write(tmp_path, LAPTOP))
    assert start.power_source is PowerSource.MAINS
    end = snapshot(write(tmp_path, BATTERY))
    assert end.power_source is PowerSource.BATTERY
    assert "from mains to battery" in str(invalid_reason(start, end))


@pytest.mark.parametrize("content", ["", "garbage\n", "\x00\xff"])
def test_garbage_is_no_reading(tmp_path: Path, content: str) -> None:
    write(tmp_path, dict.fromkeys({**PI, **LAPTOP}, content))
    now = snapshot(tmp_path)
    assert (now.temperature_celsius, now.throttled_now, now.throttle_events) == (None, None, None)


def test_the_peak_of_memory_covers_what_was_used_and_freed() -> None:
    memory.reset_peak()
    before = memory.resident_bytes()
    block = b"\x01" * 50_000_000
    del block
    assert memory.peak_resident_bytes() - before > 40_000_000
