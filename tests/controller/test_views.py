"""View-models from domain records: what is shown, and what is never made up."""

from __future__ import annotations

from datetime import timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitment_contract.messages import (
    ActiveVariant,
    EventLevel,
    PowerMode,
    Waiting,
    WaitReason,
)
from fitment_contract.phase import Phase
from fitment_controller.domain import (
    Assigned,
    Device,
    DeviceModel,
    DeviceVitals,
    Evidence,
    FleetCell,
    FleetSummary,
    GateResult,
    GateVerdict,
    LogEntry,
    LowPowerRef,
    Member,
    MemberState,
    ReportedModel,
    Rollout,
    RolloutRequest,
    RolloutState,
    Stratum,
    VariantRef,
    waiting_words,
)
from fitment_controller.views.devices import device_detail, device_row, model_on_device
from fitment_controller.views.envelope import listing, single
from fitment_controller.views.rollouts import DONE, explain_rollout, rollout_row
from fitment_controller.views.status import BrokerStatus, fleet_status
from support.contract_samples import DIGEST, FACTS, MOMENT, REPORT, STATES

DEVICE = Device(
    id="pi-5",
    facts=FACTS,
    device_class="pi-5",
    region="eu-west",
    fingerprint=FACTS.fingerprint,
    agent_version="0.1.0",
    session=1,
    sequence=1,
    online=True,
    lease_until=MOMENT,
    last_seen=MOMENT,
    registered_at=MOMENT,
)
ASSIGNED = Assigned(
    model="activity",
    ref=VariantRef(model_version=3, variant="int8-u8s8-per-channel", digest=DIGEST),
    generation=7,
    assigned_at=MOMENT,
)


def reported(index: int) -> ReportedModel:
    return ReportedModel(device="pi-5", state=STATES[index], received_at=MOMENT, phase_since=MOMENT)


def rollout(*states: MemberState, state: RolloutState = RolloutState.RUNNING) -> Rollout:
    gate = GateResult(
        name="success", value=0.5, threshold=0.9, n=2, verdict=GateVerdict.FAIL, reason="half"
    )
    return Rollout(
        id="r-1",
        request=RolloutRequest(model="activity"),
        model_version=3,
        objective="balanced",
        state=state,
        created_at=MOMENT,
        updated_at=MOMENT,
        actor="ada",
        strata=tuple(
            Stratum(
                id=f"pi-{index}",
                device_class="pi-5",
                region="eu-west",
                since=MOMENT,
                counts={member.value: 1, "pending": 0},
                gates=(gate,),
            )
            for index, member in enumerate(states)
        ),
    )


def test_a_device_that_rolled_back_shows_what_it_runs_and_why() -> None:
    row = model_on_device(
        DeviceModel(device="pi-5", model="activity", assigned=ASSIGNED, reported=reported(0))
    )
    assert (row.desired, row.active, row.phase) == (
        "int8-u8s8-per-channel",
        "fp32",
        "rolled_back",
    )
    assert row.in_step is False, "intent is not success"
    assert row.failure is not None
    assert row.failure.reason.value == "golden_mismatch"
    assert row.measured_variant == "int8-u8s8-per-channel"
    assert row.accuracy == pytest.approx(0.868)


def test_a_device_is_in_step_only_with_the_digest_it_proved() -> None:
    active = ActiveVariant(
        variant="int8-u8s8-per-channel", model_version=3, digest=DIGEST, generation=7, since=MOMENT
    )
    state = STATES[0].model_copy(update={"active": active})
    proved = reported(0).model_copy(update={"state": state})
    both = DeviceModel(device="pi-5", model="activity", assigned=ASSIGNED, reported=proved)
    assert model_on_device(both).in_step is True
    assert model_on_device(both.model_copy(update={"assigned": None})).in_step is False


def test_nothing_reported_is_nothing_shown() -> None:
    row = model_on_device(DeviceModel(device="pi-5", model="activity", assigned=ASSIGNED))
    assert row.desired == "int8-u8s8-per-channel"
    assert row.phase is None
    assert row.active is None
    assert row.accuracy is None
    assert row.in_step is False


def test_waiting_says_why_and_until_when() -> None:
    row = model_on_device(DeviceModel(device="pi-5", model="keyword", reported=reported(1)))
    assert row.waiting is not None
    assert row.waiting.detail == "12 % left, 30 % asked"


def test_waiting_is_said_in_words_and_only_while_it_lasts() -> None:
    until = MOMENT.replace(hour=22, tzinfo=timezone(timedelta(hours=-2)))
    waiting = Waiting(reason=WaitReason.WINDOW, detail="opens at 22:00", until=until)
    state = STATES[1].model_copy(update={"waiting": waiting})
    found = reported(1).model_copy(update={"state": state})
    row = model_on_device(DeviceModel(device="pi-5", model="keyword", reported=found))
    assert row.waits == (
        "outside its hours: opens at 22:00; until 2026-11-24 00:00 UTC at the latest"
    )
    fetching = state.model_copy(update={"phase": Phase.FETCHING})
    found = found.model_copy(update={"state": fetching})
    row = model_on_device(DeviceModel(device="pi-5", model="keyword", reported=found))
    assert (row.waits, row.waiting) == (None, None)


def test_every_wait_reason_has_its_words() -> None:
    spoken = {waiting_words(Waiting(reason=reason, detail="x")) for reason in WaitReason}
    assert len(spoken) == len(WaitReason)


@pytest.mark.parametrize(
    ("mode", "in_use"), [(PowerMode.NORMAL, "fp32"), (PowerMode.LOW_POWER, "student")]
)
def test_a_pair_shows_both_and_the_one_in_use(mode: PowerMode, in_use: str) -> None:
    fp32 = ActiveVariant(variant="fp32", model_version=3, digest=DIGEST, generation=7, since=MOMENT)
    student = fp32.model_copy(update={"variant": "student", "digest": "a" * 64})
    state = STATES[0].model_copy(update={"active": fp32, "low_power": student, "mode": mode})
    second = LowPowerRef(variant="student", digest="a" * 64, below_charge_ratio=0.3)
    pair = ASSIGNED.model_copy(
        update={"ref": ASSIGNED.ref.model_copy(update={"low_power": second})}
    )
    found = reported(0).model_copy(update={"state": state})
    row = model_on_device(
        DeviceModel(device="pi-5", model="activity", assigned=pair, reported=found)
    )
    assert (row.active, row.low_power, row.mode, row.in_use) == (
        *("fp32", "student", mode.value),
        in_use,
    )
    assert row.in_step, "switching is not drifting"
    alone = state.model_copy(update={"low_power": None, "mode": None})
    found = found.model_copy(update={"state": alone})
    row = model_on_device(
        DeviceModel(device="pi-5", model="activity", assigned=pair, reported=found)
    )
    assert not row.in_step, "the second is missing"


def test_a_benchmark_that_proves_nothing_is_shown_with_its_reason() -> None:
    spoilt = REPORT.model_copy(
        update={"valid": False, "invalid_reason": "throttled", "attempts": 3}
    )
    state = STATES[0].model_copy(update={"benchmark": spoilt})
    found = reported(0).model_copy(update={"state": state})
    model = model_on_device(DeviceModel(device="pi-5", model="activity", reported=found))
    assert model.unusable_reason == "throttled"
    evidence = [
        Evidence(
            report=report,
            device="pi-5",
            device_class="pi-5",
            region="eu-west",
            received_at=MOMENT,
        )
        for report in (spoilt, REPORT, REPORT.model_copy(update={"protocol": "fitment-bench/1"}))
    ]
    page = device_detail(DEVICE, [], [], evidence)
    assert [(row.usable, row.unusable_reason) for row in page.benchmarks] == [
        (False, "throttled"),
        (True, None),
        (False, "measured by fitment-bench/1"),
    ]
    assert page.benchmarks[0].attempts == 3


def test_newer_vitals_win_over_the_facts_and_missing_ones_do_not() -> None:
    vitals = DeviceVitals(at=MOMENT + timedelta(seconds=1), charge_ratio=0.0, charging=True)
    row = device_row(DEVICE.model_copy(update={"vitals": vitals}), [])
    assert (row.charge_ratio, row.charging) == (0.0, True)
    assert row.temperature_celsius == 48.5
    assert device_row(DEVICE, []).charge_ratio == 0.8


def test_a_rollouts_row_adds_its_strata_up() -> None:
    row = rollout_row(rollout(MemberState.SUCCEEDED, MemberState.SUCCEEDED, MemberState.FAILED))
    assert row.counts == {"succeeded": 2, "failed": 1}
    assert (row.device_count, row.succeeded_count) == (3, 2)
    assert row.next_step == "fitment rollout get r-1 --watch"


@given(st.sampled_from(RolloutState))
def test_every_state_has_a_row_and_ends_where_the_table_says(state: RolloutState) -> None:
    row = rollout_row(rollout(MemberState.PENDING, state=state))
    assert row.done is (state in DONE)
    assert "{" not in row.next_step


def test_an_explanation_has_every_gate_of_every_stratum() -> None:
    failed = Member(
        device="pi-5",
        stratum="pi-0",
        after=ASSIGNED.ref,
        state=MemberState.FAILED,
        failure="golden_mismatch",
        reason="logits differ",
    )
    view = explain_rollout(rollout(MemberState.FAILED, MemberState.PENDING), [failed])
    assert [(gate.stratum, gate.value, gate.threshold) for gate in view.gates] == [
        ("pi-0", 0.5, 0.9),
        ("pi-1", 0.5, 0.9),
    ]
    assert view.failed[0].failure == "golden_mismatch"


def test_status_counts_and_shows_only_what_needs_attention() -> None:
    entries = [
        LogEntry(id=number, at=MOMENT, level=level, name="x", actor="pi-5", message="m")
        for number, level in enumerate([EventLevel.INFO, EventLevel.ERROR] * 12)
    ]
    cells = tuple(
        FleetCell(region="eu", device_class="pi-5", online=online, count=count)
        for online, count in [(True, 3), (False, 2)]
    )
    status = fleet_status(
        version="1",
        started_at=MOMENT,
        fleet=FleetSummary(devices=cells),
        rollouts=[
            rollout_row(rollout(MemberState.PENDING)),
            rollout_row(rollout(MemberState.SUCCEEDED, state=RolloutState.COMPLETED)),
        ],
        events=entries,
        broker=BrokerStatus(
            engine="nats", url="mqtt://x", connected=False, received={}, dropped={}
        ),
    )
    assert (status.device_count, status.online_count, status.offline_count) == (5, 3, 2)
    assert [row.state for row in status.active_rollouts] == [RolloutState.RUNNING]
    assert [entry.id for entry in status.attention] == list(range(5, 24, 2))
    assert status.healthy is False


def test_the_frame_names_version_and_kind() -> None:
    record = FleetCell(region="eu", device_class="pi-5", online=True, count=1)
    assert single("Cell", record)["kind"] == "Cell"
    assert single("Cell", record)["count"] == 1
    assert listing("CellList", []) == {
        "apiVersion": "fitment/v1",
        "kind": "CellList",
        "items": [],
        "next": None,
    }
