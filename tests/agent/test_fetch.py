"""Fetching: what a server can do wrong, and what the device says about it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fitment_agent.worker.fetch import fetch
from fitment_agent.worker.jobs import FetchDone, FetchJob, JobFailure
from fitment_contract.artifact import Artifact, Encoding
from fitment_contract.base import sha256_hex
from fitment_contract.phase import FailureReason
from support.runtime_http import Answer, FileServer, serving

BODY = os.urandom(300_000)


def artifact(*urls: str, body: bytes = BODY) -> Artifact:
    return Artifact(digest=sha256_hex(body), size_bytes=len(body)).located(*urls)


def job(tmp_path: Path, *artifacts: Artifact, **changes: object) -> FetchJob:
    fields = {
        "artifacts": artifacts,
        "blobs": str(tmp_path / "blobs"),
        "partial": str(tmp_path / "partial"),
        "reserve_bytes": 0,
        "attempts": 3,
        "backoff_seconds": 0.01,
    }
    return FetchJob.model_validate({**fields, **changes})


def silent(stage: str, done: int, total: int, received: int) -> None:
    """Progress that nobody looks at."""


def partial_of(tmp_path: Path, body: bytes = BODY) -> Path:
    return tmp_path / "partial" / sha256_hex(body)


def failure(fetch_job: FetchJob) -> JobFailure:
    with pytest.raises(JobFailure) as caught:
        fetch(fetch_job, silent)
    return caught.value


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving(BODY) as state:
        yield state


def test_a_good_server_gives_the_file(tmp_path: Path, server: FileServer) -> None:
    seen: list[tuple[str, int, int, int]] = []
    done = fetch(job(tmp_path, artifact(server.url)), lambda *args: seen.append(args))
    assert done == FetchDone(bytes_transferred=len(BODY))
    assert partial_of(tmp_path).read_bytes() == BODY
    assert seen[-1] == ("fetch", len(BODY), len(BODY), len(BODY))


def test_several_artifacts_are_one_transfer(tmp_path: Path, server: FileServer) -> None:
    other = os.urandom(1000)
    with serving(other) as second:
        done = fetch(job(tmp_path, artifact(server.url), artifact(second.url, body=other)), silent)
    assert done.bytes_transferred == len(BODY) + len(other)
    assert partial_of(tmp_path, other).read_bytes() == other


def test_what_is_among_the_blobs_is_not_fetched(tmp_path: Path, server: FileServer) -> None:
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    (blobs / sha256_hex(BODY)).write_bytes(BODY)
    assert fetch(job(tmp_path, artifact(server.url)), silent).bytes_transferred == 0
    assert server.requests == []


def test_a_complete_partial_file_is_not_fetched(tmp_path: Path, server: FileServer) -> None:
    partial_of(tmp_path).parent.mkdir()
    partial_of(tmp_path).write_bytes(BODY)
    assert fetch(job(tmp_path, artifact(server.url)), silent).bytes_transferred == 0
    assert server.requests == []


def test_a_cut_connection_resumes_with_the_missing_bytes_only(
    tmp_path: Path, server: FileServer
) -> None:
    server.script = [Answer(cut_after=100_000), Answer()]
    done = fetch(job(tmp_path, artifact(server.url)), silent)
    assert partial_of(tmp_path).read_bytes() == BODY
    assert [request.headers.get("Range") for request in server.requests] == [None, "bytes=100000-"]
    assert [request.sent for request in server.requests] == [100_000, 200_000]
    assert done.bytes_transferred == len(BODY)


def test_a_file_beyond_the_allowance_comes_in_parts(tmp_path: Path, server: FileServer) -> None:
    """One read more than allowed at most, and no byte twice."""
    read_bytes, allowance = 64 * 1024, 120_000
    wanted = job(tmp_path, artifact(server.url), allowance_bytes=allowance)
    event = failure(wanted).event
    had = event.bytes_transferred
    assert event.retryable
    assert allowance <= had < allowance + read_bytes
    assert partial_of(tmp_path).read_bytes() == BODY[:had]
    rest = job(tmp_path, artifact(server.url), allowance_bytes=len(BODY))
    assert fetch(rest, silent).bytes_transferred == len(BODY) - had
    assert partial_of(tmp_path).read_bytes() == BODY


def test_an_allowance_that_is_spent_begins_no_other_file(
    tmp_path: Path, server: FileServer
) -> None:
    other = os.urandom(1000)
    with serving(other) as second:
        wanted = artifact(server.url), artifact(second.url, body=other)
        assert "allowed" in failure(job(tmp_path, *wanted, allowance_bytes=len(BODY))).event.detail
        assert second.requests == []
    assert partial_of(tmp_path).read_bytes() == BODY


def test_an_allowance_that_just_suffices_is_no_hindrance(
    tmp_path: Path, server: FileServer
) -> None:
    for allowance, received in ((len(BODY), len(BODY)), (0, 0)):
        wanted = job(tmp_path, artifact(server.url), allowance_bytes=allowance)
        assert fetch(wanted, silent).bytes_transferred == received


def test_a_reset_connection_is_survived(tmp_path: Path, server: FileServer) -> None:
    server.script = [Answer(cut_after=100_000, reset=True), Answer()]
    fetch(job(tmp_path, artifact(server.url)), silent)
    assert partial_of(tmp_path).read_bytes() == BODY
    assert len(server.requests) == 2


def test_a_later_job_resumes_too(tmp_path: Path, server: FileServer) -> None:
    partial_of(tmp_path).parent.mkdir()
    partial_of(tmp_path).write_bytes(BODY[:250_000])
    assert fetch(job(tmp_path, artifact(server.url)), silent).bytes_transferred == 50_000
    assert partial_of(tmp_path).read_bytes() == BODY


def test_a_partial_file_that_is_too_long_starts_over(tmp_path: Path, server: FileServer) -> None:
    partial_of(tmp_path).parent.mkdir()
    partial_of(tmp_path).write_bytes(BODY + b"more")
    fetch(job(tmp_path, artifact(server.url)), silent)
    assert partial_of(tmp_path).read_bytes() == BODY


def test_a_server_that_ignores_the_range_starts_over(tmp_path: Path, server: FileServer) -> None:
    server.script = [Answer(cut_after=100_000), Answer(ignore_range=True)]
    done = fetch(job(tmp_path, artifact(server.url)), silent)
    assert partial_of(tmp_path).read_bytes() == BODY
    assert done.bytes_transferred == 100_000 + len(BODY)


def test_a_range_from_elsewhere_is_not_appended(tmp_path: Path, server: FileServer) -> None:
    server.script = [Answer(cut_after=100_000), Answer(wrong_range=True), Answer()]
    fetch(job(tmp_path, artifact(server.url)), silent)
    assert partial_of(tmp_path).read_bytes() == BODY


def test_chunked_and_bare_answers_are_read_to_their_end(tmp_path: Path, server: FileServer) -> None:
    for number, answer in enumerate((Answer(chunked=True), Answer(bare=True))):
        server.script = [answer]
        fetch(job(tmp_path / str(number), artifact(server.url)), silent)
        assert partial_of(tmp_path / str(number)).read_bytes() == BODY


@pytest.mark.parametrize(
    ("status", "reason", "retryable", "asked"),
    [
        (404, FailureReason.NOT_FOUND, False, 1),
        (410, FailureReason.NOT_FOUND, False, 1),
        (401, FailureReason.REFUSED, False, 1),
        (403, FailureReason.REFUSED, False, 1),
        (500, FailureReason.UNREACHABLE, True, 3),
        (503, FailureReason.UNREACHABLE, True, 3),
        (429, FailureReason.UNREACHABLE, True, 3),
    ],
)
def test_a_status_is_final_or_tried_again(
    tmp_path: Path,
    server: FileServer,
    status: int,
    reason: FailureReason,
    retryable: bool,
    asked: int,
) -> None:
    server.script = [Answer(status=status)]
    event = failure(job(tmp_path, artifact(server.url))).event
    assert (event.reason, event.retryable) == (reason, retryable)
    assert len(server.requests) == asked
    assert event.bytes_transferred == 0


def test_an_error_that_passes_is_survived(tmp_path: Path, server: FileServer) -> None:
    server.script = [Answer(status=500), Answer(status=502), Answer()]
    fetch(job(tmp_path, artifact(server.url)), silent)
    assert partial_of(tmp_path).read_bytes() == BODY


def test_nobody_listening_is_unreachable(tmp_path: Path) -> None:
    with serving(BODY) as gone:
        url = gone.url
    event = failure(job(tmp_path, artifact(url))).event
    assert (event.reason, event.retryable) == (FailureReason.UNREACHABLE, True)


def test_a_short_file_is_truncated(tmp_path: Path, server: FileServer) -> None:
    for number, answer in enumerate((Answer(body=BODY[:-1]), Answer(body=BODY[:-1], chunked=True))):
        server.script = [answer]
        event = failure(job(tmp_path / str(number), artifact(server.url))).event
        assert (event.reason, event.retryable) == (FailureReason.TRUNCATED, False)
        assert event.bytes_transferred == len(BODY) - 1


def test_a_short_file_without_a_length_is_found_out_by_asking_for_the_rest(
    tmp_path: Path, server: FileServer
) -> None:
    server.script = [Answer(body=BODY[:1000], bare=True)]
    assert failure(job(tmp_path, artifact(server.url))).event.reason is FailureReason.TRUNCATED


def test_a_connection_that_never_lasts_is_unreachable_and_keeps_what_came(
    tmp_path: Path, server: FileServer
) -> None:
    server.script = [Answer(cut_after=10)]
    event = failure(job(tmp_path, artifact(server.url))).event
    assert (event.reason, event.bytes_transferred) == (FailureReason.UNREACHABLE, 30)
    assert partial_of(tmp_path).read_bytes() == BODY[:30]


@pytest.mark.parametrize("answer", [{}, {"chunked": True}, {"bare": True}])
def test_a_longer_file_is_oversized_and_not_kept(
    tmp_path: Path, server: FileServer, answer: dict[str, bool]
) -> None:
    server.script = [Answer(body=BODY + os.urandom(5_000_000), **answer)]
    event = failure(job(tmp_path, artifact(server.url))).event
    assert (event.reason, event.retryable) == (FailureReason.OVERSIZED, False)
    assert event.bytes_transferred < len(BODY) + 100_000  # stopped, not drained
    assert not partial_of(tmp_path).exists()


def test_the_next_url_helps(tmp_path: Path, server: FileServer) -> None:
    with serving(BODY, Answer(status=404)) as other:
        fetch(job(tmp_path, artifact(other.url, server.url)), silent)
    assert partial_of(tmp_path).read_bytes() == BODY


def test_wrong_bytes_anywhere_outweigh_a_missing_file(tmp_path: Path, server: FileServer) -> None:
    server.script = [Answer(body=BODY[:-1])]
    with serving(BODY, Answer(status=404)) as other:
        event = failure(job(tmp_path, artifact(other.url, server.url))).event
    assert event.reason is FailureReason.TRUNCATED


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (None, FailureReason.NOT_FOUND),
        ("file:///etc/passwd", FailureReason.REFUSED),
        ("http://[", FailureReason.REFUSED),
        ("http://127.0.0.1:notaport/", FailureReason.REFUSED),
        ("http://127.0.0.1:1/a b\nc", FailureReason.REFUSED),
        ("http:///nohost", FailureReason.REFUSED),
    ],
)
def test_a_url_that_is_none_is_given_up(
    tmp_path: Path, url: str | None, reason: FailureReason
) -> None:
    urls = () if url is None else (url,)
    assert failure(job(tmp_path, artifact(*urls))).event.reason is reason


def test_an_encoding_that_this_version_cannot_decode_is_no_source(
    tmp_path: Path, server: FileServer
) -> None:
    encoded = Artifact(
        digest=sha256_hex(BODY),
        size_bytes=len(BODY),
        encodings=(Encoding(name="zstd", digest="0" * 64, size_bytes=1, urls=(server.url,)),),
    )
    assert failure(job(tmp_path, encoded)).event.reason is FailureReason.NOT_FOUND
    assert server.requests == []


def test_the_token_goes_to_the_first_origin_only(tmp_path: Path, server: FileServer) -> None:
    token_file = tmp_path / "token"
    token_file.write_text("s3cret\n")
    server.script = [Answer(status=500)]
    with serving(BODY) as other:
        fetch(
            job(tmp_path, artifact(server.url, other.url), bearer_token_file=str(token_file)),
            silent,
        )
        assert "Authorization" not in other.requests[0].headers
    assert server.requests[0].headers["Authorization"] == "Bearer s3cret"


def test_a_redirect_stays_within_the_origin(tmp_path: Path, server: FileServer) -> None:
    with serving(BODY) as other:
        server.script = [Answer(location=other.url)]
        event = failure(job(tmp_path, artifact(server.url))).event
        assert event.reason is FailureReason.REFUSED
        assert other.requests == []
    server.script = [Answer(location="/elsewhere"), Answer()]
    fetch(job(tmp_path, artifact(server.url)), silent)
    assert server.requests[-1].path == "/elsewhere"


def test_a_token_file_without_a_token_is_named_and_not_shown(
    tmp_path: Path, server: FileServer
) -> None:
    token_file = tmp_path / "token"
    token_file.write_text("two words")
    event = failure(job(tmp_path, artifact(server.url), bearer_token_file=str(token_file))).event
    assert str(token_file) in event.detail
    assert "two words" not in event.detail


def test_a_disk_without_room_is_seen_before_anything_is_asked(
    tmp_path: Path, server: FileServer
) -> None:
    event = failure(job(tmp_path, artifact(server.url), reserve_bytes=2**52)).event
    assert (event.reason, event.retryable) == (FailureReason.DISK_FULL, False)
    assert server.requests == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB that accepts a file and then runs full."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small tmpfs needs root and the permission to mount")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_runs_full_is_reported_and_freed(
    tmp_path: Path, small_disk: Path, server: FileServer
) -> None:
    (small_disk / "other").write_bytes(bytes(200_000))
    body = BODY[:50_000]

    def fill(stage: str, done: int, total: int, received: int) -> None:
        """Somebody else takes the room while the transfer runs."""
        with (small_disk / "greedy").open("wb", buffering=0) as file:
            while file.write(bytes(1024)) == 1024:
                pass

    server.body, server.script = body, [Answer(cut_after=1000), Answer()]
    partial = small_disk / "partial"
    with pytest.raises(JobFailure) as caught:
        fetch(job(tmp_path, artifact(server.url, body=body), partial=str(partial)), fill)
    assert caught.value.event.reason is FailureReason.DISK_FULL
    assert list(partial.iterdir()) == []


def test_storage_that_cannot_be_written_is_no_network_trouble(
    tmp_path: Path, server: FileServer
) -> None:
    (tmp_path / "partial").write_text("a file where the folder belongs")
    event = failure(job(tmp_path, artifact(server.url))).event
    assert event.reason is FailureReason.STORAGE_FAILED
