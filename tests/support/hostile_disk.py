"""A file system in memory that runs full, or refuses writes, and gets well again. Needs root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PAGE_BYTES = 4096
"""What a file in memory grows by."""


class HostileDisk:
    """A mounted tmpfs.

    Attributes:
        folder: where it is mounted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def resize(self, size_bytes: int) -> None:
        """Give it room, or take it away."""
        _run("mount", "-o", f"remount,size={size_bytes}", self.folder)

    def fill(self, spare_bytes: int = 0) -> None:
        """Leave so much room and no more, whatever is on it."""
        # No size at all would mean no limit, so there is a page of something in any case.
        (self.folder / "ballast").write_bytes(b"x")
        self.resize(shutil.disk_usage(self.folder).used + spare_bytes)

    def set_read_only(self, read_only: bool) -> None:
        """Refuse writes, or take them again. Nobody may have a file open for writing."""
        _run("mount", "-o", f"remount,{'ro' if read_only else 'rw'}", self.folder)


@contextmanager
def hostile_disk(folder: Path, size_bytes: int = 64 << 20) -> Iterator[HostileDisk]:
    """A fresh one. The test is skipped where none can be mounted."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root on Linux")
    folder.mkdir(exist_ok=True)
    try:
        _run("mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", folder)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no file system can be mounted here: {error.stderr.strip()}")
    try:
        yield HostileDisk(folder)
    finally:
        _run("umount", "-l", folder)


def _run(command: str, *arguments: str | Path) -> None:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/bin"
    line = [shutil.which(command, path=path) or command, *map(str, arguments)]
    subprocess.run(line, check=True, capture_output=True, text=True)
