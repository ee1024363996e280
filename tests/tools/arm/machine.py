"""An arm64 virtual machine with the agent as its first process, and a disk of its own for state.

Here the kernel is the machine's own, so that killing QEMU is to the agent's files what a reset
button is: what the guest had not written to its disk by then is gone.
"""

from __future__ import annotations

import gzip
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tools.arm.host import run

HOST: Final = "localhost"
"""What the machine calls the host, too: a controller for one machine alone then serves it."""
_GATEWAY: Final = "10.0.2.2"
"""The host's loopback, as QEMU's user network shows it."""

STATE: Final = "/state"
"""Where the second disk is mounted."""

_MODULES: Final = (
    *("virtio", "virtio_ring", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci"),
    *("virtio_blk", "failover", "net_failover", "virtio_net"),
)
"""In the order in which they need each other."""
_LEFT_OUT: Final = ("boot", "lib/modules", "usr/lib/modules", "usr/share/doc", "usr/share/locale")
_SPARE_BLOCKS: Final = 16_384
_STATE_SIZE: Final = "64M"

_FIRST_INIT: Final = """#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t devtmpfs dev /dev
for m in {modules}; do $b insmod /modules/$m.ko; done
while [ ! -b /dev/vda ] || [ ! -b /dev/vdb ]; do $b usleep 50000; done
$b ip link set lo up
$b ip link set eth0 up
$b ip addr add 10.0.2.15/24 dev eth0
$b ip route add default via {gateway}
$b mount -t ext4 -o ro /dev/vda /new
$b mount -t ext4 /dev/vdb /new{state}
$b umount /proc
$b mount -o move /dev /new/dev
exec $b switch_root /new /init
"""
_SECOND_INIT: Final = """#!/bin/sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t tmpfs tmp /tmp
export HOME=/root PATH=/usr/bin:/bin:/usr/sbin:/sbin LC_ALL=C.UTF-8
export PYTHONPATH=/site PYTHONDONTWRITEBYTECODE=1
exec python3 -m fitment_agent run --state-dir {state}/agent >/dev/console 2>&1
"""


@dataclass(frozen=True)
class Image:
    """What boots: a kernel, a first root that finds the disks, and the read-only root disk."""

    kernel: Path
    initrd: Path
    disk: Path


def build_image(root: Path, site: Path, folder: Path) -> Image:
    """The machine with the agent of `site` installed.

    Args:
        root: of arm64, with a kernel and a static busybox.
        site: the agent and its packages.
        folder: made anew; the files lie there.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    kernel = folder / "vmlinuz"
    shutil.copy(next((root / "boot").glob("vmlinuz-*")), kernel)
    return Image(kernel, _build_initrd(root, folder), _build_disk(root, site, folder))


def build_state_disk(path: Path) -> Path:
    """An empty disk for the agent's state."""
    run(["mke2fs", "-q", "-F", "-t", "ext4", path, _STATE_SIZE], "making the state disk")
    return path


def machine_command(
    image: Image, state_disk: Path, console: Path, settings: Mapping[str, str]
) -> list[str]:
    """The host's command line that boots the machine.

    Args:
        image: what boots.
        state_disk: written by the machine; survives it.
        console: the file that gets what it prints.
        settings: of the agent, by name. The kernel hands what it does not know in its command
            line on to its first process, as environment.
    """
    variables = [f"FITMENT_AGENT_{name.upper()}={value}" for name, value in settings.items()]
    line = ["console=ttyAMA0", "quiet", "loglevel=3", "panic=-1", *variables]
    processor = ["-machine", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", "1024"]
    disks = []
    for number, (disk, options) in enumerate(((image.disk, ",readonly=on"), (state_disk, ""))):
        drive = f"file={disk},if=none,id=d{number},format=raw,cache=writeback{options}"
        disks += ["-drive", drive, "-device", f"virtio-blk-pci,drive=d{number}"]
    network = ["-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0,romfile="]
    return [
        *("qemu-system-aarch64", *processor, "-accel", "tcg,thread=multi"),
        *("-display", "none", "-monitor", "none", "-serial", f"file:{console}", "-no-reboot"),
        *("-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", " ".join(line)),
        *(*disks, *network),
    ]


def read_state_disk(disk: Path, folder: Path) -> Path:
    """What a machine that starts again finds on its state disk, as a folder on the host.

    The disk is not touched: a copy of it has its journal replayed, as mounting would.

    Raises:
        AssertionError: the file system itself is beyond that.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    copy = folder / "disk"
    run(["cp", "--sparse=always", disk, copy], "copying the state disk")
    checked = subprocess.run(["e2fsck", "-f", "-y", copy], capture_output=True, text=True)
    assert checked.returncode in (0, 1), checked.stdout
    run(["debugfs", "-R", f"rdump /agent {folder}", copy], "reading the state disk")
    return folder / "agent"


def _build_disk(root: Path, site: Path, folder: Path) -> Path:
    """Root and site on one disk. Files are linked, not copied, on their way there."""
    whole = folder / "whole"
    run(["cp", "-al", root, whole], "linking the root")
    for name in _LEFT_OUT:
        if not (whole / name).is_symlink():
            shutil.rmtree(whole / name, ignore_errors=True)
    (whole / "site").rmdir()
    run(["cp", "-al", site, whole / "site"], "linking the packages")
    hosts, init = whole / "etc/hosts", whole / "init"
    hosts.unlink()  # it is the root's own file, too
    hosts.write_text(f"{_GATEWAY} {HOST}\n")
    init.write_text(_SECOND_INIT.format(state=STATE))
    init.chmod(0o755)
    disk = folder / "root.img"
    used = int(run(["du", "-sk", whole], "measuring the root").split()[0])
    blocks = used // 4 * 6 // 5 + _SPARE_BLOCKS
    run(
        ["mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-d", whole, disk, str(blocks)], "mke2fs"
    )
    shutil.rmtree(whole)
    return disk


def _build_initrd(root: Path, folder: Path) -> Path:
    modules = {path.stem: path for path in (root / "lib/modules").rglob("*.ko")}
    init = _FIRST_INIT.format(modules=" ".join(_MODULES), gateway=_GATEWAY, state=STATE)
    files = {
        "init": init.encode(),
        "bin/busybox": (root / "bin/busybox").read_bytes(),
        **{f"modules/{name}.ko": modules[name].read_bytes() for name in _MODULES},
    }
    folders = ("bin", "dev", "modules", "new", "proc")
    path = folder / "initrd.gz"
    path.write_bytes(gzip.compress(b"".join(_archive(folders, files)), 1))
    return path


def _archive(folders: tuple[str, ...], files: Mapping[str, bytes]) -> Iterator[bytes]:
    """A cpio archive as the kernel reads it (Documentation/driver-api/early-userspace)."""
    for name in folders:
        yield _member(name, stat.S_IFDIR | 0o755, b"")
    for name, content in files.items():
        yield _member(name, stat.S_IFREG | 0o755, content)
    yield _member("TRAILER!!!", 0, b"")


def _member(name: str, mode: int, content: bytes) -> bytes:
    encoded = name.encode() + b"\0"
    # inode, mode, owner, group, links, time, size, four device numbers, length of the name, check
    numbers = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
    header = b"070701" + b"".join(b"%08X" % number for number in numbers) + encoded
    return _padded(header) + _padded(content)


def _padded(content: bytes) -> bytes:
    return content + b"\0" * (-len(content) % 4)
