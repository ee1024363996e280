"""Limits of the control groups that this process is in, version 2 and version 1.

A limit of any group above counts too. Inside a container the groups' paths may be those of the
host while the files are its own; the root of the tree is looked at in any case.
"""

from __future__ import annotations

from collections.abc import Iterator

from fitment_agent.probe.root import Root

_TREE = "sys/fs/cgroup"


def memory_limit_bytes(root: Root) -> int | None:
    """The lowest limit on memory; None for none."""
    places = [
        *(f"{folder}/memory.max" for folder in _folders(root, "", _TREE)),
        *(
            f"{folder}/memory.limit_in_bytes"
            for folder in _folders(root, "memory", f"{_TREE}/memory")
        ),
    ]
    limits = [limit for place in places if (limit := root.read_int(place)) and limit > 0]
    return min(limits, default=None)


def processor_limit(root: Root) -> float | None:
    """The lowest quota of processor time, in cores; None for none."""
    quotas = [
        *(_version_2(root, folder) for folder in _folders(root, "", _TREE)),
        *(_version_1(root, folder) for folder in _folders(root, "cpu", f"{_TREE}/cpu")),
    ]
    return min((quota for quota in quotas if quota is not None), default=None)


def _version_2(root: Root, folder: str) -> float | None:
    quota, _, period = (root.read(f"{folder}/cpu.max") or "").partition(" ")
    if not (_is_number(quota) and _is_number(period)) or int(period) == 0:
        return None
    return int(quota) / int(period) or None


def _version_1(root: Root, folder: str) -> float | None:
    quota = root.read_int(f"{folder}/cpu.cfs_quota_us")
    period = root.read_int(f"{folder}/cpu.cfs_period_us")
    if quota is None or period is None or quota <= 0 or period <= 0:  # a quota of -1 is none
        return None
    return quota / period


def _folders(root: Root, controller: str, tree: str) -> Iterator[str]:
    """The folders of the own group of `controller` and of all above; "" is version 2."""
    yield tree
    for line in (root.read("proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        levels = [level for level in path.split("/") if level]
        if controller not in controllers.split(",") or ".." in levels:
            continue
        for depth in range(1, min(len(levels), 32) + 1):
            yield "/".join((tree, *levels[:depth]))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19
