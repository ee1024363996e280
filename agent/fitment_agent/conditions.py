"""Does the device let a deployment spend bytes, energy and heat now? Pure.

What cannot be known never holds anything back: a board without a battery gauge would otherwise
never be updated. There are two exceptions, where a wrong guess costs money or disturbs somebody: a
cellular link counts as metered until somebody says that it is not, and windows count as closed
while the clock is not set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Final

from fitment_agent.clock import is_set
from fitment_agent.deployment_events import Weighed
from fitment_agent.windows import is_open, next_midnight, next_opening
from fitment_contract.device import LinkKind, PowerSource
from fitment_contract.messages import DeployConditions, Waiting, WaitReason, Window


@dataclass(frozen=True)
class Surroundings:
    """What changes around a device while it runs; None is unknown.

    Attributes:
        charge_ratio: of the battery, 0 to 1.
        throttled: the device slows itself down because of heat or a weak supply.
    """

    source: PowerSource = PowerSource.UNKNOWN
    charge_ratio: float | None = None
    charging: bool | None = None
    temperature_celsius: float | None = None
    throttled: bool | None = None
    link_kind: LinkKind = LinkKind.UNKNOWN
    metered: bool | None = None
    memory_available_bytes: int | None = None
    memory_total_bytes: int | None = None
    storage_free_bytes: int | None = None
    storage_total_bytes: int | None = None

    @property
    def must_save(self) -> bool:
        """Whether energy or bytes are dear now: a battery that is not charging, a metered link."""
        return bool(self.metered) or (
            self.source is PowerSource.BATTERY and self.charging is not True
        )


@dataclass(frozen=True)
class Occasion:
    """What decides besides the device's readings.

    Attributes:
        now: the current moment.
        zone: in which the device counts days and hours.
        needs_bytes: whether anything is still to be transferred; conditions about bytes do not
            matter otherwise.
        spent_bytes: what all deployments transferred on this local day.
        in_foreground: an application says that somebody is using it.
    """

    now: datetime
    zone: tzinfo = timezone.utc
    needs_bytes: bool = True
    spent_bytes: int = 0
    in_foreground: bool = False


HeldSince = Mapping[WaitReason, datetime]
"""When a deployment first had to wait for each condition."""

_LONGEST_DEFER_SECONDS: Final = 10 * 366 * 86_400.0
"""Ten years stand for never: a calendar has an end, and a setting may be past it."""


def weigh(
    conditions: DeployConditions, around: Surroundings, occasion: Occasion, held_since: HeldSince
) -> Weighed:
    """Whether a deployment may go on, or what it has to wait for.

    A condition holds back for no longer than its patience, counted from when it first did not hold
    for this deployment. Where several hold back, the first in the order of `_CHECKS` is told.

    Args:
        conditions: what the assignment asks for.
        around: the device as it is now.
        occasion: everything else that decides.
        held_since: of this deployment, from weighings before.
    """
    found = [check(conditions, around, occasion) for check in _CHECKS]
    unmet = [waiting for waiting in found if waiting is not None]
    holds = []
    for waiting in unmet:
        end = _end_of_patience(conditions, waiting.reason, occasion.now, held_since)
        if end is None or occasion.now < end:
            moments = [moment for moment in (waiting.until, end) if moment is not None]
            holds.append(waiting.model_copy(update={"until": min(moments, default=None)}))
    reasons = tuple(waiting.reason for waiting in unmet)
    return Weighed(holds[0] if holds else None, reasons)


def allowance_bytes(
    conditions: DeployConditions, occasion: Occasion, held_since: HeldSince
) -> int | None:
    """How much a transfer may move before it has to wait for another day; None for no limit."""
    if conditions.max_bytes_per_day is None:
        return None
    end = _end_of_patience(conditions, WaitReason.BYTE_BUDGET, occasion.now, held_since)
    if end is not None and occasion.now >= end:
        return None
    return max(conditions.max_bytes_per_day - occasion.spent_bytes, 0)


def _end_of_patience(
    conditions: DeployConditions, reason: WaitReason, now: datetime, held_since: HeldSince
) -> datetime | None:
    seconds = conditions.max_defer.get(reason, conditions.max_defer_seconds)
    if seconds is None:
        return None
    since = min(held_since.get(reason, now), now)  # a moment to come was noted by a wrong clock
    if is_set(now) and not is_set(since):
        since = now  # so was one in 1970
    try:
        return since + timedelta(seconds=min(seconds, _LONGEST_DEFER_SECONDS))
    except OverflowError:
        return None


def _battery(
    conditions: DeployConditions, around: Surroundings, _occasion: Occasion
) -> Waiting | None:
    if around.source is PowerSource.MAINS and around.charge_ratio is None:
        return None
    if conditions.require_charging and around.charging is False:
        return Waiting(reason=WaitReason.BATTERY, detail="waits for the charger")
    floor, charge = conditions.min_charge_ratio, around.charge_ratio
    if floor is None or charge is None or around.charging or charge >= floor:
        return None
    return Waiting(
        reason=WaitReason.BATTERY, detail=f"battery at {charge:.0%}; the floor is {floor:.0%}"
    )


def _metered(
    conditions: DeployConditions, around: Surroundings, occasion: Occasion
) -> Waiting | None:
    if conditions.allow_metered or not occasion.needs_bytes:
        return None
    if around.metered:
        return Waiting(reason=WaitReason.METERED, detail="the link is metered")
    if around.metered is None and around.link_kind is LinkKind.CELLULAR:
        detail = "the link is cellular and nobody said that it is not metered"
        return Waiting(reason=WaitReason.METERED, detail=detail)
    return None


def _heat(
    conditions: DeployConditions, around: Surroundings, _occasion: Occasion
) -> Waiting | None:
    limit, temperature = conditions.max_temperature_celsius, around.temperature_celsius
    if limit is None or temperature is None or temperature <= limit:
        return None
    return Waiting(
        reason=WaitReason.THERMAL, detail=f"{temperature:.1f} °C; the limit is {limit:.1f} °C"
    )


def _window(
    conditions: DeployConditions, _around: Surroundings, occasion: Occasion
) -> Waiting | None:
    windows, now, zone = conditions.windows, occasion.now, occasion.zone
    if not windows:
        return None
    if not is_set(now):
        return Waiting(reason=WaitReason.WINDOW, detail="the clock is not set")
    if is_open(windows, now, zone):
        return None
    hours = ", ".join(_in_words(window) for window in windows[:4])
    return Waiting(
        reason=WaitReason.WINDOW,
        detail=f"outside its hours, {hours} in local time",
        until=next_opening(windows, now, zone),
    )


def _in_words(window: Window) -> str:
    days = "".join(f" {day.value}" for day in window.days)
    return f"{window.start}-{window.end}{days}"


def _budget(
    conditions: DeployConditions, _around: Surroundings, occasion: Occasion
) -> Waiting | None:
    budget = conditions.max_bytes_per_day
    if budget is None or not occasion.needs_bytes or occasion.spent_bytes < budget:
        return None
    return Waiting(
        reason=WaitReason.BYTE_BUDGET,
        detail=f"{occasion.spent_bytes} bytes came today; the budget is {budget} a day",
        until=next_midnight(occasion.now, occasion.zone),
    )


def _foreground(
    conditions: DeployConditions, _around: Surroundings, occasion: Occasion
) -> Waiting | None:
    if not (conditions.quiet_in_foreground and occasion.in_foreground):
        return None
    return Waiting(reason=WaitReason.FOREGROUND, detail="somebody is using an application")


_CHECKS: Final[tuple[Callable[[DeployConditions, Surroundings, Occasion], Waiting | None], ...]] = (
    _window,
    _budget,
    _battery,
    _metered,
    _heat,
    _foreground,
)
"""In the order of telling: what takes longest to change comes first."""
