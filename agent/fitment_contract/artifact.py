"""Bytes that travel: content-addressed, sized in advance, possibly in several encodings."""

from __future__ import annotations

from typing import Final

from fitment_contract.base import Bytes, Digest, Name, Record

IDENTITY: Final = "identity"
"""The encoding of bytes that are transferred as they are."""

PACKED: Final = "packed-1"
"""The encoding that `fitment_contract.packed` describes and decodes."""


class Encoding(Record):
    """One way the bytes of an artifact are transferred.

    Attributes:
        name: `identity` for the bytes themselves, otherwise the name of a codec. A receiver passes
            over those that it does not know.
        digest: SHA-256 of the encoded bytes, checked before anything decodes them.
        size_bytes: length of the encoded bytes.
        urls: where they can be fetched, in order of preference. A URL is a hint and is never
            trusted: size and digest decide.
    """

    name: Name = IDENTITY
    digest: Digest
    size_bytes: Bytes
    urls: tuple[str, ...] = ()


class Artifact(Record):
    """An immutable file known by its content.

    Attributes:
        digest: SHA-256 of the file; its name in every blob store.
        size_bytes: its length; receiving one byte more is an error.
        encodings: how it can be fetched; each is verified by the digest of the result.
    """

    digest: Digest
    size_bytes: Bytes
    encodings: tuple[Encoding, ...] = ()

    def digests(self) -> frozenset[str]:
        """The names of all files that a transfer of it may leave: its own and its encodings'."""
        return frozenset({self.digest, *(encoding.digest for encoding in self.encodings)})

    def transfer_bytes(self) -> int:
        """What moves when it is fetched in the smallest encoding that this version knows."""
        packed = [entry.size_bytes for entry in self.encodings if entry.name == PACKED]
        return min([self.size_bytes, *packed])

    def located(self, *urls: str) -> Artifact:
        """The same artifact, fetchable as it is from `urls`, and in no other encoding."""
        encoding = Encoding(digest=self.digest, size_bytes=self.size_bytes, urls=urls)
        return self.model_copy(update={"encodings": (encoding,)})

    def served(self, prefix: str) -> Artifact:
        """The same artifact, fetchable in all its encodings from a server of content by digest.

        Args:
            prefix: what the server's URLs begin with; `/<digest>` is appended.
        """
        prefix = prefix.rstrip("/")
        encoded = tuple(
            entry.model_copy(update={"urls": (f"{prefix}/{entry.digest}",)})
            for entry in self.encodings
            if entry.name != IDENTITY
        )
        plain = self.located(f"{prefix}/{self.digest}")
        return plain.model_copy(update={"encodings": (*plain.encodings, *encoded)})
