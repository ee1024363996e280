"""Processor time that the kernel withholds from this process's control group by quota."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from fitment_runtime.machine import ROOT, text, whole_number

# Mount points of the version that counts; a machine may have several, and each counts its own. One
# may be a link to another, as `cpu` is to `cpu,cpuacct`.
_UNIFIED: Final = ("sys/fs/cgroup", "sys/fs/cgroup/unified")
_FIRST: Final = ("sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct")
_UNITS: Final = {"throttled_usec": 1e-6, "throttled_time": 1e-9}
_MAX_COUNT: Final = 1 << 64


def withheld_seconds(root: Path = ROOT) -> float | None:
    """How long quotas have held this process's group, or one above it, back since they exist.

    The kernel counts every processor of the group, so this may grow faster than the clock.
    None where no group counts.
    """
    found = [
        seconds
        for folder in dict.fromkeys(_real(folder) for folder in _groups(root))
        if (seconds := _throttled_seconds(folder / "cpu.stat")) is not None
    ]
    return sum(found) if found else None


def _groups(root: Path) -> Iterator[Path]:
    """The folders of this process's groups and of all groups above them."""
    for line in (text(root / "proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        mounts = _FIRST if "cpu" in controllers.split(",") else _UNIFIED if not controllers else ()
        # A path out of this namespace begins with `..`: its groups cannot be seen from here.
        parts = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
        for mount in mounts:
            for depth in range(len(parts) + 1):
                yield (root / mount).joinpath(*parts[:depth])


def _real(folder: Path) -> Path:
    try:
        return folder.resolve()
    except (OSError, ValueError):  # no path at all
        return folder


def _throttled_seconds(path: Path) -> float | None:
    for line in (text(path) or "").splitlines():
        name, _, value = line.partition(" ")
        counted = whole_number(value)
        if name in _UNITS and counted is not None and 0 <= counted < _MAX_COUNT:
            return counted * _UNITS[name]
    return None
