"""Real agents where nothing can be relied on: when the trouble ends, they do what is wanted.

Nobody lends a hand to the device. Headquarters may ask again for what failed, in a new rollout,
as it does in a fleet.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from fitment_agent import model
from fitment_agent.journal import Journal
from fitment_agent.settings import Settings
from fitment_agent.wiring import JOURNAL_FILE
from fitment_contract.messages import Assignment, Birth, ModelState
from fitment_contract.phase import TERMINAL, Phase
from support.agent_lab import MODEL, AgentProcess, Lab, running_agent, wait_until
from support.hostile_disk import PAGE_BYTES, HostileDisk, hostile_disk

pytestmark = pytest.mark.system

PATIENT = {"retry_base_seconds": 0.05, "retry_max_seconds": 0.2, "retry_limit": 1}
SHORT_KILLS, LONG_KILLS = 6, 200


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.close()


@pytest.fixture
def disk(lab: Lab) -> Iterator[HostileDisk]:
    """Under the state folder and nothing else."""
    with hostile_disk(lab.state_dir) as found:
        yield found


def settled(lab: Lab, generation: int, seconds: float = 90.0) -> ModelState:
    """The device's answer to a generation, whatever it is."""

    def latest() -> ModelState | None:
        told = [state for state in lab.headquarters.states() if state.generation >= generation]
        return told[-1] if told and told[-1].phase in TERMINAL else None

    found: ModelState = wait_until(latest, f"generation {generation} to be answered", seconds)
    return found


def bring_about(lab: Lab, generation: int, assignment: Assignment) -> int:
    """Want something until the device has it; the generation in which it was active."""
    for rollout in range(5):
        wanted = assignment.model_copy(update={"rollout": f"r{generation}-{rollout}"})
        lab.headquarters.desire(generation, wanted)
        if settled(lab, generation).phase is Phase.ACTIVE:
            assert model(MODEL, lab.state_dir).digest == assignment.variant.digest
            return generation
        generation += 1
    raise AssertionError(f"given up: {lab.headquarters.states()[-1]}")


def check_usable(state_dir: Path) -> str:
    """What applications are pointed at is there, whole; its digest."""
    active = model(MODEL, state_dir)
    assert hashlib.sha256(active.path.read_bytes()).hexdigest() == active.digest
    return active.digest


# Facts that cannot be read


def denied(root: Path) -> None:
    """Nothing is there at all."""
    root.mkdir()


def garbled(root: Path) -> None:
    """Everything is there, and nothing in it makes sense."""
    source = Path(__file__).parents[1] / "agent" / "roots" / "pi5"
    shutil.copytree(source, root)
    for number, path in enumerate(sorted(path for path in root.rglob("*") if path.is_file())):
        path.write_bytes((b"", b"\xff\x00\xfe" * 99, b"-1\n", b"9" * 5000)[number % 4])


@pytest.mark.parametrize("surrounded", [denied, garbled], ids=lambda one: one.__name__)
def test_without_proc_and_sys_models_come_all_the_same(
    lab: Lab, tmp_path: Path, surrounded: Callable[[Path], None]
) -> None:
    surrounded(tmp_path / "root")
    with running_agent(lab.settings(root_prefix=tmp_path / "root")) as agent:
        birth = wait_until(lambda: lab.headquarters.all(Birth), "a birth")[0]
        assert birth.facts.unknown, "what cannot be read is named with its reason"
        bring_about(lab, 1, lab.assignment())
        assert agent.stop() == 0


# No network


def test_an_outage_longer_than_any_number_of_tries_is_no_failure(lab: Lab) -> None:
    """Broker and files are gone in the middle of an update, and the agent is started anew too."""
    settings = lab.settings(**PATIENT)
    second = lab.assignment(features=16)
    with running_agent(settings):
        bring_about(lab, 1, lab.assignment(features=8))
        before = check_usable(lab.state_dir)
        lab.artifacts.unplug()
        lab.headquarters.desire(2, second)
        lab.headquarters.await_state(Phase.FETCHING, 2)
        lab.broker.stop()
        await_tries(lab, 1)
    with running_agent(settings) as agent:
        await_tries(lab, 2)
        assert check_usable(lab.state_dir) == before
        lab.broker.start()
        lab.artifacts.plug_in()
        state = lab.headquarters.await_state(Phase.ACTIVE, 2)
        assert state.digest == second.variant.digest
        assert agent.stop() == 0


def await_tries(lab: Lab, count: int) -> None:
    """Until the agent has tried so often to fetch what the second generation wants."""

    def tries() -> int:
        journal = Journal.read_only(lab.state_dir / JOURNAL_FILE)
        try:
            past = [entry for entry in journal.history() if entry.generation == 2]
        finally:
            journal.close()
        return sum(entry.phase == Phase.WAITING.value for entry in past)

    wait_until(lambda: tries() >= count, f"{count} tries without a network", seconds=120)


# Storage


def test_an_agent_that_starts_on_a_full_disk_lives_and_needs_room_only(
    lab: Lab, disk: HostileDisk
) -> None:
    disk.fill()
    with running_agent(lab.settings()) as agent:
        wait_until(lambda: agent.has_ended or lab.headquarters.all(Birth), "a birth or a death")
        assert not agent.has_ended, agent.log.read_text()
        lab.headquarters.desire(1, lab.assignment())
        assert settled(lab, 1).phase is Phase.ROLLED_BACK
        disk.resize(64 << 20)
        lab.headquarters.desire(2, lab.assignment(rollout="again"))
        lab.headquarters.await_state(Phase.ACTIVE, 2)
        assert agent.stop() == 0
    check_usable(lab.state_dir)


def test_a_disk_that_fills_up_costs_no_model_that_is_in_use(lab: Lab, disk: HostileDisk) -> None:
    settings = lab.settings()
    with running_agent(settings) as agent:
        lab.headquarters.desire(1, lab.assignment(features=8))
        lab.headquarters.await_state(Phase.ACTIVE, 1)
        disk.fill(spare_bytes=2 * PAGE_BYTES)
        lab.headquarters.desire(2, lab.assignment(features=256))
        wait_until(
            lambda: "storage-failed" in agent.log.read_text() or lab_answered(lab, 2),
            "the full disk to be noticed",
        )
        check_usable(settings.state_dir)
        disk.resize(64 << 20)
        lab.headquarters.desire(3, lab.assignment(features=256, rollout="again"))
        lab.headquarters.await_state(Phase.ACTIVE, 3)
        assert agent.stop() == 0
    check_usable(settings.state_dir)


def lab_answered(lab: Lab, generation: int) -> bool:
    return any(
        state.generation == generation and state.phase in TERMINAL
        for state in lab.headquarters.states()
    )


def test_storage_that_refuses_every_write_keeps_what_is_in_use_and_heals(
    lab: Lab, disk: HostileDisk
) -> None:
    settings = lab.settings()
    with running_agent(settings) as agent:
        lab.headquarters.desire(1, lab.assignment(features=8))
        lab.headquarters.await_state(Phase.ACTIVE, 1)
        assert agent.stop() == 0
    disk.set_read_only(True)
    with running_agent(settings) as agent:
        lab.headquarters.desire(2, lab.assignment(features=16))
        assert settled(lab, 2).phase is Phase.ROLLED_BACK
        check_usable(settings.state_dir)
        disk.set_read_only(False)
        second = lab.assignment(features=16, rollout="again")
        lab.headquarters.desire(3, second)
        lab.headquarters.await_state(Phase.ACTIVE, 3)
        assert agent.stop() == 0
    with running_agent(settings) as agent:  # what it wrote meanwhile is what it finds
        wait_until(lambda: settled(lab, 3).phase is Phase.ACTIVE, "the model after a restart")
        assert check_usable(settings.state_dir) == second.variant.digest


# Kills


class Killer(threading.Thread):
    """Kills the agent or its worker, whichever chance says, and starts the agent again."""

    def __init__(self, settings: Settings, seed: int) -> None:
        super().__init__(name="killer")
        self._settings = settings
        self._chance = random.Random(seed)
        self._over = threading.Event()
        self._agent = AgentProcess(settings)
        self.killed = {"agent": 0, "worker": 0}

    def run(self) -> None:
        while not self._over.wait(self._chance.uniform(0.1, 4.0)):
            if self._chance.random() < 0.5:
                self._agent.kill()
                self._agent = AgentProcess(self._settings)
                self.killed["agent"] += 1
            else:
                self._kill_worker()

    def stop(self) -> None:
        self._over.set()
        self.join()
        self._agent.kill()

    def _kill_worker(self) -> None:
        with suppress(psutil.NoSuchProcess):
            for worker in psutil.Process(self._agent.process.pid).children():
                worker.send_signal(signal.SIGKILL)
                self.killed["worker"] += 1


@contextmanager
def under_fire(settings: Settings, seed: int) -> Iterator[Killer]:
    killer = Killer(settings, seed)
    killer.start()
    try:
        yield killer
    finally:
        killer.stop()


@pytest.mark.parametrize(
    "deployments",
    [SHORT_KILLS, pytest.param(LONG_KILLS, marks=[pytest.mark.soak, pytest.mark.timeout(5400)])],
)
def test_killed_at_random_every_deployment_ends_and_no_model_is_ever_missing(
    lab: Lab, deployments: int
) -> None:
    settings = lab.settings(**PATIENT)
    with running_agent(settings):
        bring_about(lab, 1, lab.assignment(features=8))
    variants = [lab.assignment(features=size) for size in (8, 16, 24)]
    ends = {Phase.ACTIVE: 0, Phase.ROLLED_BACK: 0}
    with under_fire(settings, seed=deployments) as killer:
        for generation in range(2, deployments + 2):
            wanted = variants[generation % 3].model_copy(update={"rollout": f"r{generation}"})
            lab.headquarters.desire(generation, wanted)
            while not lab_answered(lab, generation):
                check_usable(lab.state_dir)
                time.sleep(0.05)
            ends[settled(lab, generation).phase] += 1
    print(f"\n{deployments} deployments, killed {killer.killed}: {ends}")
    assert any(killer.killed.values())
    with running_agent(settings) as agent:
        bring_about(lab, deployments + 2, lab.assignment(features=32))
        assert agent.stop() == 0
