"""A rollout as a pure function: (rollout, members, observations, now) to what comes next.

Strata move on their own: one that fails is taken back and the others go on. Running a step twice
over the same input gives the same result, and an action names the generation that it makes, so a
controller that was killed between deciding and doing decides the same again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from fitment_contract.messages import EventLevel
from fitment_controller.decisions.members import Observation
from fitment_controller.decisions.plan import stratum_id
from fitment_controller.decisions.strata import Action, Audit, StratumRun
from fitment_controller.decisions.transitions import (
    ROLLOUT,
    ROLLOUT_ENDED,
    STRATUM_ENDED,
    RolloutEvent,
    move,
)
from fitment_controller.domain import (
    Member,
    Plan,
    Rollout,
    RolloutRequest,
    RolloutState,
    Stratum,
    StratumState,
)


@dataclass(frozen=True)
class Step:
    """What one step decided.

    Attributes:
        members: those that changed, and no others.
        measure: devices to be asked for a benchmark, because conditions spoilt their trial's.
    """

    rollout: Rollout
    members: tuple[Member, ...] = ()
    actions: tuple[Action, ...] = ()
    audits: tuple[Audit, ...] = ()
    measure: tuple[str, ...] = ()


@dataclass(frozen=True)
class Before:
    """What a device measured of the variant that it ran before."""

    latency_p95_seconds: float | None = None
    accuracy: float | None = None


def begin(
    plan: Plan,
    request: RolloutRequest,
    *,
    id: str,
    actor: str,
    now: datetime,
    reference_accuracy: float | None,
    higher_is_better: bool,
    before: Mapping[str, Before],
) -> Step:
    """A new rollout with all of its members, nothing assigned yet."""
    strata = tuple(
        Stratum(
            id=stratum.id,
            device_class=stratum.device_class,
            region=stratum.region,
            since=now,
            counts={"pending": stratum.device_count},
        )
        for stratum in plan.strata
    )
    members = tuple(
        Member(
            device=planned.device,
            stratum=stratum_id(planned.device_class, planned.region),
            before=planned.before,
            after=planned.after,
            before_p95_seconds=before.get(planned.device, Before()).latency_p95_seconds,
            before_accuracy=before.get(planned.device, Before()).accuracy,
        )
        for planned in plan.devices
    )
    rollout = Rollout(
        id=id,
        request=request,
        model_version=plan.model_version,
        objective=plan.objective,
        reference_accuracy=reference_accuracy,
        higher_is_better=higher_is_better,
        created_at=now,
        updated_at=now,
        actor=actor,
        strata=strata,
    )
    started = Audit(
        "rollout-started",
        f"{plan.model}@{plan.model_version} for {len(members)} devices in {len(strata)} strata",
        evidence={"unplaceable": len(plan.unplaceable), "unchanged": len(plan.unchanged)},
    )
    return Step(rollout, members, audits=(started,))


def advance(
    rollout: Rollout,
    members: Sequence[Member],
    seen: Mapping[str, Observation],
    now: datetime,
) -> Step:
    """One step of every stratum, and of the rollout when they have ended."""
    if rollout.state in ROLLOUT_ENDED:
        return Step(rollout)
    runs = _runs(rollout, members, seen, now)
    for run in runs:
        run.advance()
    step = _collect(rollout, members, runs)
    return _conclude(step, now)


def pause(rollout: Rollout, now: datetime) -> Step:
    """No device is added until it is resumed; those on their way finish and are judged.

    Raises:
        TransitionRefused: it is not running.
    """
    return _command(rollout, RolloutEvent.PAUSE, "paused", now)


def resume(rollout: Rollout, now: datetime) -> Step:
    """Go on.

    Raises:
        TransitionRefused: it is not paused.
    """
    return _command(rollout, RolloutEvent.RESUME, "resumed", now)


def abort(
    rollout: Rollout,
    members: Sequence[Member],
    seen: Mapping[str, Observation],
    now: datetime,
    *,
    revert: bool,
) -> Step:
    """Add no device any more.

    With `revert` every touched device is assigned back at once; otherwise what was proved stays,
    and those on their way finish first.

    Raises:
        TransitionRefused: it has ended.
    """
    how = "taken back" if revert else "kept where it was proved"
    step = _command(rollout, RolloutEvent.ABORT, f"aborting; {how}", now)
    if not revert:
        return step
    runs = _runs(step.rollout, members, seen, now)
    for run in runs:
        run.take_back("aborted and taken back")
    taken = _collect(step.rollout, members, runs)
    concluded = _conclude(taken, now)
    return Step(
        concluded.rollout, concluded.members, concluded.actions, (*step.audits, *concluded.audits)
    )


def _command(rollout: Rollout, event: RolloutEvent, reason: str, now: datetime) -> Step:
    state = move(ROLLOUT, rollout.state, event)
    changed = rollout.model_copy(update={"state": state, "reason": reason, "updated_at": now})
    return Step(changed, audits=(Audit(f"rollout-{state.value}", reason),))


def _runs(
    rollout: Rollout,
    members: Iterable[Member],
    seen: Mapping[str, Observation],
    now: datetime,
) -> list[StratumRun]:
    groups: dict[str, list[Member]] = {stratum.id: [] for stratum in rollout.strata}
    for member in members:
        groups[member.stratum].append(member)
    return [
        StratumRun(rollout, stratum, groups[stratum.id], seen, now) for stratum in rollout.strata
    ]


def _collect(rollout: Rollout, before: Sequence[Member], runs: Sequence[StratumRun]) -> Step:
    after = {device: member for run in runs for device, member in run.members.items()}
    return Step(
        rollout=rollout.model_copy(update={"strata": tuple(run.stratum for run in runs)}),
        members=tuple(after[member.device] for member in before if after[member.device] != member),
        actions=tuple(action for run in runs for action in run.actions),
        audits=tuple(audit for run in runs for audit in run.audits),
        measure=tuple(device for run in runs for device in run.measure),
    )


def _conclude(step: Step, now: datetime) -> Step:
    """End the rollout when all of its strata have ended."""
    rollout = step.rollout
    if not all(stratum.state in STRATUM_ENDED for stratum in rollout.strata):
        return step
    failed = [stratum for stratum in rollout.strata if stratum.state is StratumState.FAILED]
    if rollout.state is RolloutState.ABORTING:
        event, reason = RolloutEvent.SETTLE, rollout.reason.replace("aborting", "aborted")
    elif failed:
        event = RolloutEvent.FAIL
        reason = f"{len(failed)} of {len(rollout.strata)} strata failed: {failed[0].reason}"
    else:
        event, reason = RolloutEvent.COMPLETE, f"all {len(rollout.strata)} strata completed"
    state = move(ROLLOUT, rollout.state, event)
    level = EventLevel.ERROR if state is RolloutState.FAILED else EventLevel.INFO
    audit = Audit(f"rollout-{state.value}", reason, level)
    changed = rollout.model_copy(update={"state": state, "reason": reason, "updated_at": now})
    return replace(step, rollout=changed, audits=(*step.audits, audit))
