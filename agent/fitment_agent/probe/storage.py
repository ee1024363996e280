"""Room on the file system that holds the state."""

from __future__ import annotations

import os
from pathlib import Path

from fitment_agent.probe.root import Root
from fitment_contract.device import Storage


def probe_storage(root: Root, state_dir: Path) -> Storage:
    """Free and total bytes where `state_dir` is, or will be."""
    folder = state_dir
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        figures = os.statvfs(folder)
    except OSError as error:
        root.missing("storage", f"{folder}: {error.strerror}")
        return Storage()
    return Storage(
        free_bytes=figures.f_bavail * figures.f_frsize,
        total_bytes=figures.f_blocks * figures.f_frsize,
    )
