"""Android, under Termux: properties, and what the commands of Termux:API tell.

Unprivileged programs may read little of /proc and /sys there. Of a Wi-Fi connection only its state
is taken: names and addresses of networks are nobody's business.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from fitment_agent.probe.root import Root, clean

_PROPERTY: Final = re.compile(r"^\[(?P<name>[\w.-]+)\]: \[(?P<value>.*)\]$", re.MULTILINE)
_TELLING: Final = (
    "ro.product.manufacturer",
    "ro.product.model",
    "ro.soc.manufacturer",
    "ro.soc.model",
    "ro.board.platform",
    "ro.build.version.release",
    "ro.build.version.sdk",
    "gsm.sim.state",
)


_BATTERY: Final = "termux-battery-status"
_WIFI: Final = "termux-wifi-connectioninfo"
COMMANDS: Final = (("getprop",), (_BATTERY,), (_WIFI,))
"""All that is asked here."""


def is_android(root: Root) -> bool:
    """Whether the machine runs Android."""
    return root.exists("system/bin/getprop")


def properties(root: Root, fact: str) -> dict[str, str]:
    """Those of Android's properties that describe the device; empty on anything else."""
    if not is_android(root):
        return {}
    found = {one["name"]: one["value"] for one in _PROPERTY.finditer(root.ask("getprop") or "")}
    told = {name: text for name in _TELLING if (text := clean(found.get(name)))}
    if not told:
        root.missing(fact, "getprop tells nothing")
    return told


def battery(root: Root, fact: str) -> dict[str, Any]:
    """What `termux-battery-status` tells, values unchecked; empty when it tells nothing."""
    return _asked(root, _BATTERY, fact)


def wifi_is_connected(root: Root, fact: str) -> bool | None:
    """Whether Wi-Fi carries traffic; None when nobody tells."""
    told = _asked(root, _WIFI, fact)
    # With "No current connection" for an API_ERROR there is none; other errors say nothing.
    if "No current connection" in str(told.get("API_ERROR")):
        return False
    state = told.get("supplicant_state")
    return state == "COMPLETED" if isinstance(state, str) else None


def number(value: Any, low: float, high: float) -> float | None:
    """A number between two bounds; None for anything else that JSON can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if low <= value <= high else None  # which NaN is not


def _asked(root: Root, command: str, fact: str) -> dict[str, Any]:
    if not is_android(root):
        return {}
    text = root.ask(command, fact=fact)
    if text is None:
        return {}
    try:
        told = json.loads(text)  # a key that is repeated, as addresses are, keeps its last value
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        root.missing(fact, f"{command} wrote no JSON object")
        return {}
    return told
