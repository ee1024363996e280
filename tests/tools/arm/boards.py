"""What /proc and /sys say on the boards that are emulated, in the kernel's own formats.

Model strings, compatible lists and processor parts are those of the boards (device trees of
raspberrypi/linux, MIDR registers in Arm's manuals); sizes and temperatures are plausible.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CORES: Final = range(4)
_FEATURES_A72: Final = "fp asimd evtstrm crc32 cpuid"
_FEATURES_A76: Final = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop "
    "asimddp"
)
_FEATURES_V7: Final = (
    "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm crc32"
)


@dataclass(frozen=True)
class Board:
    """One kind of device.

    Attributes:
        name: short, and the device's id.
        architecture: Debian's name of it.
        emulated_cpu: QEMU's model. Its instructions are those of the board's cores; for the last
            one it is the next of kin that QEMU has for 32 bits.
        model, compatible: of the device tree.
        part: of the processor, as /proc/cpuinfo gives it.
        features: the same.
        memory_kibibytes: as a board reports it that keeps some for its graphics.
        maximum_kilohertz: of every core.
    """

    name: str
    architecture: str
    emulated_cpu: str
    model: str
    compatible: tuple[str, ...]
    part: str
    features: str
    memory_kibibytes: int
    maximum_kilohertz: int


PI_4: Final = Board(
    name="pi4",
    architecture="arm64",
    emulated_cpu="cortex-a72",
    model="Raspberry Pi 4 Model B Rev 1.5",
    compatible=("raspberrypi,4-model-b", "brcm,bcm2711"),
    part="0xd08",
    features=_FEATURES_A72,
    memory_kibibytes=3_884_336,
    maximum_kilohertz=1_800_000,
)
PI_5: Final = Board(
    name="pi5",
    architecture="arm64",
    emulated_cpu="cortex-a76",
    model="Raspberry Pi 5 Model B Rev 1.0",
    compatible=("raspberrypi,5-model-b", "brcm,bcm2712"),
    part="0xd0b",
    features=_FEATURES_A76,
    memory_kibibytes=8_245_904,
    maximum_kilohertz=2_400_000,
)
PI_ZERO_2: Final = Board(
    name="pi02w",
    architecture="armhf",
    emulated_cpu="cortex-a7",
    model="Raspberry Pi Zero 2 W Rev 1.0",
    compatible=("raspberrypi,model-zero-2-w", "brcm,bcm2837"),
    part="0xd03",
    features=_FEATURES_V7,
    memory_kibibytes=426_388,
    maximum_kilohertz=1_000_000,
)
BOARDS: Final = {board.name: board for board in (PI_4, PI_5, PI_ZERO_2)}


def dress(board: Board, folder: Path) -> Path:
    """Write the board's `cpuinfo`, `meminfo` and `sys` into `folder`, which is made anew.

    Without a processor that is ARM in these files, onnxruntime dies while it is imported: it
    reads the caches of the host's.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "cpuinfo").write_text(_cpuinfo(board))
    (folder / "meminfo").write_text(_meminfo(board))
    _write_device_tree(board, folder / "sys/firmware/devicetree/base")
    _write_cores(board, folder / "sys/devices/system/cpu")
    zone = folder / "sys/class/thermal/thermal_zone0"
    _write(zone, {"type": "cpu-thermal", "temp": "51121"})
    _write(folder / "sys/devices/platform/soc/soc:firmware", {"get_throttled": "0"})
    for name in ("net", "power_supply"):
        (folder / "sys/class" / name).mkdir(parents=True)
    return folder


def _cpuinfo(board: Board) -> str:
    core = (
        f"BogoMIPS\t: 108.00\nFeatures\t: {board.features}\nCPU implementer\t: 0x41\n"
        f"CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {board.part}\n"
        "CPU revision\t: 3\n\n"
    )
    cores = "".join(f"processor\t: {number}\n{core}" for number in _CORES)
    return f"{cores}Serial\t\t: 1000000000000000\nModel\t\t: {board.model}\n"


def _meminfo(board: Board) -> str:
    total = board.memory_kibibytes
    sizes = {"MemTotal": total, "MemFree": total // 2, "MemAvailable": total * 3 // 4}
    empty = ("Buffers", "Cached", "SwapCached", "SwapTotal", "SwapFree", "Shmem", "Slab")
    lines = {**sizes, **dict.fromkeys(empty, 0)}
    return "".join(f"{name + ':':<16}{size:>8} kB\n" for name, size in lines.items())


def _write_device_tree(board: Board, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "model").write_bytes(board.model.encode() + b"\0")
    (folder / "compatible").write_bytes("".join(f"{x}\0" for x in board.compatible).encode())


def _write_cores(board: Board, folder: Path) -> None:
    everyone = f"0-{len(_CORES) - 1}"
    _write(folder, dict.fromkeys(("possible", "present", "online"), everyone))
    for number in _CORES:
        frequency = {
            "cpuinfo_max_freq": board.maximum_kilohertz,
            "cpuinfo_min_freq": 600_000,
            "scaling_max_freq": board.maximum_kilohertz,
            "scaling_cur_freq": board.maximum_kilohertz,
            "scaling_governor": "ondemand",
        }
        _write(folder / f"cpu{number}/cpufreq", frequency)
        topology = {
            "physical_package_id": 0,
            "core_id": number,
            "core_cpus_list": number,
            "core_siblings_list": everyone,
            "package_cpus_list": everyone,
        }
        _write(folder / f"cpu{number}/topology", topology)


def _write(folder: Path, files: dict[str, object] | dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(f"{content}\n")
