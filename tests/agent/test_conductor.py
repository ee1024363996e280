"""Which work the conductor asks for; the worker is a stand-in that only takes the job."""

from __future__ import annotations

import queue
from pathlib import Path
from typing import Any

import pytest

from fitment_agent.conductor import Conductor
from fitment_agent.deployment import RetryPolicy
from fitment_agent.deployment_events import Fetched, Proved, Verified, Weighed
from fitment_agent.facts import FactsKeeper
from fitment_agent.journal import Journal
from fitment_agent.probe import make_probe
from fitment_agent.settings import Settings
from fitment_agent.state import AgentState
from fitment_agent.timers import Timers
from fitment_agent.work import Workbench
from fitment_agent.worker.jobs import Job, TrialJob
from fitment_contract.benchmark import FULL, QUICK, BenchmarkMode, BenchmarkProtocol
from fitment_contract.messages import Desired
from support.agent_records import NOW, a_report, an_assignment

OWN = BenchmarkProtocol(min_seconds=0.5, threads=3, memory_limit_bytes=123_456_789)
ASSIGNMENT = an_assignment(protocol=OWN)


class IdleWorker:
    """Takes a job and never answers."""

    jobs: list[Job]

    def __init__(self) -> None:
        self.jobs = []

    def __call__(self, job: Job, **_limits: Any) -> IdleWorker:
        self.jobs.append(job)
        return self

    def stop(self) -> None:
        """There is nothing to stop."""


@pytest.fixture
def worker() -> IdleWorker:
    return IdleWorker()


@pytest.fixture
def conductor(tmp_path: Path, worker: IdleWorker) -> Conductor:
    """With one model, which is active."""
    settings = Settings(device_id="d", state_dir=tmp_path)
    journal = Journal(tmp_path / "journal.db")
    state = AgentState(tmp_path, journal, RetryPolicy(), clock=lambda: NOW)
    state.accept(Desired(device="d", sent_at=NOW, generation=1, assignments=(ASSIGNMENT,)))
    path = state.blobs.path(ASSIGNMENT.variant.digest)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(ASSIGNMENT.variant.name.encode())
    for event in (Weighed(None), Fetched(1), Verified(), Proved(a_report(ASSIGNMENT))):
        state.apply(ASSIGNMENT.model, event)
    bench = Workbench(settings, queue.SimpleQueue[Any]().put, worker)
    facts = FactsKeeper(make_probe(settings), journal)
    return Conductor(state, bench, facts, Timers(), settings, lambda _: None)


@pytest.mark.parametrize(
    ("mode", "terms"),
    [(None, OWN), (BenchmarkMode.QUICK, QUICK), (BenchmarkMode.FULL, FULL)],
)
def test_a_benchmark_runs_by_the_terms_that_were_asked_for(
    conductor: Conductor, worker: IdleWorker, mode: BenchmarkMode | None, terms: BenchmarkProtocol
) -> None:
    """Only threads and the memory limit stay those of the assignment."""
    assert conductor.benchmark(ASSIGNMENT.model, mode) is None
    conductor.pump()
    (job,) = worker.jobs
    assert isinstance(job, TrialJob)
    limits = {"threads": OWN.threads, "memory_limit_bytes": OWN.memory_limit_bytes}
    assert job.assignment.protocol == terms.model_copy(update=limits)
    assert job.assignment.variant == ASSIGNMENT.variant


def test_what_is_not_active_is_not_benchmarked(conductor: Conductor, worker: IdleWorker) -> None:
    refusal = conductor.benchmark("nothing", BenchmarkMode.FULL)
    assert refusal is not None
    assert "nothing" in refusal
    conductor.pump()
    assert worker.jobs == []
