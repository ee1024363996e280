"""Plans: strata, bytes, refusals, and one decision per signature."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from fitment_contract.artifact import Artifact
from fitment_controller.decisions.chooser import Chooser
from fitment_controller.decisions.plan import make_plan
from fitment_controller.domain import (
    Device,
    RolloutPolicy,
    RolloutRequest,
    VariantRef,
)
from support.core_fleet import make_facts, make_portfolio
from support.core_hq import given, make_device


def fleet() -> list[Device]:
    return [
        *(make_device(f"pi-{n}", make_facts(region="east-africa")) for n in range(3)),
        *(make_device(f"box-{n}", make_facts("x86-vnni", region="eu-west")) for n in range(2)),
    ]


def test_devices_fall_into_strata_of_class_and_region() -> None:
    plan = make_plan(given(fleet()))
    assert [(s.id, s.device_count) for s in plan.strata] == [
        ("pi-5/east-africa", 3),
        ("x86-vnni/eu-west", 2),
    ]
    assert {d.device: d.after.variant for d in plan.devices}["box-0"] == "int8-u8s8-pc"
    assert plan.refusals == ()


def test_bytes_time_and_price_are_counted_per_region() -> None:
    (east, west) = make_plan(given(fleet())).regions
    assert (east.region, east.device_count, east.link_bytes) == ("east-africa", 3, 3 * 41_100)
    assert east.seconds_per_device == 41_100 / 40_000
    assert east.price == 3 * 41_100 / 1e6 * 0.005
    assert west.price is None


def test_a_region_s_own_objective_decides_where_the_request_names_none() -> None:
    """East Africa asks for few bytes, which here is another variant than the fastest."""
    own = {d.device: d.after.variant for d in make_plan(given(fleet())).devices}
    asked = RolloutRequest(model="activity", objective="balanced")
    plain = {d.device: d.after.variant for d in make_plan(given(fleet(), request=asked)).devices}
    sizes = {e.name: e.variant.artifact.size_bytes for e in make_portfolio().listed() if e.variant}
    assert sizes[own["pi-0"]] == min(sizes.values())
    assert own["box-0"] == plain["box-0"]


def test_what_a_variant_is_proved_with_moves_along() -> None:
    """The evaluation split counts for a device that does not run this model yet, and only then."""
    portfolio = make_portfolio()
    split = Artifact(digest="e" * 64, size_bytes=500_000)
    with_split = replace(
        given(fleet()), portfolio=portfolio.model_copy(update={"evaluation": split})
    )
    (first, *_) = make_plan(with_split).devices
    without = replace(with_split, portfolio=portfolio.model_copy(update={"evaluation": None}))
    bare = next(d for d in make_plan(without).devices if d.device == first.device)
    assert first.link_bytes == bare.link_bytes + split.size_bytes
    other = next(e.variant for e in portfolio.listed() if e.name != first.after.variant)
    assert other is not None
    current = VariantRef(model_version=1, variant=other.name, digest=other.digest)
    pinned = RolloutRequest(model="activity", variant=first.after.variant)
    again = make_plan(replace(with_split, request=pinned, current={first.device: current}))
    moved = next(d for d in again.devices if d.device == first.device)
    assert moved.link_bytes == bare.link_bytes


def test_a_device_that_runs_its_pick_is_unchanged() -> None:
    first = make_plan(given(fleet()))
    current = {planned.device: planned.after for planned in first.devices}
    plan = make_plan(given(fleet(), current=current))
    assert plan.unchanged == tuple(sorted(current))
    assert plan.refusals == ("nothing to do: every placeable device runs its pick already",)


def test_what_cannot_be_placed_is_shown_with_its_remedy_and_stops_nobody_else() -> None:
    lacking = make_device("bare", make_facts(runtimes=()))
    plan = make_plan(given([*fleet(), lacking]))
    (entry,) = plan.unplaceable
    assert (entry.device, entry.remedy) == (
        "bare",
        "install onnxruntime on the device (for fp16)",
    )
    assert "runtime (5)" in entry.reason
    assert plan.refusals == ()
    assert make_plan(given([lacking])).refusals == ("no variant fits any of the selected devices",)


def test_devices_held_by_another_rollout_refuse_the_plan() -> None:
    plan = make_plan(given(fleet(), busy={"pi-0": "r1", "pi-1": "r1"}))
    assert plan.refusals == ("rollout r1 of the same model still holds 2 of the devices",)


def test_equal_devices_are_one_decision() -> None:
    devices = [make_device(f"pi-{n}", make_facts()) for n in range(50)]
    chooser = Chooser(given(devices))
    assert len({id(chooser.choose(device)) for device in devices}) == 1


def test_a_plan_does_not_depend_on_the_order_of_devices() -> None:
    assert make_plan(given(fleet())) == make_plan(given(fleet()[::-1]))


@pytest.mark.parametrize("seconds", [0, 1e12, float("inf")])
def test_a_deadline_is_within_the_calendar(seconds: float) -> None:
    with pytest.raises(ValidationError):
        RolloutPolicy(deadline_seconds=seconds)
