"""Heat, from /sys/class/thermal, and what the Raspberry Pi firmware says about throttling."""

from __future__ import annotations

from fitment_agent.probe.root import Root
from fitment_contract.device import Thermal

_FOLDER = "sys/class/thermal"
_PI_THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"
_NOW_BITS = 0b1111  # under-voltage, frequency capped, throttled, soft temperature limit
_PLAUSIBLE_CELSIUS = range(-60, 200)


def probe_thermal(root: Root) -> Thermal:
    """The hottest zone, and whether the device slows itself down now."""
    zones = [name for name in root.entries(_FOLDER) if name.startswith("thermal_zone")]
    millidegrees = [root.read_int(f"{_FOLDER}/{zone}/temp") for zone in zones]
    celsius = [value / 1000 for value in millidegrees if value is not None]
    plausible = [value for value in celsius if int(value) in _PLAUSIBLE_CELSIUS]
    if not plausible:
        root.missing("thermal.temperature_celsius", f"/{_FOLDER} has no readable zone")
    bits = root.read_int(_PI_THROTTLED, base=16)
    if bits is None:
        root.missing("thermal.throttled", "the firmware does not tell")
    return Thermal(
        temperature_celsius=max(plausible) if plausible else None,
        throttled=None if bits is None else bool(bits & _NOW_BITS),
    )
