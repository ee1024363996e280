"""The probe on trees that look like real devices: what it finds, and where it says it found it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fitment_agent.probe import MachineProbe
from fitment_agent.settings import Settings
from fitment_contract.device import (
    CoreCluster,
    LinkKind,
    PowerSource,
    ThrottleReason,
)
from fitment_controller.decisions.classify import classify
from fitment_controller.profiles import load_profiles
from fitment_runtime.energy import find_meter
from support.device_roots import NAMES, ROOTS, assert_all_is_explained, probe_of

UNDER_VOLTAGE, THROTTLED = ThrottleReason.UNDER_VOLTAGE, ThrottleReason.THROTTLED


def probe(name: str, **changes: Any) -> MachineProbe:
    return probe_of(ROOTS / name, **changes)


def test_a_raspberry_pi_4() -> None:
    facts = probe("pi4", region="eu-west").facts()
    hardware = facts.hardware
    assert hardware.board == "Raspberry Pi 4 Model B Rev 1.4"
    assert (hardware.soc, hardware.architecture, hardware.cores) == ("bcm2711", "aarch64", 4)
    assert hardware.isa == ("asimd",)
    assert hardware.memory_bytes == 3884436 * 1024
    assert hardware.accelerators == ("edgetpu",)  # on USB, its firmware not loaded yet
    assert hardware.clusters == (
        CoreCluster(cores=(0, 1, 2, 3), capacity=1024, max_frequency_hertz=1_800_000_000),
    )
    assert facts.link.kind is LinkKind.ETHERNET  # the default route with the lower metric
    assert (facts.link.interface, facts.link.metered) == ("eth0", False)
    assert (facts.thermal.temperature_celsius, facts.thermal.throttled) == (82.761, True)
    assert facts.thermal.throttle_reasons == (UNDER_VOLTAGE, THROTTLED)
    assert (facts.os.name, facts.os.version) == ("Debian GNU/Linux", "12")
    assert facts.power.source is PowerSource.UNKNOWN
    assert "power.source" in facts.unknown
    assert (facts.region, facts.simulated) == ("eu-west", False)


def test_a_raspberry_pi_5_in_a_control_group() -> None:
    facts = probe("pi5").facts()
    assert facts.hardware.soc == "bcm2712"
    assert facts.hardware.isa == ("asimd", "asimddp", "asimdhp", "fphp")
    assert facts.hardware.memory_bytes == 4 * 2**30
    assert facts.hardware.accelerators == ("hailo",)
    assert (facts.link.kind, facts.link.metered) == (LinkKind.WIFI, True)
    assert (facts.power.source, facts.power.energy_meter) == (PowerSource.MAINS, "pmic")
    assert (facts.thermal.throttled, facts.thermal.throttle_reasons) == (False, ())
    assert facts.thermal.throttled_since_boot == (UNDER_VOLTAGE, THROTTLED)


def test_what_somebody_declared_about_the_link_wins() -> None:
    reading = probe("pi5", metered=False).read()
    assert reading.facts.link.metered is False
    assert reading.sources["link.metered"] == "settings"


def test_a_raspberry_pi_zero_2_with_32_bits() -> None:
    facts = probe("pi-zero-2").facts()
    assert (facts.hardware.soc, facts.hardware.architecture) == ("bcm2837", "armv7l")
    assert facts.hardware.isa == ("neon", "vfpv4")
    assert facts.hardware.memory_bytes == 426388 * 1024
    assert facts.hardware.clusters[0].capacity is None
    # no file and no command of the firmware's, but the kernel watches the supply
    assert facts.thermal.throttle_reasons == (UNDER_VOLTAGE,)
    assert facts.unknown["link.metered"] == "nobody declared it; nmcli is not installed"


def test_a_jetson_orin() -> None:
    facts = probe("jetson-orin").facts()
    assert facts.hardware.soc == "tegra234"
    assert facts.hardware.accelerators == ("cuda", "tensorrt")
    assert facts.labels == {"l4t": "36.4.3"}
    assert (facts.link.kind, facts.link.metered) == (LinkKind.CELLULAR, True)
    assert facts.thermal.temperature_celsius == 54.031
    # the zones at -256 °C are switched off
    assert set(facts.thermal.zones) == {"cpu-thermal", "soc0-thermal", "tj-thermal"}
    assert facts.thermal.throttle_reasons == (THROTTLED,)  # the kernel holds the clocks down
    assert facts.thermal.throttled_since_boot == (THROTTLED,)  # over-current, counted
    assert (facts.power.mode, facts.power.energy_meter) == ("MAXN_SUPER", "ina3221")


def test_a_jetson_nano_with_an_old_kernel() -> None:
    facts = probe("jetson-nano").facts()
    assert (facts.hardware.soc, facts.labels["l4t"]) == ("tegra210", "32.7.6")
    assert (facts.power.mode, facts.power.energy_meter) == ("5W", "ina3221")
    assert facts.thermal.temperature_celsius == 41.5
    assert "PMIC-Die" not in facts.thermal.zones  # says 100 °C whatever happens
    assert facts.thermal.throttled is None


def test_another_power_mode_is_another_fingerprint() -> None:
    facts = probe("jetson-nano").facts()
    faster = facts.power.model_copy(update={"mode": "MAXN"})
    assert facts.fingerprint != facts.model_copy(update={"power": faster}).fingerprint


def test_a_phone_under_termux() -> None:
    facts = probe("termux").facts()
    assert (facts.hardware.board, facts.hardware.soc) == ("Google Pixel 8", "Google Tensor G3")
    assert [len(cluster.cores) for cluster in facts.hardware.clusters] == [1, 4, 4]
    assert [cluster.capacity for cluster in facts.hardware.clusters] == [1024, 620, 238]
    assert (facts.os.name, facts.os.version, facts.os.libc) == ("Android", "14", "bionic 34")
    assert facts.power.source is PowerSource.BATTERY
    assert (facts.power.charge_ratio, facts.power.charging) == (0.78, False)
    assert facts.power.energy_meter == "battery"
    assert facts.thermal.zones == {"battery": 31.2}
    assert (facts.link.kind, facts.link.metered) == (LinkKind.WIFI, None)
    assert facts.unknown["link.interface"] == "/proc/net/route: No such file or directory"


def test_a_phone_that_lists_its_battery() -> None:
    facts = probe("phone").facts()
    assert facts.hardware.soc == "Qualcomm Technologies, Inc SM8550"
    assert {"i8mm", "sve2", "asimddp"} <= set(facts.hardware.isa)
    assert facts.power.source is PowerSource.BATTERY
    assert (facts.power.charge_ratio, facts.power.charging) == (0.63, False)
    assert facts.hardware.board is None
    assert facts.link.kind is LinkKind.UNKNOWN
    assert {"hardware.board", "link.kind", "os.name", "thermal.throttled"} <= set(facts.unknown)


def test_a_laptop_with_two_batteries_of_which_one_waits() -> None:
    facts = probe("laptop").facts()
    assert facts.hardware.board == "ThinkPad T14 Gen 3"
    assert [one.max_frequency_hertz for one in facts.hardware.clusters] == [4.7e9, 3.3e9]
    assert facts.power.source is PowerSource.BATTERY
    assert facts.power.charging is False
    assert facts.power.charge_ratio == round((18.4 + 35) / (23 + 70), 4)  # not the mean of 80, 50
    assert facts.power.energy_meter == "rapl"
    assert set(facts.thermal.zones) == {"acpitz", "acpitz-2", "x86_pkg_temp"}
    assert (facts.thermal.throttled, facts.thermal.throttled_since_boot) == (False, (THROTTLED,))
    assert facts.unknown["link.metered"].endswith("NetworkManager does not know either")


def test_a_container_has_what_its_control_groups_leave_it() -> None:
    facts = probe("container").facts()
    assert facts.hardware.cores == 2  # a quota of one and a half of sixteen
    assert facts.hardware.memory_bytes == 512 * 2**20
    assert facts.os.libc == "musl"
    assert (facts.link.interface, facts.link.kind) == ("eth0", LinkKind.ETHERNET)  # IPv6 alone


def test_an_emulated_board_counts_as_simulated_and_measures_for_no_real_one() -> None:
    real = probe("pi4").facts()
    emulated = probe("pi4", labels={"emulated": "true"}).facts()
    assert (real.simulated, emulated.simulated) == (False, True)
    assert real.fingerprint != emulated.fingerprint
    assert not probe("pi4", labels={"emulated": "false"}).facts().simulated


def test_nothing_at_all_is_no_crash_and_every_gap_has_a_reason() -> None:
    facts = probe("empty").facts()
    assert (facts.hardware.soc, facts.hardware.isa, facts.hardware.cores) == (None, (), None)
    assert all(facts.unknown.values())
    assert probe("empty").surroundings().temperature_celsius is None


def test_this_very_machine(tmp_path: Path) -> None:
    settings = Settings(device_id="d", state_dir=tmp_path / "not" / "yet", labels={"room": "lab"})
    reading = MachineProbe(settings).read()
    facts = reading.facts
    assert facts.hardware.architecture
    assert facts.hardware.cores
    assert facts.storage.free_bytes
    assert facts.os.python
    assert reading.sources["labels.room"] == "settings"
    assert_all_is_explained(facts, reading.sources)


@pytest.mark.parametrize("name", NAMES)
def test_every_value_has_a_source_and_every_gap_a_reason(name: str) -> None:
    reading = probe(name).read()
    assert_all_is_explained(reading.facts, reading.sources)


@pytest.mark.parametrize("name", NAMES)
def test_surroundings_say_what_the_facts_say(name: str) -> None:
    source = probe(name)
    facts, around = source.facts(), source.surroundings()
    assert (around.source, around.charge_ratio, around.charging) == (
        facts.power.source,
        facts.power.charge_ratio,
        facts.power.charging,
    )
    assert around.temperature_celsius == facts.thermal.temperature_celsius
    assert around.throttled == facts.thermal.throttled
    assert (around.link_kind, around.metered) == (facts.link.kind, facts.link.metered)


@pytest.mark.parametrize("name", NAMES)
def test_no_name_or_address_of_a_network_leaves_the_device(name: str) -> None:
    reading = probe(name).read()
    said = f"{reading.facts.model_dump_json()} {dict(reading.sources)}"
    for private in ("unknown ssid", "02:00:00", "192.168.1.57", "fe80", "deadbeef", "pod1234"):
        assert private not in said


@pytest.mark.parametrize(
    ("name", "class_name"),
    [
        ("pi4", "pi-4"),
        ("pi5", "pi-5"),
        ("pi-zero-2", "pi-zero-2"),
        ("jetson-orin", "jetson-orin"),
        ("jetson-nano", "jetson-nano"),
        ("termux", "android-arm64"),
        ("laptop", "x86-vnni"),
        ("container", "x86-avx2"),
        ("empty", "generic"),
    ],
)
def test_devices_are_recognised_as_their_classes(name: str, class_name: str) -> None:
    assert classify(probe(name).facts(), load_profiles().classes).name == class_name


@pytest.mark.parametrize("name", NAMES)
def test_the_meter_that_is_named_is_the_one_that_benchmarks_read(name: str) -> None:
    meter = find_meter(ROOTS / name)
    assert probe(name).facts().power.energy_meter == (meter.name if meter else None)
