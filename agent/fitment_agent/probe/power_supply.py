"""Battery and mains, from /sys/class/power_supply; psutil where there is no /sys."""

from __future__ import annotations

from fitment_agent.probe.root import Root
from fitment_contract.device import Power, PowerSource

_FOLDER = "sys/class/power_supply"
_ON_CHARGER = {"Charging": True, "Full": True, "Not charging": True, "Discharging": False}


def probe_power(root: Root) -> Power:
    """What feeds the device, and how full its battery is."""
    supplies = [f"{_FOLDER}/{name}" for name in root.entries(_FOLDER)]
    own = [path for path in supplies if root.read(f"{path}/scope") != "Device"]  # not a mouse's
    batteries = [path for path in own if root.read(f"{path}/type") == "Battery"]
    if batteries:
        return _battery(root, batteries[0])
    if any(root.read(f"{path}/online") == "1" for path in own):
        return Power(source=PowerSource.MAINS)
    power = _by_psutil(root)
    if power.source is PowerSource.UNKNOWN:
        root.missing("power.source", f"/{_FOLDER} lists no supply")
    return power


def _battery(root: Root, path: str) -> Power:
    percent = root.read_int(f"{path}/capacity")
    charging = _ON_CHARGER.get(root.read(f"{path}/status") or "")
    source = {True: PowerSource.MAINS, False: PowerSource.BATTERY, None: PowerSource.UNKNOWN}
    if percent is None:
        root.missing("power.charge_ratio", f"/{path}/capacity cannot be read")
    return Power(
        source=source[charging],
        charge_ratio=None if percent is None else min(max(percent, 0), 100) / 100,
        charging=charging,
    )


def _by_psutil(root: Root) -> Power:
    if not root.is_this_machine or root.exists("sys/class"):
        return Power()
    try:
        import psutil

        battery = psutil.sensors_battery()
    except Exception:  # noqa: BLE001 - psutil raises anything on systems that it half knows
        return Power()
    if battery is None:
        return Power()
    plugged = battery.power_plugged
    return Power(
        source=PowerSource.MAINS if plugged else PowerSource.BATTERY,
        charge_ratio=min(max(battery.percent, 0.0), 100.0) / 100,
        charging=plugged,
    )
