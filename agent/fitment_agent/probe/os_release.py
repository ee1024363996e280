"""The software under the agent."""

from __future__ import annotations

import os
import platform

from fitment_agent.probe.android import is_android, properties
from fitment_agent.probe.root import Root, clean
from fitment_contract.device import OperatingSystem


def probe_os(root: Root) -> OperatingSystem:
    """Names and versions of system, kernel, C library and Python."""
    name, version = _name_and_version(root)
    root.found("os.python", "the interpreter that runs the agent")
    return OperatingSystem(
        name=name,
        version=version,
        kernel=_kernel(root),
        libc=_libc(root),
        python=platform.python_version(),
    )


def _name_and_version(root: Root) -> tuple[str | None, str | None]:
    for path in ("etc/os-release", "usr/lib/os-release"):
        release = _pairs(root.read(path) or "")
        if "NAME" in release:
            _noted(root, "os.version", release.get("VERSION_ID"), f"/{path}")
            return _noted(root, "os.name", release["NAME"], f"/{path}"), release.get("VERSION_ID")
    if not is_android(root):
        root.missing("os.name", "there is no /etc/os-release")
        root.missing("os.version", "there is no /etc/os-release")
        return None, None
    root.found("os.name", "/system/bin/getprop")
    version = properties(root, "os.version").get("ro.build.version.release")
    return "Android", _noted(root, "os.version", version, "getprop ro.build.version.release")


def _pairs(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    values = ((key.strip(), clean(value.strip().strip("\"'"))) for key, _, value in pairs)
    return {key: value for key, value in values if value}


def _kernel(root: Root) -> str | None:
    kernel = clean(root.read("proc/sys/kernel/osrelease", "os.kernel"))
    if kernel is None and root.is_this_machine:
        kernel = _noted(root, "os.kernel", os.uname().release, "uname")
    if kernel is None:
        root.missing("os.kernel", root.unknown.get("os.kernel", "the file is empty"))
    return kernel


def _libc(root: Root) -> str | None:
    """The C library, which decides what wheels can be installed."""
    if is_android(root):
        level = properties(root, "os.libc").get("ro.build.version.sdk")
        root.found("os.libc", "getprop ro.build.version.sdk")
        return f"bionic {level}" if level else "bionic"
    loader = next((name for name in root.entries("lib") if name.startswith("ld-musl-")), None)
    glibc = _glibc() if root.is_this_machine else None
    if glibc is None and loader is not None:
        return _noted(root, "os.libc", "musl", f"/lib/{loader}")
    reason = "only the machine itself tells" if not root.is_this_machine else "nothing tells"
    return _noted(root, "os.libc", glibc, "confstr", reason)


def _glibc() -> str | None:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, OSError, ValueError):
        return None


def _noted(
    root: Root, fact: str, value: str | None, source: str, reason: str | None = None
) -> str | None:
    """The value, noted with its source, or as missing."""
    if value is None:
        root.missing(fact, reason or f"{source} does not tell")
    else:
        root.found(fact, source)
    return value
