"""A real agent that tunes what is active when it has nothing else to do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fitment_agent import model
from fitment_contract.benchmark import SessionTuning
from fitment_contract.messages import ModelState
from fitment_contract.phase import Phase
from support.agent_lab import MODEL, Lab, running_agent, wait_until

pytestmark = pytest.mark.system

PAUSE = 0.2


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.close()


@pytest.fixture
def battery(tmp_path: Path) -> Path:
    """The status file of the battery of a machine of which nothing else is known."""
    folder = tmp_path / "root/sys/class/power_supply/BAT0"
    folder.mkdir(parents=True)
    for name, value in (("type", "Battery"), ("present", "1"), ("capacity", "90")):
        (folder / name).write_text(f"{value}\n")
    return folder / "status"


def newest(lab: Lab) -> ModelState:
    return lab.headquarters.states()[-1]


def await_tuning(lab: Lab) -> SessionTuning:
    wait_until(lambda: newest(lab).tuning, "tuned session options")
    tuning = newest(lab).tuning
    assert tuning is not None
    return tuning


def test_what_is_active_is_tuned_by_and_by_and_only_once(lab: Lab) -> None:
    lab.headquarters.desire(1, lab.assignment(features=8))
    settings = lab.settings(tune_after_seconds=PAUSE)
    with running_agent(settings):
        told = lab.headquarters.await_state(Phase.ACTIVE, 1)
        tuning = await_tuning(lab)
        assert told.active is not None
        assert tuning.digest == told.active.digest
        chosen = model(MODEL, lab.state_dir).session_options
        assert (chosen["threads"], chosen["arena"]) == (tuning.threads, tuning.arena)
    with running_agent(settings):
        lab.headquarters.desire(2, lab.assignment(features=4))
        lab.headquarters.await_state(Phase.ACTIVE, 2)
        assert await_tuning(lab).digest != tuning.digest
        lab.headquarters.desire(3, lab.assignment(features=8))
        lab.headquarters.await_state(Phase.ACTIVE, 3)
        assert newest(lab).tuning == tuning, "it is known from before"


def test_a_deployment_does_not_wait_for_tuning(lab: Lab) -> None:
    lab.headquarters.desire(1, lab.assignment(features=8))
    with running_agent(lab.settings(tune_after_seconds=PAUSE)):
        first = lab.headquarters.await_state(Phase.ACTIVE, 1)
        time.sleep(PAUSE * 2)  # tuning is under way
        lab.headquarters.desire(2, lab.assignment(features=4))
        lab.headquarters.await_state(Phase.ACTIVE, 2)
        tuned = [state.tuning.digest for state in lab.headquarters.states() if state.tuning]
        assert first.digest not in tuned


def test_nothing_is_tuned_on_a_battery_or_when_nobody_wants_it(lab: Lab, battery: Path) -> None:
    root = battery.parents[4]
    lab.headquarters.desire(1, lab.assignment(features=8))
    battery.write_text("Discharging\n")
    with running_agent(lab.settings(tune_after_seconds=PAUSE, root_prefix=root)):
        lab.headquarters.await_state(Phase.ACTIVE, 1)
        time.sleep(PAUSE * 10)
        assert newest(lab).tuning is None
    battery.write_text("Charging\n")
    with running_agent(lab.settings(tune_after_seconds=PAUSE, root_prefix=root, auto_tune=False)):
        time.sleep(PAUSE * 10)
        assert newest(lab).tuning is None
    with running_agent(lab.settings(tune_after_seconds=PAUSE, root_prefix=root)):
        await_tuning(lab)
