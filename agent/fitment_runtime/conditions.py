"""The state of the machine around a measurement. What cannot be read is None, never an error.

Everything is read under a root prefix, so that tests bring their own machine.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fitment_contract.benchmark import Conditions
from fitment_contract.device import PowerSource

# CPU features by which runtimes choose their kernels, in the kernel's spelling: vector widths,
# integer dot products, matrix units, half precision.
ISA_FEATURES: Final = frozenset(
    {
        *("sse4_1", "sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx_vnni_int8"),
        *("avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
        *("amx_tile", "amx_int8", "amx_bf16"),
        *("neon", "vfpv4", "asimd", "asimdhp", "asimddp", "asimdfhm", "fphp"),
        *("i8mm", "bf16", "sve", "sve2", "sme"),
    }
)
_THROTTLED_NOW: Final = 0xF  # bits 0 to 3 of the Raspberry Pi firmware's get_throttled
_ROOT: Final = Path("/")


@dataclass(frozen=True)
class Snapshot:
    """What may change while a measurement runs.

    Attributes:
        throttled_now: the firmware says that it slows the CPU down.
        throttle_events: how often the CPU has throttled since boot.
    """

    temperature_celsius: float | None
    throttled_now: bool | None
    throttle_events: int | None
    power_source: PowerSource


def snapshot(root: Path = _ROOT) -> Snapshot:
    """The machine now."""
    return Snapshot(
        temperature_celsius=_temperature(root),
        throttled_now=_throttled_now(root),
        throttle_events=_throttle_events(root),
        power_source=_power_source(root),
    )


def conditions_between(
    start: Snapshot, end: Snapshot, threads: int, root: Path = _ROOT
) -> Conditions:
    """The conditions of what was measured from `start` to `end`."""
    return Conditions(
        architecture=platform.machine() or None,
        isa=isa_features(root),
        governor=_text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        threads=threads,
        temperature_start_celsius=start.temperature_celsius,
        temperature_end_celsius=end.temperature_celsius,
        throttled=_throttled_between(start, end),
        power_source=end.power_source,
    )


def invalid_reason(start: Snapshot, end: Snapshot) -> str | None:
    """Why what was measured from `start` to `end` proves nothing; None when it does."""
    if _throttled_between(start, end):
        return "the CPU was throttled during the measurement: repeat it when it has cooled down"
    if start.power_source is not end.power_source:
        return (
            f"the power source changed from {start.power_source.value} to "
            f"{end.power_source.value} during the measurement: repeat it"
        )
    return None


def isa_features(root: Path = _ROOT) -> tuple[str, ...]:
    """The CPU features among `ISA_FEATURES`, sorted; empty where the system does not tell."""
    for line in (_text(root / "proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return tuple(sorted(ISA_FEATURES.intersection(value.split())))
    return ()


def _throttled_between(start: Snapshot, end: Snapshot) -> bool | None:
    signs = [start.throttled_now, end.throttled_now]
    if start.throttle_events is not None and end.throttle_events is not None:
        signs.append(end.throttle_events > start.throttle_events)
    known = [sign for sign in signs if sign is not None]
    return any(known) if known else None


def _temperature(root: Path) -> float | None:
    """The hottest thermal zone."""
    readings = []
    for zone in sorted(root.glob("sys/class/thermal/thermal_zone*/temp")):
        millidegrees = _number(zone)
        if millidegrees is not None:
            readings.append(millidegrees / 1000.0)
    return max(readings, default=None)


def _throttled_now(root: Path) -> bool | None:
    text = _text(root / "sys/devices/platform/soc/soc:firmware/get_throttled")
    try:
        return bool(int(text, 16) & _THROTTLED_NOW) if text is not None else None
    except ValueError:
        return None


def _throttle_events(root: Path) -> int | None:
    counts = [
        count
        for path in root.glob(
            "sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count"
        )
        if (count := _number(path)) is not None
    ]
    return sum(counts) if counts else None


def _power_source(root: Path) -> PowerSource:
    """Mains when a mains supply is online; battery when a system battery discharges."""
    discharging = False
    for supply in sorted(root.glob("sys/class/power_supply/*")):
        kind = _text(supply / "type")
        if kind in ("Mains", "USB") and _text(supply / "online") == "1":
            return PowerSource.MAINS
        if kind == "Battery" and _text(supply / "scope") != "Device":
            discharging = discharging or _text(supply / "status") == "Discharging"
    return PowerSource.BATTERY if discharging else PowerSource.UNKNOWN


def _number(path: Path) -> int | None:
    text = _text(path)
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip() or None
    except OSError:
        return None
