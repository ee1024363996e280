"""One device of a rollout against what it reports. Error is looked at before success."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fitment_contract.benchmark import BenchmarkReport
from fitment_contract.messages import ActiveVariant, ModelState
from fitment_contract.phase import Phase
from fitment_controller.decisions.evidence import usable
from fitment_controller.decisions.transitions import MEMBER, MemberEvent, move
from fitment_controller.domain import Member, MemberState, waiting_words

TIMEOUT = "timeout"
"""The failure of a device that was not proved by its deadline."""


@dataclass(frozen=True)
class Observation:
    """What headquarters knows of a device at one moment.

    Attributes:
        desired_generation: the newest generation of its desired state.
        state: what it reported last for the rollout's model.
    """

    online: bool
    desired_generation: int
    state: ModelState | None = None


def observe(member: Member, seen: Observation, now: datetime) -> Member:
    """The member after its newest report and the clock; unchanged when neither says more."""
    if member.state not in {MemberState.ASSIGNED, MemberState.SUCCEEDED}:
        return member
    state = _answer(member, seen)
    if state is not None and state.phase is Phase.ROLLED_BACK:
        cause = state.failure
        return _end(
            member,
            MemberEvent.FAIL,
            now,
            failure=cause.reason.value if cause else "withdrawn",
            reason=f"{cause.phase.value}: {cause.detail}" if cause else "taken back on the device",
        )
    if member.state is MemberState.SUCCEEDED:
        return member
    if state is not None and _proved(member, state):
        return _success(member, state, now)
    reason = _progress(member, seen, state)
    if member.deadline is not None and now >= member.deadline:
        return _end(member, MemberEvent.EXPIRE, now, failure=TIMEOUT, reason=f"deadline: {reason}")
    return member if member.reason == reason else member.model_copy(update={"reason": reason})


def _answer(member: Member, seen: Observation) -> ModelState | None:
    """The report, if it answers this member's assignment."""
    state = seen.state
    if state is None or member.generation is None or state.generation < member.generation:
        return None
    return state if state.digest == member.after.digest else None


def _proved(member: Member, state: ModelState) -> bool:
    """Active with this very digest, and validly measured: intent is never success.

    Where a second variant comes along, the same of that one.
    """
    first, second = member.after.digests
    return (
        state.phase is Phase.ACTIVE
        and _held(state.active, state.benchmark, first)
        and (second is None or _held(state.low_power, state.low_power_benchmark, second))
    )


def _held(variant: ActiveVariant | None, report: BenchmarkReport | None, digest: str) -> bool:
    return (
        variant is not None
        and variant.digest == digest
        and report is not None
        and report.digest == digest
        and usable(report)
    )


def _success(member: Member, state: ModelState, now: datetime) -> Member:
    assert state.benchmark is not None
    score = state.benchmark.score()
    return _end(
        member,
        MemberEvent.PROVE,
        now,
        reason="active and measured",
        latency_p95_seconds=state.benchmark.latency.p95_seconds,
        accuracy=score.value if score else None,
    )


def _progress(member: Member, seen: Observation, state: ModelState | None) -> str:
    if state is None:
        return "no answer yet" if seen.online else "offline, no answer yet"
    where = state.phase.value
    if state.waiting is not None:
        where = f"waiting: {waiting_words(state.waiting)}"
    elif state.phase is Phase.ACTIVE:
        where = f"active, not proved: {_unproved(member, state)}"
    return where if seen.online else f"offline, last {where}"


def _unproved(member: Member, state: ModelState) -> str:
    report = state.benchmark
    if report is None or not usable(report):
        cause = report.invalid_reason if report else None
        return cause or "no measurement"
    if state.low_power is None:
        return "without the variant for low power"
    second = state.low_power_benchmark
    cause = second.invalid_reason if second else None
    return f"{state.low_power.variant}: {cause or 'no measurement'}"


def _end(member: Member, event: MemberEvent, now: datetime, **changes: object) -> Member:
    state = move(MEMBER, member.state, event)
    return member.model_copy(update={**changes, "state": state, "finished_at": now})
