"""Rollouts as state machines: any sequence of outcomes keeps what a rollout promises."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitment_contract.messages import ActiveVariant, Failure, ModelState
from fitment_contract.phase import FailureReason, Phase
from fitment_controller.decisions.gates import judge, verdict
from fitment_controller.decisions.members import Observation
from fitment_controller.decisions.rollout import Before, Step, abort, advance, begin, pause, resume
from fitment_controller.decisions.strata import Assign, Restore
from fitment_controller.decisions.transitions import (
    MEMBER,
    ROLLOUT,
    ROLLOUT_ENDED,
    STRATUM,
    TOUCHED,
    MemberEvent,
    RolloutEvent,
    move,
)
from fitment_controller.domain import (
    GateVerdict,
    Member,
    MemberState,
    Plan,
    PlannedDevice,
    PlannedStratum,
    RolloutPolicy,
    RolloutRequest,
    RolloutState,
    StratumState,
    VariantRef,
)
from fitment_controller.errors import TransitionRefused
from support.core_fleet import NOW, digest_of, make_entry, make_report

ENTRY = make_entry("int8-new")
assert ENTRY.variant is not None
NEW = VariantRef(model_version=2, variant="int8-new", digest=ENTRY.variant.digest)
OLD = VariantRef(model_version=1, variant="fp32", digest=digest_of("old"))


def plan_of(strata: dict[str, list[str]], before: dict[str, VariantRef]) -> Plan:
    devices = tuple(
        PlannedDevice(
            device=device,
            device_class=name,
            region="eu-west",
            before=before.get(device),
            after=NEW,
            link_bytes=1000,
            reason="test",
        )
        for name, ids in strata.items()
        for device in ids
    )
    return Plan(
        model="activity",
        model_version=2,
        objective="balanced",
        policy=RolloutPolicy(),
        strata=tuple(
            PlannedStratum(
                id=f"{name}/eu-west",
                device_class=name,
                region="eu-west",
                device_count=len(ids),
                changes=(),
            )
            for name, ids in strata.items()
        ),
        devices=devices,
    )


class Fleet:
    """Devices that do as they are told, or not; the rollout's surroundings in memory."""

    def __init__(
        self,
        strata: dict[str, list[str]],
        policy: RolloutPolicy | None = None,
        before: dict[str, VariantRef] | None = None,
        measured_before: dict[str, Before] | None = None,
    ) -> None:
        request = RolloutRequest(model="activity", policy=policy or RolloutPolicy())
        step = begin(
            plan_of(strata, before or {}),
            request,
            id="r1",
            actor="ann",
            now=NOW,
            reference_accuracy=0.9,
            higher_is_better=True,
            before=measured_before or {},
        )
        self.now = NOW
        self.rollout = step.rollout
        self.members = {member.device: member for member in step.members}
        self.online = dict.fromkeys(self.members, True)
        self.generations = dict.fromkeys(self.members, 0)
        self.wanted: dict[str, VariantRef | None] = dict(before or {})
        self.states: dict[str, ModelState] = {}
        self.exposed: set[str] = set()

    def seen(self) -> dict[str, Observation]:
        return {
            id: Observation(self.online[id], self.generations[id], self.states.get(id))
            for id in self.members
        }

    def step(self) -> Step:
        step = advance(self.rollout, list(self.members.values()), self.seen(), self.now)
        self.apply(step)
        return step

    def apply(self, step: Step) -> None:
        self.rollout = step.rollout
        self.members.update((member.device, member) for member in step.members)
        for action in step.actions:
            assert action.generation == self.generations[action.device] + 1
            self.generations[action.device] = action.generation
            self.wanted[action.device] = action.ref
            if isinstance(action, Assign):
                self.exposed.add(action.device)

    def answer(self, device: str, phase: Phase, accuracy: float = 0.9, p95: float = 0.001) -> None:
        member = self.members[device]
        if member.generation is None:
            return
        assert ENTRY.variant is not None
        done = phase is Phase.ACTIVE
        report = make_report(ENTRY.variant, accuracy=accuracy, p95=p95)
        failure = Failure(phase=Phase.TRIAL, reason=FailureReason.CRASHED, detail="signal 11")
        self.states[device] = ModelState(
            model="activity",
            generation=member.generation,
            phase=phase,
            variant=NEW.variant,
            digest=NEW.digest,
            failure=failure if phase is Phase.ROLLED_BACK else None,
            active=ActiveVariant(
                variant=NEW.variant,
                model_version=2,
                digest=NEW.digest,
                generation=member.generation,
                since=NOW,
            )
            if done
            else None,
            benchmark=report if done else None,
        )

    def run(self, outcome: Phase = Phase.ACTIVE, steps: int = 30, **measured: float) -> None:
        for _ in range(steps):
            self.step()
            for device in sorted(self.members):
                if self.members[device].state is MemberState.ASSIGNED:
                    self.answer(device, outcome, **measured)

    def states_of(self) -> set[MemberState]:
        return {member.state for member in self.members.values()}


def ids(count: int, prefix: str = "d") -> list[str]:
    return [f"{prefix}{n:02}" for n in range(count)]


def test_canary_then_waves_then_completed() -> None:
    fleet = Fleet({"pi-5": ids(9)}, RolloutPolicy(wave_ratio=0.34, canary_count=1))
    fleet.step()
    assert fleet.exposed == {"d00"}
    fleet.answer("d00", Phase.ACTIVE)
    fleet.step()
    fleet.step()
    assert len(fleet.exposed) == 1 + 4
    fleet.run()
    assert fleet.rollout.state is RolloutState.COMPLETED
    assert fleet.states_of() == {MemberState.SUCCEEDED}


def test_canaries_cover_every_distinct_change() -> None:
    fleet = Fleet({"pi-5": ids(6)}, before={"d04": OLD, "d05": OLD})
    fleet.step()
    assert fleet.exposed == {"d00", "d04"}


def test_a_stratum_of_one_is_its_canary() -> None:
    fleet = Fleet({"pi-5": ids(1)})
    fleet.run()
    assert fleet.rollout.state is RolloutState.COMPLETED


def test_no_more_than_allowed_are_on_their_way() -> None:
    fleet = Fleet({"pi-5": ids(20)}, RolloutPolicy(max_in_flight=3, wave_ratio=1))
    for _ in range(60):
        fleet.step()
        flying = [d for d, m in fleet.members.items() if m.state is MemberState.ASSIGNED]
        assert len(flying) <= 3
        if flying:
            fleet.answer(flying[0], Phase.ACTIVE)
    assert fleet.rollout.state is RolloutState.COMPLETED


def test_a_failed_stratum_does_not_hold_up_the_others() -> None:
    fleet = Fleet({"pi-5": ids(3, "a"), "pi-4": ids(3, "b")}, before={"a00": OLD})
    fleet.step()
    fleet.answer("a00", Phase.ROLLED_BACK)
    fleet.run(steps=1)
    states = {stratum.device_class: stratum.state for stratum in fleet.rollout.strata}
    assert states["pi-5"] is StratumState.FAILED
    assert fleet.wanted["a00"] == OLD
    assert fleet.wanted["a01"] is None
    fleet.run()
    assert {m.state for d, m in fleet.members.items() if d[0] == "b"} == {MemberState.SUCCEEDED}


def test_devices_that_stay_offline_are_unreached_and_never_success() -> None:
    fleet = Fleet({"pi-5": ids(4)}, RolloutPolicy(deadline_seconds=60))
    fleet.online["d03"] = False
    fleet.run()
    assert fleet.rollout.state not in ROLLOUT_ENDED
    assert "offline" in fleet.rollout.strata[0].reason
    fleet.now += timedelta(seconds=61)
    fleet.run()
    assert fleet.rollout.state is RolloutState.COMPLETED
    assert fleet.members["d03"].state is MemberState.UNREACHED
    assert "1 not reached" in fleet.rollout.strata[0].reason


def test_a_stratum_that_nobody_can_reach_fails_untouched() -> None:
    fleet = Fleet({"pi-5": ids(2)}, RolloutPolicy(deadline_seconds=60))
    fleet.online = dict.fromkeys(fleet.online, False)
    fleet.run()
    assert fleet.rollout.strata[0].state is StratumState.CANARY
    fleet.now += timedelta(seconds=61)
    fleet.run()
    assert fleet.rollout.state is RolloutState.FAILED
    assert not fleet.exposed


def test_a_few_failures_in_waves_are_tolerated_and_go_back() -> None:
    fleet = Fleet({"pi-5": ids(20)}, RolloutPolicy(wave_ratio=1, min_success_ratio=0.9))
    fleet.step()
    fleet.answer("d00", Phase.ACTIVE)
    fleet.step()
    fleet.step()
    fleet.answer("d07", Phase.ROLLED_BACK)
    fleet.run()
    assert fleet.rollout.state is RolloutState.COMPLETED
    assert fleet.members["d07"].state is MemberState.REVERTED
    assert fleet.wanted["d07"] is None


@pytest.mark.parametrize(
    ("accuracy", "p95", "gate"), [(0.04, 0.0001, "accuracy-loss"), (0.9, 0.01, "p95-ratio")]
)
def test_bad_numbers_fail_at_the_canary(accuracy: float, p95: float, gate: str) -> None:
    fleet = Fleet(
        {"pi-5": ids(5)},
        before=dict.fromkeys(ids(5), OLD),
        measured_before=dict.fromkeys(ids(5), Before(latency_p95_seconds=0.001)),
    )
    fleet.run(accuracy=accuracy, p95=p95)
    assert fleet.rollout.state is RolloutState.FAILED
    assert fleet.exposed == {"d00"}
    failed = [g for g in fleet.rollout.strata[0].gates if g.verdict is GateVerdict.FAIL]
    assert [(g.name, g.n) for g in failed] == [(gate, 1)]
    assert failed[0].value is not None
    assert failed[0].value > failed[0].threshold


def test_accuracy_is_also_held_against_what_ran_before() -> None:
    fleet = Fleet({"pi-5": ids(1)}, measured_before={"d00": Before(accuracy=0.96)})
    fleet.run(accuracy=0.9)
    assert fleet.rollout.state is RolloutState.FAILED
    assert "lost 0.06" in fleet.rollout.strata[0].reason


def test_pausing_adds_nobody_and_still_takes_back() -> None:
    fleet = Fleet({"pi-5": ids(5)})
    fleet.step()
    fleet.apply(pause(fleet.rollout, fleet.now))
    fleet.answer("d00", Phase.ROLLED_BACK)
    fleet.run(steps=3)
    assert fleet.exposed == {"d00"}
    assert fleet.rollout.strata[0].state is StratumState.FAILED


def test_aborting_back_takes_completed_strata_back_too() -> None:
    fleet = Fleet({"pi-5": ids(1, "a"), "pi-4": ids(3, "b")}, before={"a00": OLD})
    fleet.step()
    fleet.answer("a00", Phase.ACTIVE)
    for _ in range(3):
        fleet.step()
    fleet.apply(
        abort(fleet.rollout, list(fleet.members.values()), fleet.seen(), fleet.now, revert=True)
    )
    assert fleet.rollout.state is RolloutState.ABORTED
    assert fleet.wanted["a00"] == OLD
    assert fleet.states_of() == {MemberState.REVERTED, MemberState.RELEASED}


def test_what_is_not_in_a_table_is_refused_with_what_is() -> None:
    with pytest.raises(TransitionRefused, match="Possible now: abort, fail, resume"):
        move(ROLLOUT, RolloutState.PAUSED, RolloutEvent.PAUSE)
    with pytest.raises(TransitionRefused, match="it has ended"):
        resume(Fleet({"x": ids(1)}).rollout.model_copy(update={"state": RolloutState.FAILED}), NOW)


@pytest.mark.parametrize(
    ("table", "start"),
    [
        (ROLLOUT, RolloutState.RUNNING),
        (STRATUM, StratumState.PENDING),
        (MEMBER, MemberState.PENDING),
    ],
)
def test_every_state_can_be_reached(
    table: dict[tuple[object, object], object], start: object
) -> None:
    reached = {start}
    while True:
        more = {end for (state, _), end in table.items() if state in reached} - reached
        if not more:
            break
        reached |= more
    assert reached == set(type(start))  # type: ignore[call-overload] # an enum class iterates


def test_gates_over_nobody_wait() -> None:
    rollout = Fleet({"x": ids(1)}).rollout
    assert verdict(judge(rollout, [], canary=True)) is GateVerdict.WAIT


# ------------------------------------------------------------------------------------ properties

MOVES = st.sampled_from(
    ["prove", "prove", "prove", "fail", "bad", "fetch", "offline", "online", "wait", "step"]
)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 8),
    st.integers(0, 5),
    st.sets(st.integers(0, 7)),
    st.lists(st.tuples(MOVES, st.integers(0, 20)), max_size=80),
    st.sampled_from([0.3, 1.0]),
)
def test_whatever_devices_do_the_promises_hold(
    first: int, second: int, had: set[int], moves: list[tuple[str, int]], wave: float
) -> None:
    """Exposure before the canary gate, rollback of failed strata, replay: all at every step."""
    strata = {"pi-5": ids(first, "a"), **({"pi-4": ids(second, "b")} if second else {})}
    before = {f"a{n:02}": OLD for n in had if n < first}
    fleet = Fleet(strata, RolloutPolicy(deadline_seconds=100, wave_ratio=wave), before)
    devices = sorted(fleet.members)
    for name, which in moves:
        device = devices[which % len(devices)]
        flying = fleet.members[device].state is MemberState.ASSIGNED
        if name == "prove" and flying:
            fleet.answer(device, Phase.ACTIVE)
        elif name == "bad" and flying:
            fleet.answer(device, Phase.ACTIVE, accuracy=0.04)
        elif name == "fail":
            fleet.answer(device, Phase.ROLLED_BACK)
        elif name == "fetch" and flying:
            fleet.answer(device, Phase.FETCHING)
        elif name in {"offline", "online"}:
            fleet.online[device] = name == "online"
        elif name == "wait":
            fleet.now += timedelta(seconds=40)
        _step_and_check(fleet)


def _step_and_check(fleet: Fleet) -> None:
    frozen = (fleet.rollout, list(fleet.members.values()), fleet.seen(), fleet.now)
    before = fleet.rollout.state
    step = fleet.step()
    assert advance(*frozen) == step  # a controller that was killed decides the same again
    if before in ROLLOUT_ENDED:
        assert not step.actions
    for stratum in fleet.rollout.strata:
        members = [m for m in fleet.members.values() if m.stratum == stratum.id]
        if stratum.state is StratumState.CANARY:
            exposed = [m for m in members if m.device in fleet.exposed]
            assert len(exposed) <= len({m.before for m in members})
        if stratum.state is StratumState.FAILED:
            assert not [m for m in members if m.state in TOUCHED | {MemberState.PENDING}]
            for member in members:
                assert fleet.wanted.get(member.device) == member.before
        if stratum.state is StratumState.COMPLETED:
            assert not [m for m in members if m.state in {MemberState.ASSIGNED}]
        counted = sum(stratum.counts.values())
        assert counted == len(members)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.sets(st.integers(0, 11)))
def test_with_patience_every_rollout_ends(count: int, offline: set[int]) -> None:
    """A device that never answers holds a rollout for its deadline, not for ever."""
    fleet = Fleet({"pi-5": ids(count)}, RolloutPolicy(deadline_seconds=100))
    for n in offline:
        if n < count:
            fleet.online[f"d{n:02}"] = False
    for _ in range(40):
        fleet.run(steps=4)
        fleet.now += timedelta(seconds=101)
    assert fleet.rollout.state in ROLLOUT_ENDED


def test_restores_name_what_ran_before() -> None:
    fleet = Fleet({"pi-5": ids(2)}, before={"d00": OLD})
    fleet.step()
    fleet.answer("d00", Phase.ROLLED_BACK)
    restores = [action for action in fleet.step().actions if isinstance(action, Restore)]
    assert {action.device: action.ref for action in restores} == {"d00": OLD, "d01": None}


def test_a_device_that_takes_itself_back_is_no_success_any_more() -> None:
    fleet = Fleet({"pi-5": ids(5)}, RolloutPolicy(wave_ratio=0.2))
    fleet.step()
    fleet.answer("d00", Phase.ACTIVE)
    fleet.step()
    fleet.answer("d00", Phase.ROLLED_BACK)
    fleet.step()
    member: Member = fleet.members["d00"]
    assert member.state in {MemberState.FAILED, MemberState.REVERTED}
    assert (MemberState.SUCCEEDED, MemberEvent.FAIL) in MEMBER


def test_a_report_about_another_file_is_no_answer() -> None:
    fleet = Fleet({"pi-5": ids(1)})
    fleet.step()
    fleet.answer("d00", Phase.ROLLED_BACK)
    other = {"digest": digest_of("another file")}
    fleet.states["d00"] = fleet.states["d00"].model_copy(update=other)
    fleet.step()
    assert fleet.members["d00"].state is MemberState.ASSIGNED
    assert fleet.members["d00"].reason == "no answer yet"
