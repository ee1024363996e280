"""Windows of local time: past midnight, on some days only, and across changes of the clock."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitment_agent.windows import is_open, local_day, next_midnight, next_opening
from fitment_contract.messages import Weekday, Window

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = Window(start="22:30", end="05:00")
WEEKEND_NIGHT = Window(start="22:00", end="02:00", days=(Weekday.SATURDAY,))

CLOCK_TIMES = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))
WINDOWS = st.lists(
    st.builds(
        Window,
        start=CLOCK_TIMES,
        end=CLOCK_TIMES,
        days=st.lists(st.sampled_from(Weekday), max_size=3).map(tuple),
    ),
    min_size=1,
    max_size=3,
)
MOMENTS = st.datetimes(datetime(2026, 11, 1), datetime(2030, 1, 1)).map(
    lambda naive: naive.replace(tzinfo=timezone.utc)
)
ZONES = st.sampled_from(
    [timezone.utc, BERLIN, ZoneInfo("America/New_York"), ZoneInfo("Australia/Lord_Howe")]
)


def berlin(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).astimezone(timezone.utc)


@pytest.mark.parametrize(
    ("window", "moment", "open_then"),
    [
        (NIGHT, "2026-12-01 22:29:59", False),
        (NIGHT, "2026-12-01 22:30:00", True),
        (NIGHT, "2026-12-02 04:59:59", True),
        (NIGHT, "2026-12-02 05:00:00", False),
        (Window(start="06:00", end="07:00"), "2026-12-01 06:59:59", True),
        (Window(start="06:00", end="07:00"), "2026-12-01 07:00:00", False),
        (WEEKEND_NIGHT, "2026-12-05 23:00:00", True),  # a Saturday
        (WEEKEND_NIGHT, "2026-12-06 01:00:00", True),  # begun on Saturday
        (WEEKEND_NIGHT, "2026-12-06 23:00:00", False),
        (WEEKEND_NIGHT, "2026-12-05 01:00:00", False),  # the night before
        (Window(start="12:00", end="12:00"), "2026-12-06 11:59:00", True),  # a whole day
    ],
)
def test_hours_are_those_on_the_wall(window: Window, moment: str, open_then: bool) -> None:
    assert is_open([window], berlin(moment), BERLIN) is open_then


@pytest.mark.parametrize(
    ("window", "moment", "opens"),
    [
        (NIGHT, "2026-12-01 12:00", "2026-12-01 22:30"),
        (WEEKEND_NIGHT, "2026-12-06 12:00", "2026-12-12 22:00"),
        (Window(start="06:00", end="07:00"), "2026-12-01 12:00", "2026-12-02 06:00"),
        # In the night of the change to summer time there is no 02:15: not that day.
        (Window(start="02:15", end="02:45"), "2027-03-27 12:00", "2027-03-29 02:15"),
    ],
)
def test_the_next_opening_is_told(window: Window, moment: str, opens: str) -> None:
    assert next_opening([window], berlin(moment), BERLIN) == berlin(opens)


def test_an_hour_that_comes_twice_is_open_twice() -> None:
    window, first = [Window(start="02:10", end="02:50")], berlin("2026-10-25 02:20")
    assert [is_open(window, first + timedelta(minutes=m), BERLIN) for m in (0, 35, 60, 95)] == [
        True,
        False,
        True,
        False,
    ]


@given(WINDOWS, MOMENTS, ZONES)
def test_what_is_told_is_ahead_and_open(
    windows: list[Window], now: datetime, zone: ZoneInfo
) -> None:
    opens = next_opening(windows, now, zone)
    assert opens is not None
    assert now < opens <= now + timedelta(days=15)
    assert is_open(windows, opens, zone)


@given(MOMENTS, ZONES)
def test_a_day_ends_at_its_midnight(now: datetime, zone: ZoneInfo) -> None:
    midnight = next_midnight(now, zone)
    assert midnight is not None
    assert timedelta(0) < midnight - now <= timedelta(hours=25)
    second = timedelta(seconds=1)
    assert local_day(midnight - second, zone) == local_day(now, zone)
    assert local_day(midnight, zone) > local_day(now, zone)


def test_at_the_end_of_the_calendar_nothing_is_told() -> None:
    last = datetime.max.replace(tzinfo=timezone.utc)
    assert next_midnight(last, timezone.utc) is None
    assert next_opening([NIGHT], last, timezone.utc) is None
