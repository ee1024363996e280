"""The probe on trees that look like real devices, and declared facts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitment_agent.errors import FactsFileError
from fitment_agent.probe import DeclaredProbe, MachineProbe, make_probe
from fitment_agent.settings import Settings
from fitment_contract.device import DeviceFacts, LinkKind, PowerSource
from support.contract_samples import FACTS

ROOTS = Path(__file__).parent / "roots"


def probe(name: str, **changes: Any) -> MachineProbe:
    given: dict[str, Any] = {"device_id": "d", "state_dir": ROOTS, "root_prefix": ROOTS / name}
    return MachineProbe(Settings(**{**given, **changes}))


def test_a_raspberry_pi_4() -> None:
    facts = probe("pi4", region="eu-west").facts()
    hardware = facts.hardware
    assert hardware.board == "Raspberry Pi 4 Model B Rev 1.4"
    assert (hardware.soc, hardware.architecture, hardware.cores) == ("bcm2711", "aarch64", 4)
    assert hardware.isa == ("asimd",)
    assert hardware.memory_bytes == 3884436 * 1024
    assert facts.link.kind is LinkKind.ETHERNET  # the default route with the lower metric
    assert (facts.thermal.temperature_celsius, facts.thermal.throttled) == (82.761, True)
    assert (facts.os.name, facts.os.version) == ("Debian GNU/Linux", "12")
    assert facts.power.source is PowerSource.UNKNOWN
    assert "power.source" in facts.unknown
    assert (facts.region, facts.simulated) == ("eu-west", False)


def test_a_raspberry_pi_5_in_a_control_group() -> None:
    facts = probe("pi5", metered=False).facts()
    assert facts.hardware.soc == "bcm2712"
    assert facts.hardware.isa == ("asimd", "asimddp", "asimdhp", "fphp")
    assert facts.hardware.memory_bytes == 4 * 2**30
    assert (facts.link.kind, facts.link.metered) == (LinkKind.WIFI, False)
    assert facts.power.source is PowerSource.MAINS
    assert facts.thermal.throttled is False


def test_a_jetson() -> None:
    facts = probe("jetson").facts()
    assert facts.hardware.soc == "tegra234"
    assert facts.hardware.accelerators == ("cuda", "tensorrt")
    assert facts.labels == {"l4t": "36.4.3"}
    assert facts.link.kind is LinkKind.CELLULAR
    assert facts.thermal.temperature_celsius == 54.031  # the zone at -256 °C is switched off


def test_a_phone_where_half_is_denied() -> None:
    facts = probe("phone").facts()
    assert facts.hardware.soc == "Qualcomm Technologies, Inc SM8550"
    assert {"i8mm", "sve2", "asimddp"} <= set(facts.hardware.isa)
    assert facts.power.source is PowerSource.BATTERY
    assert (facts.power.charge_ratio, facts.power.charging) == (0.63, False)
    assert facts.hardware.board is None
    assert facts.link.kind is LinkKind.UNKNOWN
    assert {"hardware.board", "link.kind", "os.name", "thermal.throttled"} <= set(facts.unknown)


def test_nothing_at_all_is_no_crash_and_every_gap_has_a_reason() -> None:
    facts = probe("empty").facts()
    assert (facts.hardware.soc, facts.hardware.isa, facts.hardware.cores) == (None, (), None)
    assert {"hardware.isa", "hardware.memory_bytes", "hardware.architecture"} <= set(facts.unknown)
    assert all(facts.unknown.values())
    assert probe("empty").surroundings().temperature_celsius is None


def test_this_very_machine(tmp_path: Path) -> None:
    facts = MachineProbe(Settings(device_id="d", state_dir=tmp_path / "not" / "yet")).facts()
    assert facts.hardware.architecture
    assert facts.hardware.cores
    assert facts.storage.free_bytes
    assert facts.os.python


@given(garbage=st.binary(max_size=200), name=st.sampled_from(["cpuinfo", "meminfo", "net/route"]))
def test_garbage_in_a_file_is_no_crash(
    tmp_path_factory: pytest.TempPathFactory, garbage: bytes, name: str
) -> None:
    root = tmp_path_factory.mktemp("root")
    path = root / "proc" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(garbage)
    MachineProbe(Settings(device_id="d", state_dir=root, root_prefix=root)).facts()


# Declared facts


def declared(folder: Path, content: object) -> DeclaredProbe:
    path = folder / "facts.json"
    path.write_text(json.dumps(content))
    made = make_probe(Settings(device_id="d", state_dir=folder, facts_file=path, region="eu"))
    assert isinstance(made, DeclaredProbe)
    return made


def test_declared_facts_replace_the_machine_and_are_simulated(tmp_path: Path) -> None:
    content = FACTS.model_dump(mode="json") | {"simulated": False}
    source = declared(tmp_path, content)
    assert source.facts() == FACTS.model_copy(update={"simulated": True, "region": "eu"})
    assert source.declares_runtimes


def test_runtimes_may_be_left_out_or_declared_to_be_none(tmp_path: Path) -> None:
    assert not declared(tmp_path, {}).declares_runtimes
    assert declared(tmp_path, {"runtimes": []}).declares_runtimes


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ({"hardwear": {}}, "'hardwear'"),
        ({"hardware": {"sock": "x"}}, "'hardware.sock'"),
        ({"runtimes": [{"name": "a", "version": "1", "formats": [], "x": 1}]}, "'runtimes.x'"),
        ({"power": {"charge_ratio": 3}}, "power.charge_ratio"),
        ([], "no JSON object"),
    ],
)
def test_declared_facts_are_strict(tmp_path: Path, content: object, names: str) -> None:
    with pytest.raises(FactsFileError, match=names) as caught:
        declared(tmp_path, content)
    assert "probe -o json" in caught.value.next_step


def test_a_missing_file_and_a_file_that_is_not_json(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    settings = Settings(device_id="d", state_dir=tmp_path, facts_file=path)
    with pytest.raises(FactsFileError, match="cannot be read"):
        make_probe(settings)
    path.write_text("{")
    with pytest.raises(FactsFileError, match="not JSON"):
        make_probe(settings)


def test_declared_values_may_change_while_it_runs(tmp_path: Path) -> None:
    source = declared(tmp_path, {"power": {"charge_ratio": 0.2}})
    assert source.surroundings().charge_ratio == 0.2
    (tmp_path / "facts.json").write_text('{"power": {"charge_ratio": 0.9}}')
    assert source.surroundings().charge_ratio == 0.9
    (tmp_path / "facts.json").write_text("{")
    assert source.surroundings().charge_ratio == 0.9


def test_what_probe_prints_is_a_valid_facts_file(tmp_path: Path) -> None:
    printed = probe("pi4").facts().model_dump(mode="json")
    assert declared(tmp_path, printed).facts().hardware == probe("pi4").facts().hardware
    assert DeviceFacts.model_validate(printed).simulated is False
