"""The service over a real SQLite file, with a publisher that remembers and devices that answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from fitment_contract.benchmark import BenchmarkMode
from fitment_contract.messages import Bench, CommandName, Event, Waiting, WaitReason
from fitment_contract.phase import FailureReason, Phase
from fitment_controller.domain import (
    DeviceFilter,
    MemberState,
    Outcome,
    RolloutRequest,
    RolloutState,
    StratumState,
)
from fitment_controller.errors import (
    ConflictError,
    MissingBlobs,
    NotFoundError,
    PlanRefused,
    TransitionRefused,
)
from fitment_controller.metrics import FleetCollector
from support.core_fleet import (
    MODEL,
    FakeDevice,
    default_entries,
    make_facts,
    make_portfolio,
    make_report,
)
from support.core_hq import PICK, Headquarters


@pytest.fixture
def hq(tmp_path: Path) -> Headquarters:
    return Headquarters(tmp_path)


def test_a_birth_registers_a_classified_device(hq: Headquarters) -> None:
    hq.device("pi", region="eu-west")
    device = hq.service.device("pi")
    assert (device.device_class, device.region, device.online) == ("pi-5", "eu-west", True)
    assert [entry.name for entry in hq.service.events()] == ["device-registered"]


def test_a_region_that_no_profile_describes_has_no_rules_and_a_warning(hq: Headquarters) -> None:
    hq.device("pi", region="atlantis")
    assert hq.service.device("pi").region == "unassigned"
    assert "region-unknown" in [entry.name for entry in hq.service.events()]


def test_silence_ends_the_lease_and_vitals_renew_it(hq: Headquarters) -> None:
    device = hq.device("pi")
    hq.clock.forward(40)
    hq.service.receive([device.vitals()])
    hq.clock.forward(40)
    hq.service.tick()
    assert hq.service.device("pi").online
    hq.clock.forward(10)
    hq.service.tick()
    assert not hq.service.device("pi").online
    assert hq.service.fleet_summary().devices[0].online is False


def test_a_device_that_promised_to_speak_less_often_is_given_the_time(hq: Headquarters) -> None:
    device = hq.device("pi")
    device.interval_seconds = 600.0
    hq.service.receive([device.vitals()])
    hq.clock.forward(1499)
    hq.service.tick()
    assert hq.service.device("pi").online
    hq.service.receive([device.reported()])  # promises nothing, and takes nothing back
    hq.clock.forward(1499)
    hq.service.tick()
    assert hq.service.device("pi").online
    hq.clock.forward(2)
    hq.service.tick()
    assert not hq.service.device("pi").online
    (offline,) = [entry for entry in hq.service.events() if entry.name == "device-offline"]
    assert offline.message == "silent for 1500 s"
    device.interval_seconds = None  # back on mains
    hq.service.receive([device.vitals()])
    hq.clock.forward(46)
    hq.service.tick()
    assert not hq.service.device("pi").online


@pytest.mark.parametrize("interval", [0.0, 1.0, 1e300])
def test_a_promise_neither_shortens_the_lease_nor_ends_the_calendar(
    hq: Headquarters, interval: float
) -> None:
    device = FakeDevice("pi", clock=hq.clock)
    device.interval_seconds = interval
    hq.service.receive([device.birth()])
    hq.clock.forward(44)
    hq.service.tick()
    assert hq.service.device("pi").online
    hq.clock.forward(3 * 86_400)
    hq.service.tick()
    assert not hq.service.device("pi").online


def test_a_stale_will_is_ignored_and_the_session_s_own_is_believed(hq: Headquarters) -> None:
    device = hq.device("pi")
    device.session, device.sequence = 2, 0
    hq.service.receive([device.birth(), device.death(session=1)])
    assert hq.service.device("pi").online
    assert hq.service.intake().dropped == {"stale_will": 1}
    hq.service.receive([device.death()])
    assert not hq.service.device("pi").online


def test_messages_out_of_order_are_dropped_and_counted(hq: Headquarters) -> None:
    device = hq.device("pi")
    older, newer = device.vitals(), device.vitals()
    hq.service.receive([newer, older, newer])
    assert hq.service.intake().dropped == {"out_of_order": 2}
    assert hq.service.device("pi").sequence == newer.sequence


def test_a_device_set_up_anew_may_count_sessions_from_the_start(hq: Headquarters) -> None:
    device = hq.device("pi")
    device.session = 9
    hq.service.receive([device.birth()])
    fresh = FakeDevice("pi", make_facts(), hq.clock)
    hq.service.receive([fresh.birth()])
    assert hq.service.device("pi").session == 9
    hq.clock.forward(60)
    hq.service.tick()
    hq.service.receive([fresh.birth()])
    assert hq.service.device("pi").session == 1


def test_an_unknown_device_and_an_unknown_state_are_asked_for_a_report(hq: Headquarters) -> None:
    stranger = FakeDevice("new", make_facts(), hq.clock)
    hq.service.receive([stranger.vitals()])
    device = hq.device("pi")
    device.generation = 5
    hq.service.receive([device.vitals()])
    asked = [(command.device, command.name) for command in hq.publisher.commands]
    assert asked == [("new", CommandName.REPORT), ("pi", CommandName.REPORT)]


def test_a_push_needs_every_blob(hq: Headquarters) -> None:
    with pytest.raises(MissingBlobs) as caught:
        hq.service.push_model(make_portfolio(), "ann")
    assert len(caught.value.digests) == 2 * len(default_entries()) + 1


def test_pushing_the_same_portfolio_twice_is_one_version_and_a_change_is_the_next(
    hq: Headquarters,
) -> None:
    hq.push()
    hq.push()
    assert hq.service.model(MODEL).version == 1
    hq.push(make_portfolio(default_entries()[:3]))
    assert hq.service.model(MODEL).version == 2
    entry = hq.service.model(MODEL).portfolio.entries[0]
    assert entry.variant is not None
    assert entry.variant.model_version == 2


def test_a_rollout_moves_a_stratum_from_canary_to_completed(hq: Headquarters) -> None:
    hq.push()
    devices = [hq.device(f"pi-{n}") for n in range(6)]
    id = hq.begin(wave_ratio=0.5)
    assert [message.device for message in hq.publisher.desired] == ["pi-0"]
    message = hq.told(devices[0])
    assert message.assignments[0].variant.name == PICK
    url = message.assignments[0].variant.artifact.encodings[0].urls[0]
    assert url == f"http://hq/v1/artifacts/{message.assignments[0].variant.digest}"
    hq.settle(devices)
    rollout = hq.service.rollout(id)
    assert rollout.state is RolloutState.COMPLETED
    assert rollout.strata[0].counts == {"succeeded": 6}
    assert all(hq.told(device).generation == 1 for device in devices)
    assert {item.report.variant for item in hq.service.evidence(MODEL)} == {PICK}


def test_a_failed_canary_stops_its_stratum_only_and_goes_back(hq: Headquarters) -> None:
    hq.push()
    pis = [hq.device(f"pi-{n}") for n in range(4)]
    boxes = [hq.device(f"box-{n}", kind="x86-vnni") for n in range(3)]
    id = hq.begin()
    hq.service.receive([pis[0].fail(hq.told(pis[0]))])
    hq.settle(boxes)
    rollout = hq.service.rollout(id)
    states = {stratum.device_class: stratum.state for stratum in rollout.strata}
    assert states == {"pi-5": StratumState.FAILED, "x86-vnni": StratumState.COMPLETED}
    assert rollout.state is RolloutState.FAILED
    assert "SIGSEGV" in rollout.reason
    back = hq.told(pis[0])
    assert (back.assignments, back.withdrawn) == ((), (MODEL,))
    assert all(hq.publisher.newest(device.id) is None for device in pis[1:])


def test_what_crashed_here_is_not_picked_here_again_unless_named(hq: Headquarters) -> None:
    hq.push()
    device = hq.device("pi")
    hq.begin()
    hq.service.receive([device.fail(hq.told(device))])
    hq.service.tick()
    verdict = hq.service.why("pi", MODEL).verdict(PICK)
    assert verdict is not None
    assert (verdict.outcome, verdict.rule) == (Outcome.REJECTED, "failed-here")
    named = RolloutRequest(model=MODEL, variant=PICK)
    assert hq.service.plan(named).devices[0].after.variant == PICK


def test_four_percent_accuracy_never_passes_a_canary(hq: Headquarters) -> None:
    hq.push()
    devices = [hq.device(f"pi-{n}") for n in range(5)]
    id = hq.begin()
    hq.settle(devices, accuracy=0.04, p95=0.00001)
    rollout = hq.service.rollout(id)
    assert rollout.state is RolloutState.FAILED
    assert "accuracy" in rollout.reason
    exposed = {message.device for message in hq.publisher.desired if message.assignments}
    assert exposed == {"pi-0"}
    hq.service.tick()
    assert hq.told(devices[0]).withdrawn == (MODEL,)
    verdict = hq.service.why("pi-1", MODEL).verdict(PICK)
    assert verdict is not None
    assert verdict.rule == "accuracy"


def test_a_failure_goes_back_to_what_ran_before(hq: Headquarters) -> None:
    hq.push()
    device = hq.device("pi")
    hq.begin()
    hq.settle([device])
    request = RolloutRequest(model=MODEL, variant="fp32")
    hq.service.start_rollout(request, "ann")
    hq.service.tick()
    hq.service.receive([device.fail(hq.told(device), FailureReason.LOAD_FAILED)])
    hq.service.tick()
    assert hq.told(device).assignments[0].variant.name == PICK
    assert hq.told(device).generation == 3


def test_a_much_slower_variant_fails_the_p95_gate(hq: Headquarters) -> None:
    hq.push()
    device = hq.device("pi")
    hq.begin()
    hq.settle([device], p95=0.001)
    id = hq.service.start_rollout(RolloutRequest(model=MODEL, variant="fp32"), "ann").id
    hq.service.tick()
    hq.settle([device], p95=0.01)
    stratum = hq.service.rollout(id).strata[0]
    assert stratum.state is StratumState.FAILED
    assert "p95-ratio" in stratum.reason


def test_an_offline_device_is_no_success_and_a_silent_one_times_out(hq: Headquarters) -> None:
    hq.push()
    hq.device("pi")
    id = hq.begin(deadline_seconds=600)
    hq.clock.forward(300)
    hq.service.tick()
    stratum = hq.service.rollout(id).strata[0]
    assert stratum.state is StratumState.CANARY
    assert "offline" in stratum.reason
    hq.clock.forward(301)
    hq.service.tick()
    assert hq.service.rollout(id).state is RolloutState.FAILED
    member = hq.service.rollout_members(id).items[0]
    assert (member.state, member.failure) == (MemberState.REVERTED, "timeout")


def test_active_without_a_measurement_is_no_success(hq: Headquarters) -> None:
    hq.push()
    device = hq.device("pi")
    id = hq.begin()
    device.prove(hq.told(device), valid=False)
    hq.service.receive([device.reported()])
    hq.service.tick()
    assert "not proved" in hq.service.rollout_members(id).items[0].reason
    assert hq.service.rollout(id).state is RolloutState.RUNNING


def test_a_device_too_busy_to_measure_is_asked_again_until_it_could(hq: Headquarters) -> None:
    hq.push()
    device = hq.device("pi")
    id = hq.begin()
    told = hq.told(device)
    hq.service.receive([device.prove(told, valid=False)])
    hq.service.tick()
    (member,) = hq.service.rollout_members(id).items
    assert (member.state, member.reason) == (
        MemberState.ASSIGNED,
        "active, not proved: throttled",
    )
    (command,) = hq.publisher.commands
    assert (command.name, command.model, command.mode) == (
        *(CommandName.BENCHMARK, MODEL),
        None,
    ), "by the terms of its assignment"
    hq.service.tick()
    assert len(hq.publisher.commands) == 1, "once a minute"
    hq.clock.forward(61)
    hq.service.receive([device.vitals()])
    hq.service.tick()
    assert len(hq.publisher.commands) == 2
    report = make_report(
        told.assignments[0].variant, fingerprint=device.facts.fingerprint, id="again", p95=0.003
    )
    hq.service.receive([Bench(**device.envelope(), report=report)])
    for _ in range(3):
        hq.service.tick()
    assert hq.service.rollout(id).state is RolloutState.COMPLETED
    (member,) = hq.service.rollout_members(id).items
    assert member.latency_p95_seconds == 0.003


def test_nothing_moves_while_paused_and_abort_gives_back(hq: Headquarters) -> None:
    hq.push()
    devices = [hq.device(f"pi-{n}") for n in range(3)]
    id = hq.begin()
    hq.service.pause_rollout(id, "ann")
    hq.settle(devices)
    assert {message.device for message in hq.publisher.desired} == {"pi-0"}
    with pytest.raises(TransitionRefused, match="resume"):
        hq.service.pause_rollout(id, "ann")
    rollout = hq.service.abort_rollout(id, "ann", revert=True)
    assert rollout.state is RolloutState.ABORTED
    hq.service.tick()
    assert hq.told(devices[0]).withdrawn == (MODEL,)
    assert hq.service.recent_events(rollout=id)[-1].actor == "ann"


def test_what_is_put_back_waits_for_nothing_but_the_price_of_bytes(hq: Headquarters) -> None:
    """Otherwise a bad variant would stay in use until the battery is full or the night comes."""
    hq.push()
    device = hq.device("pi", region="east-africa")
    hq.begin()
    hq.settle([device])
    hq.push(make_portfolio(default_entries()[:3]))
    id = hq.begin()
    forward = hq.told(device).assignments[0].conditions
    hq.service.abort_rollout(id, "ann", revert=True)
    hq.service.tick()
    back = hq.told(device).assignments[0].conditions
    assert forward.min_charge_ratio is not None
    assert back.min_charge_ratio is None
    assert not back.quiet_in_foreground
    assert back.max_bytes_per_day == forward.max_bytes_per_day


def test_abort_can_keep_what_was_proved(hq: Headquarters) -> None:
    hq.push()
    devices = [hq.device(f"pi-{n}") for n in range(4)]
    id = hq.begin()
    hq.settle(devices[:1], ticks=2)
    assert hq.service.abort_rollout(id, "ann", revert=False).state is RolloutState.ABORTING
    hq.settle(devices)
    assert hq.service.rollout(id).state is RolloutState.ABORTED
    assert hq.told(devices[0]).assignments


def test_a_second_rollout_over_held_devices_is_refused(hq: Headquarters) -> None:
    hq.push()
    hq.device("pi")
    id = hq.begin()
    with pytest.raises(PlanRefused) as caught:
        hq.service.start_rollout(RolloutRequest(model=MODEL, variant="fp32"), "ann")
    assert id in caught.value.reasons[0]


def test_refusals_say_what_is_wrong(hq: Headquarters) -> None:
    hq.push()
    with pytest.raises(PlanRefused, match="no device is selected"):
        hq.service.start_rollout(RolloutRequest(model=MODEL), "ann")
    hq.device("pi")
    with pytest.raises(PlanRefused, match="no variant 'int9'"):
        hq.service.start_rollout(RolloutRequest(model=MODEL, variant="int9"), "ann")
    with pytest.raises(NotFoundError, match="balanced"):
        hq.service.plan(RolloutRequest(model=MODEL, objective="balance"))
    with pytest.raises(NotFoundError, match="Known: activity"):
        hq.service.plan(RolloutRequest(model="nothing"))


def test_a_disconnected_broker_gets_everything_later(hq: Headquarters) -> None:
    hq.push()
    device = hq.device("pi")
    hq.publisher.connected = False
    hq.begin()
    assert not hq.publisher.desired
    hq.publisher.connected = True
    hq.service.tick()
    assert hq.told(device).generation == 1
    hq.service.tick()
    assert len(hq.publisher.desired) == 1
    hq.service.broker_connected()
    assert [message.generation for message in hq.publisher.desired] == [1, 1]


@pytest.mark.parametrize("kill_at", range(8))
def test_a_controller_killed_at_any_step_ends_where_it_would_have(
    hq: Headquarters, kill_at: int
) -> None:
    hq.push()
    devices = [hq.device(f"pi-{n}") for n in range(4)]
    id = hq.begin()
    for step in range(10):
        if step == kill_at:
            hq.restart()
        hq.settle(devices, ticks=1)
    assert hq.service.rollout(id).state is RolloutState.COMPLETED
    sent = [(message.device, message.generation) for message in hq.publisher.desired]
    assert sorted(sent) == [(f"pi-{n}", 1) for n in range(4)]


def test_evidence_is_kept_once_and_changes_the_next_pick(hq: Headquarters) -> None:
    hq.push()
    device = hq.device("pi")
    assert hq.service.why("pi", MODEL).chosen == PICK
    variants = {e.name: e.variant for e in make_portfolio().listed()}
    for name, p95 in (("fp32", 0.001), (PICK, 0.005)):
        variant = variants[name]
        assert variant is not None
        report = make_report(variant, fingerprint=device.facts.fingerprint, p95=p95)
        bench = Bench(**device.envelope(), report=report)
        hq.service.receive([bench, bench])
    assert len(hq.service.evidence(MODEL)) == 2
    selection = hq.service.why("pi", MODEL)
    assert selection.chosen != PICK
    verdict = selection.verdict(PICK)
    assert verdict is not None
    assert verdict.numbers.latency_p95_seconds is not None
    assert verdict.numbers.latency_p95_seconds.source.value == "fingerprint"


def test_declared_facts_make_a_report_simulated_whatever_it_says(hq: Headquarters) -> None:
    hq.push()
    device = hq.device("pi", simulated=True)
    variant = make_portfolio().entries[0].variant
    assert variant is not None
    report = make_report(variant, fingerprint=device.facts.fingerprint, simulated=False)
    hq.service.receive([Bench(**device.envelope(), report=report)])
    assert hq.service.evidence(MODEL)[0].report.simulated


def test_what_an_emulated_processor_measured_is_shown_and_decides_nothing(hq: Headquarters) -> None:
    hq.push()
    device = hq.device("pi", simulated=True, labels={"emulated": "true"})
    variant = make_portfolio().entries[0].variant
    assert variant is not None
    report = make_report(variant, fingerprint=device.facts.fingerprint, p95=9.0)
    hq.service.receive([Bench(**device.envelope(), report=report)])
    (kept,) = hq.service.evidence(MODEL)
    assert (kept.report.valid, kept.report.simulated) == (False, True)
    assert "emulated" in (kept.report.invalid_reason or "")
    verdict = hq.service.why("pi", MODEL).verdict(variant.name)
    assert verdict is not None
    assert verdict.numbers.latency_p95_seconds is not None
    assert verdict.numbers.latency_p95_seconds.source.value != "fingerprint"


def test_a_device_behind_or_ahead_is_told_again(hq: Headquarters) -> None:
    hq.push()
    device = hq.device("pi")
    hq.begin()
    hq.settle([device])
    device.generation, device.session = 7, 2
    hq.service.receive([device.birth()])
    hq.service.tick()
    assert hq.told(device).generation == 8


def test_a_benchmark_is_asked_of_a_device_that_is_there_and_runs_something(
    hq: Headquarters,
) -> None:
    hq.push()
    device = hq.device("pi")

    def ask(model: str | None = None) -> None:
        hq.service.request_benchmark("pi", model, BenchmarkMode.FULL, "ann")

    with pytest.raises(ConflictError, match="runs none yet"):
        ask()
    hq.begin()
    hq.settle([device])
    ask()
    (command,) = hq.publisher.commands
    assert (command.name, command.model, command.mode) == (
        *(CommandName.BENCHMARK, MODEL),
        BenchmarkMode.FULL,
    )
    assert command.expires_at is not None
    assert hq.service.recent_events(1)[0].name == "benchmark-requested"
    with pytest.raises(NotFoundError, match="It runs activity"):
        ask("keyword")
    device.models["keyword"] = device.models[MODEL].model_copy(update={"model": "keyword"})
    hq.service.receive([device.reported()])
    with pytest.raises(ConflictError, match="It runs activity, keyword: name one"):
        ask()
    hq.publisher.connected = False
    with pytest.raises(ConflictError, match="broker"):
        ask(MODEL)
    hq.service.receive([device.death()])
    with pytest.raises(ConflictError, match="pi is offline"):
        ask(MODEL)
    assert len(hq.publisher.commands) == 1


def test_what_waits_and_for_what_is_counted_in_the_fleet(hq: Headquarters) -> None:
    hq.push()
    devices = [hq.device(f"pi-{n}") for n in range(3)]
    hq.begin(canary_count=3)
    for number, device in enumerate(devices):
        device.take(hq.told(device), Phase.WAITING)
        reason = WaitReason.BATTERY if number else WaitReason.WINDOW
        waiting = Waiting(reason=reason, detail="12 % left", until=hq.clock.now)
        device.models[MODEL] = device.models[MODEL].model_copy(update={"waiting": waiting})
    hq.service.receive([device.reported() for device in devices])
    cells = hq.service.fleet_summary().variants
    assert {(cell.wait_reason, cell.count) for cell in cells} == {("battery", 2), ("window", 1)}
    collector = FleetCollector(hq.service, lambda: True, dict)
    families = {family.name: family for family in collector.collect()}
    waits = families["fitment_waiting_devices"].samples
    assert {(s.labels["reason"], s.value) for s in waits} == {("battery", 2), ("window", 1)}
    assert [s.value for s in families["fitment_assignments"].samples] == [3], "one series for all"
    hq.service.tick()
    (member, *_) = hq.service.rollout_members(hq.service.rollouts().items[0].id).items
    assert member.reason.startswith("waiting: outside its hours: 12 % left; until 2026-03-01")
    logged = [entry.message for entry in hq.service.events() if entry.name == "phase-changed"]
    assert any("battery: 12 % left; until" in line for line in logged)
    going = devices[1].models[MODEL].model_copy(update={"phase": Phase.FETCHING})
    devices[1].models[MODEL] = going
    hq.service.receive([devices[1].reported()])
    reasons = [cell.wait_reason for cell in hq.service.fleet_summary().variants]
    assert sorted(filter(None, reasons)) == ["battery", "window"], "one goes on"
    assert None in reasons


def test_a_switch_of_power_is_a_line_in_the_log(hq: Headquarters) -> None:
    device = hq.device("pi")
    hq.service.receive(
        [
            Event(**device.envelope(), name="power-switch", detail="activity: student, on battery"),
            Event(**device.envelope(), name="power-switch"),
        ]
    )
    entries = [entry for entry in hq.service.events() if entry.name == "power-switch"]
    assert [entry.message for entry in entries] == ["activity: student, on battery", "power-switch"]


def test_lists_are_paged_and_filtered(hq: Headquarters) -> None:
    for n in range(5):
        labels = {"site": "north" if n % 2 else "south"}
        hq.device(f"pi-{n}", labels=labels)
    first = hq.service.devices(limit=2)
    rest = hq.service.devices(limit=10, cursor=first.next)
    assert [d.id for d in (*first.items, *rest.items)] == [f"pi-{n}" for n in range(5)]
    north = hq.service.devices(DeviceFilter(labels={"site": "north"}))
    assert [device.id for device in north.items] == ["pi-1", "pi-3"]
    assert rest.next is None


def test_desired_and_reported_stand_side_by_side(hq: Headquarters) -> None:
    hq.push()
    device = hq.device("pi")
    hq.begin()
    hq.settle([device])
    (entry,) = hq.service.assignments(["pi"])["pi"]
    assert entry.assigned is not None
    assert entry.reported is not None
    assert entry.assigned.ref.variant == entry.reported.state.variant == PICK
    assert entry.reported.state.phase is Phase.ACTIVE
    (cell,) = hq.service.fleet_summary().variants
    assert (cell.variant, cell.phase, cell.count) == (PICK, "active", 1)


def test_a_plan_starts_from_what_runs_and_not_from_what_was_wanted(hq: Headquarters) -> None:
    hq.push()
    device = hq.device("pi")
    hq.begin()
    hq.settle([device])
    assert hq.service.plan(RolloutRequest(model=MODEL)).unchanged == ("pi",)
    taken_back = {"phase": Phase.ROLLED_BACK, "active": None}
    device.models[MODEL] = device.models[MODEL].model_copy(update=taken_back)
    hq.service.receive([device.reported()])
    (planned,) = hq.service.plan(RolloutRequest(model=MODEL)).devices
    assert (planned.device, planned.before) == ("pi", None)


def test_a_model_pushed_anew_is_planned_against_its_own_version(hq: Headquarters) -> None:
    """The device keeps what it runs as the place to go back to, one version earlier."""
    hq.push()
    device = hq.device("pi")
    hq.begin()
    hq.settle([device])
    hq.push(make_portfolio(default_entries()[:3]))
    (planned,) = hq.service.plan(RolloutRequest(model=MODEL)).devices
    assert planned.before is not None
    assert (planned.before.model_version, planned.after.model_version) == (1, 2)


def test_a_desired_state_too_large_to_send_holds_nobody_up(hq: Headquarters) -> None:
    """What no retry can mend is logged; the other devices are told all the same."""
    hq.push()
    devices = [hq.device(f"pi-{n}") for n in range(3)]
    hq.publisher.too_large_for = "pi-0"
    hq.begin(canary_count=3)
    hq.service.tick()
    assert {message.device for message in hq.publisher.desired} == {"pi-1", "pi-2"}
    assert len(devices) == 3


def test_a_withdrawn_model_does_not_count_as_running(hq: Headquarters) -> None:
    """Between taking a model back and the device's answer, a plan must not skip the device."""
    hq.push()
    first, _ = hq.device("pi-0"), hq.device("pi-1")
    id = hq.begin()
    hq.service.receive([first.prove(hq.told(first))])
    hq.service.abort_rollout(id, "ann", revert=True)
    plan = hq.service.plan(RolloutRequest(model=MODEL))
    assert [planned.device for planned in plan.devices] == ["pi-0", "pi-1"]
    assert plan.unchanged == ()


def test_a_field_that_only_a_newer_agent_knows_is_not_asked_about_for_ever(
    hq: Headquarters,
) -> None:
    """The device's own digest counts, because it may cover fields that were dropped here."""
    device = hq.device("pi-0")
    device.generation = 3
    own = "d" * 64
    hq.service.receive([device.reported().model_copy(update={"state_digest": own})])
    hq.service.receive([device.vitals().model_copy(update={"state_digest": own})])
    assert [command.name for command in hq.publisher.commands] == []
