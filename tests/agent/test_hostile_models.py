"""Hostile models kill a worker and nothing else, and each is named for what it did."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from fitment_agent.worker.jobs import TrialDone, WorkerFailed
from fitment_contract.phase import FailureReason
from support import runtime_models
from support.runtime_state import FAST, run_worker, trial_job

ON_X86 = platform.machine() in ("x86_64", "i686", "AMD64")


def test_a_model_that_hangs_is_timed_out(tmp_path: Path) -> None:
    job = trial_job(tmp_path / "state", runtime_models.save_hanging(tmp_path / "m.onnx"))
    outcome = run_worker(job, wall_limit_seconds=4)
    assert outcome.reason is FailureReason.TIMED_OUT
    assert isinstance(outcome.final, WorkerFailed)
    assert "wall limit of 4 s" in outcome.final.detail


def test_a_hanging_model_ends_by_its_own_watchdog_when_nobody_watches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Onnxruntime lets go of Python's lock while it runs; the watchdog would not need it."""
    protocol = FAST.model_copy(update={"wall_limit_seconds": 0.1})
    model = runtime_models.save_hanging(tmp_path / "m.onnx")
    outcome = run_worker(
        trial_job(tmp_path / "state", model, protocol=protocol), wall_limit_seconds=None
    )
    assert outcome.reason is FailureReason.TIMED_OUT
    assert isinstance(outcome.final, WorkerFailed)
    assert "watchdog" in outcome.final.detail


@pytest.mark.parametrize(
    "build", [runtime_models.save_memory_eater, runtime_models.save_load_memory_eater]
)
def test_a_model_that_asks_for_gigabytes_is_refused_them(tmp_path: Path, build: object) -> None:
    assert callable(build)
    job = trial_job(tmp_path / "state", build(tmp_path / "m.onnx"))
    outcome = run_worker(job)  # nobody watches from outside: the worker limits itself
    assert outcome.reason is FailureReason.MEMORY_EXCEEDED


def test_a_model_that_grows_slowly_is_killed_from_outside(tmp_path: Path) -> None:
    """A gigabyte fits the address space that this worker may have, not its resident limit."""
    protocol = FAST.model_copy(update={"memory_limit_bytes": 4 * 2**30})
    model = runtime_models.save_memory_eater(tmp_path / "m.onnx", elements=2**28)
    outcome = run_worker(
        trial_job(tmp_path / "state", model, protocol=protocol),
        memory_limit_bytes=300 * 1024 * 1024,
    )
    assert outcome.reason is FailureReason.MEMORY_EXCEEDED
    assert isinstance(outcome.final, WorkerFailed)
    assert "resident size" in outcome.final.detail


@pytest.mark.skipif(not ON_X86, reason="this division traps on x86 only")
@pytest.mark.parametrize("at_load", [False, True])
def test_a_model_that_crashes_the_runtime_is_named_with_its_signal(
    tmp_path: Path, at_load: bool
) -> None:
    model = runtime_models.save_crashing(tmp_path / "m.onnx", at_load=at_load)
    outcome = run_worker(trial_job(tmp_path / "state", model))
    assert outcome.reason is FailureReason.CRASHED
    assert isinstance(outcome.final, WorkerFailed)
    assert "SIGFPE" in outcome.final.detail


@pytest.mark.parametrize("location", ["../secret", "{absolute}"])
def test_a_model_that_reads_other_files_does_not_load(tmp_path: Path, location: str) -> None:
    secret = tmp_path / "state" / "secret"
    secret.parent.mkdir()
    secret.write_bytes(b"sixteen bytes !!")
    model = runtime_models.save_external_data(tmp_path / "m.onnx", location.format(absolute=secret))
    outcome = run_worker(trial_job(tmp_path / "state", model))
    assert outcome.reason is FailureReason.LOAD_FAILED
    assert isinstance(outcome.final, WorkerFailed)
    assert "another file" in outcome.final.detail


def test_after_all_that_a_good_model_still_works(tmp_path: Path) -> None:
    job = trial_job(tmp_path / "state", runtime_models.save_mlp(tmp_path / "m.onnx"))
    outcome = run_worker(job, memory_limit_bytes=FAST.memory_limit_bytes)
    assert isinstance(outcome.final, TrialDone)
