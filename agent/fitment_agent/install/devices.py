"""Device files that the agent's unit lets through: accelerators, and the firmware of a board."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from fitment_agent.install.machine import Machine


@dataclass(frozen=True)
class DeviceFiles:
    """Device files that serve one purpose.

    Attributes:
        patterns: globs below `/dev`.
        groups: whose members may open them.
        makes_code: the driver compiles programs for the device into memory while it runs.
    """

    purpose: str
    patterns: tuple[str, ...]
    groups: tuple[str, ...]
    makes_code: bool = False


_KNOWN: Final = (
    DeviceFiles("firmware of a Raspberry Pi: throttling, power", ("vcio",), ("video",)),
    DeviceFiles(
        "NVIDIA GPU",
        ("nvmap", "nvhost*", "nvgpu/*/*", "nvidia*", "nvsciipc", "host1x-fence", "dri/render*"),
        ("video", "render"),
        makes_code=True,
    ),
    DeviceFiles("Hailo", ("hailo*",), ()),
    DeviceFiles("Coral on PCIe", ("apex_*",), ("apex",)),
)
_CORAL_USB: Final = frozenset({("1a6e", "089a"), ("18d1", "9302")})
_USB: Final = "sys/bus/usb/devices"


def device_drop_in(machine: Machine) -> str | None:
    """What a drop-in adds to the unit for what this machine has; None for nothing."""
    found = [(known, _nodes(machine, known.patterns)) for known in _KNOWN]
    found = [(known, nodes) for known, nodes in found if nodes]
    lines = [f"# {known.purpose}\n" + _allowed(nodes) for known, nodes in found]
    groups = {group for known, _ in found for group in known.groups}
    if _has_coral_usb(machine):
        lines.append("# Coral on USB\nDeviceAllow=char-usb_device rw\n")
        groups.add("plugdev")
    if not lines:
        return None
    head = (
        "# Written by `fitment-agent install --systemd` for the devices that it found; run it\n"
        "# again after adding one.\n[Service]\nPrivateDevices=no\n"
    )
    if any(known.makes_code for known, _ in found):
        head += "# The driver compiles kernels into memory.\nMemoryDenyWriteExecute=no\n"
    if members := sorted(groups & _groups(machine)):
        head += f"SupplementaryGroups={' '.join(members)}\n"
    return head + "".join(lines)


def _nodes(machine: Machine, patterns: tuple[str, ...]) -> list[str]:
    folder = machine.path("/dev")
    found = {path for pattern in patterns for path in folder.glob(pattern) if not path.is_dir()}
    return sorted(f"/dev/{path.relative_to(folder)}" for path in found)


def _allowed(nodes: list[str]) -> str:
    return "".join(f"DeviceAllow={node} rw\n" for node in nodes if _is_plain(node))


def _is_plain(node: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9/._-]+", node) is not None


def _has_coral_usb(machine: Machine) -> bool:
    for device in machine.path(_USB).glob("*"):
        name = f"/{_USB}/{device.name}"
        ids = tuple(
            (machine.read(f"{name}/{file}") or b"").decode(errors="replace").strip().lower()
            for file in ("idVendor", "idProduct")
        )
        if ids in _CORAL_USB:
            return True
    return False


def _groups(machine: Machine) -> set[str]:
    """The groups that there are: a unit with another one does not start."""
    text = (machine.read("/etc/group") or b"").decode(errors="replace")
    return {line.partition(":")[0] for line in text.splitlines()}
