"""The software under the agent."""

from __future__ import annotations

import os
import platform

from fitment_agent.probe.root import Root
from fitment_contract.device import OperatingSystem


def probe_os(root: Root) -> OperatingSystem:
    """Names and versions of system, kernel, C library and Python."""
    release = _os_release(root)
    kernel = root.read("proc/sys/kernel/osrelease")
    if kernel is None and root.is_this_machine:
        kernel = os.uname().release
    return OperatingSystem(
        name=release.get("NAME"),
        version=release.get("VERSION_ID"),
        kernel=kernel,
        libc=_libc() if root.is_this_machine else None,
        python=platform.python_version(),
    )


def _os_release(root: Root) -> dict[str, str]:
    text = root.read("etc/os-release") or root.read("usr/lib/os-release")
    if text is None:
        root.missing("os.name", "there is no /etc/os-release")
        return {}
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}


def _libc() -> str | None:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, OSError, ValueError):
        return None
