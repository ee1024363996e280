"""Killed in any phase, the agent resumes, converges, and never leaves applications without a model.

The phases come from the contract's table: a new one is covered by itself.
"""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fitment_agent import model
from fitment_agent.deployment import MAX_RESUMPTIONS
from fitment_contract.messages import Assignment, Birth, DeployConditions
from fitment_contract.phase import TERMINAL, TRANSITIONS, FailureReason, Phase
from support.agent_lab import MODEL, AgentProcess, Lab, running_agent, wait_until

NON_TERMINAL = sorted(
    ({phase for phase, _ in TRANSITIONS} | set(TRANSITIONS.values())) - TERMINAL,
    key=lambda phase: phase.value,
)

# The agent as it is, with a journal that kills the process right after persisting a phase.
KILLED_AFTER_PERSISTING = """
import os, signal, sys
from fitment_agent.journal import Journal
from fitment_agent.settings import Settings
from fitment_agent.wiring import JOURNAL_FILE, build_daemon

class DeadlyJournal(Journal):
    def save(self, *deployments, generation=None):
        super().save(*deployments, generation=generation)
        if any(one.phase.value == sys.argv[2] for one in deployments):
            os.kill(os.getpid(), signal.SIGKILL)

settings = Settings.from_json(sys.argv[1])
build_daemon(settings, journal=DeadlyJournal(settings.state_dir / JOURNAL_FILE)).run()
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.close()


def bring_up(lab: Lab) -> Assignment:
    """A first variant, active, so that there is something to lose."""
    first = lab.assignment(features=8)
    with running_agent(lab.settings()) as agent:
        lab.headquarters.desire(1, first)
        lab.headquarters.await_state(Phase.ACTIVE, 1)
        assert agent.stop() == 0
    return first


def check_usable(lab: Lab, digest: str) -> None:
    """What the pointer names is there, whole."""
    active = model(MODEL, lab.state_dir)
    assert active.digest == digest
    assert hashlib.sha256(active.path.read_bytes()).hexdigest() == digest


def second_assignment(lab: Lab, phase: Phase) -> Assignment:
    """Another variant; a condition holds it back where the phase is to wait."""
    waits = DeployConditions(allow_metered=False, max_defer_seconds=2.0)
    conditions = waits if phase is Phase.WAITING else DeployConditions()
    return lab.assignment(features=16, conditions=conditions)


@pytest.mark.system
@pytest.mark.parametrize("phase", NON_TERMINAL, ids=lambda phase: phase.value)
def test_killed_in_a_phase_it_converges_and_the_previous_stays_usable(
    lab: Lab, phase: Phase
) -> None:
    first = bring_up(lab)
    second = second_assignment(lab, phase)
    settings = lab.settings(metered=True, conditions_poll_seconds=0.5)
    lab.headquarters.desire(2, second)

    doomed = AgentProcess(settings, KILLED_AFTER_PERSISTING, phase.value)
    assert doomed.await_death() == -signal.SIGKILL
    check_usable(lab, first.variant.digest)

    with running_agent(settings):
        state = lab.headquarters.await_state(Phase.ACTIVE, 2)
    assert state.digest == second.variant.digest
    assert state.active is not None
    assert state.active.digest == second.variant.digest
    assert state.previous is not None
    assert state.previous.digest == first.variant.digest
    assert state.benchmark is not None
    assert state.benchmark.digest == second.variant.digest
    check_usable(lab, second.variant.digest)


@pytest.mark.system
def test_killed_again_and_again_it_gives_up_only_after_the_bound(lab: Lab) -> None:
    """The first try and `MAX_RESUMPTIONS` more may be killed; then it says crash loop."""
    first = bring_up(lab)
    lab.headquarters.desire(2, lab.assignment(features=16))
    for _ in range(1 + MAX_RESUMPTIONS):
        doomed = AgentProcess(lab.settings(), KILLED_AFTER_PERSISTING, Phase.TRIAL.value)
        assert doomed.await_death() == -signal.SIGKILL
    with running_agent(lab.settings()):
        state = lab.headquarters.await_state(Phase.ROLLED_BACK, 2)
    assert state.failure is not None
    assert (state.failure.phase, state.failure.reason) == (Phase.TRIAL, FailureReason.CRASH_LOOP)
    check_usable(lab, first.variant.digest)


@pytest.mark.system
def test_killed_twice_more_it_still_converges(lab: Lab) -> None:
    bring_up(lab)
    second = lab.assignment(features=16)
    lab.headquarters.desire(2, second)
    for _ in range(3):
        doomed = AgentProcess(lab.settings(), KILLED_AFTER_PERSISTING, Phase.TRIAL.value)
        assert doomed.await_death() == -signal.SIGKILL
    with running_agent(lab.settings()):
        state = lab.headquarters.await_state(Phase.ACTIVE, 2)
    assert state.digest == second.variant.digest


@pytest.mark.system
def test_a_broker_that_forgot_everything_gets_a_new_birth_in_a_higher_session(lab: Lab) -> None:
    with running_agent(lab.settings()):
        before = wait_until(lambda: lab.headquarters.all(Birth), "a birth")[-1]
        lab.broker.stop()
        lab.broker.start()
        after = wait_until(
            lambda: [one for one in lab.headquarters.all(Birth) if one.session > before.session],
            "a birth in a higher session",
        )[0]
        assert after.sequence >= 1
        lab.headquarters.desire(1, lab.assignment())
        lab.headquarters.await_state(Phase.ACTIVE, 1)
