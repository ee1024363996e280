"""Windows of local time: which one is open, and when the next opens. Pure.

All comparisons are of what the clock on the wall shows, as people mean it. In spring an hour is
missing: a window that lies within it does not open that day. In autumn an hour comes twice, and
so does a window within it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from typing import Final

from fitment_contract.messages import Weekday, Window

_DAYS: Final = tuple(Weekday)
_DAYS_AHEAD: Final = 15  # a weekly window may miss one week, in spring


def is_open(windows: Iterable[Window], now: datetime, zone: tzinfo) -> bool:
    """Whether `now`, in `zone`, is within one of the windows."""
    local = now.astimezone(zone)
    clock, day = local.strftime("%H:%M"), local.weekday()
    return any(_holds(window, clock, day) for window in windows)


def next_opening(windows: Sequence[Window], now: datetime, zone: tzinfo) -> datetime | None:
    """The first moment after `now` at which a window opens, in UTC; None when none does."""
    today = now.astimezone(zone).date()
    openings = (
        moment
        for ahead in range(_DAYS_AHEAD)
        for window in windows
        if _starts_on(window, (today.weekday() + ahead) % 7)
        and (moment := _moment(today, ahead, time.fromisoformat(window.start), zone)) is not None
        and moment > now
        and is_open(windows, moment, zone)
    )
    return min(openings, default=None)


def next_midnight(now: datetime, zone: tzinfo) -> datetime | None:
    """When the next local day begins, in UTC; None at the end of the calendar."""
    return _moment(now.astimezone(zone).date(), 1, time(), zone)


def local_day(now: datetime, zone: tzinfo) -> str:
    """The local date, `YYYY-MM-DD`."""
    return now.astimezone(zone).date().isoformat()


def _holds(window: Window, clock: str, day: int) -> bool:
    if window.start < window.end:
        return window.start <= clock < window.end and _starts_on(window, day)
    began_today = clock >= window.start and _starts_on(window, day)
    return began_today or (clock < window.end and _starts_on(window, (day - 1) % 7))


def _starts_on(window: Window, day: int) -> bool:
    return not window.days or _DAYS[day] in window.days


def _moment(day: date, ahead: int, clock: time, zone: tzinfo) -> datetime | None:
    try:
        local = datetime.combine(day + timedelta(days=ahead), clock, tzinfo=zone)
        return local.astimezone(timezone.utc)
    except OverflowError:
        return None
