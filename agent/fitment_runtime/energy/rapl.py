"""RAPL: the energy counters of x86 processors, one per package. Reading them takes root.

Source: the kernel's documentation of the power capping framework
(Documentation/power/powercap/powercap.rst).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fitment_runtime.energy.meter import Meter
from fitment_runtime.machine import number, text

_ZONES: Final = "sys/class/powercap/*-rapl:*"


@dataclass
class _Package:
    """One counter, which starts again at 0 beyond its range."""

    path: Path
    range_microjoules: int
    last_microjoules: int
    total_microjoules: int = 0

    def advance(self) -> int | None:
        now = number(self.path / "energy_uj")
        if now is None:
            return None
        step = now - self.last_microjoules
        self.total_microjoules += step if step >= 0 else step + self.range_microjoules
        self.last_microjoules = now
        return self.total_microjoules


class Rapl:
    """All packages together."""

    name = "rapl"
    cumulative = True
    interval_seconds = 0.1
    stretch_seconds = 10.0

    def __init__(self, packages: dict[str, _Package]) -> None:
        self._packages = list(packages.values())
        self.channel = "+".join(packages)

    def read(self) -> float | None:
        """Joules since the first reading."""
        found = [package.advance() for package in self._packages]
        known = [microjoules for microjoules in found if microjoules is not None]
        return sum(known) / 1e6 if known and len(known) == len(found) else None


def find_rapl(root: Path) -> Meter | None:
    """The counters of this machine's packages; None where they cannot be read."""
    packages: dict[str, _Package] = {}
    for folder in sorted(root.glob(_ZONES)):
        name = text(folder / "name") or ""
        limit, now = number(folder / "max_energy_range_uj"), number(folder / "energy_uj")
        if name.startswith("package") and limit is not None and now is not None:
            packages.setdefault(name, _Package(folder, limit, now))
    return Rapl(packages) if packages else None
