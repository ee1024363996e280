"""Board, chip, instruction set and accelerators."""

from __future__ import annotations

import os
import struct
from typing import Final

from fitment_agent.probe.jetson import is_jetson
from fitment_agent.probe.memory import total_bytes
from fitment_agent.probe.root import Root
from fitment_contract.device import Hardware

# The features by which inference runtimes choose between kernels, in the kernel's spelling.
_DECIDING: Final = frozenset(
    {
        *("neon", "vfpv4", "asimd", "asimdhp", "asimddp", "asimdfhm", "i8mm", "bf16"),
        *("sve", "sve2", "svei8mm", "sme"),
        *("sse4_1", "sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni"),
        *("avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16"),
        *("amx_tile", "amx_int8", "amx_bf16"),
    }
)
_DEVICE_TREE: Final = ("sys/firmware/devicetree/base", "proc/device-tree")


def probe_hardware(root: Root) -> Hardware:
    """The parts that do not change while the device runs."""
    cpu = _cpuinfo(root)
    return Hardware(
        board=_board(root),
        soc=_soc(root, cpu),
        architecture=_architecture(root, cpu),
        isa=_isa(cpu),
        cores=_cores(root, cpu),
        memory_bytes=total_bytes(root),
        accelerators=_accelerators(root),
    )


def _cpuinfo(root: Root) -> list[tuple[str, str]]:
    text = root.read("proc/cpuinfo", "hardware.isa") or ""
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
    return [(key.strip(), value.strip()) for key, _, value in pairs]


def _first(cpu: list[tuple[str, str]], *keys: str) -> str | None:
    return next((value for key, value in cpu if key in keys and value), None)


def _device_tree(root: Root, name: str) -> str | None:
    # Inside some containers /proc/device-tree is the host's; /sys is tried first.
    found = (root.read(f"{folder}/{name}") for folder in _DEVICE_TREE)
    return next((text for text in found if text), None)


def _board(root: Root) -> str | None:
    board = _device_tree(root, "model") or root.read("sys/class/dmi/id/product_name")
    if not board:
        root.missing("hardware.board", "neither a device tree nor DMI names it")
    return board or None


def _soc(root: Root, cpu: list[tuple[str, str]]) -> str | None:
    compatible = _device_tree(root, "compatible")
    if compatible:  # from the most specific to the most general; the last is the chip
        return compatible.splitlines()[-1].rpartition(",")[2]
    soc = _first(cpu, "model name", "Hardware")
    if soc is None:
        root.missing("hardware.soc", "neither a device tree nor /proc/cpuinfo names it")
    return soc


def _architecture(root: Root, cpu: list[tuple[str, str]]) -> str | None:
    if root.is_this_machine:
        machine = os.uname().machine
        # A 64-bit kernel under 32-bit programs: what can be installed is 32-bit.
        return "armv7l" if machine == "aarch64" and struct.calcsize("P") == 4 else machine
    if _first(cpu, "flags"):
        return "x86_64"
    version = _first(cpu, "CPU architecture")
    if version is None:
        root.missing("hardware.architecture", "/proc/cpuinfo does not tell")
        return None
    return "aarch64" if version == "8" else "armv7l"


def _isa(cpu: list[tuple[str, str]]) -> tuple[str, ...]:
    listed = f"{_first(cpu, 'Features') or ''} {_first(cpu, 'flags') or ''}"
    return tuple(sorted(_DECIDING.intersection(listed.split())))


def _cores(root: Root, cpu: list[tuple[str, str]]) -> int | None:
    if root.is_this_machine:
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count()
    listed = sum(1 for key, _ in cpu if key == "processor")
    if not listed:
        root.missing("hardware.cores", "/proc/cpuinfo lists no processor")
    return listed or None


def _accelerators(root: Root) -> tuple[str, ...]:
    found = []
    if is_jetson(root):
        found += ["cuda", "tensorrt"]
    elif root.exists("proc/driver/nvidia/version"):
        found.append("cuda")
    if root.exists("dev/apex_0"):
        found.append("edgetpu")
    return tuple(found)
