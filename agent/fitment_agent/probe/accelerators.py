"""What could run models besides the processor, told by drivers and by identifiers on the buses."""

from __future__ import annotations

from typing import Final

from fitment_agent.probe.jetson import is_jetson
from fitment_agent.probe.root import Root

_PCI: Final = "sys/bus/pci/devices"
_USB: Final = "sys/bus/usb/devices"
_EDGETPU_PCI: Final = ("0x1ac1", "0x089a")
_HAILO_VENDOR: Final = "0x1e60"
# The USB accelerator introduces itself as Global Unichip until its firmware is loaded, then as
# Google.
_EDGETPU_USB: Final = (("1a6e", "089a"), ("18d1", "9302"))


def probe_accelerators(root: Root) -> tuple[str, ...]:
    """Accelerators by name; whether a runtime can use one is told by its providers."""
    found: dict[str, str] = {}
    if is_jetson(root):
        found["cuda"] = found["tensorrt"] = "/etc/nv_tegra_release or the device tree"
    elif root.exists("proc/driver/nvidia/version"):
        found["cuda"] = "/proc/driver/nvidia/version"
    found |= _by_driver(root)
    for name, place in (*_on_pci(root), *_on_usb(root)):
        found.setdefault(name, place)
    where = ", ".join(dict.fromkeys(found.values()))
    root.found("hardware.accelerators", where or f"none in /dev, /{_PCI}, /{_USB}")
    return tuple(sorted(found))


def _by_driver(root: Root) -> dict[str, str]:
    devices = {"edgetpu": "dev/apex_0", "hailo": "dev/hailo0"}
    return {name: f"/{device}" for name, device in devices.items() if root.exists(device)}


def _on_pci(root: Root) -> list[tuple[str, str]]:
    found = []
    for slot in root.entries(_PCI):
        vendor = root.read(f"{_PCI}/{slot}/vendor")
        if vendor == _HAILO_VENDOR:
            found.append(("hailo", f"/{_PCI}"))
        elif vendor == _EDGETPU_PCI[0] and root.read(f"{_PCI}/{slot}/device") == _EDGETPU_PCI[1]:
            found.append(("edgetpu", f"/{_PCI}"))
    return found


def _on_usb(root: Root) -> list[tuple[str, str]]:
    makers = {maker for maker, _ in _EDGETPU_USB}
    found = []
    for port in root.entries(_USB):
        maker = root.read(f"{_USB}/{port}/idVendor")
        if maker in makers and (maker, root.read(f"{_USB}/{port}/idProduct")) in _EDGETPU_USB:
            found.append(("edgetpu", f"/{_USB}"))
    return found
