"""What was transferred in an encoding, made into the file that it stands for.

The encoded bytes are checked against their digest before a decoder sees them, and the result
against its own while it is written. Decoders are of the standard library's Python and hold a part
of the file at a time; the process they run in is the worker's.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from fitment_agent.worker.verify import content_digest
from fitment_contract.artifact import PACKED, Artifact


class DecodeError(Exception):
    """The encoded file does not give the artifact; another source may."""


@cache
def decodable() -> frozenset[str]:
    """The names of the encodings that can be decoded here."""
    if find_spec("_lzma") is None:  # a Python that was built without it
        return frozenset()
    return frozenset({PACKED})


def decode(
    encoded: Path, digest: str, artifact: Artifact, result: Path, tell: Callable[[int], None]
) -> None:
    """Write the artifact that a `packed-1` file holds, durably.

    Args:
        encoded: the file.
        digest: what its SHA-256 must be.
        artifact: what it holds.
        result: is begun anew, and is no longer than the artifact whatever happens.
        tell: called with the bytes written so far.

    Raises:
        DecodeError: other content than announced, before or after decoding, or too little memory.
        OSError: the storage failed.
    """
    from fitment_contract.packed import PackedError
    from fitment_contract.packed import decode as unpacked

    if content_digest(encoded) != digest:
        raise DecodeError("the encoded file is not the announced one")
    hasher, written = hashlib.sha256(), 0
    try:
        with encoded.open("rb") as source, result.open("wb") as file:
            for piece in unpacked(source, artifact.size_bytes):
                file.write(piece)
                hasher.update(piece)
                written += len(piece)
                tell(written)
            file.flush()
            os.fsync(file.fileno())
    except (PackedError, MemoryError) as error:
        raise DecodeError(str(error) or "not enough memory to decode it") from None
    if hasher.hexdigest() != artifact.digest:
        raise DecodeError("what it decodes to is not the announced file")
