"""Physical memory, from /proc/meminfo; psutil where there is no /proc."""

from __future__ import annotations

from fitment_agent.probe.root import Root


def total_bytes(root: Root) -> int | None:
    """Physical memory, or the limit of the control group when that is lower."""
    total = _meminfo(root, "MemTotal", "hardware.memory_bytes") or _by_psutil(root, "total")
    limit = root.read_int("sys/fs/cgroup/memory.max")
    return min(total, limit) if total and limit else total


def available_bytes(root: Root) -> int | None:
    """What new programs can have without swapping."""
    return _meminfo(root, "MemAvailable") or _by_psutil(root, "available")


def _meminfo(root: Root, key: str, fact: str | None = None) -> int | None:
    for line in (root.read("proc/meminfo", fact) or "").splitlines():
        name, _, value = line.partition(":")
        if name == key and value.split()[:1]:
            return int(value.split()[0]) * 1024
    return None


def _by_psutil(root: Root, key: str) -> int | None:
    if not root.is_this_machine:
        return None
    try:
        import psutil

        value = int(getattr(psutil.virtual_memory(), key))
    except Exception:  # noqa: BLE001 - psutil raises anything on systems that it half knows
        return None
    root.unknown.pop("hardware.memory_bytes", None)
    return value
