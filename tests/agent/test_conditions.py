"""Conditions: what is known and bad holds back, what is unknown does not, and never for ever."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitment_agent.conditions import Occasion, Surroundings, allowance_bytes, weigh
from fitment_contract.device import LinkKind, PowerSource
from fitment_contract.messages import DeployConditions, Waiting, WaitReason, Weekday, Window
from support.agent_records import NOW

ON_BATTERY = Surroundings(source=PowerSource.BATTERY, charge_ratio=0.3, charging=False)
NOTHING_KNOWN = Surroundings()
HOT = Surroundings(temperature_celsius=80.0)
IT_IS_NOON = Occasion(NOW)
AT_NIGHT = (Window(start="01:00", end="05:00"),)
HOUR = timedelta(hours=1)


def hold_of(
    conditions: DeployConditions,
    around: Surroundings = NOTHING_KNOWN,
    occasion: Occasion = IT_IS_NOON,
    held_since: dict[WaitReason, datetime] | None = None,
) -> Waiting | None:
    return weigh(conditions, around, occasion, held_since or {}).hold


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
def test_a_reading_that_does_not_suit_is_named(
    conditions: DeployConditions, around: Surroundings, reason: WaitReason
) -> None:
    waiting = hold_of(conditions, around)
    assert waiting is not None
    assert waiting.reason is reason


@pytest.mark.parametrize(
    ("conditions", "occasion", "reason", "until"),
    [
        (
            DeployConditions(windows=AT_NIGHT),
            IT_IS_NOON,
            WaitReason.WINDOW,
            NOW + 13 * HOUR,
        ),
        (
            DeployConditions(max_bytes_per_day=100),
            replace(IT_IS_NOON, spent_bytes=100),
            WaitReason.BYTE_BUDGET,
            NOW + 12 * HOUR,
        ),
        (
            DeployConditions(quiet_in_foreground=True),
            replace(IT_IS_NOON, in_foreground=True),
            WaitReason.FOREGROUND,
            None,
        ),
    ],
)
def test_an_occasion_that_does_not_suit_says_until_when(
    conditions: DeployConditions, occasion: Occasion, reason: WaitReason, until: datetime | None
) -> None:
    waiting = hold_of(conditions, occasion=occasion)
    assert waiting is not None
    assert (waiting.reason, waiting.until) == (reason, until)


@pytest.mark.parametrize(
    ("conditions", "around", "occasion"),
    [
        (DeployConditions(), ON_BATTERY, IT_IS_NOON),
        (DeployConditions(min_charge_ratio=0.2), ON_BATTERY, IT_IS_NOON),
        (
            DeployConditions(min_charge_ratio=0.5),
            Surroundings(source=PowerSource.MAINS, charge_ratio=0.3, charging=True),
            IT_IS_NOON,
        ),
        (
            DeployConditions(require_charging=True),
            Surroundings(source=PowerSource.MAINS),
            IT_IS_NOON,
        ),
        (
            DeployConditions(allow_metered=False),
            Surroundings(metered=False, link_kind=LinkKind.CELLULAR),
            IT_IS_NOON,
        ),
        (DeployConditions(max_temperature_celsius=80.0), HOT, IT_IS_NOON),
        (
            DeployConditions(windows=AT_NIGHT),
            Surroundings(),
            Occasion(NOW + 14 * HOUR),
        ),
        (
            DeployConditions(max_bytes_per_day=100),
            Surroundings(),
            replace(IT_IS_NOON, spent_bytes=99),
        ),
        (DeployConditions(quiet_in_foreground=True), Surroundings(), IT_IS_NOON),
        (DeployConditions(), Surroundings(), replace(IT_IS_NOON, in_foreground=True)),
    ],
)
def test_a_condition_that_holds_lets_go_on(
    conditions: DeployConditions, around: Surroundings, occasion: Occasion
) -> None:
    assert hold_of(conditions, around, occasion) is None


def test_what_is_unknown_holds_nothing_back() -> None:
    strict = DeployConditions(
        min_charge_ratio=0.9,
        require_charging=True,
        allow_metered=False,
        max_temperature_celsius=1.0,
    )
    assert hold_of(strict) is None


def test_conditions_about_bytes_do_not_matter_once_all_are_there() -> None:
    """Before a trial nothing is to be transferred any more."""
    frugal = DeployConditions(allow_metered=False, max_bytes_per_day=10)
    fetched = replace(IT_IS_NOON, needs_bytes=False, spent_bytes=10)
    assert hold_of(frugal, Surroundings(metered=True), fetched) is None


def test_the_hours_that_it_waits_for_are_told() -> None:
    weekend = Window(start="22:00", end="06:00", days=(Weekday.SATURDAY, Weekday.SUNDAY))
    waiting = hold_of(DeployConditions(windows=(*AT_NIGHT, weekend)))
    assert waiting is not None
    assert waiting.detail == "outside its hours, 01:00-05:00, 22:00-06:00 sat sun in local time"


def test_a_clock_that_is_not_set_opens_no_window() -> None:
    in_1970 = Occasion(datetime(1970, 1, 1, 2, 0, tzinfo=timezone.utc))
    waiting = hold_of(DeployConditions(windows=AT_NIGHT), occasion=in_1970)
    assert waiting == Waiting(reason=WaitReason.WINDOW, detail="the clock is not set")


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_after_the_longest_defer_it_goes_ahead(limit: float, waited: float) -> None:
    conditions = DeployConditions(min_charge_ratio=0.5, max_defer_seconds=limit)
    since = NOW - timedelta(seconds=waited)
    waiting = hold_of(conditions, ON_BATTERY, held_since={WaitReason.BATTERY: since})
    until = since + timedelta(seconds=limit)
    assert (waiting is None) == (until <= NOW)
    assert waiting is None or waiting.until == until


def test_each_condition_has_a_patience_of_its_own() -> None:
    conditions = DeployConditions(
        min_charge_ratio=0.5,
        max_temperature_celsius=70.0,
        max_defer_seconds=7200.0,
        max_defer={WaitReason.THERMAL: 600.0},
    )
    around = replace(ON_BATTERY, temperature_celsius=80.0)
    both_since = {WaitReason.BATTERY: NOW - HOUR, WaitReason.THERMAL: NOW - HOUR}
    weighed = weigh(conditions, around, IT_IS_NOON, both_since)
    assert weighed.hold is not None
    assert (weighed.hold.reason, weighed.hold.until) == (WaitReason.BATTERY, NOW + HOUR)
    assert weighed.unmet == (WaitReason.BATTERY, WaitReason.THERMAL)
    charged = replace(around, charge_ratio=0.9)
    assert hold_of(conditions, charged, held_since=both_since) is None


def test_patience_that_ends_before_the_window_opens_is_what_is_told() -> None:
    conditions = DeployConditions(windows=AT_NIGHT, max_defer={WaitReason.WINDOW: 3600.0})
    waiting = hold_of(conditions)
    assert waiting is not None
    assert waiting.until == NOW + HOUR


def test_a_wait_that_a_wrong_clock_dated_ahead_ends_all_the_same() -> None:
    conditions = DeployConditions(min_charge_ratio=0.5, max_defer_seconds=3600.0)
    in_20_years = {WaitReason.BATTERY: NOW + timedelta(days=20 * 365)}
    waiting = hold_of(conditions, ON_BATTERY, held_since=in_20_years)
    assert waiting is not None
    assert waiting.until == NOW + HOUR


def test_a_patience_beyond_the_calendar_is_for_ever() -> None:
    conditions = DeployConditions(allow_metered=False, max_defer_seconds=1e12)
    for now in (NOW, datetime.max.replace(tzinfo=timezone.utc)):
        waiting = hold_of(conditions, Surroundings(metered=True), Occasion(now))
        assert waiting is not None
        assert waiting.reason is WaitReason.METERED


@given(st.integers(0, 200), st.integers(1, 200), st.booleans())
def test_a_transfer_gets_what_the_budget_has_left(spent: int, budget: int, patient: bool) -> None:
    conditions = DeployConditions(
        max_bytes_per_day=budget, max_defer={WaitReason.BYTE_BUDGET: 7200.0 if patient else 60.0}
    )
    occasion = replace(IT_IS_NOON, spent_bytes=spent)
    since = {WaitReason.BYTE_BUDGET: NOW - HOUR}
    allowance = allowance_bytes(conditions, occasion, since)
    assert allowance == (max(budget - spent, 0) if patient else None)
    if allowance is None or allowance > 0:  # what is allowed something does not have to wait
        assert hold_of(conditions, occasion=occasion, held_since=since) is None


def test_without_a_budget_there_is_no_limit() -> None:
    assert allowance_bytes(DeployConditions(), replace(IT_IS_NOON, spent_bytes=9), {}) is None


@pytest.mark.parametrize(
    ("around", "saving"),
    [
        (Surroundings(), False),
        (Surroundings(source=PowerSource.MAINS), False),
        (Surroundings(metered=True), True),
        (ON_BATTERY, True),
        (replace(ON_BATTERY, charging=True), False),
    ],
)
def test_a_battery_and_a_metered_link_are_reasons_to_save(
    around: Surroundings, saving: bool
) -> None:
    assert around.must_save is saving
