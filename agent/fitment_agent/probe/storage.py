"""Room on the file system that holds the state."""

from __future__ import annotations

import os
from pathlib import Path

from fitment_agent.probe.root import Root
from fitment_contract.device import Storage


def probe_storage(root: Root, state_dir: Path) -> Storage:
    """Free and total bytes where `state_dir` is, or will be."""
    try:
        figures = _statvfs(str(state_dir))
    except OSError as error:
        root.missing("storage", f"{state_dir}: {error.strerror}")
        return Storage()
    root.found("storage", f"statvfs {state_dir}")
    return Storage(
        free_bytes=figures.f_bavail * figures.f_frsize,
        total_bytes=figures.f_blocks * figures.f_frsize,
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
