"""Heat, by the kernel's zones, else by the sensors of the processor, else of the battery."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fitment_agent.probe import android
from fitment_agent.probe.root import Root, clean
from fitment_agent.probe.throttle import probe_throttle
from fitment_contract.device import Thermal

_ZONES: Final = "sys/class/thermal"
_SENSORS: Final = "sys/class/hwmon"
_OF_PROCESSORS: Final = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
_MAX_ZONES: Final = 64
_CONSTANT: Final = (100.0, "PMIC-Die")  # older Jetsons have no sensor there and always say 100 °C
_COLDEST_CELSIUS: Final = -60.0  # zones that are switched off say -256 °C or -273 °C
_HOTTEST_CELSIUS: Final = 200.0
_FACTS: Final = ("thermal.temperature_celsius", "thermal.zones")


@dataclass(frozen=True)
class _Place:
    """A temperature, and the file that names what it is of; names are read when wanted only."""

    celsius: float
    named_by: str | None
    name: str


def probe_thermal(root: Root) -> Thermal:
    """All zones by name, the hottest, and whether the device slows itself down."""
    places = _places(root)
    zones: dict[str, float] = {}
    for place in places[:_MAX_ZONES]:
        name = clean(root.read(place.named_by)) if place.named_by else None
        zones[_unused(name or place.name, zones)] = place.celsius
    throttle = probe_throttle(root)
    return Thermal(
        temperature_celsius=_hottest(places),
        zones=zones,
        throttled=throttle.now,
        throttle_reasons=throttle.reasons,
        throttled_since_boot=throttle.since_boot,
    )


def hottest_celsius(root: Root) -> float | None:
    """The temperature of the hottest zone."""
    return _hottest(_places(root))


def _hottest(places: list[_Place]) -> float | None:
    return max((place.celsius for place in places), default=None)


def _places(root: Root) -> list[_Place]:
    if places := _zones(root):
        source = f"/{_ZONES}/thermal_zone*/temp"
    elif places := _sensors(root):
        source = f"/{_SENSORS}/hwmon*/temp*_input"
    elif places := _battery(root):
        source = "termux-battery-status"
    for fact in _FACTS:
        if places:
            root.found(fact, source)
        else:
            root.missing(fact, f"/{_ZONES} has no readable zone")
    return places


def _zones(root: Root) -> list[_Place]:
    places = []
    for name in root.entries(_ZONES):
        if name.startswith("thermal_zone"):
            folder = f"{_ZONES}/{name}"
            celsius = _celsius(root.read_int(f"{folder}/temp"))
            if celsius is None or (
                celsius == _CONSTANT[0] and root.read(f"{folder}/type") == _CONSTANT[1]
            ):
                continue
            places.append(_Place(celsius, f"{folder}/type", name))
    return places


def _sensors(root: Root) -> list[_Place]:
    places = []
    for chip in root.entries(_SENSORS):
        name = root.read(f"{_SENSORS}/{chip}/name")
        if name not in _OF_PROCESSORS:
            continue
        for file in root.entries(f"{_SENSORS}/{chip}"):
            if file.startswith("temp") and file.endswith("_input"):
                celsius = _celsius(root.read_int(f"{_SENSORS}/{chip}/{file}"))
                label = f"{_SENSORS}/{chip}/{file.removesuffix('_input')}_label"
                if celsius is not None:
                    places.append(_Place(celsius, label, name))
    return places


def _battery(root: Root) -> list[_Place]:
    """On a phone that hides its zones; the battery is what a person would feel."""
    told = android.battery(root, "thermal.zones").get("temperature")
    celsius = android.number(told, _COLDEST_CELSIUS, _HOTTEST_CELSIUS)
    return [] if celsius is None else [_Place(round(celsius, 3), None, "battery")]


def _celsius(millidegrees: int | None) -> float | None:
    if millidegrees is None:
        return None
    celsius = millidegrees / 1000
    return celsius if _COLDEST_CELSIUS <= celsius <= _HOTTEST_CELSIUS else None


def _unused(name: str, zones: dict[str, float]) -> str:
    """The name; numbered when another zone has it already."""
    number, unused = 1, name
    while unused in zones:
        number += 1
        unused = f"{name}-{number}"
    return unused
