"""The worker as a process: its channel, its end with the daemon, its fetch and verify jobs."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fitment_agent.worker.jobs import (
    EVENTS,
    JOBS,
    FetchDone,
    FetchJob,
    RuntimesDone,
    RuntimesJob,
    VerifyDone,
    VerifyJob,
    WorkerFailed,
)
from fitment_agent.worker.process import Speaker
from fitment_contract.artifact import Artifact
from fitment_contract.base import sha256_hex
from fitment_contract.phase import FailureReason
from support.runtime_http import Answer, serving
from support.runtime_models import save_hanging
from support.runtime_state import run_worker, trial_job

BODY = os.urandom(100_000)
ARTIFACT = Artifact(digest=sha256_hex(BODY), size_bytes=len(BODY))
COMMAND = [sys.executable, "-m", "fitment_agent.worker"]


def fetch_job(tmp_path: Path, *urls: str) -> FetchJob:
    return FetchJob(
        artifacts=(ARTIFACT.located(*urls),),
        blobs=str(tmp_path / "blobs"),
        partial=str(tmp_path / "partial"),
        reserve_bytes=0,
        attempts=2,
        backoff_seconds=0.01,
    )


def verify_job(tmp_path: Path) -> VerifyJob:
    return VerifyJob(
        artifacts=(ARTIFACT,), partial=str(tmp_path / "partial"), blobs=str(tmp_path / "blobs")
    )


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_jobs_and_events_survive_the_channel(tmp_path: Path) -> None:
    job = fetch_job(tmp_path, "http://localhost/x")
    assert JOBS.validate_json(job.model_dump_json()) == job
    for event in (
        FetchDone(bytes_transferred=3),
        VerifyDone(),
        WorkerFailed(reason=FailureReason.CRASHED, detail="x" * 10_000),
    ):
        assert EVENTS.validate_json(event.model_dump_json()) == event


def test_progress_is_thinned_out_within_a_stage() -> None:
    stream, now = io.BytesIO(), [0.0]
    speaker = Speaker(stream, clock=lambda: now[0])
    for step in range(20):
        now[0] = step / 16
        speaker.progress("fetch", step, 20, step)
    speaker.progress("verify", 0, 1)
    said = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(item["stage"], item["done"]) for item in said] == [
        *(("fetch", step) for step in range(0, 20, 4)),
        ("verify", 0),
    ]


def test_runtimes_are_described_in_a_child() -> None:
    outcome = run_worker(RuntimesJob())
    assert isinstance(outcome.final, RuntimesDone)
    facts = {item.name: item for item in outcome.final.runtimes}
    assert facts["onnxruntime"].opset_max is not None


def test_fetch_then_verify_makes_a_blob(tmp_path: Path) -> None:
    with serving(BODY) as server:
        fetched = run_worker(fetch_job(tmp_path, server.url))
    assert fetched.final == FetchDone(bytes_transferred=len(BODY))
    assert run_worker(verify_job(tmp_path)).final == VerifyDone()
    assert (tmp_path / "blobs" / ARTIFACT.digest).read_bytes() == BODY
    assert list((tmp_path / "partial").iterdir()) == []
    # Done again after a restart, it is done still.
    assert run_worker(verify_job(tmp_path)).final == VerifyDone()


def test_a_flipped_byte_is_found_and_the_file_deleted(tmp_path: Path) -> None:
    flipped = bytearray(BODY)
    flipped[50_000] ^= 1
    with serving(bytes(flipped)) as server:
        assert isinstance(run_worker(fetch_job(tmp_path, server.url)).final, FetchDone)
    outcome = run_worker(verify_job(tmp_path))
    assert outcome.reason is FailureReason.DIGEST_MISMATCH
    assert list((tmp_path / "partial").iterdir()) == []
    assert list((tmp_path / "blobs").iterdir()) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (BODY[:-1], FailureReason.TRUNCATED),
        (BODY + b"x", FailureReason.OVERSIZED),
        (bytes(len(BODY)), FailureReason.DIGEST_MISMATCH),
    ],
)
@pytest.mark.parametrize("folder", ["partial", "blobs"])
def test_a_damaged_file_is_deleted_wherever_it_lies(
    tmp_path: Path, content: bytes, reason: FailureReason, folder: str
) -> None:
    path = put(tmp_path / folder / ARTIFACT.digest, content)
    assert run_worker(verify_job(tmp_path)).reason is reason
    assert not path.exists()


def test_a_file_that_vanished_is_to_be_fetched_again(tmp_path: Path) -> None:
    outcome = run_worker(verify_job(tmp_path))
    assert isinstance(outcome.final, WorkerFailed)
    assert (outcome.final.reason, outcome.final.retryable) == (FailureReason.STORAGE_FAILED, True)


def test_a_failed_fetch_says_what_it_moved(tmp_path: Path) -> None:
    with serving(BODY, Answer(body=BODY[:70_000])) as server:
        outcome = run_worker(fetch_job(tmp_path, server.url))
    assert isinstance(outcome.final, WorkerFailed)
    assert (outcome.final.reason, outcome.final.bytes_transferred) == (
        FailureReason.TRUNCATED,
        70_000,
    )


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that is busy with a model that never ends."""
    job = trial_job(tmp_path / "state", save_hanging(tmp_path / "m.onnx"))
    process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(job.model_dump_json().encode() + b"\n")
    process.stdin.flush()
    process.stdout.readline()  # it said that it loads
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_the_end_of_standard_input_ends_a_busy_worker(hanging: subprocess.Popen[bytes]) -> None:
    assert hanging.stdin is not None
    hanging.stdin.close()
    assert hanging.wait(timeout=60) == 1


def test_a_killed_daemon_takes_its_worker_along(tmp_path: Path) -> None:
    job = trial_job(tmp_path / "state", save_hanging(tmp_path / "m.onnx"))
    (tmp_path / "job").write_text(job.model_dump_json())
    script = (
        "import sys, time; from pathlib import Path\n"
        "from fitment_agent.supervise import WorkerProcess\n"
        "from fitment_agent.worker.jobs import JOBS\n"
        "job = JOBS.validate_json(Path(sys.argv[1]).read_bytes())\n"
        "w = WorkerProcess(job, wall_limit_seconds=None, memory_limit_bytes=None,\n"
        "                  on_event=lambda event: print(w.pid, flush=True))\n"
        "time.sleep(600)\n"
    )
    daemon = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "job")], stdout=subprocess.PIPE
    )
    assert daemon.stdout is not None
    worker = int(daemon.stdout.readline())
    daemon.send_signal(signal.SIGKILL)
    daemon.wait()
    daemon.stdout.close()
    deadline = time.monotonic() + 60
    while _is_running(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_running(worker)


def _is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_what_libraries_print_does_not_reach_the_channel() -> None:
    script = (
        "import os; from fitment_agent.worker.process import _claim_stdout\n"
        "channel = _claim_stdout()\n"
        "os.write(1, b'INFO: created a delegate'); print('and this', flush=True)\n"
        "channel.write(b'event'); channel.flush()\n"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert found.stdout == b"event"
    assert b"delegate" in found.stderr
    assert b"and this" in found.stderr
