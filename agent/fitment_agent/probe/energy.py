"""What could measure energy here. Whether it is good enough is found out by measuring."""

from __future__ import annotations

from typing import Final

from fitment_agent.probe import android
from fitment_agent.probe.root import Root
from fitment_agent.probe.throttle import is_raspberry_pi

_FACT: Final = "power.energy_meter"
_I2C: Final = "sys/bus/i2c/devices"
_INA3221_OLD: Final = "sys/bus/i2c/drivers/ina3221x"
_RAPL: Final = "sys/class/powercap"
_SUPPLIES: Final = "sys/class/power_supply"


def energy_meter(root: Root) -> str | None:
    """The best meter there is: `ina3221`, `pmic`, `rapl` or `battery`."""
    for name, find in _METERS.items():
        source = find(root)
        if source is not None:
            root.found(_FACT, source)
            return name
    root.missing(_FACT, _why_none(root))
    return None


def _ina3221(root: Root) -> str | None:
    """On Jetsons: an ordinary sensor since JetPack 5, a driver of NVIDIA's own before."""
    for device in root.entries(_I2C):
        for sensor in root.entries(f"{_I2C}/{device}/hwmon"):
            folder = f"{_I2C}/{device}/hwmon/{sensor}"
            is_meter = root.read(f"{folder}/name") == "ina3221"
            if is_meter and root.read_int(f"{folder}/curr1_input") is not None:
                return f"/{folder}"
    for device in root.entries(_INA3221_OLD):
        folder = f"{_INA3221_OLD}/{device}/iio:device"
        for number in range(2):
            if root.read_int(f"{folder}{number}/in_power0_input") is not None:
                return f"/{folder}{number}"
    return None


def _pmic(root: Root) -> str | None:
    """The power controller of a Raspberry Pi 5 and its kin."""
    if not is_raspberry_pi(root):
        return None
    told = root.ask("vcgencmd", "pmic_read_adc") or ""
    return "vcgencmd pmic_read_adc" if "_A current(" in told and "_V volt(" in told else None


def _rapl(root: Root) -> str | None:
    for domain in root.entries(_RAPL):
        path = f"{_RAPL}/{domain}/energy_uj"
        if "-rapl:" in domain and root.read_int(path) is not None:
            return f"/{path}"
    return None


def _battery(root: Root) -> str | None:
    for name in root.entries(_SUPPLIES):
        folder = f"{_SUPPLIES}/{name}"
        if root.read(f"{folder}/type") != "Battery" or root.read(f"{folder}/scope") == "Device":
            continue
        if root.read_int(f"{folder}/energy_now") is not None:
            return f"/{folder}/energy_now"
        if root.read_int(f"{folder}/voltage_now") is not None:
            for gauge in ("charge_counter", "charge_now"):
                if root.read_int(f"{folder}/{gauge}") is not None:
                    return f"/{folder}/{gauge}, voltage_now"
    told = android.battery(root, _FACT)
    gauges = [android.number(told.get(key), 1, 1e12) for key in ("charge_counter", "voltage")]
    return None if None in gauges else "termux-battery-status"


def _why_none(root: Root) -> str:
    if any("-rapl:" in domain for domain in root.entries(_RAPL)):
        return f"/{_RAPL} may be read by root only"
    return "there is neither INA3221, PMIC, RAPL nor a battery's gauge"


_METERS: Final = {"ina3221": _ina3221, "pmic": _pmic, "rapl": _rapl, "battery": _battery}
