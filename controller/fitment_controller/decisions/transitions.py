"""The three state machines of a rollout, one table each. What is not in a table is an error."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final, TypeVar

from fitment_controller.domain import MemberState, RolloutState, StratumState
from fitment_controller.errors import TransitionRefused


class RolloutEvent(str, Enum):
    """What moves a rollout."""

    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"
    SETTLE = "settle"
    """Nobody is on the way any more after an abort."""
    COMPLETE = "complete"
    FAIL = "fail"


class StratumEvent(str, Enum):
    """What moves a stratum."""

    START = "start"
    PROMOTE = "promote"
    COMPLETE = "complete"
    FAIL = "fail"
    ABORT = "abort"


class MemberEvent(str, Enum):
    """What moves one device of a rollout."""

    ASSIGN = "assign"
    PROVE = "prove"
    FAIL = "fail"
    EXPIRE = "expire"
    REVERT = "revert"
    SKIP = "skip"
    RELEASE = "release"


ROLLOUT: Final[dict[tuple[RolloutState, RolloutEvent], RolloutState]] = {
    (RolloutState.RUNNING, RolloutEvent.PAUSE): RolloutState.PAUSED,
    (RolloutState.RUNNING, RolloutEvent.ABORT): RolloutState.ABORTING,
    (RolloutState.RUNNING, RolloutEvent.COMPLETE): RolloutState.COMPLETED,
    (RolloutState.RUNNING, RolloutEvent.FAIL): RolloutState.FAILED,
    (RolloutState.PAUSED, RolloutEvent.RESUME): RolloutState.RUNNING,
    (RolloutState.PAUSED, RolloutEvent.ABORT): RolloutState.ABORTING,
    (RolloutState.PAUSED, RolloutEvent.FAIL): RolloutState.FAILED,
    (RolloutState.ABORTING, RolloutEvent.ABORT): RolloutState.ABORTING,
    (RolloutState.ABORTING, RolloutEvent.SETTLE): RolloutState.ABORTED,
}

STRATUM: Final[dict[tuple[StratumState, StratumEvent], StratumState]] = {
    (StratumState.PENDING, StratumEvent.START): StratumState.CANARY,
    (StratumState.PENDING, StratumEvent.ABORT): StratumState.ABORTED,
    (StratumState.CANARY, StratumEvent.PROMOTE): StratumState.WAVES,
    (StratumState.CANARY, StratumEvent.FAIL): StratumState.FAILED,
    (StratumState.CANARY, StratumEvent.ABORT): StratumState.ABORTED,
    (StratumState.WAVES, StratumEvent.COMPLETE): StratumState.COMPLETED,
    (StratumState.WAVES, StratumEvent.FAIL): StratumState.FAILED,
    (StratumState.WAVES, StratumEvent.ABORT): StratumState.ABORTED,
    (StratumState.COMPLETED, StratumEvent.ABORT): StratumState.ABORTED,
}

MEMBER: Final[dict[tuple[MemberState, MemberEvent], MemberState]] = {
    (MemberState.PENDING, MemberEvent.ASSIGN): MemberState.ASSIGNED,
    (MemberState.PENDING, MemberEvent.SKIP): MemberState.UNREACHED,
    (MemberState.PENDING, MemberEvent.RELEASE): MemberState.RELEASED,
    (MemberState.ASSIGNED, MemberEvent.PROVE): MemberState.SUCCEEDED,
    (MemberState.ASSIGNED, MemberEvent.FAIL): MemberState.FAILED,
    (MemberState.ASSIGNED, MemberEvent.EXPIRE): MemberState.TIMED_OUT,
    (MemberState.ASSIGNED, MemberEvent.REVERT): MemberState.REVERTED,
    (MemberState.SUCCEEDED, MemberEvent.FAIL): MemberState.FAILED,
    (MemberState.SUCCEEDED, MemberEvent.REVERT): MemberState.REVERTED,
    (MemberState.FAILED, MemberEvent.REVERT): MemberState.REVERTED,
    (MemberState.TIMED_OUT, MemberEvent.REVERT): MemberState.REVERTED,
}

ROLLOUT_ENDED: Final = frozenset(
    {RolloutState.ABORTED, RolloutState.COMPLETED, RolloutState.FAILED}
)
STRATUM_ENDED: Final = frozenset(
    {StratumState.COMPLETED, StratumState.FAILED, StratumState.ABORTED}
)
TOUCHED: Final = frozenset(
    {MemberState.ASSIGNED, MemberState.SUCCEEDED, MemberState.FAILED, MemberState.TIMED_OUT}
)
"""Members whose desired state names the new variant."""

State = TypeVar("State", bound=Enum)
Event = TypeVar("Event", bound=Enum)


def move(table: Mapping[tuple[State, Event], State], state: State, event: Event) -> State:
    """The state that `event` leads to.

    Raises:
        TransitionRefused: the table has no such transition.
    """
    try:
        return table[state, event]
    except KeyError:
        known = sorted(entry[1].value for entry in table if entry[0] is state)
        raise TransitionRefused(
            f"it is {state.value}, where {event.value!r} has no meaning",
            f"Possible now: {', '.join(known) if known else 'nothing, it has ended'}",
        ) from None
