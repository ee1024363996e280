"""One device of a rollout against what it reports. Error is looked at before success."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from fitment_contract.benchmark import BenchmarkReport
from fitment_contract.messages import ModelState
from fitment_contract.phase import Phase
from fitment_controller.decisions.evidence import usable
from fitment_controller.decisions.transitions import MEMBER, MemberEvent, move
from fitment_controller.domain import Member, MemberState, waiting_words

TIMEOUT = "timeout"
"""The failure of a device that was not proved by its deadline."""

MEASURE_AGAIN: Final = timedelta(seconds=60)
"""How often a device is asked for a measurement that is missing."""


@dataclass(frozen=True)
class Observation:
    """What headquarters knows of a device at one moment.

    Attributes:
        desired_generation: the newest generation of its desired state.
        state: what it reported last for the rollout's model.
        again: by digest, what it measured validly when it was asked to measure again.
    """

    online: bool
    desired_generation: int
    state: ModelState | None = None
    again: Mapping[str, BenchmarkReport] = field(default_factory=dict)


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
    if state is not None and _proved(member, state, seen.again):
        return _success(member, state, seen.again, now)
    reason = _progress(member, seen, state)
    if member.deadline is not None and now >= member.deadline:
        return _end(member, MemberEvent.EXPIRE, now, failure=TIMEOUT, reason=f"deadline: {reason}")
    return member if member.reason == reason else member.model_copy(update={"reason": reason})


def lacks_measurement(member: Member, state: ModelState | None) -> bool:
    """Whether it runs what it was assigned, and only a valid measurement is missing.

    Conditions that change under every attempt do that, as they do on a busy device.
    """
    first, second = member.after.digests
    return (
        member.state is MemberState.ASSIGNED
        and state is not None
        and state.phase is Phase.ACTIVE
        and state.active is not None
        and state.active.digest == first
        and (second is None or (state.low_power is not None and state.low_power.digest == second))
        and not _proved(member, state, {})
    )


def is_to_measure_again(member: Member, seen: Observation, now: datetime) -> bool:
    """Whether a device that lacks nothing but a measurement is to be asked for one now."""
    return (
        seen.online
        and lacks_measurement(member, _answer(member, seen))
        and (member.asked_at is None or now >= member.asked_at + MEASURE_AGAIN)
    )


def _answer(member: Member, seen: Observation) -> ModelState | None:
    """The report, if it answers this member's assignment."""
    state = seen.state
    if state is None or member.generation is None or state.generation < member.generation:
        return None
    return state if state.digest == member.after.digest else None


def _proved(member: Member, state: ModelState, again: Mapping[str, BenchmarkReport]) -> bool:
    """Active with this very digest, and validly measured: intent is never success.

    Where a second variant comes along, the same of that one.
    """
    first, second = member.after.digests
    return (
        state.phase is Phase.ACTIVE
        and state.active is not None
        and state.active.digest == first
        and _valid(state.benchmark, first, again) is not None
        and (
            second is None
            or (
                state.low_power is not None
                and state.low_power.digest == second
                and _valid(state.low_power_benchmark, second, again) is not None
            )
        )
    )


def _valid(
    report: BenchmarkReport | None, digest: str, again: Mapping[str, BenchmarkReport]
) -> BenchmarkReport | None:
    """The valid measurement of a file: the trial's, else one that was asked for later."""
    if report is not None and report.digest == digest and usable(report):
        return report
    return again.get(digest)


def _success(
    member: Member, state: ModelState, again: Mapping[str, BenchmarkReport], now: datetime
) -> Member:
    report = _valid(state.benchmark, member.after.digest, again)
    assert report is not None  # it is proved
    score = report.score()
    return _end(
        member,
        MemberEvent.PROVE,
        now,
        reason="active and measured",
        latency_p95_seconds=report.latency.p95_seconds,
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
