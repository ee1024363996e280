"""One deployment on this device as a pure function: (record, event, now) -> (record, effects).

Phases follow the contract's table and nothing else. Around it stand four rules:

- The caller persists the new record *before* it performs the effects, so that a process killed
  anywhere resumes from the phase that it was in, by `Resumed`.
- A phase that is begun again and again without getting further ends as `crash_loop`: the first
  try plus `MAX_RESUMPTIONS` more. A transfer that grew since the last try got further.
- Work that failed in a way that may pass waits and is tried again, `RetryPolicy.limit` times,
  with exponential backoff and full jitter. What fails for want of a network is not counted.
- The deadline counts until the trial has proved the variant; what is proved is activated.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Final

from pydantic import Field

from fitment_agent.clock import is_set
from fitment_agent.deployment_events import (
    Activated,
    ClockTurned,
    Event,
    Failed,
    Fetched,
    Proved,
    Resumed,
    Ticked,
    Verified,
    Weighed,
    Withdrawn,
)
from fitment_contract.artifact import Artifact
from fitment_contract.base import Bytes, Count, Record, Timestamp
from fitment_contract.benchmark import BenchmarkReport
from fitment_contract.messages import Assignment, Failure, Waiting, WaitReason
from fitment_contract.phase import TERMINAL, FailureReason, Phase, PhaseEvent, next_phase

MAX_RESUMPTIONS: Final = 3
"""How often one phase is begun again without progress before the deployment is given up."""


class Deployment(Record):
    """One model on its way to one assignment: what the journal keeps.

    Attributes:
        generation: of the desired state that asked for it.
        tries: how often the current phase was begun.
        retries: failures after which it was tried again later.
        waiting: why it waits, while it does.
        held_since: when each condition first did not hold.
        partial_bytes: what the transfer had when it was last resumed.
        bytes_transferred: payload bytes received, retries included.
    """

    generation: Count
    assignment: Assignment
    phase: Phase = Phase.OFFERED
    tries: Count = 1
    retries: Count = 0
    waiting: Waiting | None = None
    held_since: dict[WaitReason, Timestamp] = Field(default_factory=dict)
    failure: Failure | None = None
    benchmark: BenchmarkReport | None = None
    partial_bytes: Bytes = 0
    bytes_transferred: Bytes = 0

    @property
    def model(self) -> str:
        """The model that it is for."""
        return self.assignment.model

    @property
    def digest(self) -> str:
        """The digest of the wanted variant."""
        return self.assignment.variant.digest

    @property
    def is_settled(self) -> bool:
        """Whether it rests until somebody wants something else."""
        return self.phase in TERMINAL

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """Every file that it needs."""
        return artifacts_of(self.assignment)


def artifacts_of(assignment: Assignment) -> tuple[Artifact, ...]:
    """The variants and what they are proved with, each once."""
    second, evaluation = assignment.low_power, assignment.evaluation
    wanted = []
    for variant in (assignment.variant, *([second.variant] if second else [])):
        wanted += [variant.artifact]
        wanted += [variant.golden.artifact] if variant.golden else []
    wanted += [evaluation.artifact] if evaluation else []
    return tuple({artifact.digest: artifact for artifact in wanted}.values())


class Effect(str, Enum):
    """What the caller is to do once the record is persisted."""

    FETCH = "fetch"
    VERIFY = "verify"
    TRY = "try"
    ACTIVATE = "activate"
    RESTORE = "restore"
    """Point applications back at the previous variant."""
    LEAVE = "leave"
    """The same, if they were pointed at this one already."""
    STOP_WORK = "stop_work"
    """End the worker that works for this deployment, if there is one."""
    SETTLE = "settle"
    """It rests now: clear away what no pointer and no deployment needs."""


Effects = tuple[Effect, ...]

_WORK: Final[dict[Phase, Effect]] = {
    Phase.FETCHING: Effect.FETCH,
    Phase.VERIFYING: Effect.VERIFY,
    Phase.TRIAL: Effect.TRY,
    Phase.ACTIVATING: Effect.ACTIVATE,
}
_LEAVING: Final[dict[Phase, Effects]] = {
    Phase.ACTIVE: (Effect.RESTORE,),
    Phase.ACTIVATING: (Effect.LEAVE,),
}
_UNPROVED: Final = frozenset(Phase) - TERMINAL - {Phase.ACTIVATING}
_TRIED_AGAIN: Final = frozenset({Phase.FETCHING, Phase.VERIFYING, Phase.TRIAL})


@dataclass(frozen=True)
class RetryPolicy:
    """How work that failed in a way that may pass is tried again.

    Attributes:
        limit: tries after the first.
        base_seconds: upper bound of the first pause; it doubles with each.
        max_seconds: no pause is longer.
    """

    limit: int = 5
    base_seconds: float = 15.0
    max_seconds: float = 3600.0

    def pause_seconds(self, retries: int, jitter: float) -> float:
        """The pause after so many retries: full jitter, so that a fleet does not come back as one.

        The method is AWS's "Exponential Backoff and Jitter" (2015).
        """
        return min(self.base_seconds * 2.0 ** min(retries, 32), self.max_seconds) * jitter


def advance(
    deployment: Deployment, event: Event, now: datetime, policy: RetryPolicy
) -> tuple[Deployment, Effects]:
    """Where `event` brings the deployment, and what is to be done then.

    Raises:
        TransitionError: the phase table has no place for the event in this phase.
    """
    if isinstance(event, Withdrawn):
        return _withdraw(deployment, event)
    if isinstance(event, ClockTurned):
        return _turn_clock(deployment, event), ()
    late = _deadline_passed(deployment, now)
    if late is not None and not isinstance(event, Proved):
        return late
    if isinstance(event, Ticked):
        return deployment, ()
    if isinstance(event, Weighed):
        return _weigh(deployment, event, now)
    if isinstance(event, Resumed):
        return _resume(deployment, event)
    if isinstance(event, Failed):
        return _fail(deployment, event, now, policy)
    return _progress(deployment, event)


def _progress(
    deployment: Deployment, event: Fetched | Verified | Proved | Activated
) -> tuple[Deployment, Effects]:
    if isinstance(event, Fetched):
        received = deployment.bytes_transferred + event.bytes_transferred
        return _enter(deployment, PhaseEvent.FETCHED, bytes_transferred=received)
    if isinstance(event, Verified):
        return _enter(deployment, PhaseEvent.VERIFIED)
    if isinstance(event, Proved):
        return _enter(deployment, PhaseEvent.PROVED, benchmark=event.report)
    return _enter(deployment, PhaseEvent.ACTIVATED)


def _weigh(deployment: Deployment, event: Weighed, now: datetime) -> tuple[Deployment, Effects]:
    known = {
        reason: min(since, now)
        for reason, since in deployment.held_since.items()
        if is_set(since) or not is_set(now)
    }
    changes: dict[str, Any] = {
        "held_since": {**dict.fromkeys(event.unmet, now), **known},
        "bytes_transferred": deployment.bytes_transferred + event.bytes_transferred,
    }
    if event.hold is None:
        return _enter(deployment, PhaseEvent.START, **changes)
    if deployment.phase is not Phase.WAITING:
        return _enter(deployment, PhaseEvent.DEFER, waiting=event.hold, **changes)
    if not _tells_the_same(deployment.waiting, event.hold):  # each reading is not worth a message
        changes["waiting"] = event.hold
    return deployment.model_copy(update=changes), ()


def _tells_the_same(told: Waiting | None, hold: Waiting) -> bool:
    return told is not None and (told.reason, told.until) == (hold.reason, hold.until)


def _turn_clock(deployment: Deployment, event: ClockTurned) -> Deployment:
    """The same lengths of waiting, told by the clock as it is now."""
    turned = timedelta(seconds=event.seconds)
    held_since = {why: _shifted(since, turned) for why, since in deployment.held_since.items()}
    changes: dict[str, Any] = {"held_since": held_since}
    waiting = deployment.waiting
    if waiting is not None and waiting.until is not None:
        until = _shifted(waiting.until, turned)
        changes["waiting"] = waiting.model_copy(update={"until": until})
    return deployment.model_copy(update=changes)


def _shifted(moment: datetime, turned: timedelta) -> datetime:
    try:
        return moment + turned
    except OverflowError:  # the calendar has an end; waiting for it is cut short elsewhere
        return moment


def _fail(
    deployment: Deployment, event: Failed, now: datetime, policy: RetryPolicy
) -> tuple[Deployment, Effects]:
    received = deployment.bytes_transferred + event.bytes_transferred
    passing = event.retryable and deployment.phase in _TRIED_AGAIN
    if not passing or (event.counts and deployment.retries >= policy.limit):
        failed, effects = _give_up(deployment, event.reason, event.detail, event.digest)
        return failed.model_copy(update={"bytes_transferred": received}), effects
    # Without a network nothing is gained by asking often; its return ends the pause.
    longest = policy.max_seconds * event.jitter
    pause = policy.pause_seconds(deployment.retries, event.jitter) if event.counts else longest
    waiting = Waiting(
        reason=WaitReason.RETRY,
        detail=f"{event.reason.value}: {event.detail}",
        until=_shifted(now, timedelta(seconds=pause)),
    )
    return _enter(
        deployment,
        PhaseEvent.DEFER,
        waiting=waiting,
        retries=deployment.retries + (1 if event.counts else 0),
        bytes_transferred=received,
    )


def _resume(deployment: Deployment, event: Resumed) -> tuple[Deployment, Effects]:
    work = _WORK.get(deployment.phase)
    if work is None or not event.after_crash:
        return deployment, (work,) if work else ()
    grew = deployment.phase is Phase.FETCHING and event.partial_bytes > deployment.partial_bytes
    tries = 2 if grew else deployment.tries + 1
    if tries > 1 + MAX_RESUMPTIONS:
        detail = f"the agent was killed {deployment.tries} times in this phase"
        return _give_up(deployment, FailureReason.CRASH_LOOP, detail)
    changes = {"tries": tries, "partial_bytes": event.partial_bytes}
    return deployment.model_copy(update=changes), (work,)


def _withdraw(deployment: Deployment, event: Withdrawn) -> tuple[Deployment, Effects]:
    if deployment.phase is not Phase.ACTIVE:
        withdrawn, effects = _give_up(deployment, FailureReason.WITHDRAWN, event.detail)
        return withdrawn, (Effect.STOP_WORK, *effects)
    failure = Failure(phase=Phase.ACTIVE, reason=FailureReason.WITHDRAWN, detail=event.detail)
    return _enter(deployment, PhaseEvent.WITHDRAWN, failure=failure)


def _deadline_passed(deployment: Deployment, now: datetime) -> tuple[Deployment, Effects] | None:
    deadline = deployment.assignment.deadline
    if deadline is None or now < deadline or deployment.phase not in _UNPROVED:
        return None
    detail = f"the deadline was {deadline.isoformat(timespec='seconds')}"
    late, effects = _give_up(deployment, FailureReason.DEADLINE_PASSED, detail)
    return late, (Effect.STOP_WORK, *effects)


def _give_up(
    deployment: Deployment, reason: FailureReason, detail: str, digest: str | None = None
) -> tuple[Deployment, Effects]:
    failure = Failure(phase=deployment.phase, reason=reason, detail=detail, digest=digest)
    return _enter(deployment, PhaseEvent.FAILED, failure=failure)


def _enter(deployment: Deployment, event: PhaseEvent, **changes: Any) -> tuple[Deployment, Effects]:
    """The deployment in its next phase, with that phase's effects."""
    phase = next_phase(deployment.phase, event)
    fresh = {"phase": phase, "tries": 1, "waiting": None, "partial_bytes": 0}
    entered = deployment.model_copy(update={**fresh, **changes})
    if phase is Phase.ACTIVE:
        return entered, (Effect.SETTLE,)
    if phase is Phase.ROLLED_BACK:
        return entered, (*_LEAVING.get(deployment.phase, ()), Effect.SETTLE)
    work = _WORK.get(phase)
    return entered, (work,) if work else ()


def offer(
    current: Deployment | None,
    assignment: Assignment,
    generation: int,
    active_digest: str | None = None,
    measured: BenchmarkReport | None = None,
) -> tuple[Deployment, Effects]:
    """The deployment that answers a newer generation's assignment.

    - What is active already stays active: nothing is fetched or tried again.
    - Work under way for the same files goes on, under the new terms.
    - What failed with exactly this assignment is answered with the same failure; a retry is asked
      for by an assignment that differs, as every new rollout's does.
    - Anything else supersedes what was there.

    Args:
        current: this model's deployment so far.
        assignment: what is wanted now.
        generation: of the desired state that says so.
        active_digest: what applications use now.
        measured: what was measured when that was proved.
    """
    under_way = current is not None and not current.is_settled
    if current is not None and under_way and _same_files(current, assignment):
        changes = {"assignment": assignment, "generation": generation}
        return current.model_copy(update=changes), ()
    stop = (Effect.STOP_WORK,) if under_way else ()
    offered = Deployment(generation=generation, assignment=assignment)
    if active_digest == offered.digest:
        reaffirmed = {"phase": Phase.ACTIVE, "benchmark": measured}
        return offered.model_copy(update=reaffirmed), (*stop, Effect.SETTLE)
    settled_badly = current is not None and current.phase is Phase.ROLLED_BACK
    if current is not None and settled_badly and current.assignment == assignment:
        return current.model_copy(update={"generation": generation}), ()
    return offered, stop


def take_back(current: Deployment, generation: int) -> tuple[Deployment, Effects]:
    """The deployment after the controller withdrew its model in a newer generation.

    What is active returns to the previous variant or to none, what is under way ends, and what
    was rolled back already stays so.
    """
    answered = current.model_copy(update={"generation": generation})
    if current.phase is Phase.ROLLED_BACK:
        return answered, ()
    return _withdraw(answered, Withdrawn("withdrawn by the controller"))


def _same_files(current: Deployment, assignment: Assignment) -> bool:
    """Whether what was fetched for one serves the other, in the same roles."""
    wanted = [artifact.digest for artifact in artifacts_of(assignment)]
    return [artifact.digest for artifact in current.artifacts] == wanted
