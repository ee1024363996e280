"""Content-addressed files, as devices fetch them. What is there is complete and verified."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import IO, Protocol

from fitment_controller.errors import BlobError

_DIGEST = re.compile(r"[0-9a-f]{64}")
_CHUNK_BYTES = 1024 * 1024


class ByteStream(Protocol):
    """Anything that is read in pieces: an open file, a request body."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes; empty at the end."""


class BlobStore:
    """Files by their SHA-256 below one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def put(self, stream: ByteStream, digest: str, size_bytes: int) -> Path:
        """Store a stream if it is what was announced; storing it twice is storing it once.

        The file appears under its name only when it is whole and on the disk: write, flush to the
        disk, rename, flush the directory.

        Raises:
            BlobError: longer, shorter or other content than announced; nothing is kept.
        """
        path = self.path(digest)
        if self.has(digest):
            return path
        with tempfile.NamedTemporaryFile(dir=self._directory, prefix=".partial-") as partial:
            _copy(stream, partial, digest, size_bytes)
            partial.flush()
            os.fsync(partial.fileno())
            os.chmod(partial.name, 0o644)
            try:
                os.link(partial.name, path)
            except FileExistsError:  # somebody else stored the same content meanwhile
                return path
        _sync_directory(self._directory)
        return path

    def path(self, digest: str) -> Path:
        """Where `digest` is, or would be.

        Raises:
            BlobError: that is not how digests are written, so it can name no file.
        """
        if not _DIGEST.fullmatch(digest):
            raise BlobError(digest, "a digest is 64 lower-case hexadecimal digits")
        return self._directory / digest

    def has(self, digest: str) -> bool:
        """Whether the whole content is here."""
        return self.path(digest).is_file()

    def size(self, digest: str) -> int:
        """Its length in bytes.

        Raises:
            BlobError: it is not here.
        """
        try:
            return self.path(digest).stat().st_size
        except OSError:
            raise BlobError(digest, "not stored here") from None


def _copy(stream: ByteStream, target: IO[bytes], digest: str, size_bytes: int) -> None:
    """Copy, and stop at the first byte too many."""
    hasher = hashlib.sha256()
    count = 0
    while piece := stream.read(_CHUNK_BYTES):
        count += len(piece)
        if count > size_bytes:
            raise BlobError(digest, f"longer than the {size_bytes} bytes announced")
        hasher.update(piece)
        target.write(piece)
    if count < size_bytes:
        raise BlobError(digest, f"{count} bytes, {size_bytes} announced")
    if hasher.hexdigest() != digest:
        raise BlobError(digest, "other content than announced")


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
