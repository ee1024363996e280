"""The power management chip of the Raspberry Pi 5, read with `vcgencmd pmic_read_adc`.

It measures what the board's rails take. What USB devices draw from the 5 V input, and what the
converters lose, is not in it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from fitment_runtime.energy.meter import Meter
from fitment_runtime.machine import command

_LINE: Final = re.compile(
    r"(?P<rail>[A-Z0-9_]{1,32})_(?P<kind>[AV])\s+(?:current|volt)\(\d{1,4}\)="
    r"(?P<value>\d{1,4}(?:\.\d{1,12})?)[AV]"
)


class Pmic:
    """The sum of all rails."""

    name = "pmic"
    cumulative = False
    interval_seconds = 0.2  # a reading is a command, which takes some milliseconds
    stretch_seconds = 20.0

    def __init__(self, root: Path) -> None:
        self._root = root
        self.channel = f"sum of {len(_rails(root))} rails"

    def read(self) -> float | None:
        """Watts now."""
        rails = _rails(self._root)
        return sum(rails.values()) if rails else None


def find_pmic(root: Path) -> Meter | None:
    """The chip of a Raspberry Pi 5; None on other machines."""
    meter = Pmic(root)
    return meter if meter.read() is not None else None


def _rails(root: Path) -> dict[str, float]:
    """Watts per rail whose current and voltage are both there."""
    read: dict[str, dict[str, float]] = {"A": {}, "V": {}}
    for found in _LINE.finditer(command(root, "vcgencmd", "pmic_read_adc") or ""):
        read[found["kind"]][found["rail"]] = float(found["value"])
    return {
        rail: amperes * read["V"][rail] for rail, amperes in read["A"].items() if rail in read["V"]
    }
