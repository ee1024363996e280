"""The deployment state machine: pure, on the contract's table, and always coming to rest."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitment_agent.deployment import (
    MAX_RESUMPTIONS,
    Deployment,
    Effect,
    Effects,
    RetryPolicy,
    advance,
    artifacts_of,
    offer,
)
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
from fitment_contract.benchmark import MetricSpec
from fitment_contract.errors import TransitionError
from fitment_contract.messages import Evaluation, Waiting, WaitReason
from fitment_contract.phase import TRANSITIONS, FailureReason, Phase
from support.agent_records import NOW, a_report, an_assignment

POLICY = RetryPolicy(limit=2, base_seconds=10.0, max_seconds=60.0)
ASSIGNMENT = an_assignment()
METERED = WaitReason.METERED
HOLD = Waiting(reason=METERED, detail="the link is metered")
HELD = Weighed(HOLD, (METERED,))
UNREACHABLE = Failed(FailureReason.UNREACHABLE, "no route", retryable=True, jitter=0.5)


def go(deployment: Deployment, *events: Event) -> tuple[Deployment, Effects]:
    """Through several events at one moment; the last effects."""
    effects: Effects = ()
    for event in events:
        deployment, effects = advance(deployment, event, NOW, POLICY)
    return deployment, effects


def offered() -> Deployment:
    return Deployment(generation=1, assignment=ASSIGNMENT)


def in_phase(phase: Phase) -> Deployment:
    """A deployment that came to `phase` by the usual way."""
    proved = Proved(a_report(ASSIGNMENT))
    ways: dict[Phase, tuple[Event, ...]] = {
        Phase.OFFERED: (),
        Phase.WAITING: (HELD,),
        Phase.FETCHING: (Weighed(None),),
        Phase.VERIFYING: (Weighed(None), Fetched(10)),
        Phase.TRIAL: (Weighed(None), Fetched(10), Verified()),
        Phase.ACTIVATING: (Weighed(None), Fetched(10), Verified(), proved),
        Phase.ACTIVE: (Weighed(None), Fetched(10), Verified(), proved, Activated()),
        Phase.ROLLED_BACK: (Withdrawn("test"),),
    }
    return go(offered(), *ways[phase])[0]


def test_the_straight_way_asks_for_one_piece_of_work_a_phase() -> None:
    seen = []
    deployment = offered()
    events = (Weighed(None), Fetched(10), Verified(), Proved(a_report(ASSIGNMENT)), Activated())
    for event in events:
        deployment, effects = go(deployment, event)
        seen.append((deployment.phase, effects))
    assert seen == [
        (Phase.FETCHING, (Effect.FETCH,)),
        (Phase.VERIFYING, (Effect.VERIFY,)),
        (Phase.TRIAL, (Effect.TRY,)),
        (Phase.ACTIVATING, (Effect.ACTIVATE,)),
        (Phase.ACTIVE, (Effect.SETTLE,)),
    ]
    assert deployment.benchmark == a_report(ASSIGNMENT)
    assert deployment.bytes_transferred == 10


def test_a_condition_makes_it_wait_and_waiting_on_keeps_the_first_moment() -> None:
    deployment, effects = go(offered(), HELD)
    assert (deployment.phase, deployment.waiting, effects) == (Phase.WAITING, HOLD, ())
    assert deployment.held_since == {METERED: NOW}
    hot, hour = Waiting(reason=WaitReason.THERMAL, detail="90 °C"), timedelta(hours=1)
    both = Weighed(hot, (WaitReason.THERMAL, METERED))
    later, _ = advance(deployment, both, NOW + hour, POLICY)
    assert later.waiting == hot
    assert later.held_since == {METERED: NOW, WaitReason.THERMAL: NOW + hour}
    assert go(later, Weighed(None))[0].waiting is None


def test_a_wait_for_the_same_is_told_once_however_its_reading_moves() -> None:
    deployment = in_phase(Phase.WAITING)
    other_words = HOLD.model_copy(update={"detail": "the link is still metered"})
    assert go(deployment, Weighed(other_words, (METERED,)))[0] == deployment
    sooner = HOLD.model_copy(update={"until": NOW})
    assert go(deployment, Weighed(sooner, (METERED,)))[0].waiting == sooner


@pytest.mark.parametrize("phase", [Phase.FETCHING, Phase.VERIFYING, Phase.TRIAL])
def test_a_condition_can_hold_back_work_under_way_and_bytes_are_counted(phase: Phase) -> None:
    before = in_phase(phase)
    held, effects = go(before, Weighed(HOLD, (METERED,), bytes_transferred=7))
    assert (held.phase, held.waiting, effects) == (Phase.WAITING, HOLD, ())
    assert held.bytes_transferred == before.bytes_transferred + 7
    assert go(held, Weighed(None))[1] == (Effect.FETCH,)


@pytest.mark.parametrize("phase", [Phase.FETCHING, Phase.VERIFYING, Phase.TRIAL])
def test_what_may_pass_is_tried_again_in_every_phase_of_work(phase: Phase) -> None:
    failed = Failed(FailureReason.INTERNAL, "no process to be had", retryable=True)
    deployment, effects = go(in_phase(phase), failed)
    assert (deployment.phase, effects) == (Phase.WAITING, ())
    assert deployment.waiting is not None
    assert deployment.waiting.reason is WaitReason.RETRY


def test_what_fails_for_want_of_a_network_never_ends_it() -> None:
    cut_off = Failed(FailureReason.UNREACHABLE, "no route", retryable=True, counts=False)
    deployment = in_phase(Phase.FETCHING)
    for _ in range(10 * POLICY.limit):
        deployment, _ = go(deployment, cut_off)
        assert deployment.waiting is not None
        assert deployment.waiting.until == NOW + timedelta(seconds=POLICY.max_seconds)
        deployment, effects = go(deployment, Weighed(None))
    assert (deployment.retries, effects) == (0, (Effect.FETCH,))


YEARS = timedelta(days=20 * 365)


@given(st.integers(-(10**12), 10**12))
def test_turning_the_clock_makes_no_wait_longer_or_shorter(seconds: int) -> None:
    hold = HOLD.model_copy(update={"until": NOW + timedelta(hours=2)})
    waiting, _ = go(offered(), Weighed(hold, (METERED,)))
    turned, effects = go(waiting, ClockTurned(seconds))
    assert (turned.phase, effects) == (Phase.WAITING, ())
    assert turned.waiting is not None
    assert turned.waiting.until is not None
    assert turned.waiting.until - turned.held_since[METERED] == timedelta(hours=2)


def test_a_wait_that_a_wrong_clock_dated_ahead_begins_now() -> None:
    ahead, _ = advance(offered(), HELD, NOW + YEARS, POLICY)
    assert go(ahead, HELD)[0].held_since == {METERED: NOW}


def test_a_wait_that_a_clock_dated_1970_begins_when_it_is_set() -> None:
    in_1970 = datetime(1970, 1, 1, tzinfo=timezone.utc)
    before, _ = advance(offered(), HELD, in_1970, POLICY)
    still, _ = advance(before, HELD, in_1970 + timedelta(hours=1), POLICY)
    assert still.held_since == {METERED: in_1970}
    assert go(still, HELD)[0].held_since == {METERED: NOW}


def test_a_passing_failure_waits_longer_each_time_and_then_gives_up() -> None:
    deployment = in_phase(Phase.FETCHING)
    pauses = []
    for _ in range(POLICY.limit):
        deployment, _ = go(deployment, UNREACHABLE)
        assert deployment.phase is Phase.WAITING
        assert deployment.waiting is not None
        assert deployment.waiting.until is not None
        assert deployment.waiting.reason is WaitReason.RETRY
        pauses.append((deployment.waiting.until - NOW).total_seconds())
        deployment, _ = go(deployment, Weighed(None))
    assert pauses == [5.0, 10.0]
    deployment, effects = go(deployment, UNREACHABLE)
    assert deployment.phase is Phase.ROLLED_BACK
    assert deployment.failure is not None
    assert deployment.failure.reason is FailureReason.UNREACHABLE
    assert effects == (Effect.SETTLE,)


def test_bytes_of_failed_transfers_are_counted() -> None:
    failed = Failed(FailureReason.UNREACHABLE, "x", retryable=True, bytes_transferred=7)
    deployment, _ = go(in_phase(Phase.FETCHING), failed, Weighed(None), Fetched(5))
    assert deployment.bytes_transferred == 12


def test_a_final_failure_is_never_tried_again() -> None:
    deployment, _ = go(in_phase(Phase.FETCHING), Failed(FailureReason.NOT_FOUND, "404"))
    assert deployment.phase is Phase.ROLLED_BACK
    assert deployment.failure is not None
    assert deployment.failure.phase is Phase.FETCHING


@pytest.mark.parametrize("phase", [Phase.FETCHING, Phase.VERIFYING, Phase.TRIAL, Phase.ACTIVATING])
def test_resuming_after_crashes_is_bounded(phase: Phase) -> None:
    deployment = in_phase(phase)
    for _ in range(MAX_RESUMPTIONS):
        deployment, effects = go(deployment, Resumed(after_crash=True))
        assert deployment.phase is phase
        assert len(effects) == 1
    deployment, _ = go(deployment, Resumed(after_crash=True))
    assert deployment.phase is Phase.ROLLED_BACK
    assert deployment.failure is not None
    assert deployment.failure.reason is FailureReason.CRASH_LOOP


def test_a_transfer_that_grows_is_no_crash_loop() -> None:
    deployment = in_phase(Phase.FETCHING)
    for present in range(1, 20):
        deployment, effects = go(deployment, Resumed(after_crash=True, partial_bytes=present))
        assert effects == (Effect.FETCH,)


def test_a_stop_in_good_order_is_not_counted() -> None:
    deployment = in_phase(Phase.TRIAL)
    for _ in range(20):
        deployment, effects = go(deployment, Resumed(after_crash=False))
    assert (deployment.tries, effects) == (1, (Effect.TRY,))


def test_the_next_phase_begins_with_a_fresh_count() -> None:
    deployment, _ = go(in_phase(Phase.FETCHING), Resumed(after_crash=True), Fetched(1))
    assert deployment.tries == 1


@pytest.mark.parametrize(
    "phase", [Phase.OFFERED, Phase.WAITING, Phase.FETCHING, Phase.VERIFYING, Phase.TRIAL]
)
def test_past_its_deadline_it_gives_up_and_stops_work(phase: Phase) -> None:
    terms = an_assignment(deadline=NOW - timedelta(seconds=1))
    deployment = in_phase(phase).model_copy(update={"assignment": terms})
    late, effects = go(deployment, Ticked())
    assert late.failure is not None
    assert late.failure.reason is FailureReason.DEADLINE_PASSED
    assert Effect.STOP_WORK in effects


def test_what_is_proved_is_activated_after_the_deadline_too() -> None:
    terms = an_assignment(deadline=NOW - timedelta(seconds=1))
    deployment = in_phase(Phase.TRIAL).model_copy(update={"assignment": terms})
    proved, _ = go(deployment, Proved(a_report(terms)))
    assert go(proved, Ticked())[0].phase is Phase.ACTIVATING


def test_withdrawing_what_is_active_restores_the_previous() -> None:
    deployment, effects = go(in_phase(Phase.ACTIVE), Withdrawn("not wanted"))
    assert deployment.phase is Phase.ROLLED_BACK
    assert effects == (Effect.RESTORE, Effect.SETTLE)


def test_withdrawing_work_under_way_stops_it_and_restores_nothing() -> None:
    deployment, effects = go(in_phase(Phase.TRIAL), Withdrawn("not wanted"))
    assert deployment.failure is not None
    assert deployment.failure.reason is FailureReason.WITHDRAWN
    assert effects == (Effect.STOP_WORK, Effect.SETTLE)


def test_whatever_ends_activating_leaves_what_it_may_have_activated() -> None:
    """The pointer may have been written already: only the state can tell."""
    withdrawn, effects = go(in_phase(Phase.ACTIVATING), Withdrawn("not wanted"))
    assert withdrawn.phase is Phase.ROLLED_BACK
    assert effects == (Effect.STOP_WORK, Effect.LEAVE, Effect.SETTLE)
    often = in_phase(Phase.ACTIVATING).model_copy(update={"tries": 1 + MAX_RESUMPTIONS})
    assert go(often, Resumed(after_crash=True))[1] == (Effect.LEAVE, Effect.SETTLE)


def test_an_event_that_the_table_does_not_know_is_an_error() -> None:
    with pytest.raises(TransitionError):
        go(offered(), Verified())


# Offers


def test_what_is_active_is_reaffirmed_without_work() -> None:
    report = a_report(ASSIGNMENT)
    active = in_phase(Phase.ACTIVE)
    again, effects = offer(active, ASSIGNMENT, 7, ASSIGNMENT.variant.digest, report)
    assert (again.phase, again.generation, again.benchmark) == (Phase.ACTIVE, 7, report)
    assert effects == (Effect.SETTLE,)


def test_work_under_way_for_the_same_variant_goes_on_under_new_terms() -> None:
    terms = an_assignment(rollout="r2")
    going_on, effects = offer(in_phase(Phase.TRIAL), terms, 2)
    assert (going_on.phase, going_on.generation) == (Phase.TRIAL, 2)
    assert going_on.assignment.rollout == "r2"
    assert effects == ()


def test_the_same_variant_with_other_data_begins_again() -> None:
    other = Evaluation(
        artifact=Artifact(digest="b" * 64, size_bytes=3), metric=MetricSpec(name="top1")
    )
    again, effects = offer(in_phase(Phase.TRIAL), an_assignment(evaluation=other), 2)
    assert (again.phase, effects) == (Phase.OFFERED, (Effect.STOP_WORK,))


def test_another_variant_supersedes_work_under_way() -> None:
    other = an_assignment("int8")
    superseding, effects = offer(in_phase(Phase.FETCHING), other, 2)
    assert superseding == Deployment(generation=2, assignment=other)
    assert effects == (Effect.STOP_WORK,)


def test_going_back_to_the_active_one_stops_work_for_another() -> None:
    under_way = Deployment(generation=2, assignment=an_assignment("int8"), phase=Phase.FETCHING)
    back, effects = offer(under_way, ASSIGNMENT, 3, ASSIGNMENT.variant.digest)
    assert back.phase is Phase.ACTIVE
    assert effects == (Effect.STOP_WORK, Effect.SETTLE)


def test_exactly_what_failed_is_answered_with_the_same_failure() -> None:
    failed = in_phase(Phase.ROLLED_BACK)
    same, effects = offer(failed, ASSIGNMENT, 5)
    assert (same.phase, same.generation, same.failure) == (Phase.ROLLED_BACK, 5, failed.failure)
    assert effects == ()


def test_a_new_rollout_tries_what_failed_once_more() -> None:
    again, _ = offer(in_phase(Phase.ROLLED_BACK), an_assignment(rollout="r2"), 5)
    assert again.phase is Phase.OFFERED


def test_an_artifact_that_serves_twice_is_wanted_once() -> None:
    shared = Artifact(digest="a" * 64, size_bytes=3)
    evaluation = Evaluation(artifact=shared, metric=MetricSpec(name="top1"))
    assignment = an_assignment(evaluation=evaluation)
    assert [one.digest for one in artifacts_of(assignment)] == [
        assignment.variant.digest,
        shared.digest,
    ]


# Properties

EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.just(Weighed(None)),
    st.just(HELD),
    st.builds(ClockTurned, st.floats(-1e12, 1e12)),
    st.builds(Fetched, st.integers(0, 100)),
    st.just(Verified()),
    st.just(Proved(a_report(ASSIGNMENT))),
    st.just(Activated()),
    st.builds(
        Failed,
        st.sampled_from(FailureReason),
        st.text(max_size=10),
        st.booleans(),
        st.integers(0, 100),
        st.floats(0, 1),
        st.booleans(),
    ),
    st.just(Withdrawn("x")),
    st.builds(Resumed, st.booleans(), st.integers(0, 100)),
    st.just(Ticked()),
)
EDGES = {(before, after) for (before, _), after in TRANSITIONS.items()}


@given(st.lists(EVENTS, max_size=30))
def test_whatever_happens_every_step_is_in_the_table_and_says_why(events: list[Event]) -> None:
    deployment = offered()
    for event in events:
        try:
            after, effects = advance(deployment, event, NOW, POLICY)
        except TransitionError:
            continue
        assert after.phase is deployment.phase or (deployment.phase, after.phase) in EDGES
        assert (after.waiting is not None) == (after.phase is Phase.WAITING)
        assert (after.failure is not None) == (after.phase is Phase.ROLLED_BACK)
        assert after.bytes_transferred >= deployment.bytes_transferred
        assert after.tries <= 1 + MAX_RESUMPTIONS
        assert after.retries <= POLICY.limit
        if after.phase is Phase.ACTIVE:
            assert after.benchmark is not None
        if Effect.RESTORE in effects:
            assert deployment.phase is Phase.ACTIVE
        if Effect.LEAVE in effects:
            assert deployment.phase is Phase.ACTIVATING
        deployment = Deployment.model_validate_json(after.model_dump_json(exclude_none=True))
        assert deployment == after


@given(st.lists(st.sampled_from([Resumed(after_crash=True), UNREACHABLE]), min_size=40))
def test_nothing_but_crashes_and_failures_always_comes_to_rest(events: list[Event]) -> None:
    deployment = in_phase(Phase.FETCHING)
    for event in events:
        if deployment.phase is Phase.WAITING:
            deployment, _ = go(deployment, Weighed(None))
        if deployment.is_settled:
            return
        deployment, _ = go(deployment, event)
    assert deployment.is_settled


@given(st.integers(0, 100), st.floats(0, 1))
def test_pauses_stay_within_their_bounds(retries: int, jitter: float) -> None:
    assert 0 <= POLICY.pause_seconds(retries, jitter) <= POLICY.max_seconds
