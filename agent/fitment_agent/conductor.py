"""Moves deployments: weighs conditions, starts the one worker, and takes its answers.

One deployment at a time goes through its phases; the others stay offered or waiting, so that a
model that brings the device down is the only one whose tries are counted.
"""

from __future__ import annotations

import math
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from fitment_agent.deployment import Deployment, Effect, Effects
from fitment_agent.deployment_events import (
    ClockTurned,
    Event,
    Failed,
    Fetched,
    Proved,
    Ticked,
    Verified,
    Weighed,
)
from fitment_agent.errors import StorageError
from fitment_agent.facts import FactsKeeper
from fitment_agent.scales import Scales
from fitment_agent.settings import Settings
from fitment_agent.spending import Spending
from fitment_agent.state import AgentState
from fitment_agent.timers import Timers
from fitment_agent.tuner import Tuner
from fitment_agent.work import Task, Ticket, Workbench, WorkerSaid, by_terms_of
from fitment_agent.worker.jobs import (
    FetchDone,
    FinalEvent,
    Progress,
    RuntimesDone,
    TrialDone,
    VerifyDone,
    WorkerFailed,
)
from fitment_contract.base import utc_now
from fitment_contract.benchmark import BenchmarkMode, BenchmarkReport
from fitment_contract.messages import Assignment, Desired, WaitReason
from fitment_contract.phase import FailureReason, Phase

_PHASE_OF: Final = {
    Task.FETCH: Phase.FETCHING,
    Task.VERIFY: Phase.VERIFYING,
    Task.TRY: Phase.TRIAL,
}
_TASK_OF: Final = {
    Effect.FETCH: Task.FETCH,
    Effect.VERIFY: Task.VERIFY,
    Effect.TRY: Task.TRY,
}


class Conductor:
    """Brings every deployment of one agent to rest.

    Args:
        state: what is known and had.
        bench: room for one worker.
        facts: of the device.
        timers: for what is to be looked at again.
        settings: intervals.
        on_benchmark: called with every benchmark that was asked for outside a deployment, or with
            the sentence why there is none.
    """

    def __init__(
        self,
        state: AgentState,
        bench: Workbench,
        facts: FactsKeeper,
        timers: Timers,
        settings: Settings,
        on_benchmark: Callable[[BenchmarkReport | str], None],
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._state = state
        self._bench = bench
        self._facts = facts
        self._timers = timers
        self._settings = settings
        self._on_benchmark = on_benchmark
        self._clock = clock
        self._spending = Spending(state.journal, clock)
        self._scales = Scales(state, facts, self._spending, clock)
        self._allowance_bytes: int | None = None  # of the transfer under way
        self._heard_at = -math.inf  # when the broker last gave a sign, in monotonic seconds
        self._cut_off: set[str] = set()  # models that wait for the network
        self._todo: deque[tuple[str, Task]] = deque()
        self._tuner = Tuner(state, facts, timers, settings)
        self._ready: dict[str, None] = {}  # an ordered set: first offered, first weighed
        self._wanted_benchmarks: deque[Assignment] = deque()

    def resume(self, after_crash: bool) -> None:
        """Take up everything that was under way when the agent ended."""
        if not self._facts.are_complete and self._bench.is_free:
            self._bench.look_at_runtimes()
        for model, deployment in list(self._state.deployments.items()):
            if not deployment.is_settled:
                self._follow(model, self._state.resume(model, after_crash))
        self._watch_deadlines()
        self._tuner.wait()

    def accept(self, desired: Desired) -> None:
        """Take over a newer generation."""
        accepted, refused = self._state.accept(desired)
        for model, effects in accepted.items():
            self._follow(model, effects)
            waiting = self._state.deployments[model].waiting
            if waiting is not None and waiting.reason is not WaitReason.RETRY:
                self._make_ready(model)  # its conditions may be others now
        self._watch_deadlines()
        if refused is not None:
            raise refused

    def withdraw(self, model: str, detail: str) -> None:
        """Take a model back by one step."""
        self._follow(model, self._state.withdraw(model, detail))

    def benchmark(self, model: str, mode: BenchmarkMode | None = None) -> str | None:
        """Benchmark what is active, when there is room; why not, if it cannot be.

        What was asked for already and is still to come is not asked for again.

        Args:
            model: whose active variants: with a second one for low power, both.
            mode: by which of the contract's terms; those of its assignment when None.
        """
        active = self._state.active_variants(model)
        for assignment in active:
            wanted = by_terms_of(mode, assignment)
            if wanted not in self._wanted_benchmarks:
                self._wanted_benchmarks.append(wanted)
        return None if active else f"no variant of {model!r} is active and known here"

    def take_up(self) -> None:
        """Take up what is offered and was not begun, because the storage refused in between."""
        for model, deployment in self._state.deployments.items():
            if deployment.phase is Phase.OFFERED:
                self._make_ready(model)

    def heard(self) -> None:
        """The broker gave a sign of life: what waits for the network is tried again."""
        self._heard_at = time.monotonic()
        for model in self._cut_off:
            self._make_ready(model)
        self._cut_off.clear()

    def turn_clock(self, seconds: float) -> None:
        """Somebody set the clock on the wall: no wait gets shorter or longer by that."""
        for model, deployment in list(self._state.deployments.items()):
            if not deployment.is_settled:
                self._apply(model, ClockTurned(seconds))
        self._watch_deadlines()

    def take(self, said: WorkerSaid) -> bool:
        """Deal with what a worker said; whether anything changed."""
        ticket, event = said.ticket, said.event
        if not self._bench.is_current(ticket):
            return False
        if isinstance(event, Progress | FetchDone | WorkerFailed):
            self._spending.note(event.bytes_transferred, is_over=not isinstance(event, Progress))
        if isinstance(event, Progress):
            return False
        if ticket.task is Task.RUNTIMES:
            self._learn_runtimes(event)
        elif ticket.task is Task.TUNE:
            self._tuner.take(ticket.model, ticket.digest, event)
        elif ticket.task is Task.BENCHMARK:
            answer = event.report if isinstance(event, TrialDone) else _why(event)
            self._on_benchmark(answer)
        else:
            self._move_on(ticket, event)
        self._bench.clear()
        return True

    def pump(self) -> bool:
        """Start the next piece of work if there is room; whether anything changed."""
        changed = False
        self._interrupt_tuning()
        while self._bench.is_free and self._start_next():
            changed = True
        return changed

    def stop(self) -> None:
        """Kill the worker. The deployments resume at the next start."""
        self._bench.stop()
        self._spending.settle()

    def _start_next(self) -> bool:
        if self._todo:
            self._start_todo()
        elif self._ready:
            self._weigh(next(iter(self._ready)))
        elif self._wanted_benchmarks:
            assignment = self._wanted_benchmarks.popleft()
            self._bench.try_out(assignment, self._facts.facts(), Task.BENCHMARK)
        elif (untuned := self._tuner.next()) is not None:
            self._bench.tune(*untuned)
        else:
            return False
        return True

    def _start_todo(self) -> None:
        first = self._todo.popleft()
        try:
            self._start(*first)
        except StorageError:  # a phase that could not be persisted is tried again
            self._todo.appendleft(first)
            raise

    def _interrupt_tuning(self) -> None:
        """Whatever else is to be done comes first."""
        ticket = self._bench.ticket
        is_tuning = ticket is not None and ticket.task is Task.TUNE
        while is_tuning and self._ready and not self._todo:
            self._weigh(next(iter(self._ready)))  # needs no worker, and may have to wait on
        if self._todo or self._wanted_benchmarks:
            if is_tuning:
                self._bench.stop()
            self._tuner.wait()

    def _start(self, model: str, task: Task) -> None:
        deployment = self._state.deployments[model]
        if deployment.phase is not _PHASE_OF[task]:
            return  # superseded since
        if task is Task.FETCH:
            self._fetch(deployment)
        elif task is Task.VERIFY:
            self._bench.verify(deployment)
        elif not self._holds_back(deployment):
            self._bench.try_out(deployment.assignment, self._facts.facts())

    def _fetch(self, deployment: Deployment) -> None:
        self._spending.begin()
        if self._holds_back(deployment):  # also when it is resumed
            return
        self._allowance_bytes = self._scales.allowance_bytes(deployment)
        self._bench.fetch(deployment, self._allowance_bytes)
        self._watch_transfer()

    def _watch_transfer(self) -> None:
        look = partial(self._look_at_transfer, self._bench.ticket)
        self._timers.after(self._settings.conditions_poll_seconds, "transfer", look)

    def _look_at_transfer(self, ticket: Ticket | None) -> None:
        """A link may become a metered one in the middle of a file, or somebody come to play."""
        if ticket is None or not self._bench.is_current(ticket):
            return
        if self._holds_back(self._state.deployments[ticket.model]):
            self._bench.stop()
            self._spending.settle()
        else:
            self._watch_transfer()

    def _holds_back(self, deployment: Deployment) -> bool:
        """Let it wait if its conditions ask for that; whether they do."""
        weighed = self._scales.weigh(deployment)
        if weighed.hold is None:
            return False
        moved = self._spending.transfer_bytes if deployment.phase is Phase.FETCHING else 0
        self._apply(deployment.model, replace(weighed, bytes_transferred=moved))
        return True

    def _weigh(self, model: str) -> None:
        deployment = self._state.deployments[model]
        if deployment.phase in (Phase.OFFERED, Phase.WAITING):
            self._apply(model, self._scales.weigh(deployment))
        self._ready.pop(model, None)  # last: a phase that could not be persisted is tried again

    def _move_on(self, ticket: Ticket, event: FinalEvent) -> None:
        model = ticket.model
        deployment = self._state.deployments[model]
        if isinstance(event, FetchDone):
            self._facts.learn_transfer(event.bytes_transferred, time.monotonic() - ticket.started)
        if deployment.phase is _PHASE_OF[ticket.task]:
            self._apply(model, self._as_event(ticket, event, deployment))
        else:  # the phase was persisted, then the storage failed: do the rest
            self._follow(model, self._state.resume(model, after_crash=False))

    def _apply(self, model: str, event: Event) -> None:
        self._follow(model, self._state.apply(model, event))

    def _follow(self, model: str, effects: Effects) -> None:
        ticket = self._bench.ticket
        if Effect.STOP_WORK in effects and ticket is not None and ticket.model == model:
            self._bench.stop()
        for effect in effects:
            if effect in _TASK_OF:
                self._todo.append((model, _TASK_OF[effect]))
        deployment = self._state.deployments.get(model)
        if deployment is None:
            return
        if deployment.phase is Phase.OFFERED:
            self._ready[model] = None
        elif deployment.phase is Phase.WAITING:
            self._look_again(model, deployment)

    def _look_again(self, model: str, deployment: Deployment) -> None:
        waiting = deployment.waiting
        until = waiting.until if waiting else None
        seconds = (until - self._clock()).total_seconds() if until else None
        if waiting is None or waiting.reason is not WaitReason.RETRY:
            self._cut_off.discard(model)
            poll = self._settings.conditions_poll_seconds
            seconds = poll if seconds is None else min(poll, seconds)
        # The wall clock may have been set meanwhile: no pause is longer than any could have been.
        seconds = min(seconds or 0.0, self._settings.retry_max_seconds)
        self._timers.after(seconds, ("weigh", model), partial(self._make_ready, model))

    def _make_ready(self, model: str) -> None:
        self._ready[model] = None

    def _watch_deadlines(self) -> None:
        under_way = [one for one in self._state.deployments.values() if not one.is_settled]
        deadlines = [one.assignment.deadline for one in under_way if one.assignment.deadline]
        if not deadlines:
            return
        left = min(deadlines) - self._clock() + timedelta(milliseconds=10)
        seconds = min(left.total_seconds(), self._settings.conditions_poll_seconds)
        self._timers.after(max(seconds, 0.5), "deadlines", self._look_at_deadlines)

    def _look_at_deadlines(self) -> None:
        for model, deployment in list(self._state.deployments.items()):
            if not deployment.is_settled:
                self._apply(model, Ticked())
        self._watch_deadlines()

    def _as_event(self, ticket: Ticket, event: FinalEvent, deployment: Deployment) -> Event:
        if isinstance(event, FetchDone):
            return Fetched(event.bytes_transferred)
        if isinstance(event, VerifyDone):
            return Verified()
        if isinstance(event, TrialDone) and event.report.digest == deployment.digest:
            if event.low_power_report is not None:
                self._state.keep_low_power_proof(deployment.model, event.low_power_report)
            return Proved(event.report)
        if isinstance(event, WorkerFailed):
            return self._held_meanwhile(event, deployment) or self._failed(ticket, event)
        return Failed(FailureReason.INTERNAL, "the worker answered for another file")

    def _held_meanwhile(self, event: WorkerFailed, deployment: Deployment) -> Weighed | None:
        """A link that became a metered one, or a spent budget, is the reason and no failure."""
        if not (event.retryable and deployment.phase is Phase.FETCHING):
            return None
        weighed = self._scales.weigh(deployment)
        moved = replace(weighed, bytes_transferred=event.bytes_transferred)
        return moved if weighed.hold is not None else None

    def _failed(self, ticket: Ticket, event: WorkerFailed) -> Failed:
        # That it was begun was told to the broker. No sign from there since then: no network.
        cut_off = event.reason is FailureReason.UNREACHABLE and self._heard_at < ticket.started
        if cut_off:
            self._cut_off.add(ticket.model)
        # Midnight passed while the day's allowance was spent: it goes on with the next day's.
        allowance = self._allowance_bytes if ticket.task is Task.FETCH else None
        spent = 0 < (allowance or 0) <= event.bytes_transferred
        return Failed(
            reason=event.reason,
            detail=event.detail,
            retryable=event.retryable,
            bytes_transferred=event.bytes_transferred,
            jitter=0.0 if spent else random.random(),  # noqa: S311 - protects nothing
            counts=not (cut_off or spent),
            digest=event.digest,
        )

    def _learn_runtimes(self, event: FinalEvent) -> None:
        if isinstance(event, RuntimesDone):
            self._facts.learn_runtimes(event.runtimes)
        else:
            self._facts.give_up_on_runtimes(_why(event))


def _why(event: FinalEvent) -> str:
    if isinstance(event, WorkerFailed):
        return f"{event.reason.value}: {event.detail}"
    return "the worker gave another answer than was asked for"
