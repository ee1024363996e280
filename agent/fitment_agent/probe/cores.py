"""Cores that this process may use, and which of them are of one kind."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable
from typing import Final

from fitment_agent.probe.cgroup import processor_limit
from fitment_agent.probe.root import Root
from fitment_contract.device import CoreCluster

_FOLDER: Final = "sys/devices/system/cpu"
_MAX_CORES: Final = 4096
_RANGE: Final = re.compile(r"(?P<first>[0-9]{1,6})(-(?P<last>[0-9]{1,6}))?")
_SAME_CLOCK: Final = 0.9
"""Favoured cores of one kind clock a few percent higher; other kinds differ by far more."""


def probe_cores(root: Root) -> int | None:
    """How many cores this process may use, a quota of its control group rounded up."""
    fact = "hardware.cores"
    allowed = _allowed(root, fact)
    if not allowed:
        root.missing(fact, f"neither /{_FOLDER} nor /proc/cpuinfo lists any")
        return None
    limit = processor_limit(root)
    if limit is None or math.ceil(limit) >= len(allowed):
        return len(allowed)
    root.found(fact, "/sys/fs/cgroup, the quota of the control group")
    return math.ceil(limit)


def probe_clusters(root: Root) -> tuple[CoreCluster, ...]:
    """The cores by kind, the fastest first; none where the kernel tells nothing about them."""
    fact = "hardware.clusters"
    kinds: dict[int | None, list[tuple[int, int | None]]] = {}
    for core in _allowed(root, fact)[:_MAX_CORES]:
        capacity = root.read_int(f"{_FOLDER}/cpu{core}/cpu_capacity")
        kilohertz = root.read_int(f"{_FOLDER}/cpu{core}/cpufreq/cpuinfo_max_freq")
        kinds.setdefault(_positive(capacity), []).append((core, _positive(kilohertz)))
    clusters = [
        cluster
        for capacity, cores in kinds.items()
        for cluster in (_by_clock(cores) if capacity is None else [_cluster(capacity, cores)])
    ]
    clusters.sort(key=lambda one: (-(one.capacity or 0), -(one.max_frequency_hertz or 0)))
    if clusters:
        root.found(fact, f"/{_FOLDER}/cpu*/cpu_capacity, cpufreq/cpuinfo_max_freq")
    else:
        root.missing(fact, f"/{_FOLDER} tells neither capacities nor clocks")
    return tuple(clusters)


def cores_of_list(text: str) -> list[int]:
    """The numbers in a kernel's list of cores, such as `0-3,6`; empty when it is none."""
    found: list[int] = []
    for part in text.strip().split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            return []
        first, last = int(match["first"]), int(match["last"] or match["first"])
        if last - first + len(found) >= _MAX_CORES:
            return []
        found += range(first, last + 1)
    return sorted(set(found))


def _allowed(root: Root, fact: str) -> list[int]:
    if root.is_this_machine:
        if hasattr(os, "sched_getaffinity"):
            root.found(fact, "sched_getaffinity")
            return sorted(os.sched_getaffinity(0))
        root.found(fact, "the operating system")
        return list(range(os.cpu_count() or 0))
    online = cores_of_list(root.read(f"{_FOLDER}/online", fact) or "")
    if online:
        return online
    lines = (root.read("proc/cpuinfo", fact) or "").splitlines()
    listed = sum(1 for line in lines if line.partition(":")[0].strip() == "processor")
    return list(range(min(listed, _MAX_CORES)))


def _by_clock(cores: Iterable[tuple[int, int | None]]) -> list[CoreCluster]:
    """Kinds told apart by their highest clocks alone; cores without one belong to none."""
    kinds: list[list[tuple[int, int | None]]] = []
    for core, clock in sorted(cores, key=lambda one: (-(one[1] or 0), one[0])):
        if clock is None:
            continue
        if kinds and clock >= (kinds[-1][0][1] or 0) * _SAME_CLOCK:
            kinds[-1].append((core, clock))
        else:
            kinds.append([(core, clock)])
    return [_cluster(None, kind) for kind in kinds]


def _cluster(capacity: int | None, cores: list[tuple[int, int | None]]) -> CoreCluster:
    clocks = [clock for _, clock in cores if clock is not None]
    return CoreCluster(
        cores=tuple(sorted(core for core, _ in cores)),
        capacity=capacity,
        max_frequency_hertz=max(clocks) * 1000 if clocks else None,
    )


def _positive(value: int | None) -> int | None:
    """A value that can be: in kilohertz, the largest here is a thousand times the fastest core."""
    return value if value is not None and 0 < value < 10**10 else None
