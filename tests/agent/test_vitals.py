"""Vitals: a parked device says little, a change is said at once, and no promise is broken."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitment_agent.conditions import Surroundings
from fitment_agent.vitals import Pace, Readings, Told, bucketed
from fitment_contract.device import PowerSource

GIB = 1 << 30
PARKED = Surroundings(
    source=PowerSource.MAINS,
    temperature_celsius=48.0,
    memory_available_bytes=3 * GIB,
    memory_total_bytes=4 * GIB,
    storage_free_bytes=20 * GIB,
    storage_total_bytes=30 * GIB,
)
ON_BATTERY = replace(PARKED, source=PowerSource.BATTERY, charge_ratio=0.8, charging=False)


def a_pace() -> Pace:
    pace = Pace(30.0, 600.0, 900.0)
    pace.restart(0.0)
    return pace


def said(pace: Pace, seconds: float, around: Surroundings = PARKED) -> list[tuple[float, Told]]:
    """What is said over so long, looked at as the daemon looks."""
    now, found = 0.0, []
    while (now := now + max(pace.seconds_to_next_look(now), 0.001)) <= seconds:
        if (told := pace.look(around, now)) is not None:
            found.append((now, told))
    return found


@pytest.mark.parametrize(
    ("around", "intervals"),
    [(PARKED, [60, 120, 240, 480, 600, 600]), (ON_BATTERY, [60, 120, 240, 480, 900, 900])],
)
def test_while_nothing_changes_the_pauses_double_up_to_a_bound(
    around: Surroundings, intervals: list[float]
) -> None:
    told = said(a_pace(), 3000.0, around)
    assert [one.interval_seconds for _, one in told][: len(intervals)] == intervals


def test_a_change_is_said_at_once_and_the_pace_begins_anew() -> None:
    pace = a_pace()
    last, _ = said(pace, 3600.0)[-1]
    assert pace.seconds_to_next_look(last) == 30.0  # it looks more often than it speaks
    hot = replace(PARKED, temperature_celsius=60.0)
    told = pace.look(hot, last + 30.0)
    assert told is not None
    assert (told.readings.temperature_celsius, told.interval_seconds) == (60.0, 30.0)
    assert pace.look(hot, last + 59.0) is None
    assert pace.look(hot, last + 60.0) is not None


CHANGING = st.lists(
    st.builds(
        Surroundings,
        source=st.sampled_from(PowerSource),
        charge_ratio=st.none() | st.floats(0, 1),
        charging=st.none() | st.booleans(),
        temperature_celsius=st.none() | st.floats(-300, 300),
        throttled=st.none() | st.booleans(),
        metered=st.none() | st.booleans(),
        memory_available_bytes=st.none() | st.integers(0, 2**40),
        memory_total_bytes=st.none() | st.integers(0, 2**40),
    ),
    min_size=1,
    max_size=60,
)


@given(
    CHANGING, st.floats(0.01, 100), st.floats(0.01, 1000), st.floats(0.01, 1000), st.floats(0.1, 1)
)
def test_promises_are_kept_and_nobody_is_flooded(
    around: list[Surroundings], shortest: float, longest: float, saving: float, haste: float
) -> None:
    """Also by who looks more often than needed."""
    pace, now = Pace(shortest, longest, saving), 0.0
    pace.restart(now)
    spoke, promised = 0.0, pace.interval_seconds
    for one in around:
        now += haste * pace.seconds_to_next_look(now)
        told = pace.look(one, now)
        assert now - spoke <= promised * (1 + 1e-9)
        if told is not None:
            assert now - spoke >= shortest * (1 - 1e-9)
            assert told.interval_seconds <= max(shortest, longest, saving)
            spoke, promised = now, told.interval_seconds


@given(st.lists(st.floats(45.76, 50.24), min_size=1, max_size=50))
def test_what_wavers_about_a_bucket_changes_nothing(temperatures: list[float]) -> None:
    told = bucketed(PARKED, None)
    for temperature in temperatures:
        told = bucketed(replace(PARKED, temperature_celsius=temperature), told)
        assert told.temperature_celsius == 48.0


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_bucket_is_never_more_than_a_step_off(first: float, second: float) -> None:
    told = bucketed(replace(ON_BATTERY, charge_ratio=first), None)
    told = bucketed(replace(ON_BATTERY, charge_ratio=second), told)
    assert told.charge_ratio is not None
    assert abs(told.charge_ratio - second) <= 0.0376
    assert 0.0 <= told.charge_ratio <= 1.0


def test_what_is_unknown_stays_so() -> None:
    assert bucketed(Surroundings(), bucketed(ON_BATTERY, None)) == Readings()
    assert bucketed(Surroundings(memory_available_bytes=5), None).memory_available_bytes == 5
