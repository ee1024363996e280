"""Partial files to blobs: nothing is parsed before its size and digest are the announced ones.

A blob appears under its name whole and durable: file synced, renamed, folders synced. So a power
cut at any moment leaves either the partial file or the blob.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from fitment_agent.durable import make_folder, sync_folder
from fitment_agent.worker.jobs import JobFailure, VerifyDone, VerifyJob
from fitment_contract.artifact import Artifact
from fitment_contract.phase import FailureReason

_CHUNK_BYTES: Final = 1 << 20


def verify(job: VerifyJob, tell: Callable[[str, int, int], None]) -> VerifyDone:
    """Verify every artifact of the job and put it among the blobs.

    Raises:
        JobFailure: truncated, oversized or digest mismatch, after deleting the file at fault; or
            an artifact that is neither partial nor a blob.
        OSError: the storage failed.
    """
    partial, blobs = Path(job.partial), Path(job.blobs)
    make_folder(blobs)
    for done, artifact in enumerate(job.artifacts):
        tell("verify", done, len(job.artifacts))
        _settle(artifact, partial / artifact.digest, blobs / artifact.digest)
    return VerifyDone()


def _settle(artifact: Artifact, partial: Path, blob: Path) -> None:
    if blob.exists():
        _require_content(artifact, blob)
        partial.unlink(missing_ok=True)
        return
    if not partial.exists():
        raise JobFailure(
            FailureReason.STORAGE_FAILED,
            f"{artifact.digest[:12]} was transferred and is no longer on the disk",
            retryable=True,
        )
    _require_content(artifact, partial)
    os.replace(partial, blob)
    sync_folder(blob.parent)
    sync_folder(partial.parent)


def _require_content(artifact: Artifact, path: Path) -> None:
    """Sync the file, read it back, and delete it unless it is the announced content."""
    reason = None
    with path.open("rb") as file:
        os.fsync(file.fileno())
        size = os.fstat(file.fileno()).st_size
        if size < artifact.size_bytes:
            reason = FailureReason.TRUNCATED
        elif size > artifact.size_bytes:
            reason = FailureReason.OVERSIZED
        elif content_digest(path) != artifact.digest:
            reason = FailureReason.DIGEST_MISMATCH
    if reason is not None:
        path.unlink()
        raise JobFailure(
            reason,
            f"{artifact.digest[:12]}: {size} bytes of {artifact.size_bytes} announced"
            + ("; the content differs" if reason is FailureReason.DIGEST_MISMATCH else ""),
        )


def content_digest(path: Path) -> str:
    """The SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
