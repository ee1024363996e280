"""One deployment on this device as a pure function: (record, event, now) -> (record, effects).

Phases follow the contract's table and nothing else. Around it stand four rules:

- The caller persists the new record *before* it performs the effects, so that a process killed
  anywhere resumes from the phase that it was in, by `Resumed`.
- A phase that is begun again and again without getting further ends as `crash_loop`: the first
  try plus `MAX_RESUMPTIONS` more. A transfer that grew since the last try got further.
- A transfer that failed in a way that may pass waits and is tried again, `RetryPolicy.limit`
  times, with exponential backoff and full jitter.
- The deadline counts until the trial has proved the variant; what is proved is activated.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Final

from fitment_agent.deployment_events import (
    Activated,
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
        retries: failed transfers that were tried again later.
        waiting: why it waits, while it does.
        waiting_since: when it first had to wait for a condition.
        partial_bytes: what the transfer had when it was last resumed.
        bytes_transferred: payload bytes received, retries included.
    """

    generation: Count
    assignment: Assignment
    phase: Phase = Phase.OFFERED
    tries: Count = 1
    retries: Count = 0
    waiting: Waiting | None = None
    waiting_since: Timestamp | None = None
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
    """The variant and what it is proved with, each once."""
    golden, evaluation = assignment.variant.golden, assignment.evaluation
    wanted = [assignment.variant.artifact]
    wanted += [golden.artifact] if golden else []
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
_UNPROVED: Final = frozenset(Phase) - TERMINAL - {Phase.ACTIVATING}


@dataclass(frozen=True)
class RetryPolicy:
    """How failed transfers are tried again.

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
    if event.hold is None:
        return _enter(deployment, PhaseEvent.START)
    since = deployment.waiting_since or now
    if deployment.phase is Phase.WAITING:  # it waits on, perhaps for another reason
        return deployment.model_copy(update={"waiting": event.hold, "waiting_since": since}), ()
    return _enter(deployment, PhaseEvent.DEFER, waiting=event.hold, waiting_since=since)


def _fail(
    deployment: Deployment, event: Failed, now: datetime, policy: RetryPolicy
) -> tuple[Deployment, Effects]:
    received = deployment.bytes_transferred + event.bytes_transferred
    transferring = deployment.phase is Phase.FETCHING
    if not (event.retryable and transferring and deployment.retries < policy.limit):
        return _give_up(deployment, event.reason, event.detail, bytes_transferred=received)
    pause = policy.pause_seconds(deployment.retries, event.jitter)
    waiting = Waiting(
        reason=WaitReason.RETRY,
        detail=f"{event.reason.value}: {event.detail}",
        until=now + timedelta(seconds=pause),
    )
    return _enter(
        deployment,
        PhaseEvent.DEFER,
        waiting=waiting,
        retries=deployment.retries + 1,
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
    deployment: Deployment, reason: FailureReason, detail: str, **changes: Any
) -> tuple[Deployment, Effects]:
    failure = Failure(phase=deployment.phase, reason=reason, detail=detail)
    return _enter(deployment, PhaseEvent.FAILED, failure=failure, **changes)


def _enter(deployment: Deployment, event: PhaseEvent, **changes: Any) -> tuple[Deployment, Effects]:
    """The deployment in its next phase, with that phase's effects."""
    phase = next_phase(deployment.phase, event)
    fresh = {"phase": phase, "tries": 1, "waiting": None, "partial_bytes": 0}
    entered = deployment.model_copy(update={**fresh, **changes})
    if phase is Phase.ACTIVE:
        return entered, (Effect.SETTLE,)
    if phase is Phase.ROLLED_BACK:
        was_active = deployment.phase is Phase.ACTIVE
        return entered, (Effect.RESTORE, Effect.SETTLE) if was_active else (Effect.SETTLE,)
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
