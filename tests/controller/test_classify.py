"""Facts to class: declared example devices, priorities, and unknown facts."""

from __future__ import annotations

from pathlib import Path

import pytest

from fitment_contract.device import DeviceFacts, Hardware, OperatingSystem
from fitment_controller.decisions.classify import classify, matches, region_of
from fitment_controller.profiles import load_profiles
from fitment_controller.profiles.kinds import UNASSIGNED, Match
from support.core_fleet import make_facts

EXAMPLES = Path(__file__).parents[2] / "examples" / "fleet"
PROFILES = load_profiles()


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("pi-zero-2", "pi-zero-2"),
        ("pi-5", "pi-5"),
        ("jetson-orin", "jetson-orin"),
        ("phone-battery", "android-arm64"),
        ("phone-charging", "android-arm64"),
        ("x86-box", "x86-vnni"),
    ],
)
def test_declared_devices_have_their_class(file: str, expected: str) -> None:
    facts = DeviceFacts.model_validate_json((EXAMPLES / f"{file}.json").read_bytes())
    assert classify(facts, PROFILES.classes).name == expected


@pytest.mark.parametrize(
    ("hardware", "system", "expected"),
    [
        (Hardware(board="Raspberry Pi 3 Model B Plus Rev 1.3"), None, "pi-3"),
        (Hardware(board="Raspberry Pi 4 Model B Rev 1.4"), None, "pi-4"),
        (Hardware(soc="BCM2711"), None, "pi-4"),
        (Hardware(board="NVIDIA Jetson Nano Developer Kit"), None, "jetson-nano"),
        (Hardware(board="NVIDIA Jetson AGX Orin Developer Kit"), None, "jetson-orin"),
        (Hardware(architecture="x86_64", isa=("avx2",)), None, "x86-avx2"),
        (Hardware(architecture="x86_64", isa=("avx_vnni",)), None, "x86-vnni"),
        (Hardware(architecture="aarch64"), "Android", "android-arm64"),
        (Hardware(architecture="aarch64"), "Debian", "generic"),
        (Hardware(), None, "generic"),
    ],
)
def test_hardware_decides(hardware: Hardware, system: str | None, expected: str) -> None:
    facts = DeviceFacts(hardware=hardware, os=OperatingSystem(name=system))
    assert classify(facts, PROFILES.classes).name == expected


def test_an_unknown_fact_satisfies_no_condition_about_it() -> None:
    assert not matches(DeviceFacts(), Match(memory_min_bytes=1))
    assert not matches(DeviceFacts(), Match(board=("*",)))
    assert matches(DeviceFacts(), Match())


def test_memory_ranges_are_inclusive() -> None:
    facts = DeviceFacts(hardware=Hardware(memory_bytes=100))
    assert matches(facts, Match(memory_min_bytes=100, memory_max_bytes=100))
    assert not matches(facts, Match(memory_max_bytes=99))


def test_without_a_class_that_matches_everything_it_says_so() -> None:
    with pytest.raises(ValueError, match="matches everything"):
        classify(DeviceFacts(), [PROFILES.device_class("pi-5")])


def test_the_region_is_the_device_s_then_the_default_then_none() -> None:
    assert region_of(make_facts(region="south-asia"), PROFILES, "eu-west").name == "south-asia"
    assert region_of(make_facts(region=None), PROFILES, "eu-west").name == "eu-west"
    assert region_of(make_facts(region="mars"), PROFILES, None) is UNASSIGNED
