"""The formats that single sources of facts come in, beyond what the devices' roots hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitment_agent.probe.cgroup import memory_limit_bytes, processor_limit
from fitment_agent.probe.cores import cores_of_list, probe_clusters
from fitment_agent.probe.energy import energy_meter
from fitment_agent.probe.jetson import power_mode
from fitment_agent.probe.link import probe_link
from fitment_agent.probe.power_supply import probe_power
from fitment_agent.probe.root import Root, clean
from fitment_agent.probe.throttle import probe_throttle
from fitment_contract.device import LinkKind, Power, PowerSource, ThrottleReason

SUPPLIES = "sys/class/power_supply"
CPUS = "sys/devices/system/cpu"
GPIO = "sys/firmware/devicetree/base/compatible"


def root(folder: Path, files: dict[str, str]) -> Root:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    return Root(folder)


def phone(folder: Path, **answers: object) -> Root:
    """An Android phone whose commands answer with these values as JSON."""
    files = {"system/bin/getprop": ""}
    for name, answer in answers.items():
        text = answer if isinstance(answer, str) else json.dumps(answer)
        files[f"commands/{name.replace('_', '-')}"] = text
    return root(folder, files)


# Batteries


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (
            {"plugged": "PLUGGED_AC", "status": "FULL", "percentage": 100},
            Power(source=PowerSource.MAINS, charge_ratio=1.0, charging=True),
        ),
        (
            {"plugged": "UNPLUGGED", "status": "UNKNOWN", "percentage": 41},
            Power(source=PowerSource.BATTERY, charge_ratio=0.41, charging=False),
        ),
        (
            {"plugged": "PLUGGED_USB", "status": "DISCHARGING", "percentage": None}
            | {"level": 30, "scale": 60},
            Power(source=PowerSource.MAINS, charge_ratio=0.5, charging=False),
        ),
        (
            {"plugged": None, "status": "CHARGING", "percentage": "78"},
            Power(source=PowerSource.MAINS, charging=True),
        ),
        (dict.fromkeys(("present", "plugged", "status", "percentage")), Power()),
        ({"present": False, "plugged": "PLUGGED_AC", "percentage": 0}, Power()),
        ({"API_ERROR": "The API has died"}, Power()),
        ([], Power()),
        ("{not json", Power()),
        ("[" * 100_000, Power()),
    ],
)
def test_battery_of_a_phone(tmp_path: Path, told: object, expected: Power) -> None:
    assert probe_power(phone(tmp_path, termux_battery_status=told)) == expected


def test_termux_api_that_is_not_there_says_so(tmp_path: Path) -> None:
    silent = phone(tmp_path)
    probe_power(silent)
    assert silent.unknown["power.charge_ratio"] == (
        "/sys/class/power_supply lists no supply; termux-battery-status is not installed"
    )


@pytest.mark.parametrize(
    ("states", "mains", "source", "charging"),
    [
        (["Discharging"], "0", PowerSource.BATTERY, False),
        (["Charging"], "1", PowerSource.MAINS, True),
        (["Not charging", "Discharging"], "0", PowerSource.BATTERY, False),
        (["Full", "Unknown"], "1", PowerSource.MAINS, True),
        (["Discharging"], "1", PowerSource.MAINS, False),  # the charger is too weak
        (["Unknown"], "0", PowerSource.UNKNOWN, None),
    ],
)
def test_batteries_of_a_computer(
    tmp_path: Path, states: list[str], mains: str, source: PowerSource, charging: bool | None
) -> None:
    files = {f"{SUPPLIES}/AC/type": "Mains", f"{SUPPLIES}/AC/online": mains}
    for number, state in enumerate(states):
        files |= {
            f"{SUPPLIES}/BAT{number}/type": "Battery",
            f"{SUPPLIES}/BAT{number}/status": state,
            f"{SUPPLIES}/BAT{number}/capacity": "40",
        }
    power = probe_power(root(tmp_path, files))
    assert (power.source, power.charging, power.charge_ratio) == (source, charging, 0.4)


def test_an_empty_bay_is_no_battery(tmp_path: Path) -> None:
    files = {f"{SUPPLIES}/BAT1/type": "Battery", f"{SUPPLIES}/BAT1/present": "0"}
    bay = root(tmp_path, files)
    assert probe_power(bay) == Power()
    assert bay.unknown["power.source"] == f"/{SUPPLIES} lists no supply"


# Links


@pytest.mark.parametrize(
    ("wifi", "sim", "kind"),
    [
        ({"supplicant_state": "COMPLETED"}, "ABSENT", LinkKind.WIFI),
        ({"supplicant_state": "DISCONNECTED"}, "LOADED,ABSENT", LinkKind.CELLULAR),
        ({"API_ERROR": "No current connection"}, "READY", LinkKind.CELLULAR),
        ({"API_ERROR": "No current connection"}, "ABSENT", LinkKind.UNKNOWN),
        ({"API_ERROR": "Permission denied"}, "LOADED", LinkKind.UNKNOWN),
        ({"supplicant_state": None}, "LOADED", LinkKind.UNKNOWN),
        ({}, "LOADED", LinkKind.UNKNOWN),
    ],
)
def test_link_of_a_phone_that_hides_its_routes(
    tmp_path: Path, wifi: dict[str, Any], sim: str, kind: LinkKind
) -> None:
    asked = phone(tmp_path, termux_wifi_connectioninfo=wifi, getprop=f"[gsm.sim.state]: [{sim}]")
    assert probe_link(asked, None).kind is kind
    assert ("link.kind" in asked.sources) == (kind is not LinkKind.UNKNOWN)
    assert ("link.kind" in asked.unknown) == (kind is LinkKind.UNKNOWN)


@pytest.mark.parametrize(
    ("answer", "metered"),
    [
        ("GENERAL.METERED:yes", True),
        ("GENERAL.METERED:yes (guessed)", True),
        ("GENERAL.METERED:no (guessed)", False),
        ("GENERAL.METERED:unknown", None),
        ("Error: NetworkManager is not running.", None),
        ("GENERAL.METERED:nonsense", None),
    ],
)
def test_what_networkmanager_says_about_cost(
    tmp_path: Path, answer: str, metered: bool | None
) -> None:
    header = "Iface Destination Gateway Flags RefCnt Use Metric Mask"
    files = {
        "proc/net/route": f"{header}\neth0 00000000 0 0003 0 0 100 00000000 0 0 0",
        "commands/nmcli--t--f-GENERAL.METERED-device-show-eth0": answer,
    }
    assert probe_link(root(tmp_path, files), None).metered is metered


@pytest.mark.parametrize("name", ["..", "../../etc", "a/b", "x" * 16, "eth0;reboot"])
def test_an_interface_with_no_name_of_one_is_none(tmp_path: Path, name: str) -> None:
    header = "Iface Destination Gateway Flags RefCnt Use Metric Mask"
    files = {"proc/net/route": f"{header}\n{name} 00000000 0 0003 0 0 100 00000000 0 0 0"}
    assert probe_link(root(tmp_path, files), None).interface is None


# Limits and cores


def test_control_groups_of_version_1(tmp_path: Path) -> None:
    tree = "sys/fs/cgroup"
    files = {
        "proc/self/cgroup": "9:memory:/docker/ab\n4:cpu,cpuacct:/docker/ab\n0::/init.scope",
        f"{tree}/memory/memory.limit_in_bytes": "9223372036854771712",
        f"{tree}/memory/docker/ab/memory.limit_in_bytes": "268435456",
        f"{tree}/cpu/docker/cpu.cfs_quota_us": "-1",
        f"{tree}/cpu/docker/cpu.cfs_period_us": "100000",
        f"{tree}/cpu/docker/ab/cpu.cfs_quota_us": "50000",
        f"{tree}/cpu/docker/ab/cpu.cfs_period_us": "100000",
    }
    limited = root(tmp_path, files)
    assert memory_limit_bytes(limited) == 256 * 2**20
    assert processor_limit(limited) == 0.5


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("0-3", [0, 1, 2, 3]),
        ("0", [0]),
        ("0-1,4,6-7", [0, 1, 4, 6, 7]),
        ("", []),
        ("3-1", []),
        ("0-x", []),
        ("-2", []),
        ("0-999999", []),
    ],
)
def test_lists_of_cores(text: str, cores: list[int]) -> None:
    assert cores_of_list(text) == cores


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_as_a_list_of_cores(text: str) -> None:
    cores = cores_of_list(text)
    assert cores == sorted(set(cores))
    assert len(cores) <= 4096


def test_favoured_cores_are_of_the_same_kind_as_the_others(tmp_path: Path) -> None:
    clocks = [5_100_000, 5_000_000, 5_000_000, 3_800_000, 3_800_000]
    files = {f"{CPUS}/online": "0-5"}  # the last has no clock
    files |= {
        f"{CPUS}/cpu{core}/cpufreq/cpuinfo_max_freq": str(clock)
        for core, clock in enumerate(clocks)
    }
    clusters = probe_clusters(root(tmp_path, files))
    assert [cluster.cores for cluster in clusters] == [(0, 1, 2), (3, 4)]


# What the firmware says


@pytest.mark.parametrize(
    ("word", "now", "ever"),
    [
        ("throttled=0x0", [], []),
        ("throttled=0x50005", ["under_voltage", "throttled"], ["under_voltage", "throttled"]),
        ("throttled=0xe0008", ["soft_temperature_limit"], ["frequency_capped", "throttled"]),
        ("throttled=0x20002", ["frequency_capped"], ["frequency_capped"]),
    ],
)
@pytest.mark.parametrize("from_file", [True, False])
def test_words_of_the_firmware(
    tmp_path: Path, word: str, now: list[str], ever: list[str], from_file: bool
) -> None:
    files = {GPIO: "raspberrypi,4-model-b\0brcm,bcm2711\0"}
    if from_file:
        path = "sys/devices/platform/soc/soc:firmware/get_throttled"
        files[path] = word.partition("0x")[2]
    else:
        files["commands/vcgencmd-get_throttled"] = word
    found = probe_throttle(root(tmp_path, files))
    assert found.now is bool(now)
    assert [reason.value for reason in found.reasons] == now
    assert found.since_boot is not None
    assert set(ever) <= {reason.value for reason in found.since_boot}


def test_a_command_that_may_not_ask_the_firmware(tmp_path: Path) -> None:
    asked = root(tmp_path, {GPIO: "raspberrypi,4-model-b\0", "commands/vcgencmd-get_throttled": ""})
    assert probe_throttle(asked).now is None
    assert asked.unknown["thermal.throttled"]


def test_a_kernel_that_does_not_slow_down_is_not_throttled(tmp_path: Path) -> None:
    cooling = "sys/class/thermal/cooling_device"
    files = {f"{cooling}0/type": "pwm-fan", f"{cooling}0/cur_state": "4"}
    assert probe_throttle(root(tmp_path, files)).now is None  # a fan slows nothing down
    files |= {f"{cooling}1/type": "thermal-cpufreq-0", f"{cooling}1/cur_state": "0"}
    assert probe_throttle(root(tmp_path, files)).now is False
    files |= {f"{cooling}1/cur_state": "2"}
    found = probe_throttle(root(tmp_path, files))
    assert (found.now, found.reasons) == (True, (ThrottleReason.THROTTLED,))


@pytest.mark.parametrize(
    ("status", "conf", "told", "mode"),
    [
        ("pmode:0002", "< POWER_MODEL ID=2 NAME=15W >", "NV Power Mode: MAXN\n0", "15W"),
        ("pmode:0003", "< POWER_MODEL ID=2 NAME=15W >", "NV Power Mode: MAXN\n0", "MAXN"),
        ("", "", "NVPM WARN: fan mode is not set!\nNV Power Mode: MODE_30W_ALL\n2", "MODE_30W_ALL"),
        ("", "", "NVPM ERROR: permission denied", None),
    ],
)
def test_power_modes_of_a_jetson(
    tmp_path: Path, status: str, conf: str, told: str, mode: str | None
) -> None:
    files = {
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, BOARD: generic",
        "var/lib/nvpmodel/status": status,
        "etc/nvpmodel.conf": conf,
        "commands/nvpmodel--q": told,
    }
    asked = root(tmp_path, files)
    assert power_mode(asked) == mode
    assert ("power.mode" in asked.unknown) == (mode is None)


def test_meters_that_cannot_be_read_are_none(tmp_path: Path) -> None:
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").mkdir(parents=True)
    asked = root(tmp_path, {f"{SUPPLIES}/BAT0/type": "Battery"})
    assert energy_meter(asked) is None
    assert asked.unknown["power.energy_meter"] == "/sys/class/powercap may be read by root only"


@settings(deadline=None)
@given(st.text(max_size=400))
def test_names_are_one_printable_line(text: str) -> None:
    cleaned = clean(text)
    assert cleaned is None or (cleaned.isprintable() and 0 < len(cleaned) <= 160)
