"""The table of rollouts, one rollout's page, and its gates explained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from fitment_contract.base import Record
from fitment_controller.domain import (
    GateResult,
    LogEntry,
    LowPowerRequest,
    Member,
    MemberState,
    Rollout,
    RolloutPolicy,
    RolloutState,
    Stratum,
)

_NEXT_STEPS = {
    RolloutState.RUNNING: "fitment rollout get {id} --watch",
    RolloutState.PAUSED: "fitment rollout resume {id}",
    RolloutState.ABORTING: "fitment rollout get {id} --watch",
    RolloutState.FAILED: "fitment rollout explain {id}",
}

DONE = frozenset({RolloutState.ABORTED, RolloutState.COMPLETED, RolloutState.FAILED})
"""States in which nothing more happens."""


class RolloutRow(Record):
    """One line of the table of rollouts.

    Attributes:
        counts: devices by member state; only states that occur.
        device_count: devices of the rollout.
        done: nothing more will happen.
        next_step: the command that a person would want now; empty when there is none.
    """

    id: str
    model: str
    model_version: int
    objective: str
    state: RolloutState
    reason: str
    done: bool
    created_at: datetime
    updated_at: datetime
    actor: str
    counts: dict[str, int]
    device_count: int
    succeeded_count: int
    next_step: str = ""


class RolloutDetail(RolloutRow):
    """One rollout's page: strata with their gates. Members are paged apart."""

    policy: RolloutPolicy
    low_power: LowPowerRequest | None = None
    reference_accuracy: float | None = None
    strata: tuple[Stratum, ...]
    events: tuple[LogEntry, ...] = ()


class GateRow(GateResult):
    """One gate of one stratum, with the stratum beside it."""

    stratum: str
    stratum_state: str


class FailedMember(Record):
    """A device that did not get there, and why."""

    device: str
    stratum: str
    state: MemberState
    variant: str
    failure: str | None = None
    reason: str = ""


class RolloutExplanation(Record):
    """Why a rollout stands where it stands: every gate with its number and its limit."""

    id: str
    state: RolloutState
    reason: str
    gates: tuple[GateRow, ...]
    failed: tuple[FailedMember, ...]


def rollout_row(rollout: Rollout) -> RolloutRow:
    """The line of a rollout."""
    counts: Counter[str] = Counter()
    for stratum in rollout.strata:
        counts.update(stratum.counts)
    return RolloutRow(
        id=rollout.id,
        model=rollout.request.model,
        model_version=rollout.model_version,
        objective=rollout.objective,
        state=rollout.state,
        reason=rollout.reason,
        done=rollout.state in DONE,
        created_at=rollout.created_at,
        updated_at=rollout.updated_at,
        actor=rollout.actor,
        counts={state: count for state, count in counts.items() if count},
        device_count=sum(counts.values()),
        succeeded_count=counts[MemberState.SUCCEEDED.value],
        next_step=_NEXT_STEPS.get(rollout.state, "").format(id=rollout.id),
    )


def rollout_detail(rollout: Rollout, events: Sequence[LogEntry] = ()) -> RolloutDetail:
    """The page of a rollout."""
    row = rollout_row(rollout)
    return RolloutDetail(
        **{name: getattr(row, name) for name in RolloutRow.model_fields},
        policy=rollout.request.policy,
        low_power=rollout.request.low_power,
        reference_accuracy=rollout.reference_accuracy,
        strata=rollout.strata,
        events=tuple(events),
    )


def explain_rollout(rollout: Rollout, failed: Sequence[Member]) -> RolloutExplanation:
    """Every gate's numbers, and the devices that failed."""
    return RolloutExplanation(
        id=rollout.id,
        state=rollout.state,
        reason=rollout.reason,
        gates=tuple(
            GateRow(**gate.model_dump(), stratum=stratum.id, stratum_state=stratum.state.value)
            for stratum in rollout.strata
            for gate in stratum.gates
        ),
        failed=tuple(
            FailedMember(
                device=member.device,
                stratum=member.stratum,
                state=member.state,
                variant=member.after.variant,
                failure=member.failure,
                reason=member.reason,
            )
            for member in failed
        ),
    )
