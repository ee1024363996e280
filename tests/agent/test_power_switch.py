"""Two variants of one model on real files: brought, switched, rolled back, mended after kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fitment_agent import model
from fitment_agent.activation import LOW_POWER, NORMAL, Pointers
from fitment_agent.conditions import Surroundings
from fitment_agent.deployment import Deployment, RetryPolicy
from fitment_agent.deployment_events import Fetched, Proved, Verified, Weighed
from fitment_agent.errors import StorageError
from fitment_agent.journal import Journal
from fitment_agent.power_switch import PowerSwitch
from fitment_agent.state import AgentState
from fitment_contract.device import PowerSource
from fitment_contract.messages import Assignment, Desired, LowPower, PowerMode
from fitment_contract.phase import Phase
from support.agent_records import NOW, a_report, a_variant, an_assignment

EMPTY = Surroundings(source=PowerSource.BATTERY, charge_ratio=0.1, charging=False)
FULL = Surroundings(source=PowerSource.BATTERY, charge_ratio=0.9, charging=False)


def a_pair(normal: str = "big", low_power: str = "small", below: float = 0.2) -> Assignment:
    second = LowPower(variant=a_variant(low_power), below_charge_ratio=below)
    return an_assignment(normal, low_power=second)


def open_state(folder: Path) -> AgentState:
    return AgentState(folder, Journal(folder / "journal.db"), RetryPolicy(), clock=lambda: NOW)


@pytest.fixture
def state(tmp_path: Path) -> AgentState:
    return open_state(tmp_path)


def store(state: AgentState, assignment: Assignment) -> None:
    """Put the assignment's files where the worker would."""
    state.blobs.folder.mkdir(exist_ok=True)
    second = [assignment.low_power.variant] if assignment.low_power else []
    for variant in (assignment.variant, *second):
        state.blobs.path(variant.digest).write_bytes(variant.name.encode())


def desire(state: AgentState, generation: int, *assignments: Assignment) -> None:
    state.accept(Desired(device="d", sent_at=NOW, generation=generation, assignments=assignments))


def activate(state: AgentState, generation: int, assignment: Assignment) -> None:
    desire(state, generation, assignment)
    state.apply(assignment.model, Weighed(None))
    store(state, assignment)
    state.apply(assignment.model, Fetched(1))
    state.apply(assignment.model, Verified())
    if assignment.low_power is not None:
        second = an_assignment(assignment.low_power.variant.name)
        state.keep_low_power_proof(assignment.model, a_report(second))
    state.apply(assignment.model, Proved(a_report(assignment)))
    assert state.deployments[assignment.model].phase is Phase.ACTIVE


def in_use(state: AgentState) -> str:
    return model("activity", state.state_dir).variant


def test_a_device_switches_by_itself_and_back(state: AgentState) -> None:
    activate(state, 1, a_pair())
    switch = PowerSwitch(state)
    assert switch.is_needed
    seen = model("activity", state.state_dir)
    assert (seen.variant, seen.mode) == ("big", NORMAL)
    (said,) = switch.adapt(EMPTY)
    assert (said.mode, said.variant) == (PowerMode.LOW_POWER, "small")
    assert "10%" in said.detail
    assert seen.changed()
    assert model("activity", state.state_dir).mode == LOW_POWER
    assert model("activity", state.state_dir).path.read_bytes() == b"small"
    assert switch.adapt(EMPTY) == []
    assert [said.mode for said in switch.adapt(FULL)] == [PowerMode.NORMAL]
    assert in_use(state) == "big"


def test_what_is_reported_names_both(state: AgentState) -> None:
    activate(state, 1, a_pair())
    PowerSwitch(state).adapt(EMPTY)
    (told,) = state.model_states()
    assert told.active is not None
    assert told.low_power is not None
    assert told.low_power_benchmark is not None
    assert (told.active.variant, told.low_power.variant) == ("big", "small")
    assert told.mode is PowerMode.LOW_POWER
    assert told.low_power_benchmark.variant == "small"


def test_the_mode_survives_a_restart(state: AgentState, tmp_path: Path) -> None:
    activate(state, 1, a_pair())
    PowerSwitch(state).adapt(EMPTY)
    state.journal.close()
    again = open_state(tmp_path)
    assert again.reconcile() == []
    assert in_use(again) == "small"
    in_band = Surroundings(source=PowerSource.BATTERY, charge_ratio=0.22, charging=False)
    assert PowerSwitch(again).adapt(in_band) == []


def test_switching_twice_is_switching_once(state: AgentState) -> None:
    activate(state, 1, a_pair())
    assert state.switch("activity", PowerMode.LOW_POWER)
    before = state.pointers.path("activity").stat().st_mtime_ns
    assert not state.switch("activity", PowerMode.LOW_POWER)
    assert state.pointers.path("activity").stat().st_mtime_ns == before
    assert not state.switch("nothing", PowerMode.LOW_POWER)


def test_one_variant_alone_never_switches(state: AgentState) -> None:
    activate(state, 1, an_assignment("big"))
    switch = PowerSwitch(state)
    assert not switch.is_needed
    assert switch.adapt(EMPTY) == []
    assert not state.switch("activity", PowerMode.LOW_POWER)
    assert state.model_states()[0].mode is None


def test_eviction_spares_both_of_both_pairs(state: AgentState) -> None:
    activate(state, 1, a_pair("big", "small"))
    activate(state, 2, a_pair("bigger", "smaller"))
    activate(state, 3, a_pair("biggest", "smallest"))
    wanted = {a_variant(name).digest for name in ("bigger", "smaller", "biggest", "smallest")}
    assert {path.name for path in state.blobs.folder.iterdir()} == wanted


def test_a_new_pair_and_a_rollback_keep_to_the_mode(state: AgentState) -> None:
    activate(state, 1, a_pair("big", "small"))
    switch = PowerSwitch(state)
    switch.adapt(EMPTY)
    activate(state, 2, a_pair("bigger", "smaller"))
    assert in_use(state) == "smaller"
    assert switch.adapt(EMPTY) == []
    state.withdraw("activity", "by hand")
    assert in_use(state) == "small"
    assert [said.variant for said in switch.adapt(FULL)] == ["big"]


def test_after_a_rollback_the_limits_of_the_previous_pair_count(state: AgentState) -> None:
    activate(state, 1, a_pair("big", "small", below=0.05))
    activate(state, 2, a_pair("bigger", "smaller", below=0.2))
    state.withdraw("activity", "by hand")
    assert PowerSwitch(state).adapt(EMPTY) == []


def test_without_its_journal_a_device_returns_to_the_normal_variant(
    state: AgentState, tmp_path: Path
) -> None:
    """Nobody knows the limits any more, until the controller says them again."""
    activate(state, 1, a_pair())
    PowerSwitch(state).adapt(EMPTY)
    state.journal.close()
    for path in tmp_path.glob("journal.db*"):
        path.unlink()
    again = open_state(tmp_path)
    switch = PowerSwitch(again)
    assert [said.mode for said in switch.adapt(EMPTY)] == [PowerMode.NORMAL]
    desire(again, 1, a_pair())
    assert [said.mode for said in switch.adapt(EMPTY)] == [PowerMode.LOW_POWER]


def test_new_limits_for_the_same_pair_count_at_once(state: AgentState) -> None:
    activate(state, 1, a_pair(below=0.05))
    switch = PowerSwitch(state)
    assert switch.adapt(EMPTY) == []
    desire(state, 2, a_pair(below=0.2))
    assert state.deployments["activity"].phase is Phase.ACTIVE
    assert [said.mode for said in switch.adapt(EMPTY)] == [PowerMode.LOW_POWER]


def test_another_second_variant_is_brought_and_proved(state: AgentState) -> None:
    activate(state, 1, a_pair("big", "small"))
    desire(state, 2, a_pair("big", "tiny"))
    assert state.deployments["activity"].phase is Phase.OFFERED
    activate(state, 3, a_pair("big", "tiny"))
    assert state.switch("activity", PowerMode.LOW_POWER)
    assert in_use(state) == "tiny"


def test_a_second_variant_that_is_not_wanted_any_more_goes(state: AgentState) -> None:
    activate(state, 1, a_pair())
    PowerSwitch(state).adapt(EMPTY)
    desire(state, 2, an_assignment("big"))
    assert state.deployments["activity"].phase is Phase.ACTIVE
    assert in_use(state) == "big"
    assert not state.blobs.has(a_variant("small").digest)


def test_a_second_file_that_is_gone_is_never_pointed_at_and_is_brought_again(
    state: AgentState,
) -> None:
    activate(state, 1, a_pair())
    state.blobs.path(a_variant("small").digest).unlink()
    with pytest.raises(StorageError, match="small"):
        PowerSwitch(state).adapt(EMPTY)
    assert in_use(state) == "big"
    assert len(state.reconcile()) == 1
    assert state.deployments["activity"].phase is Phase.OFFERED


def test_a_pair_whose_pointer_is_lost_is_written_again(state: AgentState) -> None:
    activate(state, 1, a_pair())
    state.pointers.path("activity").unlink()
    assert len(state.reconcile()) == 1
    assert state.switch("activity", PowerMode.LOW_POWER)


def test_a_drop_that_was_cut_short_is_finished(state: AgentState, tmp_path: Path) -> None:
    """Killed between persisting the wish and moving the pointer."""
    activate(state, 1, a_pair())
    alone = Deployment(generation=2, assignment=an_assignment("big"), phase=Phase.ACTIVE)
    state.journal.save(alone, generation=2)
    state.journal.close()
    again = open_state(tmp_path)
    assert len(again.reconcile()) == 1
    assert again.model_states()[0].low_power is None


SWITCHES_FOR_EVER = """
import sys
from pathlib import Path
from fitment_agent.deployment import RetryPolicy
from fitment_agent.journal import Journal
from fitment_agent.state import AgentState
from fitment_contract.messages import PowerMode
folder = Path(sys.argv[1])
state = AgentState(folder, Journal(folder / "journal.db"), RetryPolicy())
print("ready", flush=True)
while True:
    for mode in (PowerMode.LOW_POWER, PowerMode.NORMAL):
        assert state.switch("activity", mode)
"""


def test_killed_anywhere_the_pointer_is_whole(state: AgentState, tmp_path: Path) -> None:
    activate(state, 1, a_pair())
    state.journal.close()
    for turn in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", SWITCHES_FOR_EVER, str(tmp_path)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        for _ in range(20 + turn * 7):  # meanwhile an application reads
            assert model("activity", tmp_path).variant in ("big", "small")
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        pointer = Pointers(tmp_path).read("activity")
        assert pointer is not None
        assert pointer.active.standby is not None
        assert {pointer.current.variant, pointer.active.standby.variant} == {"big", "small"}
        again = open_state(tmp_path)
        assert again.reconcile() == []
        again.switch("activity", PowerMode.NORMAL)
        again.journal.close()
