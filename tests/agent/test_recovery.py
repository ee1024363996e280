"""An agent gets over storage, links, clocks and workers that fail for a while."""

from __future__ import annotations

import json
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from fitment_agent import supervise
from fitment_agent.conditions import Surroundings
from fitment_agent.control import answer_requests
from fitment_agent.deployment import MAX_RESUMPTIONS
from fitment_agent.deployment_events import Weighed
from fitment_agent.errors import UnknownModelError
from fitment_agent.supervise import WorkerProcess
from fitment_agent.worker.jobs import RuntimesJob, WorkerEvent, WorkerFailed
from fitment_contract.device import PowerSource
from fitment_contract.messages import DeployConditions, LowPower, WaitReason
from fitment_contract.phase import FailureReason, Phase
from support.agent_records import NOW, a_variant, an_assignment
from support.still_agent import StillAgent

IN_1970 = datetime(1970, 1, 1, tzinfo=timezone.utc)
FIRST, SECOND = an_assignment("first"), an_assignment("second")
PAIR = an_assignment("big", low_power=LowPower(variant=a_variant("small"), below_charge_ratio=0.2))
VISION = an_assignment("eyes", model="vision")
UNMETERED = DeployConditions(allow_metered=False)
METERED = Surroundings(metered=True)
EMPTY_BATTERY = Surroundings(source=PowerSource.BATTERY, charge_ratio=0.1, charging=False)
UNREACHABLE = WorkerFailed(
    reason=FailureReason.UNREACHABLE, detail="no route", retryable=True, bytes_transferred=1
)
MINUTE, HOUR = 60.0, 3600.0


@pytest.fixture
def agent(tmp_path: Path) -> StillAgent:
    return StillAgent(tmp_path)


def restarted(agent: StillAgent, wall: datetime | None = None) -> StillAgent:
    """Another agent on what a killed one left behind."""
    agent.journal.close()
    again = StillAgent(agent.settings.state_dir, wall or agent.clock())
    again.probe.around = agent.probe.around
    return again


# Storage


def test_a_fault_twice_a_second_keeps_nothing_else_from_being_done(agent: StillAgent) -> None:
    agent.activate(1, PAIR)
    agent.start()
    agent.turn()
    with agent.no_writes_to_journal():
        agent.hear(agent.desired(2, PAIR, VISION))
        agent.turn()
    assert "vision" not in agent.state.deployments
    agent.state.blobs.path(a_variant("small").artifact.digest).unlink()
    agent.probe.around = EMPTY_BATTERY  # the switch to what is gone fails at every look
    agent.run(MINUTE)
    assert "vision" in agent.state.deployments


def test_work_that_cannot_be_noted_keeps_nobody_from_connecting(agent: StillAgent) -> None:
    agent.state.accept(agent.desired(1, FIRST))
    agent.start()
    with agent.no_writes_to_journal():
        agent.turn()
        assert agent.deployment().phase is Phase.OFFERED
        assert agent.link.attempts == 1
    agent.turn()
    assert (agent.workers.kinds, agent.link.attempts) == (["fetch"], 1)


def test_what_is_to_be_deployed_again_is_begun_without_a_restart(agent: StillAgent) -> None:
    agent.activate(1, FIRST)
    agent.activate(2, VISION)
    agent.start()
    agent.turn()
    agent.state.blobs.path(FIRST.variant.digest).unlink()
    with agent.no_writes_to_journal():
        agent.hear(agent.desired(3, withdrawn=("vision",)))
        agent.turn()
    agent.run(MINUTE)
    assert agent.deployment("vision").phase is Phase.ROLLED_BACK
    assert agent.deployment().phase is Phase.FETCHING
    assert agent.workers.kinds == ["fetch"]


def test_a_pointer_that_cannot_be_moved_costs_another_model_nothing(agent: StillAgent) -> None:
    agent.activate(1, FIRST)
    agent.start()
    agent.turn()
    with agent.no_writes_to_pointer():
        agent.hear(agent.desired(2, VISION, withdrawn=(FIRST.model,)))
        agent.turn()
    assert agent.active() == "first"
    agent.run(MINUTE)
    assert agent.deployment("vision").phase is Phase.FETCHING
    assert agent.workers.kinds == ["fetch"]
    assert agent.active() is None


def test_mending_that_fails_is_not_done_twice_at_once(agent: StillAgent) -> None:
    agent.activate(1, FIRST)
    with agent.no_writes_to_pointer():
        agent.start()
        agent.run(5 * MINUTE)
        faults = agent.reporter.counted("storage-failed", "storage")
    assert 20 <= faults <= 31  # once at first, then every ten seconds


def test_a_file_lost_long_after_the_deadline_is_deployed_again(agent: StillAgent) -> None:
    agent.activate(1, an_assignment("first", deadline=NOW + timedelta(hours=1)))
    agent.state.blobs.path(FIRST.variant.digest).unlink()
    later = restarted(agent, NOW + timedelta(days=30))
    later.start()
    later.run(MINUTE)
    assert later.deployment().phase is Phase.FETCHING
    assert later.workers.kinds == ["fetch"]


# Link and command line


def test_an_attempt_to_connect_that_cannot_be_begun_is_made_again(agent: StillAgent) -> None:
    agent.link.refusals = 2
    agent.start()
    agent.turn()
    assert agent.link.attempts == 1
    agent.run(3 * agent.settings.reconnect_max_seconds)
    assert agent.link.attempts == 3
    agent.run(HOUR)
    assert agent.link.attempts == 3, "how the third ends is for the link to say"


@pytest.mark.parametrize("error", [ValueError("no number"), OSError("full"), KeyError("x")])
def test_a_request_that_fails_in_any_way_is_answered(tmp_path: Path, error: Exception) -> None:
    folder = tmp_path / "requests"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.json").write_text(json.dumps({"name": name}))

    def handle(request: dict[str, Any]) -> None:
        if request["name"] == "a":
            raise error
        if request["name"] == "b":
            raise UnknownModelError("No such model.", "Look.")

    answer_requests(tmp_path, handle)
    first, second, third = (json.loads(path.read_text()) for path in sorted(folder.iterdir()))
    assert (first["error"], second["error"], third) == ("StorageError", "UnknownModelError", {})
    assert type(error).__name__ in first["detail"]


# Worker


def test_a_worker_that_cannot_be_watched_is_gone_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As when a process has no file descriptors left."""
    uncaught: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", uncaught.append)

    def none_left() -> None:
        raise OSError(24, "too many open files")

    monkeypatch.setattr(supervise.selectors, "DefaultSelector", none_left)
    events: list[WorkerEvent] = []
    worker = WorkerProcess(
        RuntimesJob(), wall_limit_seconds=60, memory_limit_bytes=None, on_event=events.append
    )
    worker._thread.join(60)
    assert uncaught == []
    (last,) = events
    assert isinstance(last, WorkerFailed)
    assert last.reason is FailureReason.INTERNAL
    assert worker.pid is None


# Conditions


def test_a_transfer_that_is_resumed_is_weighed_first(agent: StillAgent) -> None:
    agent.state.accept(agent.desired(1, an_assignment("first", conditions=UNMETERED)))
    agent.state.apply(FIRST.model, Weighed(None))
    agent.probe.around = METERED
    again = restarted(agent)
    again.start()
    again.run(MINUTE)
    assert again.workers.jobs == []
    waiting = again.deployment().waiting
    assert waiting is not None
    assert waiting.reason is WaitReason.METERED
    again.probe.around = Surroundings(metered=False)
    again.run(MINUTE)
    assert again.workers.kinds == ["fetch"]


def test_a_deployment_that_waits_does_not_keep_tuning_from_happening(agent: StillAgent) -> None:
    cool = DeployConditions(max_temperature_celsius=10.0)
    agent.probe.around = Surroundings(temperature_celsius=50.0)
    agent.activate(1, FIRST)
    agent.start()
    agent.hear(agent.desired(2, FIRST, an_assignment("eyes", "vision", conditions=cool)))
    agent.run(2 * agent.settings.tune_after_seconds)
    assert agent.deployment("vision").phase is Phase.WAITING
    assert (agent.workers.kinds, agent.workers.stopped) == (["tune"], 0)
    agent.probe.around = Surroundings(temperature_celsius=5.0)
    agent.run(MINUTE)
    assert (agent.workers.kinds, agent.workers.stopped) == (["tune", "fetch"], 1)


# Clock


def test_a_failure_that_arrives_with_a_turned_clock_waits_by_the_new_one(tmp_path: Path) -> None:
    agent = StillAgent(tmp_path, IN_1970)
    agent.start()
    agent.hear(agent.desired(1, FIRST))
    agent.turn()
    agent.set_clock(NOW)
    agent.worker_says(UNREACHABLE)
    agent.turn()
    waiting = agent.deployment().waiting
    assert waiting is not None
    assert waiting.until is not None
    longest = timedelta(seconds=agent.settings.retry_max_seconds)
    assert NOW <= waiting.until <= agent.clock() + longest


def test_patience_noted_in_1970_is_not_over_when_the_clock_is_set(tmp_path: Path) -> None:
    patient = UNMETERED.model_copy(update={"max_defer_seconds": HOUR})
    agent = StillAgent(tmp_path, IN_1970)
    agent.probe.around = METERED
    agent.start()
    agent.hear(agent.desired(1, an_assignment("first", conditions=patient)))
    agent.turn()
    assert agent.deployment().held_since[WaitReason.METERED].year == 1970
    again = restarted(agent, NOW)  # nobody saw the clock turn
    again.start()
    again.run(HOUR / 2)
    assert again.deployment().phase is Phase.WAITING
    assert Phase.FETCHING not in {entry.phase for entry in again.journal.history()}
    again.run(HOUR)
    assert again.deployment().phase is Phase.FETCHING, "it ends all the same"


# Activating


def killed_while_activating(agent: StillAgent, pointer_was_written: bool, tries: int = 1) -> None:
    """What is on the disk once `SECOND` was proved, and the agent was killed."""
    agent.activate(1, an_assignment("zeroth"))
    agent.activate(2, FIRST)
    before = agent.state.pointers.read(FIRST.model)
    assert before is not None
    agent.activate(3, SECOND)
    activating = agent.deployment().model_copy(update={"phase": Phase.ACTIVATING, "tries": tries})
    agent.journal.save(activating)
    if not pointer_was_written:
        agent.state.pointers.write(FIRST.model, before)


@pytest.mark.parametrize("pointer_was_written", [True, False])
def test_withdrawn_while_activating_it_leaves_the_previous(
    agent: StillAgent, pointer_was_written: bool
) -> None:
    killed_while_activating(agent, pointer_was_written)
    again = restarted(agent)
    again.state.accept(again.desired(4, withdrawn=(FIRST.model,)))
    assert again.deployment().phase is Phase.ROLLED_BACK
    assert again.active() == "first"
    assert again.state.reconcile() == []


@pytest.mark.parametrize("pointer_was_written", [True, False])
def test_a_crash_loop_while_activating_leaves_the_previous(
    agent: StillAgent, pointer_was_written: bool
) -> None:
    killed_while_activating(agent, pointer_was_written, tries=1 + MAX_RESUMPTIONS)
    again = restarted(agent)
    again.state.resume(FIRST.model, after_crash=True)
    failure = again.deployment().failure
    assert failure is not None
    assert failure.reason is FailureReason.CRASH_LOOP
    assert again.active() == "first"


@pytest.mark.parametrize("pointer_was_written", [True, False])
def test_killed_while_leaving_it_is_finished_at_the_next_start(
    agent: StillAgent, pointer_was_written: bool
) -> None:
    killed_while_activating(agent, pointer_was_written)
    again = restarted(agent)
    pointer = again.state.pointers.read(FIRST.model)
    assert pointer is not None
    again.state.withdraw(FIRST.model, "by hand")
    again.state.pointers.write(FIRST.model, pointer)  # killed before it was moved back
    third = restarted(again)
    assert len(third.state.reconcile()) == pointer_was_written
    assert third.active() == "first"
    assert third.state.reconcile() == []
