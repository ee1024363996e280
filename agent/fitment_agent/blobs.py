"""The content-addressed files under one state directory.

`blobs/<sha256>` is complete, verified and never changed; `partial/<sha256>` is what a transfer has
so far, of an artifact or of an encoding of it. The worker writes both; here they are counted and
cleared away.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from pathlib import Path

from fitment_contract.artifact import Artifact

_log = logging.getLogger(__name__)


class Blobs:
    """The blobs of one agent.

    Args:
        state_dir: the agent's state directory.
    """

    def __init__(self, state_dir: Path) -> None:
        self.folder = state_dir / "blobs"
        self.partial_folder = state_dir / "partial"

    def path(self, digest: str) -> Path:
        """Where the complete file is, or would be."""
        return self.folder / digest

    def has(self, digest: str) -> bool:
        """Whether the complete file is there."""
        return self.path(digest).is_file()

    def present_bytes(self, artifacts: Iterable[Artifact]) -> int:
        """How much of `artifacts` is on the disk, complete or partial, in whatever encoding."""
        return sum(
            _size(self.path(artifact.digest))
            or sum(_size(self.partial_folder / digest) for digest in artifact.digests())
            for artifact in artifacts
        )

    def evict(self, keep: Collection[str]) -> list[str]:
        """Delete every file whose digest is not in `keep`; the names of those deleted.

        A file that cannot be deleted stays for the next time: eviction is never worth a failure.
        """
        deleted = []
        for folder in (self.folder, self.partial_folder):
            for path in _files(folder):
                if path.name not in keep and _delete(path):
                    deleted.append(path.name)
        return deleted


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_file())
    except OSError:
        return []


def _delete(path: Path) -> bool:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("%s cannot be deleted: %s", path, error)
        return False
    return True
