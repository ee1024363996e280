"""Conditions: what is known and bad holds back, what is unknown does not, and never for ever."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitment_agent.conditions import Surroundings, hold_back
from fitment_contract.device import LinkKind, PowerSource
from fitment_contract.messages import DeployConditions, WaitReason
from support.agent_records import NOW

ON_BATTERY = Surroundings(source=PowerSource.BATTERY, charge_ratio=0.3, charging=False)
HOT = Surroundings(temperature_celsius=80.0)


@pytest.mark.parametrize(
    ("conditions", "around", "reason"),
    [
        (DeployConditions(min_charge_ratio=0.5), ON_BATTERY, WaitReason.BATTERY),
        (DeployConditions(require_charging=True), ON_BATTERY, WaitReason.BATTERY),
        (DeployConditions(allow_metered=False), Surroundings(metered=True), WaitReason.METERED),
        (
            DeployConditions(allow_metered=False),
            Surroundings(link_kind=LinkKind.CELLULAR),
            WaitReason.METERED,
        ),
        (DeployConditions(max_temperature_celsius=70.0), HOT, WaitReason.THERMAL),
    ],
)
def test_a_condition_that_does_not_hold_is_named(
    conditions: DeployConditions, around: Surroundings, reason: WaitReason
) -> None:
    waiting = hold_back(conditions, around, None, NOW)
    assert waiting is not None
    assert waiting.reason is reason


@pytest.mark.parametrize(
    ("conditions", "around"),
    [
        (DeployConditions(), ON_BATTERY),
        (DeployConditions(min_charge_ratio=0.2), ON_BATTERY),
        (
            DeployConditions(min_charge_ratio=0.5),
            Surroundings(source=PowerSource.MAINS, charge_ratio=0.3, charging=True),
        ),
        (DeployConditions(require_charging=True), Surroundings(source=PowerSource.MAINS)),
        (
            DeployConditions(allow_metered=False),
            Surroundings(metered=False, link_kind=LinkKind.CELLULAR),
        ),
        (DeployConditions(max_temperature_celsius=80.0), HOT),
    ],
)
def test_a_condition_that_holds_lets_go_on(
    conditions: DeployConditions, around: Surroundings
) -> None:
    assert hold_back(conditions, around, None, NOW) is None


def test_what_is_unknown_holds_nothing_back() -> None:
    strict = DeployConditions(
        min_charge_ratio=0.9,
        require_charging=True,
        allow_metered=False,
        max_temperature_celsius=1.0,
    )
    assert hold_back(strict, Surroundings(), None, NOW) is None


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_after_the_longest_defer_it_goes_ahead(limit: float, waited: float) -> None:
    conditions = DeployConditions(min_charge_ratio=0.5, max_defer_seconds=limit)
    since = NOW - timedelta(seconds=waited)
    waiting = hold_back(conditions, ON_BATTERY, since, NOW)
    until = since + timedelta(seconds=limit)
    assert (waiting is None) == (until <= NOW)
    assert waiting is None or waiting.until == until


def test_a_patience_beyond_the_calendar_is_for_ever() -> None:
    conditions = DeployConditions(allow_metered=False, max_defer_seconds=1e12)
    waiting = hold_back(conditions, Surroundings(metered=True), None, NOW)
    assert waiting is not None
    assert waiting.reason is WaitReason.METERED
