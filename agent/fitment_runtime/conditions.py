"""The state of the machine around a measurement. What cannot be read is None, never an error.

Everything is read under a root prefix, so that tests bring their own machine.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fitment_contract.benchmark import Conditions
from fitment_contract.device import PowerSource, ThrottleReason
from fitment_runtime.cgroup import withheld_seconds
from fitment_runtime.isa import isa_of_cpuinfo
from fitment_runtime.machine import ROOT, command, number, text, whole_number

_FIRMWARE: Final = "sys/devices/platform/soc*/soc*:firmware/get_throttled"
_FIRMWARE_BITS: Final = {
    0: ThrottleReason.UNDER_VOLTAGE,
    1: ThrottleReason.FREQUENCY_CAPPED,
    2: ThrottleReason.THROTTLED,
    3: ThrottleReason.SOFT_TEMPERATURE_LIMIT,
}
_EVER: Final = 16  # the same bits, this much higher: has happened since the start
_MAX_CORES: Final = 4096
_CORE_FIELD: Final = 36  # of stat, after the name and its brackets: the core last run on
_CPU: Final = "sys/devices/system/cpu"


@dataclass(frozen=True)
class Snapshot:
    """What may change while a measurement runs.

    Attributes:
        firmware_throttling: the Raspberry Pi firmware's word: why it slows the CPU down now, and
            why it ever did since the start.
        throttle_events: how often the CPU has throttled since boot, as x86 counts it.
        cooling_state: how far the kernel holds clocks back against heat; 0 for not at all.
        affinity: cores that this thread may run on.
        core: the one it ran on last.
        governors: the kernel's policy for clocks, by core of `affinity`.
        withheld_seconds: how long CPU quotas have held this process back so far.
    """

    temperature_celsius: float | None = None
    firmware_throttling: int | None = None
    throttle_events: int | None = None
    cooling_state: int | None = None
    power_source: PowerSource = PowerSource.UNKNOWN
    affinity: tuple[int, ...] = ()
    core: int | None = None
    governors: Mapping[int, str] = field(default_factory=dict)
    withheld_seconds: float | None = None


def snapshot(root: Path = ROOT) -> Snapshot:
    """The machine now."""
    affinity = _affinity(root)
    return Snapshot(
        temperature_celsius=_temperature(root),
        firmware_throttling=_firmware_throttling(root),
        throttle_events=_throttle_events(root),
        cooling_state=_cooling_state(root),
        power_source=_power_source(root),
        affinity=affinity,
        core=_core(root),
        governors=_governors(root, affinity or (0,)),
        withheld_seconds=withheld_seconds(root),
    )


def conditions_between(
    start: Snapshot,
    end: Snapshot,
    threads: int,
    root: Path = ROOT,
    cpu_share: float | None = None,
) -> Conditions:
    """The conditions of what was measured from `start` to `end`."""
    throttling = throttling_between(start, end)
    governors = end.governors
    return Conditions(
        architecture=platform.machine() or None,
        isa=isa_features(root),
        governor=governors.get(end.core or 0) or next(iter(governors.values()), None),
        threads=threads,
        affinity=end.affinity,
        cpu_share=cpu_share,
        temperature_start_celsius=start.temperature_celsius,
        temperature_end_celsius=end.temperature_celsius,
        throttled=None if throttling is None else bool(throttling),
        power_source=end.power_source,
    )


def throttling_between(start: Snapshot, end: Snapshot) -> tuple[ThrottleReason, ...] | None:
    """Why the machine slowed itself down from `start` to `end`; None where nothing tells.

    Empty when it did not. What the firmware remembers covers what came and went in between.
    """
    found: list[ThrottleReason] | None = None
    if start.firmware_throttling is not None and end.firmware_throttling is not None:
        now = start.firmware_throttling | end.firmware_throttling
        new = (end.firmware_throttling & ~start.firmware_throttling) >> _EVER
        found = [reason for bit, reason in _FIRMWARE_BITS.items() if (now | new) >> bit & 1]
    if start.throttle_events is not None and end.throttle_events is not None:
        hot = end.throttle_events > start.throttle_events
        found = [*(found or ()), *([ThrottleReason.THROTTLED] if hot else [])]
    if start.cooling_state is not None and end.cooling_state is not None:
        hot = start.cooling_state > 0 or end.cooling_state > 0
        found = [*(found or ()), *([ThrottleReason.SOFT_TEMPERATURE_LIMIT] if hot else [])]
    return None if found is None else tuple(dict.fromkeys(found))


_CONSTANT: Final = ("PMIC-Die", 100_000)  # older Jetsons have no sensor there


def throttled_now(now: Snapshot) -> bool:
    """Whether the machine says that it slows itself down at this moment."""
    firmware = (now.firmware_throttling or 0) & ((1 << len(_FIRMWARE_BITS)) - 1)
    return firmware > 0 or (now.cooling_state or 0) > 0


def isa_features(root: Path = ROOT) -> tuple[str, ...]:
    """The CPU's deciding features, sorted; empty where the system does not tell."""
    return isa_of_cpuinfo(text(root / "proc/cpuinfo") or "")


def _temperature(root: Path) -> float | None:
    """The hottest thermal zone."""
    readings = []
    for zone in sorted(root.glob("sys/class/thermal/thermal_zone*/temp")):
        millidegrees = number(zone)
        if (text(zone.with_name("type")), millidegrees) == _CONSTANT:
            continue
        if millidegrees is not None and -60_000 <= millidegrees < 200_000:
            readings.append(millidegrees / 1000.0)
    return max(readings, default=None)


def _firmware_throttling(root: Path) -> int | None:
    for path in sorted(root.glob(_FIRMWARE)):
        if (word := whole_number(text(path), 16)) is not None:
            return word
    said = command(root, "vcgencmd", "get_throttled") or ""
    found = re.fullmatch(r"throttled=(0x[0-9a-fA-F]{1,8})", said)
    return int(found[1], 16) if found else None


def _throttle_events(root: Path) -> int | None:
    counts = [
        count
        for path in root.glob(f"{_CPU}/cpu[0-9]*/thermal_throttle/core_throttle_count")
        if (count := number(path)) is not None
    ]
    return sum(counts) if counts else None


def _cooling_state(root: Path) -> int | None:
    """The highest step that the kernel has taken to cool the CPU by its clock."""
    steps = [
        step
        for path in root.glob("sys/class/thermal/cooling_device*/type")
        if "cpufreq" in (text(path) or "")
        and (step := number(path.parent / "cur_state")) is not None
    ]
    return max(steps, default=None)


def _power_source(root: Path) -> PowerSource:
    """Mains when a supply is online or the battery charges; battery when it discharges."""
    states = []
    for supply in sorted(root.glob("sys/class/power_supply/*")):
        kind = text(supply / "type")
        if text(supply / "scope") == "Device":  # the battery of a mouse
            continue
        if kind == "Battery":
            states.append(text(supply / "status"))
        elif kind is not None and text(supply / "online") == "1":
            return PowerSource.MAINS
    if "Discharging" in states:
        return PowerSource.BATTERY
    charged = {"Charging", "Full", "Not charging"}.intersection(states)
    return PowerSource.MAINS if charged else PowerSource.UNKNOWN


def _affinity(root: Path) -> tuple[int, ...]:
    for line in (text(root / "proc/thread-self/status") or "").splitlines():
        name, _, value = line.partition(":")
        if name == "Cpus_allowed_list":
            return tuple(_cores(value))
    return ()


def _cores(listed: str) -> Iterator[int]:
    """The numbers in a list such as `0-3,6`."""
    for part in listed.strip().split(","):
        first, _, last = part.partition("-")
        start, end = whole_number(first), whole_number(last or first)
        if start is not None and end is not None and 0 <= start <= end < _MAX_CORES:
            yield from range(start, end + 1)


def _core(root: Path) -> int | None:
    _, _, rest = (text(root / "proc/thread-self/stat") or "").rpartition(")")
    fields = rest.split()
    return whole_number(fields[_CORE_FIELD]) if len(fields) > _CORE_FIELD else None


def _governors(root: Path, affinity: tuple[int, ...]) -> dict[int, str]:
    found = ((core, text(root / f"{_CPU}/cpu{core}/cpufreq/scaling_governor")) for core in affinity)
    return {core: governor for core, governor in found if governor is not None}
