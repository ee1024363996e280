"""Transfer artifacts over HTTP into partial files, resuming what is there.

Sizes come from the contract, never from a server: a response is read up to the announced length
and one byte further. Servers are told apart by what a retry can change. A URL that answers with a
client error, or serves another length than announced, is given up; everything else is tried again
after a pause.

An artifact may be offered in several encodings. The one with the fewest bytes still to come is
transferred, under its own digest, checked and decoded here; where that gives no artifact, the next
one is, and the artifact as it is last. Contents of what is transferred as it is are not judged
here: `verify` does that.

A transfer may have an allowance. It stops there, to within what one read gives, and what it has is
kept: the next transfer goes on from it.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from fitment_agent.durable import sync_folder
from fitment_agent.worker.decode import DecodeError, decode
from fitment_agent.worker.http_range import GivenUp, PassingTrouble, open_from, origin
from fitment_agent.worker.jobs import FetchDone, FetchJob, JobFailure
from fitment_agent.worker.sources import Source, cheapest_first, encoded, plain
from fitment_contract.artifact import Artifact
from fitment_contract.phase import FailureReason

_MAX_PAUSE_SECONDS: Final = 30.0

_WRONG_BYTES: Final = (FailureReason.OVERSIZED, FailureReason.TRUNCATED)
_TOKEN = re.compile(r"[!-~]{1,4096}")

Tell = Callable[[str, int, int, int], None]
"""Called with (stage, bytes present, bytes wanted, payload bytes received)."""


def fetch(job: FetchJob, tell: Tell) -> FetchDone:
    """Bring every artifact of the job into its partial file.

    Raises:
        JobFailure: no URL gave an artifact, there is no room for it, the storage failed, or the
            allowance is spent.
    """
    return _Transfer(job, tell).run()


class _Transfer:
    """One fetch job under way."""

    def __init__(self, job: FetchJob, tell: Tell) -> None:
        self._job = job
        self._tell = tell
        self._allowance = job.allowance_bytes
        self._partial = Path(job.partial)
        self._received = 0
        self._present = 0
        self._wanted = 0

    def run(self) -> FetchDone:
        with self._storage_errors():
            self._partial.mkdir(parents=True, exist_ok=True)
            missing = [item for item in self._job.artifacts if not self._is_there(item)]
            chosen = self._choose(missing)
            self._wanted = sum(sources[0].size_bytes for sources in chosen)
            self._present = sum(self._held(sources[0]) for sources in chosen)
            for sources in chosen:
                self._fetch_artifact(sources)
        return FetchDone(bytes_transferred=self._received)

    def _is_there(self, artifact: Artifact) -> bool:
        blob = Path(self._job.blobs) / artifact.digest
        if blob.is_file() and blob.stat().st_size == artifact.size_bytes:
            return True
        # While an encoded file is there, what was decoded from it may not be on the disk yet.
        decoding = any(self._held(source) for source in encoded(artifact))
        return self._held(plain(artifact)) == artifact.size_bytes and not decoding

    def _choose(self, missing: list[Artifact]) -> list[list[Source]]:
        """The sources of each artifact in the order of trying, within the room that there is.

        An encoded file needs room beside what is decoded from it. Where there is none, artifacts
        are transferred as they are.
        """
        free = shutil.disk_usage(self._partial).free
        cheapest = [cheapest_first(artifact, self._held) for artifact in missing]
        for choice in (cheapest, [[plain(artifact)] for artifact in missing]):
            needed = sum(self._needed(sources[0]) for sources in choice)
            if not missing or needed + self._job.reserve_bytes <= free:
                return choice
        raise self._failure(
            FailureReason.DISK_FULL,
            f"{needed} bytes to fetch and {self._job.reserve_bytes} to keep free do not fit "
            f"into {free} free bytes: make room on the device",
        )

    def _needed(self, source: Source) -> int:
        """Bytes that transferring and decoding it add to the disk."""
        result = plain(source.artifact)
        beside = result.size_bytes - self._held(result) if source.is_encoded else 0
        return source.size_bytes - self._held(source) + beside

    def _held(self, source: Source) -> int:
        """Bytes of the file that are already there; a file that is too long is deleted."""
        path = self._partial / source.digest
        size = path.stat().st_size if path.is_file() else 0
        if size > source.size_bytes:
            path.unlink()
            return 0
        return size

    def _fetch_artifact(self, sources: list[Source]) -> None:
        """Try every source in turn, until one gave the artifact."""
        failures: list[JobFailure] = []
        for number, source in enumerate(sources):
            if number:
                self._wanted += source.size_bytes - sources[number - 1].size_bytes
                self._present += self._held(source)
            try:
                self._fetch_source(source)
                if source.is_encoded:
                    self._decode(source)
                self._forget_encoded(source.artifact)
                return
            except JobFailure as failure:
                if failure.event.retryable:  # it comes later, at the price of this source
                    raise
                failures.append(failure)
                if source.is_encoded:
                    self._forget(source)
        telling = [item for item in failures if item.event.reason is not FailureReason.NOT_FOUND]
        raise (telling or failures)[-1]

    def _decode(self, source: Source) -> None:
        artifact = source.artifact

        def tell(written: int) -> None:
            self._tell("decode", written, artifact.size_bytes, self._received)

        result = self._partial / artifact.digest
        try:
            decode(self._partial / source.digest, source.digest, artifact, result, tell)
        except DecodeError as error:
            result.unlink(missing_ok=True)
            detail = f"{artifact.digest[:12]}, {source.encoding}: {error}"
            raise self._failure(FailureReason.DIGEST_MISMATCH, detail) from None
        sync_folder(self._partial)  # before the encoded file, of which it could be made again, goes

    def _forget_encoded(self, artifact: Artifact) -> None:
        for source in encoded(artifact):
            (self._partial / source.digest).unlink(missing_ok=True)

    def _fetch_source(self, source: Source) -> None:
        """Try every URL in turn, until one gave the rest of the file."""
        if self._held(source) == source.size_bytes:
            return
        self._keep_to_allowance()
        urls = list(source.urls)
        token = self._token(urls)
        given_up: list[GivenUp] = []
        trouble: PassingTrouble | None = None
        for attempt in range(self._job.attempts):
            if attempt and urls:
                self._pause(attempt)
            for url in tuple(urls):
                try:
                    self._fetch_url(source, url, token.get(origin(url)))
                    return
                except GivenUp as error:
                    given_up.append(error)
                    urls.remove(url)
                    if error.reason in _WRONG_BYTES:  # the next URL must not go on after them
                        self._forget(source)
                except PassingTrouble as error:
                    trouble = error
        if urls:
            detail = f"{source.digest[:12]}: {trouble}, at the last of {attempt + 1} attempts"
            raise self._failure(FailureReason.UNREACHABLE, detail, retryable=True)
        raise self._failure(*_summary(source, given_up))

    def _fetch_url(self, source: Source, url: str, token: str | None) -> None:
        path = self._partial / source.digest
        held = self._held(source)
        with open_from(url, held, token) as body, path.open("ab") as file:
            if body.offset < held:  # the server ignored the range
                file.truncate(0)
                self._present -= held
            held = self._receive(source, body.chunks(), file, body.offset)
            file.flush()
            os.fsync(file.fileno())  # "fetched" is journalled next, and must be true after a cut
        if held > source.size_bytes:
            path.unlink()
            self._present -= source.size_bytes
            raise GivenUp(FailureReason.OVERSIZED, f"more than {source.size_bytes} bytes")
        if held < source.size_bytes:
            self._keep_to_allowance()
            short = f"{held} bytes of {source.size_bytes} announced"
            if not body.ends_clearly:
                raise PassingTrouble(f"the connection ended at {short}")
            raise GivenUp(FailureReason.TRUNCATED, f"{short}, and the server has no more")

    def _forget(self, source: Source) -> None:
        """Drop what a URL gave that is given up for its content."""
        self._present -= self._held(source)
        (self._partial / source.digest).unlink(missing_ok=True)

    def _receive(self, source: Source, chunks: Iterator[bytes], file: BinaryIO, held: int) -> int:
        """Append what comes, up to the announced length; how long the server's file is."""
        for chunk in chunks:
            self._received += len(chunk)
            room = source.size_bytes - held
            file.write(chunk[:room])
            self._present += min(len(chunk), room)
            held += len(chunk)
            if len(chunk) > room:
                break
            self._tell("fetch", self._present, self._wanted, self._received)
            if self._is_allowance_spent:
                break
        return held

    @property
    def _is_allowance_spent(self) -> bool:
        return self._allowance is not None and self._received >= self._allowance

    def _keep_to_allowance(self) -> None:
        """Stop where nothing more may be received."""
        if self._is_allowance_spent:
            detail = f"the {self._allowance} bytes that were allowed are spent"
            raise self._failure(FailureReason.INTERNAL, detail, retryable=True)

    def _pause(self, attempt: int) -> None:
        longest = min(self._job.backoff_seconds * 2 ** (attempt - 1), _MAX_PAUSE_SECONDS)
        # A part of it is chance, so that a fleet does not come back all at once.
        time.sleep(longest * random.uniform(0.5, 1.0))  # noqa: S311 - no secret depends on it

    def _token(self, urls: list[str]) -> dict[tuple[str, str, int | None], str]:
        """The token under the origin that may see it: that of the first URL."""
        if self._job.bearer_token_file is None or not urls:
            return {}
        text = Path(self._job.bearer_token_file).read_text(errors="replace").strip()
        if not _TOKEN.fullmatch(text):
            raise self._failure(
                FailureReason.INTERNAL,
                f"{self._job.bearer_token_file} holds no token: one line of printable characters",
            )
        try:
            return {origin(urls[0]): text}
        except GivenUp:
            return {}

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            failure = JobFailure.of_system(error, "fetch", self._received)
            if failure.event.reason is FailureReason.DISK_FULL:
                for artifact in self._job.artifacts:  # a full disk hurts more than starting over
                    (self._partial / artifact.digest).unlink(missing_ok=True)
                    self._forget_encoded(artifact)
            raise failure from error

    def _failure(
        self, reason: FailureReason, detail: str, *, retryable: bool = False
    ) -> JobFailure:
        return JobFailure(reason, detail, retryable=retryable, bytes_transferred=self._received)


def _summary(source: Source, given_up: list[GivenUp]) -> tuple[FailureReason, str]:
    """One reason for all URLs: what was wrong with the bytes counts before there being none."""
    name = source.digest[:12]
    if not given_up:
        return FailureReason.NOT_FOUND, f"{name}: no URL is named for it"
    for error in given_up:
        if error.reason in _WRONG_BYTES:
            return error.reason, f"{name}: {error}"
    others = [error for error in given_up if error.reason is not FailureReason.NOT_FOUND]
    worst = (others or given_up)[0]
    return worst.reason, f"{name}: {worst}"
