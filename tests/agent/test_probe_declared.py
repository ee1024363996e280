"""Facts declared in a file, which stand in for a machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fitment_agent.errors import FactsFileError
from fitment_agent.facts_screen import facts_screen, facts_text, leaves, nearest
from fitment_agent.probe import DeclaredProbe, MachineProbe, make_probe
from fitment_agent.settings import Settings
from fitment_contract.device import DeviceFacts
from support.contract_samples import FACTS

PI_4 = Path(__file__).parent / "roots" / "pi4"


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
    probe = MachineProbe(Settings(device_id="d", state_dir=tmp_path, root_prefix=PI_4))
    printed = probe.facts().model_dump(mode="json")
    assert declared(tmp_path, printed).facts().hardware == probe.facts().hardware
    assert DeviceFacts.model_validate(printed).simulated is False


def test_every_declared_value_names_who_declared_it(tmp_path: Path) -> None:
    reading = declared(tmp_path, FACTS.model_dump(mode="json")).read()
    sources = {nearest(reading.sources, path) for path, _ in leaves(reading.facts.model_dump())}
    assert sources == {"settings", f"declared in {tmp_path / 'facts.json'}"}


def test_what_nobody_declared_is_shown_as_missing(tmp_path: Path) -> None:
    reading = declared(tmp_path, {"hardware": {"soc": "bcm2711"}}).read()
    settings = Settings(device_id="d", state_dir=tmp_path)
    known, missing = facts_text(facts_screen(settings, reading)).split("\n\n")
    assert "hardware.soc" in known
    assert "hardware.isa" not in known
    assert "hardware.isa" in missing
