"""A battery that counts what leaves it. Only while it discharges: a charger hides the load.

Laptops and boards count in /sys/class/power_supply, in microwatt-hours or in microampere-hours,
which times the voltage is energy. Phones say the same through Termux:API.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

from fitment_runtime.energy.meter import Meter
from fitment_runtime.machine import command, number, text

_SUPPLIES: Final = "sys/class/power_supply/*"
_SECONDS_PER_HOUR: Final = 3600.0
_MOST: Final = 1 << 53

Counter: TypeAlias = Callable[[], tuple[float, float] | None]
"""Gives what is left, and the joules of one such unit."""


class Battery:
    """A counter of charge or energy.

    Voltage sags under load, so each step of a charge counter counts with the voltage of its moment:
    all the charge times the voltage now would call every sag a use of energy.

    Args:
        channel: the battery's name.
        counter: what is left in it and the joules of one such unit; None when it cannot be read,
            or while it is charged.
        interval_seconds: how often it is worth reading.
    """

    name = "battery"
    cumulative = True
    stretch_seconds = 120.0  # its counter moves every few seconds

    def __init__(self, channel: str, counter: Counter, interval_seconds: float) -> None:
        self.channel = channel
        self.interval_seconds = interval_seconds
        self._counter = counter
        self._left: float | None = None
        self._taken_joules = 0.0

    def read(self) -> float | None:
        """Joules taken since the first reading."""
        found = self._counter()
        if found is None:
            return None
        left, joules = found
        if self._left is not None:
            self._taken_joules += (self._left - left) * joules
        self._left = left
        return self._taken_joules


def find_battery(root: Path) -> Meter | None:
    """The first battery that discharges and counts; None where there is none."""
    for folder in sorted(root.glob(_SUPPLIES)):
        if text(folder / "type") == "Battery" and text(folder / "scope") != "Device":
            meter = Battery(folder.name, partial(_in_sysfs, folder), 0.5)
            if meter.read() is not None:
                return meter
    phone = Battery("termux", partial(_in_phone, root), 2.0)
    return phone if phone.read() is not None else None


def _in_sysfs(folder: Path) -> tuple[float, float] | None:
    if text(folder / "status") != "Discharging":
        return None
    microwatt_hours = number(folder / "energy_now")
    if microwatt_hours is not None:
        return microwatt_hours / 1e6, _SECONDS_PER_HOUR
    microampere_hours = number(folder / "charge_now") or number(folder / "charge_counter")
    microvolts = number(folder / "voltage_now")
    if microampere_hours is None or microvolts is None:
        return None
    return microampere_hours / 1e6, microvolts / 1e6 * _SECONDS_PER_HOUR


def _in_phone(root: Path) -> tuple[float, float] | None:
    said = _json(command(root, "termux-battery-status"))
    microampere_hours, millivolts = _count(said, "charge_counter"), _count(said, "voltage")
    if said.get("status") != "DISCHARGING" or microampere_hours is None or millivolts is None:
        return None
    return microampere_hours / 1e6, millivolts / 1e3 * _SECONDS_PER_HOUR


def _json(said: str | None) -> dict[str, Any]:
    try:
        found = json.loads(said or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _count(said: dict[str, Any], name: str) -> int | None:
    """A whole number above 0, as counters are; JSON may hold anything."""
    value = said.get(name)
    return value if type(value) is int and 0 < value < _MOST else None
