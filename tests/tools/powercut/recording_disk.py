"""A disk that remembers: a FUSE mount whose file `disk` backs a file system and logs what it gets.

python recording_disk.py MOUNTPOINT BASE_IMAGE LOG

Whatever a workload writes to the file `mark` beside `disk` becomes a mark in the log, so that a
replay knows what the world had been told by then. Needs the packages fuse3 and mfusepy.
"""

from __future__ import annotations

import errno
import stat
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO

import mfusepy

sys.path.insert(0, str(Path(__file__).parents[2]))

from tools.powercut.events import Event, Kind


class RecordingDisk(mfusepy.Operations):
    """The two files, `disk` and `mark`.

    Args:
        image: the content of the disk.
        log: gets every event in the order in which they happen.
    """

    use_ns = True

    def __init__(self, image: bytearray, log: BinaryIO) -> None:
        self._image = image
        self._log = log
        self._guard = threading.Lock()

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        """The attributes of a file."""
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
        sizes = {"/disk": len(self._image), "/mark": 0}
        if path not in sizes:
            raise mfusepy.FuseOSError(errno.ENOENT)
        return {"st_mode": stat.S_IFREG | 0o644, "st_nlink": 1, "st_size": sizes[path]}

    def readdir(self, path: str, fh: int) -> list[str]:
        """The names of both."""
        return [".", "..", "disk", "mark"]

    def open(self, path: str, flags: int) -> int:
        """No handles are needed."""
        return 0

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        """Both keep their size."""
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        """What the disk has now, flushed or not."""
        return bytes(self._image[offset : offset + size])

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        """A write or a mark."""
        with self._guard:
            if path == "/mark":
                self._log.write(Event(Kind.MARK, 0, bytes(data)).packed())
            else:
                self._image[offset : offset + len(data)] = data
                self._log.write(Event(Kind.WRITE, offset, bytes(data)).packed())
        return len(data)

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        """What was written so far would survive a cut."""
        with self._guard:
            self._log.write(Event(Kind.FLUSH).packed())
        return 0

    def flush(self, path: str, fh: int) -> int:
        """Closing a file flushes nothing."""
        return 0

    def fallocate(
        self, path: str, mode: int, offset: int, length: int, fh: int | None = None
    ) -> int:
        """Not supported, so that every change of the disk is a write."""
        raise mfusepy.FuseOSError(errno.EOPNOTSUPP)


def main(mountpoint: str, base: str, log: str) -> None:
    """Serve until unmounted."""
    image = bytearray(Path(base).read_bytes())
    with open(log, "wb", buffering=0) as file:
        mfusepy.FUSE(RecordingDisk(image, file), mountpoint, foreground=True, nothreads=True)


if __name__ == "__main__":
    main(*sys.argv[1:4])
