"""The interface of the default route, from /proc/net/route and /sys/class/net."""

from __future__ import annotations

from fitment_agent.probe.root import Root
from fitment_contract.device import Link, LinkKind

_CELLULAR = ("wwan", "rmnet", "ppp", "ccmni", "wwp")
_ETHERNET_TYPE = 1


def probe_link(root: Root, metered: bool | None) -> Link:
    """How bytes reach the device; `metered` is what somebody declared about it."""
    interface = _default_interface(root)
    if metered is None:
        root.missing("link.metered", "nobody declared it")
    if interface is None:
        root.missing("link.kind", "/proc/net/route names no default route")
        return Link(metered=metered)
    return Link(kind=_kind(root, interface), metered=metered)


def _default_interface(root: Root) -> str | None:
    rows = [line.split() for line in (root.read("proc/net/route") or "").splitlines()[1:]]
    whole = (row for row in rows if len(row) > 7 and row[6].isdecimal())
    routes = [row for row in whole if row[1] == row[7] == "00000000"]
    return min(routes, key=lambda row: int(row[6]))[0] if routes else None


def _kind(root: Root, interface: str) -> LinkKind:
    folder = f"sys/class/net/{interface}"
    if interface.startswith(_CELLULAR):
        return LinkKind.CELLULAR
    if root.exists(f"{folder}/wireless") or root.exists(f"{folder}/phy80211"):
        return LinkKind.WIFI
    if root.read_int(f"{folder}/type") == _ETHERNET_TYPE:
        return LinkKind.ETHERNET
    root.missing("link.kind", f"{interface} is of no known kind")
    return LinkKind.UNKNOWN
