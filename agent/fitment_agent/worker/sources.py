"""The ways to get an artifact: files to transfer, of which it is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fitment_agent.worker.decode import decodable
from fitment_contract.artifact import IDENTITY, Artifact


@dataclass(frozen=True)
class Source:
    """One file that can be transferred.

    Attributes:
        artifact: what is made of it.
        encoding: how; `IDENTITY` where it is the artifact itself.
        digest, size_bytes: of the file.
        urls: where it can be had.
    """

    artifact: Artifact
    encoding: str
    digest: str
    size_bytes: int
    urls: tuple[str, ...]

    @property
    def is_encoded(self) -> bool:
        """Whether it is something else than the artifact itself."""
        return self.encoding != IDENTITY


def plain(artifact: Artifact) -> Source:
    """The artifact itself, from wherever its bytes are offered as they are."""
    offered = [entry for entry in artifact.encodings if entry.name == IDENTITY]
    urls = tuple(url for entry in offered for url in entry.urls)
    return Source(artifact, IDENTITY, artifact.digest, artifact.size_bytes, urls)


def encoded(artifact: Artifact) -> list[Source]:
    """The encodings that this device can decode and that some URL has."""
    return [
        Source(artifact, entry.name, entry.digest, entry.size_bytes, entry.urls)
        for entry in artifact.encodings
        if entry.name in decodable() and entry.urls and entry.digest != artifact.digest
    ]


def cheapest_first(artifact: Artifact, held: Callable[[Source], int]) -> list[Source]:
    """The sources of an artifact, those with the fewest bytes still to transfer first.

    What is complete in an encoding comes before what is complete as it is: a power cut while it was
    decoded may have left the latter with the right size and other content.

    Args:
        artifact: what is wanted.
        held: the bytes of a source that are on the disk already.
    """
    whole = plain(artifact)
    left = whole.size_bytes - held(whole)
    shorter = [item for item in encoded(artifact) if item.size_bytes - held(item) <= left]
    return [*sorted(shorter, key=lambda item: item.size_bytes - held(item)), whole]
