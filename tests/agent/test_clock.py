"""The clock on the wall: the device's zone as the C library knows it, and jumps."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitment_agent.clock import SOFTWARE_DATE, JumpWatch, LocalZone, is_set

ZONES = ("Europe/Berlin", "America/New_York", "Asia/Kolkata", "UTC")
AUTUMN = st.datetimes(datetime(2026, 10, 25), datetime(2026, 10, 25, 4)) | st.datetimes(
    datetime(2026, 11, 1), datetime(2026, 11, 1, 8)
)
MOMENTS = AUTUMN | st.datetimes(datetime(1971, 1, 1), datetime(2037, 1, 1))


@pytest.fixture(params=ZONES)
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ZoneInfo]:
    """The process lives in another zone."""
    with monkeypatch.context() as patched:
        patched.setitem(os.environ, "TZ", request.param)
        time.tzset()
        yield ZoneInfo(request.param)
    time.tzset()


def test_local_time_is_that_of_the_zone_files(zone: ZoneInfo) -> None:
    @given(MOMENTS)
    def check(naive: datetime) -> None:
        moment = naive.replace(tzinfo=timezone.utc)
        ours, theirs = moment.astimezone(LocalZone()), moment.astimezone(zone)
        assert ours.replace(tzinfo=None) == theirs.replace(tzinfo=None)
        assert (ours.fold, ours.utcoffset()) == (theirs.fold, theirs.utcoffset())
        assert ours.astimezone(timezone.utc) == moment

    check()


def test_local_times_find_back_to_their_moment(zone: ZoneInfo) -> None:
    @given(MOMENTS, st.sampled_from([0, 1]))
    def check(naive: datetime, fold: int) -> None:
        wall = naive.replace(fold=fold)
        ours = wall.replace(tzinfo=LocalZone()).astimezone(timezone.utc)
        assert ours == wall.replace(tzinfo=zone).astimezone(timezone.utc)

    check()


def test_no_moment_of_the_calendar_is_too_much() -> None:
    for extreme in (datetime.min, datetime.max):
        LocalZone().utcoffset(extreme)
    a_day_in = (datetime.min + timedelta(days=2)).replace(tzinfo=timezone.utc)
    assert a_day_in.astimezone(LocalZone()).year == 1


def test_a_clock_from_before_the_software_is_not_set() -> None:
    assert not is_set(datetime(1970, 1, 1, tzinfo=timezone.utc))
    assert not is_set(SOFTWARE_DATE - timedelta(seconds=1))
    assert is_set(datetime.now(timezone.utc))


@given(
    st.lists(
        st.tuples(st.floats(0, 1e5), st.floats(-1e9, 1e9).filter(lambda x: abs(x) > 61)), max_size=9
    )
)
def test_every_turn_of_the_clock_is_noticed_and_time_that_passes_is_none(
    turns: list[tuple[float, float]],
) -> None:
    wall, steady = [SOFTWARE_DATE], [5.0]
    watch = JumpWatch(lambda: wall[0], lambda: steady[0])
    for passed, turned in turns:
        steady[0] += passed
        wall[0] += timedelta(seconds=passed)
        assert watch.jumped_seconds() == 0.0
        wall[0] += timedelta(seconds=turned)
        assert watch.jumped_seconds() == pytest.approx(turned, abs=0.01)
    assert watch.jumped_seconds() == 0.0


def test_a_small_correction_is_no_turn() -> None:
    wall = [SOFTWARE_DATE]
    watch = JumpWatch(lambda: wall[0], lambda: 0.0)
    for _ in range(5):
        wall[0] += timedelta(seconds=30)
        assert watch.jumped_seconds() == 0.0
