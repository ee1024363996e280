"""When a device changes to its second variant, and back: pure decisions, by property."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitment_agent.conditions import Surroundings
from fitment_agent.power_mode import PowerState, adapt, reason
from fitment_contract.device import PowerSource
from fitment_contract.messages import LowPower, PowerMode
from support.agent_records import a_variant

NORMAL, LOW = PowerMode.NORMAL, PowerMode.LOW_POWER
LIMITS = LowPower(variant=a_variant(), below_charge_ratio=0.2, above_temperature_celsius=80.0)


def on_battery(charge: float | None, **more: Any) -> Surroundings:
    return Surroundings(source=PowerSource.BATTERY, charge_ratio=charge, charging=False, **more)


def follow(readings: list[Surroundings], limits: LowPower = LIMITS) -> list[PowerMode]:
    state, modes = PowerState(), []
    for around in readings:
        state = adapt(state, limits, around)
        modes.append(state.mode)
    return modes


def test_a_falling_battery_switches_below_its_limit_and_back_well_above_it() -> None:
    charges = (0.5, 0.2, 0.19, 0.22, 0.2499, 0.25, 0.22, 0.19)
    assert follow([on_battery(charge) for charge in charges]) == [
        *(NORMAL, NORMAL, LOW, LOW, LOW, NORMAL, NORMAL, LOW)
    ]


def test_heat_switches_above_its_limit_and_back_well_below_it() -> None:
    degrees = (70.0, 80.0, 80.1, 76.0, 75.0, 79.0)
    readings = [Surroundings(temperature_celsius=value) for value in degrees]
    assert follow(readings) == [NORMAL, NORMAL, LOW, LOW, NORMAL, NORMAL]


def test_the_charger_ends_low_power_at_any_charge() -> None:
    charger = Surroundings(source=PowerSource.MAINS, charge_ratio=0.05, charging=True)
    assert follow([on_battery(0.05), charger, on_battery(0.05)]) == [LOW, NORMAL, LOW]


def test_one_strain_that_passes_does_not_end_the_other() -> None:
    hot, cool = {"temperature_celsius": 90.0}, {"temperature_celsius": 40.0}
    readings = [on_battery(0.1, **hot), on_battery(0.1, **cool), on_battery(0.9, **cool)]
    assert follow(readings) == [LOW, LOW, NORMAL]


def test_a_sensor_that_never_answers_holds_nothing_in_low_power() -> None:
    """Also after a restart, when only the mode is known."""
    assert adapt(PowerState(LOW), LIMITS, on_battery(0.9)).mode is NORMAL
    assert adapt(PowerState(LOW), LIMITS, Surroundings()).mode is LOW


def test_after_a_restart_within_the_band_the_mode_stays() -> None:
    for mode in PowerMode:
        assert adapt(PowerState(mode), LIMITS, on_battery(0.22)).mode is mode


def test_a_battery_that_cannot_pass_the_band_is_good_when_full() -> None:
    limits = LowPower(variant=a_variant(), below_charge_ratio=0.98)
    assert follow([on_battery(0.5), on_battery(1.0)], limits) == [LOW, NORMAL]


def test_without_limits_the_normal_variant_is_used() -> None:
    assert adapt(PowerState(LOW), LowPower(variant=a_variant()), on_battery(0.01)).mode is NORMAL


@pytest.mark.parametrize(
    ("around", "words"),
    [
        (on_battery(0.1), "on battery at 10%; the limit is 20%"),
        (Surroundings(temperature_celsius=85.0), "85.0 °C; the limit is 80.0 °C"),
        (on_battery(0.1, temperature_celsius=85.0), "on battery at 10%; the limit is 20% and 85"),
        (on_battery(0.9), "energy and temperature allow it again"),
    ],
)
def test_the_reason_names_readings_and_limits(around: Surroundings, words: str) -> None:
    assert words in reason(adapt(PowerState(), LIMITS, around), LIMITS, around)


states = st.builds(
    PowerState,
    st.sampled_from(PowerMode),
    st.none() | st.booleans(),
    st.none() | st.booleans(),
)
limits_of_any_kind = st.builds(
    LowPower,
    variant=st.just(a_variant()),
    below_charge_ratio=st.none() | st.floats(0, 1),
    above_temperature_celsius=st.none() | st.floats(-40, 120),
    charge_hysteresis_ratio=st.floats(0.01, 1),
    temperature_hysteresis_celsius=st.floats(0.1, 50),
)
readings = st.builds(
    Surroundings,
    source=st.sampled_from(PowerSource),
    charge_ratio=st.none() | st.floats(0, 1),
    charging=st.none() | st.booleans(),
    temperature_celsius=st.none() | st.floats(-60, 150),
)


@given(states, limits_of_any_kind, readings)
def test_the_same_reading_again_changes_nothing(
    state: PowerState, limits: LowPower, around: Surroundings
) -> None:
    once = adapt(state, limits, around)
    assert adapt(once, limits, around) == once


@given(states, limits_of_any_kind, readings)
def test_unknown_readings_change_nothing(
    state: PowerState, limits: LowPower, around: Surroundings
) -> None:
    known = adapt(state, limits, around)
    assert adapt(known, limits, Surroundings()).mode is known.mode


@given(
    states,
    st.lists(st.floats(0.2, 0.2499), min_size=1),
    st.lists(st.floats(75.01, 80.0), min_size=1),
)
def test_within_the_bands_there_is_no_flapping(
    state: PowerState, charges: list[float], degrees: list[float]
) -> None:
    """However the readings jitter inside their bands, the mode is settled with the first."""
    modes = set()
    for charge, heat in zip(charges, degrees, strict=False):
        state = adapt(state, LIMITS, on_battery(charge, temperature_celsius=heat))
        modes.add(state.mode)
    assert len(modes) == 1


@given(limits_of_any_kind, st.lists(readings, max_size=20))
def test_low_power_is_only_ever_entered_past_a_limit(
    limits: LowPower, around: list[Surroundings]
) -> None:
    state = PowerState()
    for reading in around:
        then = adapt(state, limits, reading)
        if (state.mode, then.mode) == (NORMAL, LOW):
            floor, top = limits.below_charge_ratio, limits.above_temperature_celsius
            charge, heat = reading.charge_ratio, reading.temperature_celsius
            short = floor is not None and charge is not None and charge < floor
            hot = top is not None and heat is not None and heat > top
            assert short or hot
        state = then
