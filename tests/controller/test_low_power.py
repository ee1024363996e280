"""Two variants per device: who gets a second one, what it moves, when it is proved, and back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from fitment_contract.artifact import Artifact
from fitment_contract.device import Link, Storage
from fitment_contract.messages import PowerMode
from fitment_contract.phase import FailureReason
from fitment_controller.decisions.plan import make_plan
from fitment_controller.domain import (
    LowPowerRef,
    LowPowerRequest,
    MemberState,
    Plan,
    RolloutRequest,
    RolloutState,
)
from fitment_controller.errors import NotFoundError
from support.core_fleet import MODEL, default_entries, make_entry, make_facts, make_portfolio
from support.core_hq import PICK, Headquarters, given, make_device

SECOND = "int4-student"
ENTRIES = (*default_entries(), make_entry(SECOND, precision="int4", size=9_000, p95=0.01))
BELOW = {"below_charge_ratio": 0.3}


def asking(**low_power: object) -> RolloutRequest:
    wanted = LowPowerRequest.model_validate({**BELOW, **low_power})
    return RolloutRequest(model=MODEL, objective="balanced", low_power=wanted)


def plan_for(request: RolloutRequest, **facts: object) -> Plan:
    device = make_device("pi", make_facts(**facts))  # type: ignore[arg-type] # a test's shorthand
    portfolio = make_portfolio(ENTRIES)
    return make_plan(replace(given([device], request=request), portfolio=portfolio))


@pytest.fixture
def hq(tmp_path: Path) -> Headquarters:
    return Headquarters(tmp_path)


def roll_out(hq: Headquarters, **low_power: object) -> str:
    id = hq.service.start_rollout(asking(**low_power), "ann").id
    hq.service.tick()
    return id


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({}, "either a variant or an objective"),
        ({"variant": "a", "objective": "frugal"}, "either a variant or an objective"),
        ({"variant": "a", "below_charge_ratio": None}, "below which charge"),
        ({"variant": "a", "below_charge_ratio": 30}, "less than or equal to 1"),
    ],
)
def test_a_request_says_which_and_when(wanted: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        LowPowerRequest.model_validate({**BELOW, **wanted})


def test_the_second_variant_is_named_or_the_best_by_an_objective() -> None:
    (named,) = plan_for(asking(variant="fp16", above_temperature_celsius=70)).devices
    assert named.after.variant == PICK
    assert named.after.low_power is not None
    assert named.after.low_power.variant == "fp16"
    assert named.after.low_power.below_charge_ratio == 0.3
    assert named.after.low_power.above_temperature_celsius == 70
    (picked,) = plan_for(asking(objective="frugal")).devices
    assert picked.after.low_power is not None
    assert picked.after.low_power.variant == SECOND
    assert "best of" in picked.low_power_reason


def test_its_bytes_count_and_what_comes_with_the_first_counts_once() -> None:
    """The file and its golden inputs; the evaluation split comes with the first variant."""
    (alone,) = plan_for(RolloutRequest(model=MODEL, objective="balanced")).devices
    plan = plan_for(asking(variant=SECOND))
    (both,) = plan.devices
    assert both.low_power_link_bytes == 9_000 + 100
    assert both.link_bytes == alone.link_bytes + 9_100
    assert plan.regions[0].link_bytes == both.link_bytes
    assert [(c.after, c.low_power) for c in plan.strata[0].changes] == [(PICK, SECOND)]


@pytest.mark.parametrize(
    ("facts", "low_power", "reason", "remedy"),
    [
        ({}, {"variant": PICK}, "is the pick for normal power as well", None),
        (
            {"storage": Storage(free_bytes=41_100 + 9_000)},
            {"variant": SECOND},
            f"{SECOND}: needs 50200 bytes on disk, 50100 are free",
            f"free 100 bytes on the device (for {SECOND})",
        ),
        (
            {"region": "east-africa", "link": Link(metered=True)},
            {"variant": "huge"},
            "huge: moves 2041200 bytes, 2000000 are allowed per update",
            "raise the bytes per update of region east-africa to 2041200 (for huge)",
        ),
    ],
)
def test_a_device_that_cannot_have_it_gets_the_first_alone_with_the_reason(
    facts: dict[str, object], low_power: dict[str, object], reason: str, remedy: str | None
) -> None:
    huge = make_entry("huge", precision="fp32", size=2_000_000)
    device = make_device("pi", make_facts(**facts))  # type: ignore[arg-type] # a test's shorthand
    question = given([device], request=asking(**low_power))
    plan = make_plan(replace(question, portfolio=make_portfolio((*ENTRIES, huge))))
    (planned,) = plan.devices
    assert planned.after.low_power is None
    assert reason in planned.low_power_reason
    (without,) = plan.without_low_power
    assert (without.device, without.reason, without.remedy) == (
        "pi",
        planned.low_power_reason,
        remedy,
    )
    assert plan.refusals == ()


def test_names_that_cannot_be_meant_refuse_the_plan() -> None:
    (refusal,) = plan_for(asking(variant="int2")).refusals
    assert "no variant 'int2'" in refusal
    both = asking(variant="fp16").model_copy(update={"variant": "fp16"})
    assert plan_for(both).refusals == ("fp16 is asked for both for normal and for low power",)


def test_a_device_with_the_same_pair_is_unchanged_and_with_other_limits_is_not() -> None:
    request = asking(variant=SECOND)
    (planned,) = plan_for(request).devices
    device = make_device("pi", make_facts())
    now = replace(
        given([device], request=request, current={"pi": planned.after}),
        portfolio=make_portfolio(ENTRIES),
    )
    assert make_plan(now).unchanged == ("pi",)
    warmer = make_plan(replace(now, request=asking(variant=SECOND, below_charge_ratio=0.2)))
    (changed,) = warmer.devices
    assert (changed.after.variant, changed.link_bytes) == (planned.after.variant, 0)
    single = RolloutRequest(model=MODEL, objective="balanced")
    (dropped,) = make_plan(replace(now, request=single)).devices
    assert dropped.after.low_power is None


def test_an_unknown_objective_is_named(hq: Headquarters) -> None:
    hq.push(make_portfolio(ENTRIES))
    hq.device("pi")
    with pytest.raises(NotFoundError, match="thrifty"):
        hq.service.plan(asking(objective="thrifty"))


def test_the_pair_reaches_the_device_located_and_both_must_be_proved(hq: Headquarters) -> None:
    hq.push(make_portfolio(ENTRIES))
    device = hq.device("pi")
    id = roll_out(hq, variant=SECOND)
    told = hq.told(device)
    (assignment,) = told.assignments
    assert assignment.low_power is not None
    second = assignment.low_power.variant
    assert (second.name, assignment.low_power.below_charge_ratio) == (SECOND, 0.3)
    assert second.golden is not None
    for artifact in (second.artifact, second.golden.artifact):
        assert artifact.encodings[0].urls == (f"http://hq/v1/artifacts/{artifact.digest}",)

    device.prove(told)
    whole = device.models[MODEL]
    device.models[MODEL] = whole.model_copy(update={"low_power": None, "low_power_benchmark": None})
    hq.service.receive([device.reported()])
    hq.service.tick()
    (member,) = hq.service.rollout_members(id).items
    assert member.state is MemberState.ASSIGNED
    assert member.reason == "active, not proved: without the variant for low power"

    device.models[MODEL] = whole
    hq.service.receive([device.reported()])
    for _ in range(3):
        hq.service.tick()
    assert hq.service.rollout(id).state is RolloutState.COMPLETED
    measured = {item.report.variant for item in hq.service.evidence(MODEL, device="pi")}
    assert measured == {PICK, SECOND}, "both trials are evidence"


def test_an_invalid_measurement_of_the_second_proves_nothing(hq: Headquarters) -> None:
    hq.push(make_portfolio(ENTRIES))
    device = hq.device("pi")
    id = roll_out(hq, variant=SECOND)
    device.prove(hq.told(device))
    state = device.models[MODEL]
    assert state.low_power_benchmark is not None
    spoilt = state.low_power_benchmark.model_copy(
        update={"valid": False, "invalid_reason": "the governor changed"}
    )
    device.models[MODEL] = state.model_copy(update={"low_power_benchmark": spoilt})
    hq.service.receive([device.reported()])
    hq.service.tick()
    (member,) = hq.service.rollout_members(id).items
    assert member.state is MemberState.ASSIGNED
    assert member.reason == f"active, not proved: {SECOND}: the governor changed"


def test_a_failed_rollout_gives_the_pair_back(hq: Headquarters) -> None:
    hq.push(make_portfolio(ENTRIES))
    device = hq.device("pi")
    roll_out(hq, variant=SECOND)
    hq.settle([device])
    before = hq.told(device).assignments[0].low_power
    request = RolloutRequest(model=MODEL, variant="fp16")
    id = hq.service.start_rollout(request, "ann").id
    hq.service.tick()
    assert hq.told(device).assignments[0].low_power is None
    hq.service.receive([device.fail(hq.told(device))])
    for _ in range(3):
        hq.service.tick()
    assert hq.service.rollout(id).state is RolloutState.FAILED
    (back,) = hq.told(device).assignments
    assert (back.variant.name, back.low_power) == (PICK, before)


def test_the_failure_of_the_second_is_held_against_the_second(hq: Headquarters) -> None:
    hq.push(make_portfolio(ENTRIES))
    device = hq.device("pi")
    roll_out(hq, variant=SECOND)
    told = hq.told(device)
    assert told.assignments[0].low_power is not None
    digest = told.assignments[0].low_power.variant.digest
    hq.service.receive([device.fail(told, FailureReason.LOAD_FAILED, digest)])
    hq.service.tick()
    (planned,) = hq.service.plan(asking(objective="frugal")).devices
    assert planned.after.variant == PICK, "the first is not to blame"
    assert planned.after.low_power is None or planned.after.low_power.variant != SECOND


def test_a_device_that_switched_runs_the_same_pair_still(hq: Headquarters) -> None:
    hq.push(make_portfolio(ENTRIES))
    device = hq.device("pi")
    roll_out(hq, variant=SECOND)
    hq.settle([device])
    hq.service.receive([device.switch(MODEL, PowerMode.LOW_POWER)])
    same = asking(variant=SECOND).model_copy(update={"variant": PICK})
    assert hq.service.plan(same).unchanged == ("pi",)
    (cell,) = hq.service.fleet_summary().variants
    assert (cell.variant, cell.mode) == (SECOND, "low_power"), "what applications use now"


def test_a_pair_says_so_in_the_store(hq: Headquarters) -> None:
    hq.push(make_portfolio(ENTRIES))
    device = hq.device("pi")
    roll_out(hq, variant=SECOND, above_temperature_celsius=65.0)
    hq.settle([device])
    hq.restart()
    (model,) = hq.service.assignments(["pi"])["pi"]
    assert model.assigned is not None
    assert model.assigned.ref.low_power == LowPowerRef(
        variant=SECOND,
        digest=make_entry_digest(SECOND),
        below_charge_ratio=0.3,
        above_temperature_celsius=65.0,
    )


def make_entry_digest(name: str) -> str:
    entry = make_portfolio(ENTRIES).entry(name)
    assert entry is not None
    assert entry.variant is not None
    artifact: Artifact = entry.variant.artifact
    return artifact.digest
