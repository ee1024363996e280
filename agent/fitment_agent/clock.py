"""The clock on the device's wall: whether it is set, its zone, and when somebody turns it.

Boards without a battery-backed clock start in 1970 and learn the time from the network, which may
take days; phones are carried between zones; somebody sets a date by hand. Pauses therefore run on
the monotonic clock (`timers`), and only what is about the calendar looks here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Final

from fitment_contract.base import utc_now

SOFTWARE_DATE: Final = datetime(2026, 11, 1, tzinfo=timezone.utc)
"""Before this the software did not exist: a clock that shows an earlier moment is not set."""

_JUMP_SECONDS: Final = 60.0


def is_set(now: datetime) -> bool:
    """Whether a clock that shows `now` can be right."""
    return now >= SOFTWARE_DATE


class LocalZone(tzinfo):
    """The device's own zone, asked of the C library, because phones have no zone files to read.

    Moments that the C library cannot place (beyond 2038 on some 32-bit systems) are taken as UTC.
    """

    def __init__(self) -> None:
        time.tzset()  # somebody may have set another zone since the process was started

    def utcoffset(self, moment: datetime | None) -> timedelta:
        """How far local time is ahead of UTC; `fold` tells the two hours of autumn apart."""
        return _offset(moment.replace(tzinfo=None)) if moment else timedelta()

    def dst(self, moment: datetime | None) -> None:
        """Not known apart from the offset."""

    def tzname(self, moment: datetime | None) -> str:
        """For people only."""
        return "local time"

    def fromutc(self, moment: datetime) -> datetime:
        """The local time at `moment`, which is in UTC."""
        offset = _offset(moment.replace(tzinfo=timezone.utc))
        local = moment + offset
        return local if local.utcoffset() == offset else local.replace(fold=1)


def _offset(moment: datetime) -> timedelta:
    try:
        return moment.astimezone().utcoffset() or timedelta()
    except (OverflowError, OSError, ValueError):
        return timedelta()


class JumpWatch:
    """Notices when somebody turns the clock on the wall.

    Args:
        clock: tells the wall time.
        steady: seconds that nobody can set, and that go on while the device sleeps.
    """

    def __init__(
        self,
        clock: Callable[[], datetime] = utc_now,
        steady: Callable[[], float] | None = None,
    ) -> None:
        self._clock = clock
        self._steady = steady or _seconds_since_boot
        self._seen = self._clock(), self._steady()

    def jumped_seconds(self) -> float:
        """How far the clock was turned since the last call; 0 for what is no more than a minute."""
        wall, steady = self._seen
        self._seen = self._clock(), self._steady()
        turned = (self._seen[0] - wall).total_seconds() - (self._seen[1] - steady)
        return turned if abs(turned) > _JUMP_SECONDS else 0.0


def _seconds_since_boot() -> float:
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
