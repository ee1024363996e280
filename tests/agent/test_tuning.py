"""Tuning and trials of pairs in real workers; what crashes in one process spares the others."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from fitment_agent.supervise import WorkerProcess
from fitment_agent.tuning import tune_job
from fitment_agent.worker.jobs import (
    TrialDone,
    TrialJob,
    TuneDone,
    TuneJob,
    WorkerEvent,
    WorkerFailed,
)
from fitment_contract.device import CoreCluster, DeviceFacts, Hardware, RuntimeFacts
from fitment_contract.messages import LowPower
from fitment_contract.phase import FailureReason
from fitment_contract.variant import Needs
from support import runtime_models
from support.agent_lab import wait_until
from support.agent_records import an_assignment
from support.runtime_state import FAST, FINGERPRINT, run_worker, trial_job

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return runtime_models.save_mlp(tmp_path / "m.onnx")


def a_job(state: Path, model: Path, **changes: Any) -> TuneJob:
    variant = trial_job(state, model).assignment.variant
    given: dict[str, Any] = {
        "state_dir": str(state),
        "variant": variant,
        "fingerprint": FINGERPRINT,
        "seconds": 0.1,
    }
    return TuneJob(**{**given, **changes})


def a_pair(state: Path, normal: Path, low_power: Path) -> TrialJob:
    job = trial_job(state, normal)
    second = trial_job(state, low_power).assignment.variant.model_copy(update={"name": "small"})
    assignment = job.assignment.model_copy(update={"low_power": LowPower(variant=second)})
    return job.model_copy(update={"assignment": assignment})


def test_a_worker_tunes(tmp_path: Path, model: Path) -> None:
    job = a_job(tmp_path / "state", model)
    outcome = run_worker(job, memory_limit_bytes=FAST.memory_limit_bytes)
    assert isinstance(outcome.final, TuneDone)
    assert outcome.final.tuning.digest == job.variant.digest
    assert {event.stage for event in outcome.progress} == {"tune"}


def test_a_provider_that_is_not_there_costs_nothing(tmp_path: Path, model: Path) -> None:
    outcome = run_worker(a_job(tmp_path / "state", model, providers=(CUDA,)))
    assert isinstance(outcome.final, TuneDone)
    assert outcome.final.tuning.providers == ()


def test_a_provider_whose_process_dies_costs_only_itself(tmp_path: Path, model: Path) -> None:
    """The first process to tune does so on the CPU; the second, for the provider, is killed."""
    seen: list[int] = []

    def kill_the_second(worker: WorkerProcess, event: WorkerEvent) -> None:
        for pid in children_of(worker.pid):
            if pid not in seen:
                seen.append(pid)
                if len(seen) == 2:
                    os.kill(pid, signal.SIGKILL)

    job = a_job(tmp_path / "state", model, providers=(CUDA,), seconds=5.0)
    outcome = run_worker(job, meddle=kill_the_second, wall_limit_seconds=120)
    assert len(seen) == 2
    assert isinstance(outcome.final, TuneDone)
    assert outcome.final.tuning.providers == ()


def test_a_model_that_crashes_is_named_and_leaves_no_process(tmp_path: Path) -> None:
    path = runtime_models.save_crashing(tmp_path / "m.onnx")
    outcome = run_worker(a_job(tmp_path / "state", path, providers=(CUDA,)))
    if not isinstance(outcome.final, TuneDone):  # ARM does not trap on that division
        assert outcome.reason is FailureReason.CRASHED


def test_a_missing_file_is_the_storages_fault(tmp_path: Path, model: Path) -> None:
    job = a_job(tmp_path / "state", model)
    for blob in (tmp_path / "state" / "blobs").iterdir():
        blob.unlink()
    outcome = run_worker(job)
    assert isinstance(outcome.final, WorkerFailed)
    assert (outcome.reason, outcome.final.retryable) == (FailureReason.STORAGE_FAILED, True)


def test_both_of_a_pair_are_measured(tmp_path: Path, model: Path) -> None:
    small = runtime_models.save_doubler(tmp_path / "small.onnx")
    outcome = run_worker(a_pair(tmp_path / "state", model, small))
    assert isinstance(outcome.final, TrialDone)
    second = outcome.final.low_power_report
    assert second is not None
    assert (outcome.final.report.variant, second.variant) == ("candidate", "small")
    assert outcome.final.report.digest != second.digest
    assert second.latency.count >= FAST.min_count


def test_a_second_variant_that_fails_fails_the_trial_by_name(tmp_path: Path, model: Path) -> None:
    broken = tmp_path / "small.onnx"
    broken.write_bytes(b"no model")
    job = a_pair(tmp_path / "state", model, broken)
    outcome = run_worker(job)
    assert isinstance(outcome.final, WorkerFailed)
    assert outcome.reason is FailureReason.LOAD_FAILED
    assert outcome.final.detail.startswith("the low-power variant small: ")
    assert job.assignment.low_power is not None
    assert outcome.final.digest == job.assignment.low_power.variant.digest


def test_a_first_variant_that_fails_is_not_blamed_on_the_second(
    tmp_path: Path, model: Path
) -> None:
    broken = tmp_path / "big.onnx"
    broken.write_bytes(b"no model")
    outcome = run_worker(a_pair(tmp_path / "state", broken, model))
    assert isinstance(outcome.final, WorkerFailed)
    assert (outcome.reason, outcome.final.digest) == (FailureReason.LOAD_FAILED, None)
    assert "low-power" not in outcome.final.detail


def test_the_second_trial_counts_its_own_memory(tmp_path: Path, model: Path) -> None:
    """As it would alone: what the first one left behind is not the second one's."""
    hungry = runtime_models.save_load_memory_eater(tmp_path / "big.onnx", 8 << 20)  # 32 MiB
    outcome = run_worker(a_pair(tmp_path / "state", hungry, model))
    assert isinstance(outcome.final, TrialDone)
    second = outcome.final.low_power_report
    assert second is not None
    assert outcome.final.report.peak_memory_bytes > 20e6
    assert second.peak_memory_bytes < 15e6


def test_a_stopped_worker_takes_its_own_workers_along(tmp_path: Path, model: Path) -> None:
    family: set[int] = set()

    def stop_in_the_middle(worker: WorkerProcess, event: WorkerEvent) -> None:
        found = children_of(worker.pid)
        if found and not family:
            family.update(found)
            worker.stop()

    job = a_job(tmp_path / "state", model, providers=(CUDA,), seconds=30.0)
    run_worker(job, meddle=stop_in_the_middle, wall_limit_seconds=120)
    assert family
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in family), "its workers to end")


def facts(**changes: Any) -> DeviceFacts:
    runtime = RuntimeFacts(
        name="onnxruntime", version="1", formats=("onnx",), providers=(CUDA, CPU)
    )
    clusters = (CoreCluster(cores=(4, 5)), CoreCluster(cores=(0, 1, 2, 3)))
    return DeviceFacts(
        **{"hardware": Hardware(clusters=clusters), "runtimes": (runtime,), **changes}
    )


def test_the_job_names_what_the_device_has(tmp_path: Path) -> None:
    job = tune_job(an_assignment(), tmp_path, facts())
    assert (job.needed, job.providers) == ((), (CUDA,))
    assert [cluster.cores for cluster in job.clusters] == [(4, 5), (0, 1, 2, 3)]
    assert job.total_wall_limit_seconds == 2 * job.wall_limit_seconds


def test_a_variant_that_needs_a_provider_is_tuned_on_it_alone(tmp_path: Path) -> None:
    assignment = an_assignment()
    needs = Needs(runtime="onnxruntime", providers_any_of=("TensorrtExecutionProvider", CUDA))
    needy = assignment.variant.model_copy(update={"needs": needs})
    job = tune_job(assignment.model_copy(update={"variant": needy}), tmp_path, facts())
    assert (job.needed, job.providers) == ((CUDA,), ())


def test_declared_providers_are_not_tried(tmp_path: Path) -> None:
    assert tune_job(an_assignment(), tmp_path, facts(simulated=True)).providers == ()


def children_of(pid: int | None) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children()] if pid else []
    except psutil.NoSuchProcess:
        return []
