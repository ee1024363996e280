"""Room on the file system that holds the state."""

from __future__ import annotations

import os
from pathlib import Path

from fitment_agent.probe.root import Root
from fitment_contract.base import LARGEST
from fitment_contract.device import Storage


def probe_storage(root: Root, state_dir: Path) -> Storage:
    """Free and total bytes where `state_dir` is, or will be.

    Network file systems may claim more than a message can say.
    """
    try:
        figures = _statvfs(str(state_dir))
    except OSError as error:
        root.missing("storage", f"{state_dir}: {error.strerror}")
        return Storage()
    root.found("storage", f"statvfs {state_dir}")
    return Storage(
        free_bytes=min(figures.f_bavail * figures.f_frsize, LARGEST),
        total_bytes=min(figures.f_blocks * figures.f_frsize, LARGEST),
    )


def _statvfs(folder: str) -> os.statvfs_result:
    while True:
        try:
            return os.statvfs(folder)
        except (FileNotFoundError, NotADirectoryError):
            above = os.path.dirname(folder)
            if above == folder:
                raise
            folder = above
