"""The daemon as a real process against a real broker: what it says, and what it survives."""

from __future__ import annotations

import json
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from fitment_agent import model
from fitment_contract.base import utc_now
from fitment_contract.benchmark import BenchmarkMode
from fitment_contract.codec import MAX_MESSAGE_BYTES, encode
from fitment_contract.messages import (
    Bench,
    Birth,
    Command,
    CommandName,
    Death,
    DeployConditions,
    Desired,
    Event,
    Vitals,
    WaitReason,
)
from fitment_contract.phase import FailureReason, Phase
from fitment_contract.topics import DownChannel
from support.agent_lab import (
    LIMIT_SECONDS,
    MODEL,
    AgentProcess,
    Lab,
    pointer,
    running_agent,
    wait_until,
)

pytestmark = pytest.mark.system


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.close()


def events(lab: Lab, name: str) -> list[Event]:
    return [event for event in lab.headquarters.all(Event) if event.name == name]


def test_birth_comes_first_and_a_goodbye_last(lab: Lab) -> None:
    with running_agent(lab.settings(region="eu-west")) as agent:
        birth = wait_until(lambda: lab.headquarters.all(Birth), "a birth")[0]
        vitals = wait_until(lambda: lab.headquarters.all(Vitals), "vitals")[0]
        assert agent.stop() == 0
    death = wait_until(lambda: lab.headquarters.all(Death), "a goodbye")[0]
    assert lab.headquarters.heard[0] == birth
    assert birth.facts.region == "eu-west"
    assert birth.facts.runtime("onnxruntime").opset_max
    assert (death.reason, death.session) == ("stopped", birth.session)
    assert vitals.session == birth.session
    sequences = [message.sequence for message in lab.headquarters.heard]
    assert sequences == list(range(1, len(sequences) + 1))


def test_each_sign_of_life_promises_the_next(lab: Lab) -> None:
    with running_agent(lab.settings(heartbeat_seconds=0.5, heartbeat_max_seconds=2.0)):
        vitals = wait_until(
            lambda: heard if len(heard := lab.headquarters.all(Vitals)) >= 3 else None, "vitals"
        )
        births = lab.headquarters.all(Birth)
        lab.headquarters.command(CommandName.REPORT)
        wait_until(lambda: len(lab.headquarters.all(Birth)) > len(births), "another birth")
    assert {birth.interval_seconds for birth in lab.headquarters.all(Birth)} == {0.5}
    assert {one.interval_seconds for one in vitals} <= {0.5, 1.0, 2.0}
    assert vitals[0].interval_seconds == 1.0


def test_the_service_manager_hears_that_it_is_up_alive_and_stopping(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(LIMIT_SECONDS)
        with running_agent(lab.settings()) as agent:
            heard = [manager.recv(100) for _ in range(4)]
            assert agent.stop() == 0
        while heard[-1] != b"STOPPING=1":
            heard.append(manager.recv(100))
    assert heard[0] == b"READY=1"
    assert set(heard[1:-1]) == {b"WATCHDOG=1"}


def test_killed_it_leaves_a_will_of_its_session(lab: Lab) -> None:
    with running_agent(lab.settings()) as agent:
        birth = wait_until(lambda: lab.headquarters.all(Birth), "a birth")[0]
        agent.kill()
        death = wait_until(lambda: lab.headquarters.all(Death), "the will")[0]
    assert (death.reason, death.session) == ("connection lost", birth.session)


def test_what_does_not_follow_the_contract_is_counted_and_never_fatal(lab: Lab) -> None:
    desired = Desired(device=lab.device, sent_at=utc_now(), generation=1)
    good = json.loads(desired.model_dump_json())
    bad = {
        "malformed": b"{not json",
        "oversized": b"x" * (MAX_MESSAGE_BYTES + 1),
        "unknown_version": json.dumps({**good, "version": 99}).encode(),
        "unknown_type": json.dumps({**good, "type": "surprise"}).encode(),
        "topic": json.dumps({**good, "device": "another"}).encode(),
    }
    with running_agent(lab.settings()):
        wait_until(lambda: lab.headquarters.all(Birth), "a birth")
        for payload in bad.values():
            for _ in range(3):
                lab.headquarters.send(payload)
        told = wait_until(
            lambda: found if len(found := events(lab, "message-rejected")) == len(bad) else None,
            "one event for each reason",
        )
        assert {event.detail.split(":")[0] for event in told} == set(bad)
        lab.headquarters.desire(1, lab.assignment())
        lab.headquarters.await_state(Phase.ACTIVE, 1)
    assert len(events(lab, "message-rejected")) == len(bad)  # rate-limited: the others counted


def test_a_stale_generation_changes_nothing_and_is_counted(lab: Lab) -> None:
    with running_agent(lab.settings()):
        lab.headquarters.desire(5, lab.assignment(features=8))
        lab.headquarters.await_state(Phase.ACTIVE, 5)
        lab.headquarters.desire(4, lab.assignment(features=16))
        told = wait_until(lambda: events(lab, "message-rejected"), "an event")[0]
        assert told.detail.startswith("stale_generation")
        lab.headquarters.desire(6, lab.assignment(features=8))
        state = lab.headquarters.await_state(Phase.ACTIVE, 6)
    assert state.variant == "fp32-8"
    assert lab.artifacts.hits == 1


def test_a_newer_generation_supersedes_what_hangs(lab: Lab) -> None:
    conditions = DeployConditions(allow_metered=False)
    with running_agent(lab.settings(metered=True)):
        lab.headquarters.desire(1, lab.assignment(features=8, conditions=conditions))
        waiting = lab.headquarters.await_state(Phase.WAITING, 1)
        assert waiting.waiting is not None
        assert waiting.waiting.reason is WaitReason.METERED
        lab.headquarters.desire(2, lab.assignment(features=16))
        state = lab.headquarters.await_state(Phase.ACTIVE, 2)
    assert (state.variant, state.previous) == ("fp32-16", None)


def test_two_models_deploy_one_after_the_other(lab: Lab) -> None:
    other = lab.assignment(features=16, model="keyword")
    with running_agent(lab.settings()):
        lab.headquarters.desire(1, lab.assignment(features=8), other)
        lab.headquarters.await_state(Phase.ACTIVE, 1)
        lab.headquarters.await_state(Phase.ACTIVE, 1, model="keyword")
    for message in lab.headquarters.heard:
        phases = [state.phase for state in getattr(message, "models", ())]
        under_way = {Phase.FETCHING, Phase.VERIFYING, Phase.TRIAL, Phase.ACTIVATING}
        assert sum(phase in under_way for phase in phases) <= 1


def test_going_back_to_the_previous_fetches_nothing_and_tries_it_again(lab: Lab) -> None:
    first, second = lab.assignment(features=8), lab.assignment(features=16)
    with running_agent(lab.settings()):
        lab.headquarters.desire(1, first)
        lab.headquarters.await_state(Phase.ACTIVE, 1)
        lab.headquarters.desire(2, second)
        lab.headquarters.await_state(Phase.ACTIVE, 2)
        hits = lab.artifacts.hits
        lab.headquarters.desire(3, first)
        state = lab.headquarters.await_state(Phase.ACTIVE, 3)
    assert (state.bytes_transferred, lab.artifacts.hits) == (0, hits)
    assert state.benchmark is not None
    assert Phase.TRIAL in {s.phase for s in lab.headquarters.states() if s.generation == 3}


def test_a_file_that_is_not_there_is_reported_as_such(lab: Lab) -> None:
    missing = lab.assignment()
    artifact = missing.variant.artifact.located(
        missing.variant.artifact.encodings[0].urls[0] + "-gone"
    )
    gone = missing.model_copy(
        update={"variant": missing.variant.model_copy(update={"artifact": artifact})}
    )
    with running_agent(lab.settings()):
        lab.headquarters.desire(1, gone)
        state = lab.headquarters.await_state(Phase.ROLLED_BACK, 1)
    assert state.failure is not None
    assert (state.failure.phase, state.failure.reason) == (
        Phase.FETCHING,
        FailureReason.NOT_FOUND,
    )


def test_a_deadline_ends_a_wait(lab: Lab) -> None:
    from datetime import timedelta

    waits = lab.assignment(
        conditions=DeployConditions(allow_metered=False),
        deadline=utc_now() + timedelta(seconds=2),
    )
    with running_agent(lab.settings(metered=True, conditions_poll_seconds=0.5)):
        lab.headquarters.desire(1, waits)
        state = lab.headquarters.await_state(Phase.ROLLED_BACK, 1)
    assert state.failure is not None
    assert state.failure.reason is FailureReason.DEADLINE_PASSED


def test_a_command_brings_a_benchmark_and_a_birth(lab: Lab) -> None:
    with running_agent(lab.settings()):
        lab.headquarters.desire(1, lab.assignment())
        lab.headquarters.await_state(Phase.ACTIVE, 1)
        lab.headquarters.command(CommandName.BENCHMARK, MODEL)
        bench = wait_until(lambda: lab.headquarters.all(Bench), "a benchmark")[0]
        assert bench.report.digest == pointer(lab.state_dir)["digest"]
        births = len(lab.headquarters.all(Birth))
        lab.headquarters.command(CommandName.REPORT)
        wait_until(lambda: len(lab.headquarters.all(Birth)) > births, "another birth")
        lab.headquarters.command(CommandName.BENCHMARK, "nothing")
        wait_until(lambda: events(lab, "benchmark-failed"), "the refusal")


def test_a_benchmark_on_command_runs_by_the_mode_that_it_names(lab: Lab) -> None:
    """The lab's own terms are far shorter than the contract's quick ones: fewer inferences."""
    command = Command(
        device=lab.device,
        sent_at=utc_now(),
        id="c1",
        name=CommandName.BENCHMARK,
        model=MODEL,
        mode=BenchmarkMode.QUICK,
    )
    with running_agent(lab.settings()):
        lab.headquarters.desire(1, lab.assignment())
        trial = lab.headquarters.await_state(Phase.ACTIVE, 1).benchmark
        lab.headquarters.send(encode(command), DownChannel.COMMAND)
        bench = wait_until(lambda: lab.headquarters.all(Bench), "a benchmark", 120.0)[0]
    assert trial is not None
    assert bench.report.latency.count > 10 * trial.latency.count


def test_what_happened_offline_is_said_later(lab: Lab) -> None:
    """A benchmark that ends while the broker is away waits in the outbox, a restart included."""
    with running_agent(lab.settings()) as agent:
        lab.headquarters.desire(1, lab.assignment())
        lab.headquarters.await_state(Phase.ACTIVE, 1)
        assert agent.stop() == 0
    with sqlite3.connect(lab.state_dir / "journal.db") as journal:
        body = {
            "sent_at": utc_now().isoformat(),
            "level": "info",
            "name": "kept",
            "detail": "from before",
        }
        journal.execute(
            "INSERT INTO outbox (channel, body) VALUES ('event', ?)", (json.dumps(body),)
        )
    with running_agent(lab.settings()):
        told = wait_until(lambda: events(lab, "kept"), "the kept event")[0]
        assert told.detail == "from before"
        wait_until(lambda: _outbox_size(lab) == 0, "the outbox to be empty")


def _outbox_size(lab: Lab) -> int:
    with sqlite3.connect(lab.state_dir / "journal.db") as journal:
        return int(journal.execute("SELECT COUNT(*) FROM outbox").fetchone()[0])


def test_a_corrupt_journal_costs_nothing_that_is_active(lab: Lab) -> None:
    first = lab.assignment()
    with running_agent(lab.settings()) as agent:
        lab.headquarters.desire(3, first)
        lab.headquarters.await_state(Phase.ACTIVE, 3)
        assert agent.stop() == 0
    hits = lab.artifacts.hits
    (lab.state_dir / "journal.db").write_bytes(b"garbage" * 4096)
    with running_agent(lab.settings()):
        wait_until(lambda: events(lab, "journal-fault"), "the event")
        state = lab.headquarters.await_state(Phase.ACTIVE, 3)
    assert state.active is not None
    assert state.active.digest == first.variant.digest
    assert lab.artifacts.hits == hits
    assert model(MODEL, lab.state_dir).path.exists()


FULL_DISK = """
import sys
from fitment_agent.errors import StorageError
from fitment_agent.journal import Journal
from fitment_agent import daemon
from fitment_agent.settings import Settings
from fitment_agent.wiring import JOURNAL_FILE, build_daemon

daemon._STORAGE_RETRY_SECONDS = 0.5

class JournalOnFullDisk(Journal):
    refused = 0
    def save(self, *deployments, generation=None):
        if self.refused < 3 and any(one.phase.value == sys.argv[2] for one in deployments):
            self.refused += 1
            raise StorageError("The journal cannot be written: disk is full.", "Make room.")
        super().save(*deployments, generation=generation)

settings = Settings.from_json(sys.argv[1])
build_daemon(settings, journal=JournalOnFullDisk(settings.state_dir / JOURNAL_FILE)).run()
"""


@pytest.mark.parametrize(
    "phase", [Phase.OFFERED, Phase.FETCHING, Phase.VERIFYING, Phase.ACTIVATING, Phase.ACTIVE]
)
def test_a_disk_that_is_full_for_a_while_is_reported_and_waited_for(lab: Lab, phase: Phase) -> None:
    agent = AgentProcess(lab.settings(), FULL_DISK, phase.value)
    try:
        lab.headquarters.desire(1, lab.assignment())
        lab.headquarters.await_state(Phase.ACTIVE, 1)
        told = wait_until(lambda: events(lab, "storage-failed"), "the event")
        assert "disk is full" in told[0].detail
    finally:
        agent.kill()
