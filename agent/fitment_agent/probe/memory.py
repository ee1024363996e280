"""Physical memory, from /proc/meminfo; psutil where there is no /proc."""

from __future__ import annotations

from fitment_agent.probe.cgroup import memory_limit_bytes
from fitment_agent.probe.root import Root
from fitment_contract.base import LARGEST

_FACT = "hardware.memory_bytes"


def total_bytes(root: Root) -> int | None:
    """Physical memory, or the limit of the control group when that is lower."""
    total = memory_bytes(root)
    limit = memory_limit_bytes(root)
    if total is None or limit is None or limit >= total:
        return total
    root.found(_FACT, "/sys/fs/cgroup, the limit of the control group")
    return limit


def memory_bytes(root: Root) -> int | None:
    """Physical memory of the machine."""
    total = _meminfo(root, "MemTotal")
    if total is not None:
        root.found(_FACT, "/proc/meminfo")
        return total
    total = _by_psutil(root, "total")
    if total is not None:
        root.found(_FACT, "psutil")
    else:
        root.missing(_FACT, "/proc/meminfo does not tell")
    return total


def available_bytes(root: Root) -> int | None:
    """What new programs can have without swapping."""
    available = _meminfo(root, "MemAvailable")
    return _by_psutil(root, "available") if available is None else available


def _meminfo(root: Root, key: str) -> int | None:
    for line in (root.read("proc/meminfo") or "").splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if name == key and words and words[0].isascii() and words[0].isdecimal():
            return int(words[0]) * 1024 if len(words[0]) < 13 else None
    return None


def _by_psutil(root: Root, key: str) -> int | None:
    if not root.is_this_machine:
        return None
    try:
        import psutil

        value = int(getattr(psutil.virtual_memory(), key))
    except Exception:  # noqa: BLE001 - psutil raises anything on systems that it half knows
        return None
    return value if 0 <= value <= LARGEST else None
