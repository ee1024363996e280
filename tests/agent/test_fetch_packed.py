"""Fetching in an encoding: fewer bytes move, and what is wrong with them costs no deployment."""

from __future__ import annotations

import errno
import io
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fitment_agent.blobs import Blobs
from fitment_agent.worker.fetch import fetch
from fitment_agent.worker.jobs import FetchDone, FetchJob, JobFailure, VerifyJob
from fitment_agent.worker.verify import verify
from fitment_compress.packing import encode
from fitment_contract.artifact import PACKED, Artifact, Encoding
from fitment_contract.base import sha256_hex
from fitment_contract.packed import decode
from fitment_contract.phase import FailureReason
from support.runtime_http import Answer, FileServer, serving
from support.runtime_state import run_worker

_RNG = np.random.default_rng(0)
BODY = _RNG.choice(np.array([0, 1, 2, 5], np.float32), 50_000, p=[0.7, 0.1, 0.1, 0.1]).tobytes()
ENCODED = encode(BODY)
WRONG = encode(BODY[::-1])
"""As well-formed, of the same size decoded, and something else."""


@pytest.fixture
def packed() -> Iterator[FileServer]:
    with serving(ENCODED) as state:
        yield state


@pytest.fixture
def identity() -> Iterator[FileServer]:
    with serving(BODY) as state:
        yield state


def offered(
    packed: FileServer | None, identity: FileServer | None, encoded: bytes = ENCODED
) -> Artifact:
    encodings = []
    if identity is not None:
        urls = (identity.url,)
        encodings = [Encoding(digest=sha256_hex(BODY), size_bytes=len(BODY), urls=urls)]
    if packed is not None:
        digest, size = sha256_hex(encoded), len(encoded)
        encodings += [Encoding(name=PACKED, digest=digest, size_bytes=size, urls=(packed.url,))]
    return Artifact(digest=sha256_hex(BODY), size_bytes=len(BODY), encodings=tuple(encodings))


def job(tmp_path: Path, artifact: Artifact, **changes: object) -> FetchJob:
    fields = {
        "artifacts": (artifact,),
        "blobs": str(tmp_path / "blobs"),
        "partial": str(tmp_path / "partial"),
        "reserve_bytes": 0,
        "attempts": 3,
        "backoff_seconds": 0.01,
    }
    return FetchJob.model_validate({**fields, **changes})


def silent(stage: str, done: int, total: int, received: int) -> None:
    """Progress that nobody looks at."""


def held(tmp_path: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (tmp_path / "partial").iterdir()}


DECODED = {sha256_hex(BODY): BODY}


def test_the_encoded_bytes_are_what_moves(
    tmp_path: Path, packed: FileServer, identity: FileServer
) -> None:
    seen: list[tuple[str, int, int, int]] = []
    artifact = offered(packed, identity)
    done = fetch(job(tmp_path, artifact), lambda *args: seen.append(args))
    assert done.bytes_transferred == len(ENCODED) < len(BODY) / 10
    assert held(tmp_path) == DECODED
    assert identity.requests == []
    assert ("fetch", len(ENCODED), len(ENCODED), len(ENCODED)) in seen
    assert seen[-1] == ("decode", len(BODY), len(BODY), len(ENCODED))
    partial, blobs = tmp_path / "partial", tmp_path / "blobs"
    verify(
        VerifyJob(artifacts=(artifact,), partial=str(partial), blobs=str(blobs)), lambda *_: None
    )
    assert (blobs / artifact.digest).read_bytes() == BODY
    assert list(partial.iterdir()) == []


def test_a_worker_process_decodes_and_says_what_moved(
    tmp_path: Path, packed: FileServer, identity: FileServer
) -> None:
    outcome = run_worker(job(tmp_path, offered(packed, identity)))
    assert outcome.final == FetchDone(bytes_transferred=len(ENCODED))
    assert held(tmp_path) == DECODED


def test_a_cut_transfer_resumes_with_the_missing_bytes_only(
    tmp_path: Path, packed: FileServer, identity: FileServer
) -> None:
    packed.script = [Answer(cut_after=1000), Answer()]
    done = fetch(job(tmp_path, offered(packed, identity)), silent)
    assert [request.headers.get("Range") for request in packed.requests] == [None, "bytes=1000-"]
    assert done.bytes_transferred == len(ENCODED)
    assert held(tmp_path) == DECODED


def test_a_later_job_resumes_too(tmp_path: Path, packed: FileServer, identity: FileServer) -> None:
    packed.script = [Answer(cut_after=1000)]
    with pytest.raises(JobFailure) as caught:
        fetch(job(tmp_path, offered(packed, identity), attempts=1), silent)
    assert (caught.value.event.reason, caught.value.event.retryable) == (
        FailureReason.UNREACHABLE,
        True,
    )
    assert identity.requests == []  # a bad line is no reason to move ten times the bytes
    assert Blobs(tmp_path).present_bytes([offered(packed, identity)]) == 1000
    packed.script = [Answer()]
    done = fetch(job(tmp_path, offered(packed, identity)), silent)
    assert done.bytes_transferred == len(ENCODED) - 1000
    assert held(tmp_path) == DECODED


def test_a_plain_transfer_that_is_nearly_done_is_not_begun_anew(
    tmp_path: Path, packed: FileServer, identity: FileServer
) -> None:
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial" / sha256_hex(BODY)).write_bytes(BODY[:-100])
    assert fetch(job(tmp_path, offered(packed, identity)), silent).bytes_transferred == 100
    assert packed.requests == []


def test_a_power_cut_while_decoding_is_made_good_without_a_transfer(
    tmp_path: Path, packed: FileServer, identity: FileServer
) -> None:
    """The blocks of the decoded file did not reach the disk; its size did."""
    artifact = offered(packed, identity)
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial" / sha256_hex(ENCODED)).write_bytes(ENCODED)
    for left in (b"", BODY[:1000], bytes(len(BODY))):
        (tmp_path / "partial" / sha256_hex(BODY)).write_bytes(left)
        assert fetch(job(tmp_path, artifact), silent).bytes_transferred == 0
        assert held(tmp_path) == DECODED
        (tmp_path / "partial" / sha256_hex(ENCODED)).write_bytes(ENCODED)
    assert packed.requests == identity.requests == []


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=404),
        Answer(status=403),
        Answer(body=ENCODED[:-1]),
        Answer(body=ENCODED + b"more"),
        Answer(body=bytes(len(ENCODED))),
    ],
)
def test_whatever_is_wrong_with_the_encoding_the_file_itself_helps(
    tmp_path: Path, packed: FileServer, identity: FileServer, answer: Answer
) -> None:
    packed.script = [answer]
    done = fetch(job(tmp_path, offered(packed, identity)), silent)
    assert held(tmp_path) == DECODED
    assert done.bytes_transferred >= len(BODY)


@pytest.mark.parametrize(
    "encoded",
    [WRONG, b"no such format", encode(BODY + b"x")],
    ids=["other content", "not packed", "too long"],
)
def test_what_decodes_to_something_else_is_not_kept(
    tmp_path: Path, identity: FileServer, encoded: bytes
) -> None:
    with serving(encoded) as server:
        alone, both = offered(server, None, encoded), offered(server, identity, encoded)
        with pytest.raises(JobFailure) as caught:
            fetch(job(tmp_path, alone), silent)
        assert caught.value.event.reason is FailureReason.DIGEST_MISMATCH
        assert held(tmp_path) == {}
        done = fetch(job(tmp_path, both), silent)
    assert done.bytes_transferred == len(encoded) + len(BODY)
    assert held(tmp_path) == DECODED


def test_nothing_is_decoded_before_its_digest_is_the_announced_one(
    tmp_path: Path, packed: FileServer
) -> None:
    packed.script = [Answer(body=b"\0" + ENCODED[1:])]
    with pytest.raises(JobFailure, match="encoded file is not the announced one"):
        fetch(job(tmp_path, offered(packed, None)), silent)


def test_an_unknown_encoding_is_passed_over(tmp_path: Path, identity: FileServer) -> None:
    later = Encoding(name="packed-9", digest="0" * 64, size_bytes=1, urls=("http://127.0.0.1:1/",))
    artifact = offered(None, identity)
    artifact = artifact.model_copy(update={"encodings": (later, *artifact.encodings)})
    assert fetch(job(tmp_path, artifact), silent).bytes_transferred == len(BODY)


@pytest.fixture
def tight_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that has room for the file, and not for its encoding beside it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    size = -(-len(BODY) // 4096) * 4096
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small tmpfs needs root and the permission to mount")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_without_room_for_both_the_file_is_fetched_as_it_is(
    tight_disk: Path, packed: FileServer, identity: FileServer
) -> None:
    artifact = offered(packed, identity)
    with pytest.raises(JobFailure) as caught:
        fetch(job(tight_disk, artifact, reserve_bytes=8192), silent)
    assert caught.value.event.reason is FailureReason.DISK_FULL
    assert fetch(job(tight_disk, artifact), silent).bytes_transferred == len(BODY)
    assert held(tight_disk) == DECODED


def test_a_disk_that_fills_up_while_decoding_is_freed(
    tmp_path: Path, packed: FileServer, identity: FileServer
) -> None:
    def fill(stage: str, done: int, total: int, received: int) -> None:
        if stage == "decode":
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(JobFailure) as caught:
        fetch(job(tmp_path, offered(packed, identity)), fill)
    assert caught.value.event.reason is FailureReason.DISK_FULL
    assert held(tmp_path) == {}


def test_eviction_spares_what_a_transfer_may_go_on_with(tmp_path: Path) -> None:
    artifact = offered(FileServer(ENCODED), None)
    blobs = Blobs(tmp_path)
    blobs.partial_folder.mkdir()
    for digest in (*artifact.digests(), "0" * 64):
        (blobs.partial_folder / digest).write_bytes(b"x")
    assert blobs.evict(artifact.digests()) == ["0" * 64]


def test_the_decoder_holds_a_part_of_the_file_at_a_time() -> None:
    content = BODY * 3
    pieces = [len(piece) for piece in decode(io.BytesIO(encode(content)), len(content))]
    assert max(pieces) <= 1 << 18
    assert sum(pieces) == len(content)
