"""The phase table: the one description of a deployment's life."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitment_contract.errors import TransitionError
from fitment_contract.phase import TERMINAL, TRANSITIONS, Phase, PhaseEvent, next_phase


def reachable_from(phase: Phase) -> set[Phase]:
    found = {phase}
    while True:
        more = {after for (before, _), after in TRANSITIONS.items() if before in found} - found
        if not more:
            return found
        found |= more


def test_every_phase_is_reached_from_offered() -> None:
    assert reachable_from(Phase.OFFERED) == set(Phase)


@pytest.mark.parametrize("phase", sorted(set(Phase) - TERMINAL))
def test_every_unfinished_phase_can_end_well_and_can_fail(phase: Phase) -> None:
    assert Phase.ACTIVE in reachable_from(phase)
    assert next_phase(phase, PhaseEvent.FAILED) is Phase.ROLLED_BACK


def test_nothing_becomes_active_without_a_trial() -> None:
    """Success means measured: every way into `active` goes through `trial`."""
    without_trial = {
        (before, after) for (before, _), after in TRANSITIONS.items() if before is not Phase.TRIAL
    }
    found = {Phase.OFFERED}
    while more := {after for before, after in without_trial if before in found} - found:
        found |= more
    assert Phase.ACTIVE not in found


def test_a_rolled_back_deployment_rests() -> None:
    assert not [key for key in TRANSITIONS if key[0] is Phase.ROLLED_BACK]


@pytest.mark.parametrize(
    ("phase", "event"),
    sorted(set(itertools.product(Phase, PhaseEvent)) - set(TRANSITIONS)),
)
def test_what_is_not_in_the_table_is_an_error(phase: Phase, event: PhaseEvent) -> None:
    with pytest.raises(TransitionError):
        next_phase(phase, event)


@given(st.lists(st.sampled_from(PhaseEvent), max_size=30))
def test_any_walk_stays_in_the_table(events: list[PhaseEvent]) -> None:
    phase = Phase.OFFERED
    for event in events:
        try:
            phase = next_phase(phase, event)
        except TransitionError:
            assert (phase, event) not in TRANSITIONS
    assert phase in Phase
