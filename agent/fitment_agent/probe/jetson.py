"""NVIDIA Jetson: told by its release file, whose number says which JetPack it runs."""

from __future__ import annotations

import re

from fitment_agent.probe.root import Root

_RELEASE = re.compile(r"#\s*R(?P<major>\d+)\s*\(release\),\s*REVISION:\s*(?P<minor>[\d.]+)")


def is_jetson(root: Root) -> bool:
    """Whether the machine is a Jetson."""
    compatible = root.read("sys/firmware/devicetree/base/compatible") or ""
    return root.exists("etc/nv_tegra_release") or "nvidia,tegra" in compatible


def l4t_release(root: Root) -> str | None:
    """The release of Linux for Tegra, such as `36.4.3`; None on anything else."""
    found = _RELEASE.match(root.read("etc/nv_tegra_release") or "")
    return f"{found['major']}.{found['minor']}" if found else None
