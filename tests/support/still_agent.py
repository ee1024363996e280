"""A whole agent in this process, over real files, whose time and surroundings a test sets.

Stand-ins are the link, the worker and the probe; waiting for an event moves the clock instead.
"""

from __future__ import annotations

import queue
import sqlite3
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from fitment_agent.clock import JumpWatch
from fitment_agent.conditions import Surroundings
from fitment_agent.conductor import Conductor
from fitment_agent.daemon import Daemon
from fitment_agent.deployment import Deployment, RetryPolicy, artifacts_of
from fitment_agent.deployment_events import Fetched, Proved, Verified, Weighed
from fitment_agent.facts import FactsKeeper
from fitment_agent.journal import Journal
from fitment_agent.link import Backoff, Received
from fitment_agent.probe import Reading
from fitment_agent.reporting import Reporter
from fitment_agent.settings import Settings
from fitment_agent.state import AgentState
from fitment_agent.timers import Timers
from fitment_agent.work import Workbench, WorkerSaid
from fitment_agent.worker.jobs import Job, WorkerEvent
from fitment_contract.codec import encode
from fitment_contract.device import DeviceFacts
from fitment_contract.messages import Assignment, Desired
from fitment_contract.topics import DownChannel, Topics
from support.agent_records import NOW, a_report, an_assignment

DEVICE = "still"
TOPICS = Topics()


class IdleWorkers:
    """Take jobs and never answer by themselves."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.stopped = 0

    @property
    def kinds(self) -> list[str]:
        return [job.kind for job in self.jobs]

    def __call__(self, job: Job, **_limits: Any) -> IdleWorkers:
        self.jobs.append(job)
        return self

    def stop(self) -> None:
        self.stopped += 1


class DeadLink:
    """Counts attempts to connect, of which the first `refusals` cannot even be begun."""

    def __init__(self) -> None:
        self.attempts = 0
        self.refusals = 0

    def connect(self, *_: Any) -> None:
        self.attempts += 1
        if self.attempts <= self.refusals:
            raise FileNotFoundError("ca.pem")

    def subscribe(self, topic: str) -> None:
        """Nobody listens."""

    def publish(self, topic: str, payload: bytes) -> int | None:
        """Nobody hears."""
        return None

    def close(self) -> None:
        """Nothing was opened."""


class StillProbe:
    """A machine of which only the surroundings are known."""

    declares_runtimes = True

    def __init__(self) -> None:
        self.around = Surroundings()

    def read(self) -> Reading:
        return Reading(self.facts(), {})

    def facts(self) -> DeviceFacts:
        return DeviceFacts()

    def surroundings(self) -> Surroundings:
        return self.around


class StillAgent:
    """An agent that does nothing but in `turn` and `run`.

    Args:
        folder: its state directory.
        wall: what the clock shows at first.
        **settings: that differ from the usual.
    """

    def __init__(self, folder: Path, wall: datetime = NOW, **settings: Any) -> None:
        self.steady = 0.0
        self._wall = wall
        self._items: deque[Any] = deque()
        self.settings = Settings(device_id=DEVICE, state_dir=folder, **settings)
        self.journal = Journal(folder / "journal.db", self.clock)
        self.state = AgentState(folder, self.journal, RetryPolicy(), clock=self.clock)
        self.workers, self.link, self.probe = IdleWorkers(), DeadLink(), StillProbe()
        self.bench = Workbench(self.settings, self.put, self.workers)
        self.facts = FactsKeeper(self.probe, self.journal)
        self.timers = Timers(lambda: self.steady)
        self.reporter = Reporter(DEVICE, "1", TOPICS, self.link, self.journal, self.clock)
        self.conductor = Conductor(
            *(self.state, self.bench, self.facts, self.timers, self.settings),
            on_benchmark=lambda _: None,
            clock=self.clock,
        )
        self.daemon = Daemon(
            *(self.settings, self.state, self.conductor, self.reporter, self.facts, self.timers),
            *(Backoff(1.0, 60.0), TOPICS, self, self.clock),  # type: ignore[arg-type]
        )
        self.daemon._jumps = JumpWatch(self.clock, lambda: self.steady)

    def clock(self) -> datetime:
        return self._wall + timedelta(seconds=self.steady)

    def set_clock(self, moment: datetime) -> None:
        self._wall = moment - timedelta(seconds=self.steady)

    # The daemon's queue

    def put(self, item: Any) -> None:
        self._items.append(item)

    def get(self, timeout: float | None = None) -> Any:
        """The next item, or time passes instead."""
        if self._items:
            return self._items.popleft()
        self.steady += (1.0 if timeout is None else timeout) + 1e-3
        raise queue.Empty

    def empty(self) -> bool:
        return not self._items

    # What a test does

    def start(self) -> None:
        self.daemon._start()

    def turn(self) -> None:
        """Deal with everything that has arrived, or wait for one timer."""
        self.daemon._turn()
        while self._items:
            self.daemon._turn()

    def run(self, seconds: float) -> None:
        """Until so many seconds have passed."""
        end = self.steady + seconds
        while self.steady < end:
            self.turn()

    def worker_says(self, event: WorkerEvent) -> None:
        assert self.bench.ticket is not None
        self.put(WorkerSaid(self.bench.ticket, event))

    def desired(
        self, generation: int, *assignments: Assignment, withdrawn: tuple[str, ...] = ()
    ) -> Desired:
        return Desired(
            device=DEVICE,
            sent_at=NOW,
            generation=generation,
            assignments=assignments,
            withdrawn=withdrawn,
        )

    def hear(self, desired: Desired) -> None:
        """The broker brings what is wanted."""
        self.put(Received(TOPICS.down(DEVICE, DownChannel.DESIRED), encode(desired)))

    def store(self, assignment: Assignment) -> None:
        """Put its files where a worker would."""
        for artifact in artifacts_of(assignment):
            path = self.state.blobs.path(artifact.digest)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"x" * artifact.size_bytes)

    def bring_to_trial(self, generation: int, assignment: Assignment) -> None:
        self.state.accept(self.desired(generation, assignment))
        self.store(assignment)
        for event in (Weighed(None), Fetched(1), Verified()):
            self.state.apply(assignment.model, event)

    def activate(self, generation: int, assignment: Assignment) -> None:
        self.bring_to_trial(generation, assignment)
        if assignment.low_power is not None:
            second = an_assignment(assignment.low_power.variant.name, assignment.model)
            self.state.keep_low_power_proof(assignment.model, a_report(second))
        self.state.apply(assignment.model, Proved(a_report(assignment)))

    def deployment(self, model: str = "activity") -> Deployment:
        return self.state.deployments[model]

    def active(self, model: str = "activity") -> str | None:
        pointer = self.state.pointers.read(model)
        return pointer.active.normal.variant if pointer else None

    @contextmanager
    def no_writes_to_journal(self) -> Iterator[None]:
        """As on a disk that became read-only."""
        connection: sqlite3.Connection = self.journal._connection
        connection.execute("PRAGMA query_only=1")
        try:
            yield
        finally:
            connection.execute("PRAGMA query_only=0")

    @contextmanager
    def no_writes_to_pointer(self, model: str = "activity") -> Iterator[None]:
        """A folder lies where its pointer is to be."""
        path = self.state.pointers.path(model)
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = path.read_bytes() if path.exists() else None
        path.unlink(missing_ok=True)
        (path / "in-the-way").mkdir(parents=True)
        try:
            yield
        finally:
            (path / "in-the-way").rmdir()
            path.rmdir()
            if kept is not None:
                path.write_bytes(kept)
