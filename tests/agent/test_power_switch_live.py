"""A real agent with two variants of a model: it switches by itself, also without a network."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fitment_agent import model
from fitment_agent.cli import app
from fitment_contract.messages import (
    Assignment,
    Bench,
    CommandName,
    Event,
    LowPower,
    PowerMode,
)
from fitment_contract.phase import FailureReason, Phase
from support.agent_lab import MODEL, Lab, running_agent, wait_until

pytestmark = pytest.mark.system


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.close()


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine of which only the battery is known."""
    root = tmp_path / "root"
    battery = root / "sys/class/power_supply/BAT0"
    battery.mkdir(parents=True)
    for name, value in (("type", "Battery"), ("status", "Discharging"), ("present", "1")):
        (battery / name).write_text(f"{value}\n")
    charge(root, 90)
    return root


def charge(root: Path, percent: int) -> None:
    (root / "sys/class/power_supply/BAT0/capacity").write_text(f"{percent}\n")


def a_pair(lab: Lab) -> Assignment:
    """The second variant takes fewer features."""
    second = LowPower(variant=lab.assignment(features=4).variant, below_charge_ratio=0.2)
    return lab.assignment(features=8, low_power=second)


def in_use(lab: Lab) -> str:
    return model(MODEL, lab.state_dir).variant


def uses(lab: Lab, variant: str) -> bool:
    return in_use(lab) == variant


def switches(lab: Lab) -> list[Event]:
    return [one for one in lab.headquarters.all(Event) if one.name == "power-switch"]


def test_a_pair_is_brought_switched_and_reported(lab: Lab, machine: Path) -> None:
    lab.headquarters.desire(1, a_pair(lab))
    with running_agent(lab.settings(root_prefix=machine)):
        told = lab.headquarters.await_state(Phase.ACTIVE, 1)
        assert told.low_power is not None
        assert told.low_power_benchmark is not None
        assert (told.mode, told.low_power.variant) == (PowerMode.NORMAL, "fp32-4")
        assert told.low_power_benchmark.digest == told.low_power.digest
        charge(machine, 10)
        (said,) = wait_until(lambda: switches(lab), "the switch to be reported")
        assert "fp32-4: on battery at 10%" in said.detail
        wait_until(lambda: lab.headquarters.states()[-1].mode is PowerMode.LOW_POWER, "the mode")
        assert in_use(lab) == "fp32-4"


def test_a_benchmark_that_is_asked_for_measures_both(lab: Lab, machine: Path) -> None:
    lab.headquarters.desire(1, a_pair(lab))
    with running_agent(lab.settings(root_prefix=machine)):
        told = lab.headquarters.await_state(Phase.ACTIVE, 1)
        assert told.active is not None
        assert told.low_power is not None
        for _ in range(3):  # as a controller asks that has no answer yet
            lab.headquarters.command(CommandName.BENCHMARK, MODEL)
        both = {told.active.digest, told.low_power.digest}
        wait_until(
            lambda: {one.report.digest for one in lab.headquarters.all(Bench)} == both, "both"
        )
        time.sleep(2)
        assert len(lab.headquarters.all(Bench)) <= 4, "what is still to come is not asked for again"


def test_offline_and_after_a_kill_it_goes_on_switching(lab: Lab, machine: Path) -> None:
    settings = lab.settings(root_prefix=machine)
    lab.headquarters.desire(1, a_pair(lab))
    with running_agent(settings) as agent:
        lab.headquarters.await_state(Phase.ACTIVE, 1)
        lab.broker.stop()
        for percent, wanted in ((10, "fp32-4"), (40, "fp32-8"), (10, "fp32-4")):
            charge(machine, percent)
            wait_until(partial(uses, lab, wanted), f"{wanted} at {percent} %")
        agent.kill()
    charge(machine, 22)  # within the band: it stays as it was
    with running_agent(settings):
        time.sleep(2)  # it has looked several times by then
        assert in_use(lab) == "fp32-4"
        charge(machine, 90)
        wait_until(partial(uses, lab, "fp32-8"), "the normal variant")


def test_a_second_variant_that_fails_rolls_both_back(lab: Lab, machine: Path) -> None:
    pair = a_pair(lab)
    assert pair.low_power is not None
    broken = lab.artifacts.add(b"no model")
    variant = pair.low_power.variant.model_copy(update={"artifact": broken})
    second = pair.low_power.model_copy(update={"variant": variant})
    lab.headquarters.desire(1, pair.model_copy(update={"low_power": second}))
    with running_agent(lab.settings(root_prefix=machine)):
        told = lab.headquarters.await_state(Phase.ROLLED_BACK, 1)
    assert told.failure is not None
    assert told.failure.reason is FailureReason.LOAD_FAILED
    assert told.failure.digest == broken.digest
    assert told.active is None


def test_tuned_by_hand_while_the_agent_runs(lab: Lab) -> None:
    lab.headquarters.desire(1, lab.assignment())
    with running_agent(lab.settings()):
        lab.headquarters.await_state(Phase.ACTIVE, 1)
        command = ["tune", MODEL, "--seconds", "2", "--state-dir", str(lab.state_dir), "-o", "json"]
        result = CliRunner().invoke(app, command, catch_exceptions=False)
        assert json.loads(result.stdout)["kept"]
        wait_until(lambda: lab.headquarters.states()[-1].tuning, "the tuning to be reported")
