"""The one worker that an agent has at a time, and the jobs that it is given.

Small devices have neither the memory nor the cores for two. A worker is known by its ticket, so
that the last words of one that was stopped are told from those of its successor.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from fitment_agent.deployment import Deployment
from fitment_agent.settings import Settings
from fitment_agent.supervise import WorkerProcess
from fitment_agent.tuning import tune_job
from fitment_agent.worker.jobs import (
    FetchJob,
    Job,
    RuntimesJob,
    TrialJob,
    VerifyJob,
    WorkerEvent,
    WorkerFailed,
)
from fitment_contract.benchmark import FULL, QUICK, BenchmarkMode
from fitment_contract.device import DeviceFacts
from fitment_contract.messages import Assignment
from fitment_contract.phase import FailureReason

_RUNTIMES_LIMIT_SECONDS = 120.0
_VERIFY_LIMIT_SECONDS = 1800.0


class Task(str, Enum):
    """What a worker works for."""

    FETCH = "fetch"
    VERIFY = "verify"
    TRY = "try"
    BENCHMARK = "benchmark"
    TUNE = "tune"
    RUNTIMES = "runtimes"


@dataclass(frozen=True)
class Ticket:
    """One piece of work.

    Attributes:
        number: grows with every piece.
        model: that it is for; empty for the device itself.
        digest: of the variant that it is for, where that may change meanwhile.
        started: monotonic seconds.
    """

    number: int
    task: Task
    model: str
    started: float
    digest: str = ""


@dataclass(frozen=True)
class WorkerSaid:
    """An event of a worker, with the ticket that it had."""

    ticket: Ticket
    event: WorkerEvent


class Worker(Protocol):
    """A running worker."""

    def stop(self) -> None:
        """Kill and reap."""


StartWorker = Callable[..., Worker]
"""`WorkerProcess`, or what stands in for it."""


class Workbench:
    """Room for one worker.

    Args:
        settings: folders, reserve and token file.
        emit: called with every event, from the watching thread.
        start_worker: starts a child process for a job.
    """

    def __init__(
        self,
        settings: Settings,
        emit: Callable[[WorkerSaid], None],
        start_worker: StartWorker = WorkerProcess,
    ) -> None:
        self._settings = settings
        self._emit = emit
        self._start_worker = start_worker
        self._worker: Worker | None = None
        self._count = 0
        self.ticket: Ticket | None = None

    @property
    def is_free(self) -> bool:
        """Whether a worker can be started."""
        return self.ticket is None

    def fetch(self, deployment: Deployment, allowance_bytes: int | None) -> None:
        """Transfer what a deployment needs, as far as the allowance goes; None for no limit."""
        token_file = self._settings.artifact_token_file
        job = FetchJob(
            artifacts=deployment.artifacts,
            blobs=str(self._settings.state_dir / "blobs"),
            partial=str(self._settings.state_dir / "partial"),
            reserve_bytes=self._settings.reserve_bytes,
            bearer_token_file=str(token_file) if token_file else None,
            allowance_bytes=allowance_bytes,
        )
        self._start(Task.FETCH, deployment.model, job)

    def verify(self, deployment: Deployment) -> None:
        """Check what was transferred and move it among the blobs."""
        job = VerifyJob(
            artifacts=deployment.artifacts,
            partial=str(self._settings.state_dir / "partial"),
            blobs=str(self._settings.state_dir / "blobs"),
        )
        self._start(Task.VERIFY, deployment.model, job, wall_limit_seconds=_VERIFY_LIMIT_SECONDS)

    def try_out(self, assignment: Assignment, facts: DeviceFacts, task: Task = Task.TRY) -> None:
        """Run the trial of an assignment, or benchmark it once more."""
        variants = 2 if assignment.low_power else 1
        job = trial_job(assignment, self._settings.state_dir, facts)
        self._start(
            task,
            assignment.model,
            job,
            wall_limit_seconds=assignment.protocol.wall_limit_seconds * variants,
            memory_limit_bytes=assignment.protocol.memory_limit_bytes,
        )

    def tune(self, assignment: Assignment, facts: DeviceFacts) -> None:
        """Find the best session options of what an assignment brought."""
        job = tune_job(assignment, self._settings.state_dir, facts)
        self._start(
            *(Task.TUNE, assignment.model, job),
            wall_limit_seconds=job.total_wall_limit_seconds,
            memory_limit_bytes=job.memory_limit_bytes,
            digest=assignment.variant.digest,
        )

    def look_at_runtimes(self) -> None:
        """Find out what the installed runtimes can do."""
        limit = _RUNTIMES_LIMIT_SECONDS
        self._start(Task.RUNTIMES, "", RuntimesJob(), wall_limit_seconds=limit)

    def is_current(self, ticket: Ticket) -> bool:
        """Whether `ticket` is the work under way."""
        return ticket == self.ticket

    def clear(self) -> None:
        """The work under way is over and dealt with."""
        self._worker, self.ticket = None, None

    def stop(self) -> None:
        """Kill the worker, if there is one; what it still says has no ticket any more."""
        worker, self._worker, self.ticket = self._worker, None, None
        if worker is not None:
            worker.stop()

    def _start(
        self,
        task: Task,
        model: str,
        job: Job,
        wall_limit_seconds: float | None = None,
        memory_limit_bytes: int | None = None,
        digest: str = "",
    ) -> None:
        assert self.is_free, "one worker at a time"
        self._count += 1
        ticket = Ticket(self._count, task, model, time.monotonic(), digest)
        self.ticket = ticket

        def say(event: Any) -> None:
            self._emit(WorkerSaid(ticket, event))

        try:
            self._worker = self._start_worker(
                job,
                wall_limit_seconds=wall_limit_seconds,
                memory_limit_bytes=memory_limit_bytes,
                on_event=say,
            )
        except (OSError, RuntimeError) as error:  # no process, or no thread to watch it, to be had
            detail = f"no worker could be started: {error}"
            say(WorkerFailed(reason=FailureReason.INTERNAL, detail=detail, retryable=True))


def trial_job(assignment: Assignment, state_dir: Path, facts: DeviceFacts) -> TrialJob:
    """The trial of an assignment whose files are under `state_dir`."""
    samples = sorted((state_dir / "eval" / assignment.model).glob("*.npz"))
    return TrialJob(
        state_dir=str(state_dir),
        assignment=assignment,
        fingerprint=facts.fingerprint,
        simulated=facts.simulated,
        local_samples=tuple(map(str, samples)),
    )


def by_terms_of(mode: BenchmarkMode | None, assignment: Assignment) -> Assignment:
    """The assignment with the contract's terms of a mode; threads and memory limit stay its own.

    With None it stays as it is.
    """
    if mode is None:
        return assignment
    terms, own = FULL if mode is BenchmarkMode.FULL else QUICK, assignment.protocol
    limits = {"threads": own.threads, "memory_limit_bytes": own.memory_limit_bytes}
    return assignment.model_copy(update={"protocol": terms.model_copy(update=limits)})
