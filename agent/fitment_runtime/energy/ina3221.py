"""INA3221: the power monitor on NVIDIA Jetson boards, three rails each.

JetPack 5 and later show it as hwmon (millivolts and milliamperes per rail), JetPack 4 as an iio
device (milliwatts). `VDD_IN` or `POM_5V_IN` is the input of the whole module; boards without such a
rail are the sum of theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fitment_runtime.energy.meter import Meter
from fitment_runtime.machine import number, text

_WHOLE: Final = ("VDD_IN", "POM_5V_IN")
_UNUSED: Final = "NC"  # a channel that is not connected
_HWMON: Final = "sys/bus/i2c/devices/*/hwmon/hwmon*"
_IIO: Final = "sys/bus/i2c/drivers/ina3221x/*/iio:device*"
_CHANNELS: Final = range(1, 4)  # in7 of newer kernels is the sum of shunt voltages, not a rail


@dataclass(frozen=True)
class _Rail:
    label: str
    milliwatts: Callable[[], float | None]


class Ina3221:
    """One rail, or the sum of all."""

    name = "ina3221"
    cumulative = False
    interval_seconds = 0.1
    stretch_seconds = 20.0

    def __init__(self, rails: list[_Rail]) -> None:
        self._rails = rails
        self.channel = "+".join(rail.label for rail in rails)

    def read(self) -> float | None:
        """Watts now."""
        found = [rail.milliwatts() for rail in self._rails]
        known = [milliwatts for milliwatts in found if milliwatts is not None]
        return sum(known) / 1000.0 if known and len(known) == len(found) else None


def find_ina3221(root: Path) -> Meter | None:
    """The monitor of a Jetson; None on other machines."""
    rails = [*_hwmon_rails(root), *_iio_rails(root)]
    whole = [rail for name in _WHOLE for rail in rails if rail.label == name][:1]
    meter = Ina3221(whole or rails)
    return meter if meter.read() is not None else None


def _hwmon_rails(root: Path) -> list[_Rail]:
    rails = []
    for folder in sorted(root.glob(_HWMON)):
        if not (text(folder / "name") or "ina3221").startswith("ina3221"):
            continue
        for channel in _CHANNELS:
            label = text(folder / f"in{channel}_label")
            if label is not None and label != _UNUSED:
                rails.append(_Rail(label, _product(folder, channel)))
    return rails


def _product(folder: Path, channel: int) -> Callable[[], float | None]:
    def milliwatts() -> float | None:
        millivolts = number(folder / f"in{channel}_input")
        milliamperes = number(folder / f"curr{channel}_input")
        if millivolts is None or milliamperes is None:
            return None
        return millivolts * milliamperes / 1000.0

    return milliwatts


def _iio_rails(root: Path) -> list[_Rail]:
    rails = []
    for folder in sorted(root.glob(_IIO)):
        for channel in range(len(_CHANNELS)):
            label = text(folder / f"rail_name_{channel}")
            if label is not None and label != _UNUSED:
                rails.append(_Rail(label, _power_file(folder / f"in_power{channel}_input")))
    return rails


def _power_file(path: Path) -> Callable[[], float | None]:
    return lambda: number(path)
