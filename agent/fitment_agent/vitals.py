"""How often a device says that it lives, and what: a parked one says little.

Readings are told in buckets, so that what changed for nobody's purposes changes nothing in the
message; near the edge of a bucket the one told last is kept. While no bucket changes, the pause
between two vitals doubles. A change is told at once, though never sooner than the shortest pause
after the vitals before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fitment_agent.conditions import Surroundings

_CHARGE_STEP: Final = 0.05
_TEMPERATURE_STEP: Final = 3.0
_SHARE_STEP: Final = 0.05  # of all memory, of the whole file system
_KEPT_WITHIN: Final = 0.75  # of a step, around the value told last


@dataclass(frozen=True)
class Readings:
    """What vitals tell, in buckets; None is unknown."""

    charge_ratio: float | None = None
    charging: bool | None = None
    temperature_celsius: float | None = None
    throttled: bool | None = None
    memory_available_bytes: int | None = None
    storage_free_bytes: int | None = None


@dataclass(frozen=True)
class Told:
    """Vitals that are due.

    Attributes:
        interval_seconds: the next come within this.
    """

    readings: Readings
    interval_seconds: float


class Pace:
    """When vitals are due. Moments are monotonic seconds.

    Args:
        shortest_seconds: the pause after a birth and after a change.
        longest_seconds: the pause to which it doubles.
        longest_saving_seconds: the same where energy or bytes are dear.
    """

    def __init__(
        self, shortest_seconds: float, longest_seconds: float, longest_saving_seconds: float
    ) -> None:
        self._shortest = shortest_seconds
        self._longest = max(longest_seconds, shortest_seconds)
        self._longest_saving = max(longest_saving_seconds, shortest_seconds)
        self._told: Readings | None = None
        self._earliest = 0.0
        self._due = 0.0
        self.interval_seconds = shortest_seconds

    def restart(self, now: float) -> None:
        """A birth was said: the first vitals follow after the shortest pause."""
        self._told = None
        self._wait(self._shortest, now)

    def look(self, around: Surroundings, now: float) -> Told | None:
        """The vitals to be said now; to be called at least once in each shortest pause."""
        if now < self._earliest:
            return None
        readings = bucketed(around, self._told)
        changed = self._told is not None and readings != self._told
        if not changed and now < self._due:
            return None
        longest = self._longest_saving if around.must_save else self._longest
        doubled = min(2 * self.interval_seconds, longest)
        self._told = readings
        self._wait(self._shortest if changed else doubled, now)
        return Told(readings, self.interval_seconds)

    def seconds_to_next_look(self, now: float) -> float:
        """How long nothing needs to be looked at."""
        return max(min(self._due - now, self._shortest), 0.0)

    def _wait(self, seconds: float, now: float) -> None:
        self.interval_seconds = seconds
        self._earliest = now + self._shortest
        self._due = now + seconds


def bucketed(around: Surroundings, told: Readings | None) -> Readings:
    """The readings in buckets; where one is about what was told last, that stays."""
    last = told or Readings()
    return Readings(
        charge_ratio=_near(around.charge_ratio, _CHARGE_STEP, last.charge_ratio),
        charging=around.charging,
        temperature_celsius=_near(
            around.temperature_celsius, _TEMPERATURE_STEP, last.temperature_celsius
        ),
        throttled=around.throttled,
        memory_available_bytes=_share(
            around.memory_available_bytes, around.memory_total_bytes, last.memory_available_bytes
        ),
        storage_free_bytes=_share(
            around.storage_free_bytes, around.storage_total_bytes, last.storage_free_bytes
        ),
    )


def _near(value: float | None, step: float, last: float | None) -> float | None:
    if value is None or (last is not None and abs(value - last) <= _KEPT_WITHIN * step):
        return value if value is None else last
    return round(round(value / step) * step, 6)


def _share(value: int | None, total: int | None, last: int | None) -> int | None:
    if value is None or not total:
        return value
    share = _near(value / total, _SHARE_STEP, None if last is None else last / total)
    return value if share is None else int(share * total)
