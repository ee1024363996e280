"""Conditions are read under a root prefix; what is missing is None, never an error."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitment_contract.device import PowerSource, ThrottleReason
from fitment_runtime import memory
from fitment_runtime.conditions import (
    conditions_between,
    isa_features,
    snapshot,
    throttled_now,
    throttling_between,
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
FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"
ANYWHERE = {
    *PI,
    *LAPTOP,
    "proc/self/cgroup",
    "proc/thread-self/stat",
    "proc/thread-self/status",
    "sys/fs/cgroup/cpu.stat",
    "sys/class/thermal/cooling_device0/type",
    "sys/class/thermal/cooling_device0/cur_state",
    "commands/vcgencmd-get_throttled",
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
    assert (found.affinity, found.cpu_share, now.withheld_seconds) == ((), None, None)
    assert throttling_between(now, now) is None
    assert not throttled_now(now)


def test_a_raspberry_pi_is_read(tmp_path: Path) -> None:
    now = snapshot(write(tmp_path, PI))
    found = conditions_between(now, now, threads=1, root=tmp_path)
    assert found.isa == ("asimd", "asimddp")
    assert found.governor == "ondemand"
    assert found.temperature_end_celsius == 51.25
    assert found.throttled is False  # bits 16 to 19 tell of earlier times


@pytest.mark.parametrize(
    ("before", "after", "reasons"),
    [
        ("0", "0", ()),
        ("50000", "50000", ()),
        ("50000", "50005", (ThrottleReason.UNDER_VOLTAGE, ThrottleReason.THROTTLED)),
        ("0x2", "0x0", (ThrottleReason.FREQUENCY_CAPPED,)),
        ("0", "80000", (ThrottleReason.SOFT_TEMPERATURE_LIMIT,)),  # it came and went in between
    ],
)
def test_the_firmware_says_why_the_clock_was_held_back(
    tmp_path: Path, before: str, after: str, reasons: tuple[ThrottleReason, ...]
) -> None:
    start = snapshot(write(tmp_path, {**PI, FIRMWARE: before}))
    end = snapshot(write(tmp_path, {FIRMWARE: after}))
    assert throttling_between(start, end) == reasons
    assert conditions_between(start, end, 1, tmp_path).throttled is bool(reasons)
    assert throttled_now(end) is (after in ("50005",))


def test_without_the_firmwares_file_its_command_is_asked(tmp_path: Path) -> None:
    write(tmp_path, {"commands/vcgencmd-get_throttled": "throttled=0x50005\n"})
    assert snapshot(tmp_path).firmware_throttling == 0x50005
    write(tmp_path, {"commands/vcgencmd-get_throttled": "VCHI initialization failed\n"})
    assert snapshot(tmp_path).firmware_throttling is None


def test_throttle_events_between_are_throttling(tmp_path: Path) -> None:
    start = snapshot(write(tmp_path, LAPTOP))
    assert isa_features(tmp_path) == ("avx2", "avx512_vnni", "sse4_2")
    assert throttling_between(start, start) == ()
    write(
        tmp_path,
        {"sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "3\n"},
    )
    assert throttling_between(start, snapshot(tmp_path)) == (ThrottleReason.THROTTLED,)


def test_a_kernel_that_cools_by_the_clock_is_throttling(tmp_path: Path) -> None:
    cool = {
        "sys/class/thermal/cooling_device0/type": "thermal-cpufreq-0",
        "sys/class/thermal/cooling_device0/cur_state": "0",
        "sys/class/thermal/cooling_device1/type": "pwm-fan",
        "sys/class/thermal/cooling_device1/cur_state": "4",
    }
    start = snapshot(write(tmp_path, cool))
    assert throttling_between(start, start) == ()
    hot = snapshot(write(tmp_path, {"sys/class/thermal/cooling_device0/cur_state": "2"}))
    assert throttling_between(start, hot) == (ThrottleReason.SOFT_TEMPERATURE_LIMIT,)
    assert throttled_now(hot)


def test_power_comes_from_the_mains_or_the_battery(tmp_path: Path) -> None:
    assert snapshot(write(tmp_path, LAPTOP)).power_source is PowerSource.MAINS
    assert snapshot(write(tmp_path, BATTERY)).power_source is PowerSource.BATTERY
    write(tmp_path, {"sys/class/power_supply/BAT0/status": "Charging"})
    assert snapshot(tmp_path).power_source is PowerSource.MAINS


def test_a_mouse_feeds_nobody(tmp_path: Path) -> None:
    mouse = {"type": "Battery\n", "scope": "Device\n", "status": "Discharging\n"}
    write(tmp_path, {f"sys/class/power_supply/hid/{key}": said for key, said in mouse.items()})
    assert snapshot(tmp_path).power_source is PowerSource.UNKNOWN


def test_cores_and_their_governors_are_those_of_the_measuring_thread(tmp_path: Path) -> None:
    governor = "sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor"
    stat = f"4711 (a) b (c)) R {' '.join(['0'] * 35)} 6 0 0\n"
    write(
        tmp_path,
        {
            "proc/thread-self/status": "Name:\tpython\nCpus_allowed_list:\t0,4-6\n",
            "proc/thread-self/stat": stat,
            governor.format(0): "powersave",
            governor.format(3): "userspace",
            governor.format(4): "schedutil",
            governor.format(6): "performance",
        },
    )
    now = snapshot(tmp_path)
    assert (now.affinity, now.core) == ((0, 4, 5, 6), 6)
    assert now.governors == {0: "powersave", 4: "schedutil", 6: "performance"}
    found = conditions_between(now, now, 1, tmp_path, cpu_share=0.9)
    assert (found.governor, found.affinity, found.cpu_share) == (
        "performance",
        (0, 4, 5, 6),
        0.9,
    )


def test_this_machine_has_cores(tmp_path: Path) -> None:
    now = snapshot()
    assert now.affinity == tuple(sorted(os.sched_getaffinity(0)))
    assert now.core in now.affinity


GROUPS = {
    "second version": (
        {
            "proc/self/cgroup": "0::/system.slice/agent.service\n",
            "sys/fs/cgroup/system.slice/cpu.stat": "usage_usec 9\nthrottled_usec 250000\n",
            "sys/fs/cgroup/system.slice/agent.service/cpu.stat": "throttled_usec 500000\n",
            "sys/fs/cgroup/user.slice/cpu.stat": "throttled_usec 9000000\n",
        },
        0.75,
    ),
    "first version": (
        {
            "proc/self/cgroup": "3:cpuset:/x\n2:cpu,cpuacct:/docker/abc\n0::/\n",
            "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.stat": (
                "nr_periods 5\nnr_throttled 3\nthrottled_time 1500000000\n"
            ),
        },
        1.5,
    ),
    "a group out of sight": (
        {
            "proc/self/cgroup": "0::/../../other\n",
            "sys/fs/cgroup/cpu.stat": "throttled_usec 1000000\n",
            "sys/fs/cpu.stat": "throttled_usec 5000000\n",
        },
        1.0,
    ),
    "no quota counted": ({"proc/self/cgroup": "0::/\n"}, None),
    "garbage": (
        {
            "proc/self/cgroup": "\x00:::\n0::/\x00\n::\n0::/a\n",
            "sys/fs/cgroup/a/cpu.stat": "throttled_usec \nthrottled_usec -1\nthrottled_time x\n",
        },
        None,
    ),
}


@pytest.mark.parametrize("machine", GROUPS)
def test_quotas_of_the_own_groups_are_added_up(tmp_path: Path, machine: str) -> None:
    files, seconds = GROUPS[machine]
    assert snapshot(write(tmp_path, files)).withheld_seconds == seconds


def test_a_group_that_is_mounted_under_two_names_counts_once(tmp_path: Path) -> None:
    mount = tmp_path / "sys/fs/cgroup/cpu,cpuacct"
    mount.mkdir(parents=True)
    (mount / "cpu.stat").write_text("throttled_time 1000000000\n")
    (tmp_path / "sys/fs/cgroup/cpu").symlink_to("cpu,cpuacct")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("2:cpu,cpuacct:/\n")
    assert snapshot(tmp_path).withheld_seconds == 1.0


def test_a_zone_without_a_sensor_is_left_out(tmp_path: Path) -> None:
    for name, kind, millidegrees in (("0", "CPU-therm", 41_500), ("1", "PMIC-Die", 100_000)):
        zone = tmp_path / f"sys/class/thermal/thermal_zone{name}"
        zone.mkdir(parents=True)
        (zone / "type").write_text(f"{kind}\n")
        (zone / "temp").write_text(f"{millidegrees}\n")
    assert snapshot(tmp_path).temperature_celsius == 41.5


@pytest.mark.parametrize("content", ["", "garbage\n", "\x00\xff", "9" * 5000])
def test_garbage_is_no_reading(tmp_path: Path, content: str) -> None:
    write(tmp_path, dict.fromkeys({**PI, **LAPTOP, **GROUPS["second version"][0]}, content))
    now = snapshot(tmp_path)
    assert (now.temperature_celsius, now.throttle_events) == (None, None)
    assert (now.firmware_throttling, now.withheld_seconds) == (None, None)


@given(st.dictionaries(st.sampled_from(sorted(ANYWHERE)), st.binary(max_size=60)))
@settings(max_examples=50, deadline=None)
def test_no_content_of_any_file_is_an_error(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        now = snapshot(root)
        conditions_between(now, now, 1, root)


def test_the_peak_of_memory_covers_what_was_used_and_freed() -> None:
    memory.reset_peak()
    before = memory.resident_bytes()
    block = b"\x01" * 50_000_000
    del block
    assert memory.peak_resident_bytes() - before > 40_000_000
