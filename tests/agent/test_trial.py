"""Trials in a real worker process: good models are measured, bad ones are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fitment_agent.worker.jobs import TrialDone, WorkerFailed
from fitment_contract.phase import FailureReason
from fitment_runtime.catalog import find_runtime
from fitment_runtime.dataset import load_dataset
from fitment_runtime.golden import write_golden
from support import runtime_models
from support.runtime_state import FAST, FINGERPRINT, run_worker, save_evaluation, trial_job


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return runtime_models.save_mlp(tmp_path / "m.onnx")


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    return save_evaluation(tmp_path / "eval.npz")


@pytest.fixture
def golden(tmp_path: Path, model: Path, evaluation: Path) -> Path:
    session = find_runtime("onnxruntime").load(model)
    path = tmp_path / "golden.npz"
    write_golden(path, session, load_dataset(evaluation, session.inputs))
    return path


def test_a_good_model_is_measured(
    tmp_path: Path, model: Path, golden: Path, evaluation: Path
) -> None:
    job = trial_job(
        tmp_path / "state",
        model,
        golden=golden,
        evaluation=evaluation,
        local_samples=(str(evaluation),),
    )
    outcome = run_worker(job, memory_limit_bytes=FAST.memory_limit_bytes)
    assert isinstance(outcome.final, TrialDone)
    report = outcome.final.report
    assert (report.fingerprint, report.simulated, report.valid) == (FINGERPRINT, True, True)
    assert report.latency.count >= 10
    assert [score.dataset for score in report.scores] == ["shipped", "local"]
    assert report.kernels.matmuls == 2
    stages = [event.stage for event in outcome.progress]
    assert list(dict.fromkeys(stages)) == ["load", "golden", "latency", "accuracy", "kernels"]


def test_the_library_itself_is_not_part_of_load_or_memory(tmp_path: Path, model: Path) -> None:
    """A model of two kilobytes does not take the tens of megabytes that onnxruntime takes."""
    outcome = run_worker(trial_job(tmp_path / "state", model))
    assert isinstance(outcome.final, TrialDone)
    assert outcome.final.report.peak_memory_bytes < 20_000_000


def test_another_models_golden_outputs_are_a_mismatch(
    tmp_path: Path, golden: Path, evaluation: Path
) -> None:
    other = runtime_models.save(
        tmp_path / "other.onnx",
        [runtime_models.helper.make_node("MatMul", ["x", "w"], ["y"])],
        [("x", "float32", ["n", 8])],
        [("y", "float32", ["n", 3])],
        [runtime_models.constant("w", np.ones((8, 3), np.float32))],
    )
    outcome = run_worker(trial_job(tmp_path / "state", other, golden=golden))
    assert outcome.reason is FailureReason.GOLDEN_MISMATCH


def test_a_file_that_is_no_model_does_not_load(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"not a model at all")
    assert run_worker(trial_job(tmp_path / "state", path)).reason is FailureReason.LOAD_FAILED


def test_an_unknown_runtime_is_unsupported(tmp_path: Path, model: Path) -> None:
    outcome = run_worker(trial_job(tmp_path / "state", model, runtime="hailo"))
    assert outcome.reason is FailureReason.UNSUPPORTED


def test_outputs_that_are_no_numbers_fail_the_inference(tmp_path: Path) -> None:
    """A model that gives NaN for a golden input was never the one that was built."""
    path = runtime_models.save_nan_maker(tmp_path / "m.onnx")
    golden = tmp_path / "golden.npz"
    with golden.open("wb") as file:
        np.savez(
            file,
            **{
                "input.x": np.full((1, 1, 3), -1, np.float32),
                "output.y": np.zeros((1, 1, 3), np.float32),
            },
        )
    outcome = run_worker(trial_job(tmp_path / "state", path, golden=golden))
    assert outcome.reason is FailureReason.GOLDEN_MISMATCH


def test_a_missing_blob_is_the_storages_fault(tmp_path: Path, model: Path) -> None:
    job = trial_job(tmp_path / "state", model)
    for blob in (tmp_path / "state" / "blobs").iterdir():
        blob.unlink()
    outcome = run_worker(job)
    assert isinstance(outcome.final, WorkerFailed)
    assert outcome.final.reason is FailureReason.STORAGE_FAILED
    assert outcome.final.retryable


def test_evaluation_data_that_does_not_fit_has_a_detail(tmp_path: Path, model: Path) -> None:
    evaluation = save_evaluation(tmp_path / "eval.npz", features=5)
    outcome = run_worker(trial_job(tmp_path / "state", model, evaluation=evaluation))
    assert isinstance(outcome.final, WorkerFailed)
    assert outcome.final.reason is FailureReason.INTERNAL
    assert "(30, 5)" in outcome.final.detail


def test_a_tflite_model_is_measured_too(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed here")
    from support.runtime_tflite import save_tflite_dense

    model = save_tflite_dense(tmp_path / "m.tflite", quantized=True)
    outcome = run_worker(trial_job(tmp_path / "state", model, runtime="litert"))
    assert isinstance(outcome.final, TrialDone)
    assert outcome.final.report.runtime == "litert"
    assert outcome.final.report.kernels.integer_matmuls == 1
