"""Board, chip and instruction set; cores and accelerators have their own files."""

from __future__ import annotations

import os
import struct
from typing import Final

from fitment_agent.probe.accelerators import probe_accelerators
from fitment_agent.probe.android import properties
from fitment_agent.probe.cores import probe_clusters, probe_cores
from fitment_agent.probe.memory import total_bytes
from fitment_agent.probe.root import Root, clean
from fitment_contract.device import Hardware
from fitment_runtime.isa import isa_of_cpuinfo

_DEVICE_TREE: Final = ("sys/firmware/devicetree/base", "proc/device-tree")
_CPUINFO: Final = "proc/cpuinfo"
# What a 64-bit processor is to programs of 32 bits: what can be installed is 32-bit.
_NARROW: Final = {"aarch64": "armv7l", "armv8l": "armv7l", "x86_64": "i686"}


def probe_hardware(root: Root) -> Hardware:
    """The parts that do not change while the device runs."""
    text = root.read(_CPUINFO, "hardware.isa") or ""
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
    cpu = [(key.strip(), value.strip()) for key, _, value in pairs]
    return Hardware(
        board=_board(root),
        soc=_soc(root, cpu),
        architecture=_architecture(root, cpu),
        isa=_isa(root, text),
        cores=probe_cores(root),
        clusters=probe_clusters(root),
        memory_bytes=total_bytes(root),
        accelerators=probe_accelerators(root),
    )


def _board(root: Root) -> str | None:
    """The name that the maker gave the board."""
    fact = "hardware.board"
    places = [*(f"{folder}/model" for folder in _DEVICE_TREE), "sys/class/dmi/id/product_name"]
    for place in places:
        name = clean(root.read(place, fact))
        if name:
            return name
    told = properties(root, fact)
    name = clean(f"{told.get('ro.product.manufacturer', '')} {told.get('ro.product.model', '')}")
    if name:
        root.found(fact, "getprop ro.product.manufacturer, ro.product.model")
    else:
        root.missing(fact, "neither a device tree, nor DMI, nor getprop names it")
    return name


def _soc(root: Root, cpu: list[tuple[str, str]]) -> str | None:
    fact = "hardware.soc"
    for folder in _DEVICE_TREE:
        compatible = root.read(f"{folder}/compatible", fact)
        if compatible:  # from the most specific to the most general; the last is the chip
            chip = clean(compatible.splitlines()[-1].rpartition(",")[2])
            if chip:
                return chip
    soc = _soc_of_android(root) or clean(_first(cpu, "model name", "Hardware"))
    if soc is None:
        root.missing(fact, "neither a device tree, nor getprop, nor /proc/cpuinfo names it")
    elif fact not in root.sources:
        root.found(fact, f"/{_CPUINFO}")
    return soc


def _soc_of_android(root: Root) -> str | None:
    told = properties(root, "hardware.soc")
    maker, model = told.get("ro.soc.manufacturer", ""), told.get("ro.soc.model", "")
    name = clean(f"{maker} {model}") if model else told.get("ro.board.platform")
    if name:
        source = "ro.soc.manufacturer, ro.soc.model" if model else "ro.board.platform"
        root.found("hardware.soc", f"getprop {source}")
    return name


def _architecture(root: Root, cpu: list[tuple[str, str]]) -> str | None:
    fact = "hardware.architecture"
    if root.is_this_machine:
        machine = os.uname().machine
        root.found(fact, "uname")
        is_narrow = struct.calcsize("P") == 4 or machine == "armv8l"
        return _NARROW.get(machine, machine) if is_narrow else machine
    root.found(fact, f"/{_CPUINFO}")
    if _first(cpu, "flags"):
        return "x86_64"
    features = (_first(cpu, "Features") or "").split()
    if "asimd" in features:
        return "aarch64"
    if "thumb" in features or _first(cpu, "CPU architecture"):
        return "armv7l"
    root.missing(fact, f"/{_CPUINFO} does not tell")
    return None


def _isa(root: Root, text: str) -> tuple[str, ...]:
    isa = isa_of_cpuinfo(text)
    if not isa and "hardware.isa" not in root.unknown:
        root.missing("hardware.isa", f"/{_CPUINFO} lists no feature that decides about kernels")
    return isa


def _first(cpu: list[tuple[str, str]], *keys: str) -> str | None:
    return next((value for key, value in cpu if key in keys and value), None)
