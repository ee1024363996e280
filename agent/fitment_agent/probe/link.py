"""The interface of the default route, what it is, and whether somebody pays for it by the byte.

Only the kind of a link is taken: no name of a network and no address leaves the device.
"""

from __future__ import annotations

import re
from typing import Final

from fitment_agent.probe import android
from fitment_agent.probe.root import Root
from fitment_contract.device import Link, LinkKind

_NETWORK: Final = "sys/class/net"
_CELLULAR: Final = ("wwan", "rmnet", "ppp", "ccmni", "wwp", "usb_rmnet")
_ETHERNET_TYPE: Final = 1
_INTERFACE: Final = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.@:-]{1,15}")
_ANY_IPV6: Final = "0" * 32
_METERED: Final = re.compile(r"^GENERAL\.METERED:(?P<answer>yes|no)\b", re.MULTILINE)
_SIM_IN_USE: Final = ("LOADED", "READY")


def probe_link(root: Root, metered: bool | None) -> Link:
    """How bytes reach the device; `metered` is what somebody declared about it."""
    interface = _default_interface(root)
    if interface is None:
        return Link(kind=_kind_by_android(root), metered=_declared(root, metered))
    return Link(
        kind=_kind(root, interface),
        interface=interface,
        metered=_declared(root, metered, interface),
    )


def _default_interface(root: Root) -> str | None:
    fact = "link.interface"
    found = _route(root, fact) or _route_ipv6(root, fact)
    if found is None and fact not in root.unknown:
        root.missing(fact, "no default route is listed")
    return found


def _route(root: Root, fact: str) -> str | None:
    rows = [line.split() for line in (root.read("proc/net/route", fact) or "").splitlines()[1:]]
    routes = [(row[6], row[0]) for row in rows if len(row) > 7 and row[1] == row[7] == "00000000"]
    return _nearest([(metric, name) for metric, name in routes if _is_decimal(metric)], 10)


def _route_ipv6(root: Root, fact: str) -> str | None:
    """For networks without IPv4; `lo` holds the entry that refuses what nobody routes."""
    lines = (root.read("proc/net/ipv6_route") or "").splitlines()
    rows = [row for row in map(str.split, lines) if len(row) > 9 and row[9] != "lo"]
    routes = [(row[5], row[9]) for row in rows if row[0] == _ANY_IPV6 and row[1] == "00"]
    found = _nearest([one for one in routes if re.fullmatch("[0-9a-fA-F]{1,8}", one[0])], 16)
    if found is not None:
        root.found(fact, "/proc/net/ipv6_route")
    return found


def _nearest(routes: list[tuple[str, str]], base: int) -> str | None:
    """The interface of the route with the lowest metric."""
    named = [(int(metric, base), name) for metric, name in routes if _INTERFACE.fullmatch(name)]
    return min(named, key=lambda one: one[0])[1] if named else None


def _kind(root: Root, interface: str) -> LinkKind:
    fact, folder = "link.kind", f"{_NETWORK}/{interface}"
    lines = (root.read(f"{folder}/uevent") or "").splitlines()
    said = {"DEVTYPE=wwan": LinkKind.CELLULAR, "DEVTYPE=wlan": LinkKind.WIFI}
    kind = next((said[line] for line in lines if line in said), None)
    if kind is None and interface.startswith(_CELLULAR):
        kind = LinkKind.CELLULAR
    if kind is None and (root.exists(f"{folder}/wireless") or root.exists(f"{folder}/phy80211")):
        kind = LinkKind.WIFI
    if kind is not None:
        root.found(fact, f"/{folder}")
        return kind
    if root.read_int(f"{folder}/type", fact) == _ETHERNET_TYPE:
        return LinkKind.ETHERNET
    root.missing(fact, f"{interface} is of no known kind")
    return LinkKind.UNKNOWN


def _kind_by_android(root: Root) -> LinkKind:
    """A phone that hides its routes still says whether Wi-Fi is connected, and has a SIM or none.

    Without Wi-Fi a phone with a SIM in use is taken to be on it: a guess that costs nobody money.
    """
    fact = "link.kind"
    if not android.is_android(root):
        root.missing(fact, root.unknown.get("link.interface", "no default route is listed"))
        return LinkKind.UNKNOWN
    is_wifi = android.wifi_is_connected(root, fact)
    if is_wifi:
        return LinkKind.WIFI
    states = android.properties(root, fact).get("gsm.sim.state", "").split(",")
    if is_wifi is False and any(state in _SIM_IN_USE for state in states):
        root.found(fact, "termux-wifi-connectioninfo, getprop gsm.sim.state")
        return LinkKind.CELLULAR
    if fact not in root.unknown:
        told = "Wi-Fi is not connected" if is_wifi is False else "Termux:API does not tell"
        root.missing(fact, told)
    return LinkKind.UNKNOWN


def _declared(root: Root, metered: bool | None, interface: str | None = None) -> bool | None:
    """What somebody declared, else what NetworkManager was told by its user or its network."""
    fact = "link.metered"
    if metered is not None:
        root.found(fact, "settings")
        return metered
    if interface is None:
        root.missing(fact, "nobody declared it")
        return None
    command = ("nmcli", "-t", "-f", "GENERAL.METERED", "device", "show", interface)
    answer = _METERED.search(root.ask(*command, fact=fact) or "")
    if answer is None:
        why = root.unknown.get(fact, "NetworkManager does not know either")
        root.missing(fact, f"nobody declared it; {why}")
        return None
    return answer["answer"] == "yes"


def _is_decimal(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19
