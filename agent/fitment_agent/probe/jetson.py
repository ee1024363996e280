"""NVIDIA Jetson: its release of Linux, and the mode that caps its clocks and cores."""

from __future__ import annotations

import re
from typing import Final

from fitment_agent.probe.root import Root, clean

_RELEASE: Final = re.compile(r"#\s*R(?P<major>\d+)\s*\(release\),\s*REVISION:\s*(?P<minor>[\d.]+)")
_MODE: Final = re.compile(r"^NV Power Mode:[ \t]*(?P<name>\S+)", re.MULTILINE)
_MODE_NUMBER: Final = re.compile(r"pmode:(?P<number>[0-9]{1,6})\b")
_MODES: Final = re.compile(
    r"^<\s*POWER_MODEL\s+ID=(?P<number>[0-9]{1,6})\s+NAME=(?P<name>[^\s>]+)", re.MULTILINE
)
_FACT: Final = "power.mode"


def is_jetson(root: Root) -> bool:
    """Whether the machine is a Jetson."""
    compatible = root.read("sys/firmware/devicetree/base/compatible") or ""
    return root.exists("etc/nv_tegra_release") or "nvidia,tegra" in compatible


def l4t_release(root: Root) -> str | None:
    """The release of Linux for Tegra, such as `36.4.3`; None on anything else."""
    found = _RELEASE.match(root.read("etc/nv_tegra_release") or "")
    return clean(f"{found['major']}.{found['minor']}") if found else None


def power_mode(root: Root) -> str | None:
    """The mode of `nvpmodel` by its name: the same number is another mode on another board."""
    if not is_jetson(root):
        root.missing(_FACT, "only Jetsons have one that the agent knows")
        return None
    return _mode_of_files(root) or _mode_of_command(root)


def _mode_of_files(root: Root) -> str | None:
    """From what `nvpmodel` keeps; any user may read it."""
    now = _MODE_NUMBER.search(root.read("var/lib/nvpmodel/status") or "")
    if now is None:
        return None
    modes = {
        int(mode["number"]): mode["name"]
        for mode in _MODES.finditer(root.read("etc/nvpmodel.conf") or "")
    }
    name = clean(modes.get(int(now["number"])))
    if name is not None:
        root.found(_FACT, "/var/lib/nvpmodel/status, /etc/nvpmodel.conf")
    return name


def _mode_of_command(root: Root) -> str | None:
    told = _MODE.search(root.ask("nvpmodel", "-q", fact=_FACT) or "")
    if told is None and _FACT in root.sources:
        root.missing(_FACT, "nvpmodel names no mode")
    return clean(told["name"]) if told else None
