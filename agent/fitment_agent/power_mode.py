"""Which of a model's two variants is to be used now? Pure.

Each limit of an assignment is a latch of its own, with its own hysteresis: it closes when its
reading passes the limit, and opens when the reading is well on the good side again. In between,
and while the reading cannot be had, it stays as it was. One closed latch is enough for low power.
A latch that never had a reading has no say: a sensor that is missing must not hold a device in
either mode for ever.
"""

from __future__ import annotations

from dataclasses import dataclass

from fitment_agent.conditions import Surroundings
from fitment_contract.device import PowerSource
from fitment_contract.messages import LowPower, PowerMode


@dataclass(frozen=True)
class PowerState:
    """Where one model stands.

    Attributes:
        mode: which variant is in use. It alone survives a restart, in the pointer.
        short_of_energy, hot: the two latches; None until there was a reading.
    """

    mode: PowerMode = PowerMode.NORMAL
    short_of_energy: bool | None = None
    hot: bool | None = None


def adapt(now: PowerState, limits: LowPower, around: Surroundings) -> PowerState:
    """Where the model is to stand, given the device as it is.

    Args:
        now: where it stands.
        limits: of its assignment.
        around: the device's readings; None is unknown.
    """
    short_of_energy = _short_of_energy(now, limits, around)
    hot = _hot(now, limits, around)
    known = [latch for latch in (short_of_energy, hot) if latch is not None]
    is_limited = limits.below_charge_ratio, limits.above_temperature_celsius
    if is_limited == (None, None):
        mode = PowerMode.NORMAL
    elif not known:
        mode = now.mode
    else:
        mode = PowerMode.LOW_POWER if any(known) else PowerMode.NORMAL
    return PowerState(mode, short_of_energy, hot)


def reason(state: PowerState, limits: LowPower, around: Surroundings) -> str:
    """Why the model stands there, in words for people."""
    causes = []
    if state.short_of_energy and limits.below_charge_ratio is not None:
        charge = "unknown" if around.charge_ratio is None else f"{around.charge_ratio:.0%}"
        causes.append(f"on battery at {charge}; the limit is {limits.below_charge_ratio:.0%}")
    if state.hot and limits.above_temperature_celsius is not None:
        heat = around.temperature_celsius
        degrees = "unknown" if heat is None else f"{heat:.1f} °C"
        causes.append(f"{degrees}; the limit is {limits.above_temperature_celsius:.1f} °C")
    return " and ".join(causes) or "energy and temperature allow it again"


def _short_of_energy(now: PowerState, limits: LowPower, around: Surroundings) -> bool | None:
    floor, charge = limits.below_charge_ratio, around.charge_ratio
    if floor is None:
        return None
    on_battery = _on_battery(around)
    if on_battery is False:
        return False
    if on_battery is None or charge is None:
        return now.short_of_energy
    if charge < floor:
        return True
    if charge >= min(floor + limits.charge_hysteresis_ratio, 1.0):
        return False
    return _held(now, now.short_of_energy)


def _hot(now: PowerState, limits: LowPower, around: Surroundings) -> bool | None:
    limit, temperature = limits.above_temperature_celsius, around.temperature_celsius
    if limit is None:
        return None
    if temperature is None:
        return now.hot
    if temperature > limit:
        return True
    if temperature <= limit - limits.temperature_hysteresis_celsius:
        return False
    return _held(now, now.hot)


def _held(now: PowerState, latch: bool | None) -> bool:
    """Within the band a latch stays; after a restart the mode says how it was."""
    return now.mode is PowerMode.LOW_POWER if latch is None else latch


def _on_battery(around: Surroundings) -> bool | None:
    if around.source is PowerSource.MAINS or around.charging:
        return False
    if around.source is PowerSource.BATTERY or around.charging is False:
        return True
    return None
