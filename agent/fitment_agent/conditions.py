"""Does the device let a deployment spend bytes, energy and heat now? Pure.

What cannot be known never holds anything back: a board without a battery gauge would otherwise
never be updated. The one exception is a cellular link, which counts as metered until somebody
says that it is not, because there a wrong guess costs money.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from fitment_contract.device import LinkKind, PowerSource
from fitment_contract.messages import DeployConditions, Waiting, WaitReason


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


_LONGEST_DEFER_SECONDS: Final = 10 * 366 * 86_400.0
"""Ten years stand for never: a calendar has an end, and a setting may be past it."""


def hold_back(
    conditions: DeployConditions,
    around: Surroundings,
    waiting_since: datetime | None,
    now: datetime,
) -> Waiting | None:
    """Why a deployment has to wait, or None when it may go on.

    Args:
        conditions: what the assignment asks for.
        around: the device as it is now.
        waiting_since: when the deployment first had to wait; None when it did not yet.
        now: the current moment.
    """
    until = None
    if conditions.max_defer_seconds is not None:
        patience = min(conditions.max_defer_seconds, _LONGEST_DEFER_SECONDS)
        until = (waiting_since or now) + timedelta(seconds=patience)
        if now >= until:
            return None
    found = (
        _battery(conditions, around) or _metered(conditions, around) or _heat(conditions, around)
    )
    return found.model_copy(update={"until": until}) if found else None


def _battery(conditions: DeployConditions, around: Surroundings) -> Waiting | None:
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


def _metered(conditions: DeployConditions, around: Surroundings) -> Waiting | None:
    if conditions.allow_metered:
        return None
    if around.metered:
        return Waiting(reason=WaitReason.METERED, detail="the link is metered")
    if around.metered is None and around.link_kind is LinkKind.CELLULAR:
        detail = "the link is cellular and nobody said that it is not metered"
        return Waiting(reason=WaitReason.METERED, detail=detail)
    return None


def _heat(conditions: DeployConditions, around: Surroundings) -> Waiting | None:
    limit, temperature = conditions.max_temperature_celsius, around.temperature_celsius
    if limit is None or temperature is None or temperature <= limit:
        return None
    return Waiting(
        reason=WaitReason.THERMAL, detail=f"{temperature:.1f} °C; the limit is {limit:.1f} °C"
    )
