"""Battery and mains, from /sys/class/power_supply, Termux:API, or psutil where there is no /sys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fitment_agent.probe import android
from fitment_agent.probe.root import Root
from fitment_contract.device import Power, PowerSource

_FOLDER: Final = "sys/class/power_supply"
_ON_CHARGER: Final = {"Charging": True, "Full": True, "Not charging": True, "Discharging": False}
_ON_CHARGER_TERMUX: Final = {
    "CHARGING": True,
    "FULL": True,
    "NOT_CHARGING": True,
    "DISCHARGING": False,
}
_STORED: Final = (("energy_now", "energy_full"), ("charge_now", "charge_full"))
_NO_BATTERY: Final = "there is no battery"
_FACTS: Final = ("power.source", "power.charge_ratio", "power.charging")


def probe_power(root: Root) -> Power:
    """What feeds the device, and how full its batteries are."""
    return _by_supplies(root) or _by_termux(root) or _by_psutil(root) or _by_nobody(root)


def _by_supplies(root: Root) -> Power | None:
    """From what the kernel lists; None when it lists nothing that feeds the device."""
    kinds: dict[str, str] = {}
    for name in root.entries(_FOLDER):
        folder = f"{_FOLDER}/{name}"
        kind = root.read(f"{folder}/type")
        if kind and root.read(f"{folder}/scope") != "Device":  # that is a mouse's
            kinds[folder] = kind
    batteries = [
        folder
        for folder, kind in kinds.items()
        if kind in ("Battery", "UPS") and root.read_int(f"{folder}/present") != 0
    ]
    feeding = [
        folder for folder in kinds.keys() - set(batteries) if root.read(f"{folder}/online") == "1"
    ]
    if batteries:
        return _of_batteries(root, batteries, bool(feeding))
    if not feeding:
        return None
    return _noted(root, Power(source=PowerSource.MAINS), f"/{feeding[0]}/online")


def _of_batteries(root: Root, batteries: list[str], is_fed: bool) -> Power:
    """All together: one that discharges while the others wait still carries the device."""
    states = [_ON_CHARGER.get(root.read(f"{folder}/status") or "") for folder in batteries]
    charging = False if False in states else (True if True in states else None)
    source = PowerSource.MAINS if is_fed else _source_when(charging)
    charge = _stored_ratio(root, batteries)
    power = Power(source=source, charge_ratio=charge, charging=charging)
    return _noted(root, power, ", ".join(f"/{folder}" for folder in batteries))


def _source_when(charging: bool | None) -> PowerSource:
    known = {True: PowerSource.MAINS, False: PowerSource.BATTERY, None: PowerSource.UNKNOWN}
    return known[charging]


def _stored_ratio(root: Root, batteries: list[str]) -> float | None:
    """What is stored over what can be; of one battery, what its gauge says."""
    gauges = [root.read_int(f"{folder}/capacity") for folder in batteries]
    if len(batteries) > 1:
        for now, full in _STORED:
            pairs = [
                (root.read_int(f"{folder}/{now}"), root.read_int(f"{folder}/{full}"))
                for folder in batteries
            ]
            stored = [one for one, most in pairs if one is not None and most]
            most = [most for one, most in pairs if one is not None and most]
            if len(stored) == len(batteries) and sum(most) > 0:
                return _ratio(sum(stored) / sum(most))
    known = [gauge for gauge in gauges if gauge is not None]
    return _ratio(sum(known) / len(known) / 100) if known else None


def _by_termux(root: Root) -> Power | None:
    told = android.battery(root, "power.source")
    plugged, percentage = told.get("plugged"), _percentage(told)
    if not told or told.get("present") is False:
        return None
    charging = _ON_CHARGER_TERMUX.get(str(told.get("status")))
    if isinstance(plugged, str) and plugged.startswith("PLUGGED_"):
        source = PowerSource.MAINS
    elif plugged == "UNPLUGGED":
        source, charging = PowerSource.BATTERY, False
    else:
        source = _source_when(charging)
    power = Power(source=source, charge_ratio=percentage, charging=charging)
    return None if power == Power() else _noted(root, power, "termux-battery-status")


def _percentage(told: Mapping[str, Any]) -> float | None:
    percentage = android.number(told.get("percentage"), 0, 100)
    if percentage is not None:
        return _ratio(percentage / 100)
    level = android.number(told.get("level"), 0, 1e6)
    scale = android.number(told.get("scale"), 1, 1e6)
    return _ratio(level / scale) if level is not None and scale is not None else None


def _by_psutil(root: Root) -> Power | None:
    if not root.is_this_machine or root.exists("sys/class"):
        return None
    try:
        import psutil

        battery = psutil.sensors_battery()
        if battery is None:
            return None
        plugged = battery.power_plugged
        power = Power(
            source=_source_when(plugged),
            charge_ratio=_ratio(battery.percent / 100),
            charging=plugged,
        )
    except Exception:  # noqa: BLE001 - psutil raises anything on systems that it half knows
        return None
    return _noted(root, power, "psutil")


def _by_nobody(root: Root) -> Power:
    told = root.unknown.get("power.source")
    reason = f"/{_FOLDER} lists no supply" + (f"; {told}" if told else "")
    for fact in _FACTS:
        root.missing(fact, reason)
    return Power()


def _noted(root: Root, power: Power, source: str) -> Power:
    is_known = (power.source is not PowerSource.UNKNOWN, power.charge_ratio, power.charging)
    for fact, known in zip(_FACTS, is_known, strict=True):
        if known is None or (fact == "power.source" and not known):
            has_battery = power.charge_ratio is not None or power.charging is not None
            root.missing(fact, f"{source} does not tell" if has_battery else _NO_BATTERY)
        else:
            root.found(fact, source)
    return power


def _ratio(value: float) -> float:
    return round(min(max(value, 0.0), 1.0), 4)
