"""However a worker ends, the daemon gets exactly one last event with the right reason."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fitment_agent.supervise import WorkerProcess, resident_bytes, verdict
from fitment_agent.worker.jobs import (
    FetchDone,
    Progress,
    RuntimesDone,
    RuntimesJob,
    WorkerEvent,
    WorkerFailed,
)
from fitment_contract.phase import FailureReason
from support.runtime_models import save_hanging
from support.runtime_state import run_worker, trial_job


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_worker_that_dies_of_a_signal_crashed(tmp_path: Path, number: signal.Signals) -> None:
    job = trial_job(tmp_path / "state", save_hanging(tmp_path / "m.onnx"))

    def shoot(worker: WorkerProcess, event: WorkerEvent) -> None:
        if isinstance(event, Progress) and worker.pid is not None:
            os.kill(worker.pid, number)

    outcome = run_worker(job, meddle=shoot)
    assert outcome.reason is FailureReason.CRASHED
    assert isinstance(outcome.final, WorkerFailed)
    assert number.name in outcome.final.detail
    assert not outcome.final.retryable


def test_a_stopped_worker_is_gone_and_says_so_once(tmp_path: Path) -> None:
    job = trial_job(tmp_path / "state", save_hanging(tmp_path / "m.onnx"))
    pids: list[int | None] = []

    def stop(worker: WorkerProcess, event: WorkerEvent) -> None:
        if isinstance(event, Progress):
            pids.append(worker.pid)
            worker.stop()

    outcome = run_worker(job, meddle=stop)
    assert isinstance(outcome.final, WorkerFailed)
    assert (outcome.final.reason, outcome.final.retryable) == (FailureReason.INTERNAL, True)
    assert "stopped" in outcome.final.detail
    assert pids[0] is not None
    assert not Path(f"/proc/{pids[0]}").exists()


def test_a_worker_stopped_at_once_still_says_its_last_word() -> None:
    events: list[WorkerEvent] = []
    worker = WorkerProcess(
        RuntimesJob(), wall_limit_seconds=60, memory_limit_bytes=None, on_event=events.append
    )
    worker.stop()
    assert len(events) == 1
    assert isinstance(events[0], WorkerFailed)


def test_memory_is_watched_from_outside() -> None:
    """No Python fits into a megabyte."""
    outcome = run_worker(RuntimesJob(), memory_limit_bytes=1_000_000)
    assert outcome.reason is FailureReason.MEMORY_EXCEEDED


def test_limits_that_are_kept_do_not_matter() -> None:
    outcome = run_worker(RuntimesJob(), memory_limit_bytes=2**40, wall_limit_seconds=60)
    assert isinstance(outcome.final, RuntimesDone)


def test_a_callback_that_raises_leaves_no_worker_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    raised: list[BaseException | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: raised.append(args.exc_value))
    job = trial_job(tmp_path / "state", save_hanging(tmp_path / "m.onnx"))
    pids: list[int | None] = []
    ready = threading.Event()

    def fail(event: WorkerEvent) -> None:
        assert ready.wait(60)
        pids.append(worker.pid)
        raise ValueError("broken")

    worker = WorkerProcess(job, wall_limit_seconds=60, memory_limit_bytes=None, on_event=fail)
    ready.set()
    for thread in threading.enumerate():
        if thread.name == "trial-worker":
            thread.join(60)
    assert [str(error) for error in raised] == ["broken"]
    assert not Path(f"/proc/{pids[0]}").exists()


def test_secrets_of_the_daemon_stay_with_the_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FITMENT_MQTT_PASSWORD", "hunter2")
    monkeypatch.setenv("API_TOKEN", "hunter2")
    monkeypatch.setenv("HARMLESS", "yes")
    job = trial_job(tmp_path / "state", save_hanging(tmp_path / "m.onnx"))
    seen: list[bytes] = []

    def look(worker: WorkerProcess, event: WorkerEvent) -> None:
        if isinstance(event, Progress):
            seen.append(Path(f"/proc/{worker.pid}/environ").read_bytes())
            worker.stop()

    run_worker(job, meddle=look)
    assert b"HARMLESS=yes" in seen[0]
    assert b"hunter2" not in seen[0]


def test_the_daemon_imports_nothing_heavy() -> None:
    script = (
        "import sys, fitment_agent.supervise, fitment_agent.worker.jobs;"
        "print([m for m in ('numpy', 'onnxruntime', 'ai_edge_litert') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def test_resident_size_is_that_of_the_process() -> None:
    assert resident_bytes(os.getpid()) > 5_000_000
    assert resident_bytes(2**22 + 1) == 0


KILLED = WorkerFailed(reason=FailureReason.TIMED_OUT, detail="killed after its wall limit of 1 s")


@pytest.mark.parametrize(
    ("killed_for", "returncode", "noise", "reason", "words"),
    [
        (KILLED, -9, b"", FailureReason.TIMED_OUT, "wall limit"),
        (None, -11, b"", FailureReason.CRASHED, "SIGSEGV"),
        (None, -63, b"", FailureReason.CRASHED, "signal 63"),
        (None, -6, b"what(): std::bad_alloc", FailureReason.MEMORY_EXCEEDED, "bad_alloc"),
        (None, 1, b"MemoryError\n", FailureReason.MEMORY_EXCEEDED, "memory"),
        (None, 1, b"Timeout (0:00:05)!\n", FailureReason.TIMED_OUT, "watchdog"),
        (None, 3, b"what now \xff", FailureReason.INTERNAL, "status 3 and no result"),
        (None, 0, b"", FailureReason.INTERNAL, "status 0"),
    ],
)
def test_an_end_without_a_last_word_is_translated(
    killed_for: WorkerFailed | None,
    returncode: int,
    noise: bytes,
    reason: FailureReason,
    words: str,
) -> None:
    found = verdict(None, killed_for, returncode, noise, bytes_transferred=7)
    assert isinstance(found, WorkerFailed)
    assert (found.reason, found.bytes_transferred) == (reason, 7)
    assert words in found.detail


def test_a_workers_own_last_word_counts_above_all() -> None:
    done = FetchDone(bytes_transferred=1)
    assert verdict(done, KILLED, -9, b"bad_alloc", 0) is done
