"""File systems on recorded disks and on crashed ones: made, mounted, taken away again."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tools.powercut.events import Event, unpacked

_PATH: Final = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_PACKAGES: Final = {"fusermount3": "fuse3", "mkfs.ext4": "e2fsprogs", "mount": "mount"}
_SERVER: Final = Path(__file__).with_name("recording_disk.py")
_LIMIT_SECONDS: Final = 30.0


class UnavailableError(Exception):
    """This host cannot record a disk; the message says why, in one sentence."""


@dataclass(frozen=True)
class FileSystem:
    """How a disk is formatted and mounted.

    Attributes:
        name: for people.
        mkfs: the command that formats, without the device.
        mount_options: separated by commas.
    """

    name: str
    mkfs: tuple[str, ...]
    mount_options: str = ""


# Without lazy initialisation, which would go on writing in the background.
_EXT4: Final = ("mkfs.ext4", "-q", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0")
EXT4: Final = FileSystem("ext4", _EXT4)
EXT4_WRITEBACK: Final = FileSystem("ext4-writeback", _EXT4, "data=writeback,noauto_da_alloc")
"""The least that ext4 promises: data and metadata in any order, and no help for renames."""


class RecordedDisk:
    """A mounted file system whose disk logs what it gets.

    Attributes:
        base: the disk before anything was mounted.
        mount: the mounted file system.
        mark: the file into which the workload writes what it tells the world.
    """

    def __init__(self, folder: Path, file_system: FileSystem, size_bytes: int) -> None:
        self.mount = folder / "recorded"
        self._file_system = file_system
        self._fuse = folder / "fuse"
        self._image = folder / "base"
        self._log = folder / "log"
        self.mark = self._fuse / "mark"
        self._image.write_bytes(b"")
        os.truncate(self._image, size_bytes)
        run(*file_system.mkfs, self._image)
        self.base = self._image.read_bytes()

    @contextmanager
    def mounted(self) -> Iterator[None]:
        """Mounted for the workload, and unmounted whatever happens."""
        self._fuse.mkdir()
        command = [sys.executable, _SERVER, self._fuse, self._image, self._log]
        server = subprocess.Popen(command)
        try:
            self._await_server(server)
            with mounted(self._fuse / "disk", self.mount, self._file_system):
                yield
        finally:
            subprocess.run([find("fusermount3"), "-u", self._fuse], check=False)
            try:
                server.wait(_LIMIT_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()

    def events(self) -> list[Event]:
        """What happened to the disk, in order."""
        return unpacked(self._log.read_bytes())

    def _await_server(self, server: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _LIMIT_SECONDS
        while not (self._fuse / "disk").exists():
            if server.poll() is not None or time.monotonic() > deadline:
                raise UnavailableError("the recording disk cannot be mounted: is FUSE allowed?")
            time.sleep(0.05)


@contextmanager
def mounted(image: Path, folder: Path, file_system: FileSystem) -> Iterator[None]:
    """A disk image, mounted at `folder`.

    Raises:
        UnavailableError: it cannot be mounted.
    """
    folder.mkdir(exist_ok=True)
    options = ",".join(filter(None, ["loop", file_system.mount_options]))
    run("mount", "-o", options, image, folder)
    try:
        yield
    finally:
        run("umount", folder)


def prepare() -> None:
    """See to it that disks can be recorded here; installs packages that are missing.

    Raises:
        UnavailableError: they cannot.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        raise UnavailableError("mounting disks needs root on Linux")
    for device in ("/dev/fuse", "/dev/loop-control"):
        if not Path(device).exists():
            raise UnavailableError(f"there is no {device}")
    if importlib.util.find_spec("mfusepy") is None:
        raise UnavailableError("the package mfusepy is missing: `make test-powercut` installs it")
    missing = sorted({package for command, package in _PACKAGES.items() if not find(command)})
    if missing:
        if not find("apt-get"):
            raise UnavailableError(f"{', '.join(missing)} are missing, and there is no apt-get")
        run("apt-get", "update", "-qq")
        run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing)


def find(command: str) -> str | None:
    """Where a command is, also one for the administrator."""
    return shutil.which(command, path=_PATH)


def run(command: str, *arguments: str | Path) -> None:
    """Run a command of the host.

    Raises:
        UnavailableError: it failed; the message quotes its last line.
    """
    line: Sequence[str] = [command, *map(str, arguments)]
    environment = {**os.environ, "PATH": _PATH, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(line, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no output"]
        raise UnavailableError(f"`{' '.join(line)}` failed: {last[0]}")
