"""Whether the device slows itself down, and why, from whatever tells it here.

On a Raspberry Pi the firmware does, in a word of bits. Elsewhere a kernel that limits clocks
because of heat shows it as the state of a cooling device, and some processors count it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from fitment_agent.probe.root import Root
from fitment_contract.device import ThrottleReason

_PLATFORM: Final = "sys/devices/platform"
_THERMAL: Final = "sys/class/thermal"
_CPUS: Final = "sys/devices/system/cpu"
_HWMON: Final = "sys/class/hwmon"
_WORD: Final = re.compile(r"throttled=0x(?P<bits>[0-9a-fA-F]{1,8})\b")
# Bits 0 to 3 say what is so now, the same 16 places higher what has ever been since the start.
_BITS: Final = (
    ThrottleReason.UNDER_VOLTAGE,
    ThrottleReason.FREQUENCY_CAPPED,
    ThrottleReason.THROTTLED,
    ThrottleReason.SOFT_TEMPERATURE_LIMIT,
)
_EVER_SHIFT: Final = 16
_CLOCK_LIMITERS: Final = ("thermal-cpufreq-", "cpufreq-", "Processor")
_REASONS: Final = "thermal.throttle_reasons"


@dataclass(frozen=True)
class Throttle:
    """Whether and why; None is unknown."""

    now: bool | None = None
    reasons: tuple[ThrottleReason, ...] = ()
    since_boot: tuple[ThrottleReason, ...] | None = None


def is_throttled(root: Root) -> bool | None:
    """Whether the device slows itself down now."""
    found = _now(root)
    return None if found is None else found.now


def probe_throttle(root: Root) -> Throttle:
    """What the device says about slowing itself down."""
    found = _now(root)
    if found is None:
        found = Throttle()
        for fact in ("thermal.throttled", _REASONS):
            root.missing(fact, _reason(root))
    if found.since_boot is None:
        found = Throttle(found.now, found.reasons, _counted(root))
    return found


def _now(root: Root) -> Throttle | None:
    return _by_firmware(root) or _by_supply_alarm(root) or _by_cooling(root)


def is_raspberry_pi(root: Root) -> bool:
    """Whether there is a Raspberry Pi's firmware to ask."""
    compatible = root.read("sys/firmware/devicetree/base/compatible") or ""
    return compatible.startswith("raspberrypi,")


def _by_firmware(root: Root) -> Throttle | None:
    """From the kernel's file where it has one, which costs less than the command."""
    for soc in root.entries(_PLATFORM):
        if soc.startswith("soc"):
            path = f"{_PLATFORM}/{soc}/{soc}:firmware/get_throttled"
            bits = root.read_int(path, base=16)
            if bits is not None:
                return _noted(root, _of_bits(bits), f"/{path}")
    if not is_raspberry_pi(root):
        return None
    told = _WORD.search(root.ask("vcgencmd", "get_throttled", fact=_REASONS) or "")
    if told is None:
        return None
    return _noted(root, _of_bits(int(told["bits"], 16)), "vcgencmd get_throttled")


def _of_bits(bits: int) -> Throttle:
    now = _reasons(bits)
    return Throttle(bool(now), now, _reasons(bits >> _EVER_SHIFT))


def _reasons(bits: int) -> tuple[ThrottleReason, ...]:
    return tuple(reason for place, reason in enumerate(_BITS) if bits >> place & 1)


def _by_supply_alarm(root: Root) -> Throttle | None:
    """The kernel's own watch on a Raspberry Pi's supply; it says nothing about heat."""
    if not is_raspberry_pi(root):
        return None
    for name in root.entries(_HWMON):
        if root.read(f"{_HWMON}/{name}/name") == "rpi_volt":
            path = f"{_HWMON}/{name}/in0_lcrit_alarm"
            if root.read_int(path) == 1:
                return _noted(root, Throttle(True, (ThrottleReason.UNDER_VOLTAGE,)), f"/{path}")
    return None


def _by_cooling(root: Root) -> Throttle | None:
    states = []
    for name in root.entries(_THERMAL):
        if not name.startswith("cooling_device"):
            continue
        if (root.read(f"{_THERMAL}/{name}/type") or "").startswith(_CLOCK_LIMITERS):
            states.append(root.read_int(f"{_THERMAL}/{name}/cur_state"))
    known = [state for state in states if state is not None]
    if not known:
        return None
    now = any(state > 0 for state in known)
    reasons = (ThrottleReason.THROTTLED,) if now else ()
    return _noted(root, Throttle(now, reasons), f"/{_THERMAL}/cooling_device*/cur_state")


def _counted(root: Root) -> tuple[ThrottleReason, ...] | None:
    """From counters of heat (x86) and of over-current (Jetson)."""
    cores = [name for name in root.entries(_CPUS) if re.fullmatch(r"cpu[0-9]+", name)]
    paths = [f"{_CPUS}/{core}/thermal_throttle/core_throttle_count" for core in cores]
    for name in root.entries(_HWMON):
        if (root.read(f"{_HWMON}/{name}/name") or "").startswith("soctherm"):
            paths += [f"{_HWMON}/{name}/oc{number}_event_cnt" for number in (1, 2, 3)]
    counts = [count for path in paths if (count := root.read_int(path)) is not None]
    fact = "thermal.throttled_since_boot"
    if not counts:
        root.missing(fact, "nothing here counts it")
        return None
    root.found(fact, "counters of the processor and the supply")
    return (ThrottleReason.THROTTLED,) if any(counts) else ()


def _noted(root: Root, found: Throttle, source: str) -> Throttle:
    root.found("thermal.throttled", source)
    root.found(_REASONS, source)
    if found.since_boot is not None:
        root.found("thermal.throttled_since_boot", source)
    return found


def _reason(root: Root) -> str:
    asked = root.unknown.get(_REASONS)
    return f"the kernel does not tell, and {asked}" if asked else "neither firmware nor kernel tell"
