"""Transfer artifacts over HTTP into partial files, resuming what is there.

Sizes come from the contract, never from a server: a response is read up to the announced length
and one byte further. Servers are told apart by what a retry can change. A URL that answers with a
client error, or serves another length than announced, is given up; everything else is tried again
after a pause. Contents are not judged here: `verify` does that.
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

from fitment_agent.worker.http_range import GivenUp, PassingTrouble, open_from, origin
from fitment_agent.worker.jobs import FetchDone, FetchJob, JobFailure
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
        JobFailure: no URL gave an artifact, there is no room for it, or the storage failed.
    """
    return _Transfer(job, tell).run()


class _Transfer:
    """One fetch job under way."""

    def __init__(self, job: FetchJob, tell: Tell) -> None:
        self._job = job
        self._tell = tell
        self._partial = Path(job.partial)
        self._received = 0
        self._present = 0
        self._wanted = 0

    def run(self) -> FetchDone:
        with self._storage_errors():
            self._partial.mkdir(parents=True, exist_ok=True)
            missing = [artifact for artifact in self._job.artifacts if not self._is_blob(artifact)]
            self._wanted = sum(artifact.size_bytes for artifact in missing)
            self._require_room(missing)
            self._present = sum(self._held(artifact) for artifact in missing)
            for artifact in missing:
                if self._held(artifact) < artifact.size_bytes:
                    self._fetch_artifact(artifact)
        return FetchDone(bytes_transferred=self._received)

    def _is_blob(self, artifact: Artifact) -> bool:
        blob = Path(self._job.blobs) / artifact.digest
        return blob.is_file() and blob.stat().st_size == artifact.size_bytes

    def _require_room(self, missing: list[Artifact]) -> None:
        needed = sum(artifact.size_bytes - self._held(artifact) for artifact in missing)
        free = shutil.disk_usage(self._partial).free
        if missing and needed + self._job.reserve_bytes > free:
            raise self._failure(
                FailureReason.DISK_FULL,
                f"{needed} bytes to fetch and {self._job.reserve_bytes} to keep free do not fit "
                f"into {free} free bytes: make room on the device",
            )

    def _held(self, artifact: Artifact) -> int:
        """Bytes of the artifact that are already there; a file that is too long is deleted."""
        path = self._partial / artifact.digest
        size = path.stat().st_size if path.is_file() else 0
        if size > artifact.size_bytes:
            path.unlink()
            return 0
        return size

    def _fetch_artifact(self, artifact: Artifact) -> None:
        """Try every URL in turn, until one gave the rest of the artifact."""
        encodings = [item for item in artifact.encodings if item.name == "identity"]
        urls = [url for encoding in encodings for url in encoding.urls]
        token = self._token(urls)
        given_up: list[GivenUp] = []
        trouble: PassingTrouble | None = None
        for attempt in range(self._job.attempts):
            if attempt and urls:
                self._pause(attempt)
            for url in tuple(urls):
                try:
                    self._fetch_url(artifact, url, token.get(origin(url)))
                    return
                except GivenUp as error:
                    given_up.append(error)
                    urls.remove(url)
                    if error.reason in _WRONG_BYTES:  # the next URL must not go on after them
                        self._forget(artifact)
                except PassingTrouble as error:
                    trouble = error
        if urls:
            detail = f"{artifact.digest[:12]}: {trouble}, at the last of {attempt + 1} attempts"
            raise self._failure(FailureReason.UNREACHABLE, detail, retryable=True)
        raise self._failure(*_summary(artifact, given_up))

    def _fetch_url(self, artifact: Artifact, url: str, token: str | None) -> None:
        path = self._partial / artifact.digest
        held = self._held(artifact)
        with open_from(url, held, token) as body, path.open("ab") as file:
            if body.offset < held:  # the server ignored the range
                file.truncate(0)
                self._present -= held
            held = self._receive(artifact, body.chunks(), file, body.offset)
            file.flush()
            os.fsync(file.fileno())  # "fetched" is journalled next, and must be true after a cut
        if held > artifact.size_bytes:
            path.unlink()
            self._present -= artifact.size_bytes
            raise GivenUp(FailureReason.OVERSIZED, f"more than {artifact.size_bytes} bytes")
        if held < artifact.size_bytes:
            short = f"{held} bytes of {artifact.size_bytes} announced"
            if not body.ends_clearly:
                raise PassingTrouble(f"the connection ended at {short}")
            raise GivenUp(FailureReason.TRUNCATED, f"{short}, and the server has no more")

    def _forget(self, artifact: Artifact) -> None:
        """Drop what a URL gave that is given up for its content."""
        self._present -= self._held(artifact)
        (self._partial / artifact.digest).unlink(missing_ok=True)

    def _receive(
        self, artifact: Artifact, chunks: Iterator[bytes], file: BinaryIO, held: int
    ) -> int:
        """Append what comes, up to the announced length; how long the server's file is."""
        for chunk in chunks:
            self._received += len(chunk)
            room = artifact.size_bytes - held
            file.write(chunk[:room])
            self._present += min(len(chunk), room)
            held += len(chunk)
            if len(chunk) > room:
                break
            self._tell("fetch", self._present, self._wanted, self._received)
        return held

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
            raise failure from error

    def _failure(
        self, reason: FailureReason, detail: str, *, retryable: bool = False
    ) -> JobFailure:
        return JobFailure(reason, detail, retryable=retryable, bytes_transferred=self._received)


def _summary(artifact: Artifact, given_up: list[GivenUp]) -> tuple[FailureReason, str]:
    """One reason for all URLs: what was wrong with the bytes counts before there being none."""
    name = artifact.digest[:12]
    if not given_up:
        return FailureReason.NOT_FOUND, f"{name}: no URL is named for it"
    for error in given_up:
        if error.reason in _WRONG_BYTES:
            return error.reason, f"{name}: {error}"
    others = [error for error in given_up if error.reason is not FailureReason.NOT_FOUND]
    worst = (others or given_up)[0]
    return worst.reason, f"{name}: {worst}"
