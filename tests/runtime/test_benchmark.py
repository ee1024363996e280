"""The benchmark: what a report says of one model, and what does not get into it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fitment_contract.artifact import Artifact
from fitment_contract.base import sha256_hex
from fitment_contract.benchmark import BenchmarkMode, BenchmarkProtocol, MetricSpec
from fitment_contract.variant import Golden, Needs, Variant
from fitment_runtime import turns
from fitment_runtime.benchmark import BenchmarkRequest, run_benchmark
from fitment_runtime.catalog import find_runtime
from fitment_runtime.dataset import load_dataset
from fitment_runtime.errors import DataError, GoldenMismatch, UnsupportedFormat
from fitment_runtime.golden import write_golden
from support.runtime_models import save_conv_classifier, save_gru, save_two_inputs

FAST = BenchmarkProtocol(warmup=2, min_seconds=0.0, min_count=20)


@pytest.fixture(autouse=True)
def turn_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever measures on this machine at the same time does not matter here."""
    monkeypatch.setattr(turns, "_SHARED", tmp_path)


@pytest.fixture
def request_(tmp_path: Path) -> BenchmarkRequest:
    """A classifier with evaluation data, golden inputs and local samples."""
    path = save_conv_classifier(tmp_path / "m.onnx")
    rng = np.random.default_rng(0)
    images = rng.normal(size=(40, 1, 8, 8)).astype(np.float32)
    np.savez(
        tmp_path / "eval.npz",
        image=images,
        label=rng.integers(0, 4, 40),
        slice=np.repeat(["a", "b"], 20),
    )
    np.savez(tmp_path / "mine.npz", image=images[:6], label=np.zeros(6, np.int64))
    session = find_runtime("onnxruntime").load(path)
    dataset = load_dataset(tmp_path / "eval.npz", session.inputs)
    write_golden(tmp_path / "golden.npz", session, dataset)
    artifact = Artifact(digest=sha256_hex(path.read_bytes()), size_bytes=path.stat().st_size)
    return BenchmarkRequest(
        path=path,
        variant=Variant(
            name="fp32",
            model="toy",
            format="onnx",
            precision="fp32",
            artifact=artifact,
            compressed_bytes=1,
            golden=Golden(artifact=artifact, tolerance=1e-4),
            needs=Needs(runtime="onnxruntime"),
        ),
        protocol=FAST,
        metric=MetricSpec(name="top1"),
        evaluation=tmp_path / "eval.npz",
        golden=tmp_path / "golden.npz",
        local=[tmp_path / "mine.npz"],
        fingerprint="0123456789abcdef",
        simulated=True,
    )


def changed(request: BenchmarkRequest, **changes: Any) -> BenchmarkRequest:
    from dataclasses import replace

    return replace(request, **changes)


def test_a_report_says_what_was_measured_and_where(request_: BenchmarkRequest) -> None:
    stages: list[str] = []
    report = run_benchmark(request_, lambda stage, done, total: stages.append(stage))
    assert (report.model, report.variant, report.digest) == (
        "toy",
        "fp32",
        request_.variant.digest,
    )
    assert (report.fingerprint, report.simulated) == ("0123456789abcdef", True)
    assert (report.runtime, report.valid) == ("onnxruntime", True)
    assert report.latency.count >= 20
    assert 0 < report.latency.p50_seconds <= report.latency.p99_seconds
    assert report.load_seconds > 0
    assert report.first_inference_seconds > 0
    assert report.kernels.convolutions == 2
    assert report.conditions.threads == 1
    assert list(dict.fromkeys(stages)) == ["load", "golden", "latency", "accuracy", "kernels"]
    assert (report.protocol, report.mode, report.attempts) == ("fitment-bench/2", "quick", 1)
    assert (report.sustained, report.energy) == (None, None)
    json.loads(report.model_dump_json())


def test_a_report_says_where_inferences_were_allowed_to_run(request_: BenchmarkRequest) -> None:
    conditions = run_benchmark(request_).conditions
    assert conditions.affinity == tuple(sorted(os.sched_getaffinity(0)))
    assert conditions.cpu_share is not None
    assert 0 < conditions.cpu_share < 1.1
    two = run_benchmark(changed(request_, protocol=FAST.model_copy(update={"threads": 2})))
    assert two.conditions.cpu_share is None  # the work of other threads is not in it


def write(root: Path, name: str, content: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def test_what_proves_nothing_is_reported_with_the_reason(
    request_: BenchmarkRequest, tmp_path: Path
) -> None:
    write(tmp_path, "sys/devices/platform/soc/soc:firmware/get_throttled", "50005")
    protocol = FAST.model_copy(update={"attempts": 1})
    report = run_benchmark(changed(request_, root=tmp_path, protocol=protocol))
    assert not report.valid
    assert "voltage" in str(report.invalid_reason)
    assert report.conditions.throttled is True
    assert report.latency.count >= 20  # what was timed all the same


def test_a_full_benchmark_measures_energy_where_there_is_a_meter(
    request_: BenchmarkRequest, tmp_path: Path
) -> None:
    """The meter says the same whatever happens, so there is no difference to report."""
    write(tmp_path, "sys/bus/i2c/devices/1-0040/hwmon/hwmon3/in1_label", "VDD_IN")
    write(tmp_path, "sys/bus/i2c/devices/1-0040/hwmon/hwmon3/in1_input", "5000")
    write(tmp_path, "sys/bus/i2c/devices/1-0040/hwmon/hwmon3/curr1_input", "1000")
    stages: list[str] = []
    protocol = FAST.model_copy(update={"mode": BenchmarkMode.FULL, "wall_limit_seconds": 4.0})
    report = run_benchmark(
        changed(request_, root=tmp_path, protocol=protocol),
        lambda stage, done, total: stages.append(stage),
    )
    assert "energy" in stages
    assert (report.valid, report.energy) == (True, None)


def test_both_data_sets_are_scored(request_: BenchmarkRequest) -> None:
    report = run_benchmark(request_)
    shipped, local = report.score(), report.score("local")
    assert shipped is not None
    assert local is not None
    assert (shipped.count, set(shipped.slices)) == (40, {"a", "b"})
    assert (local.count, set(local.slices)) == (6, {"mine"})


def test_two_reports_never_share_an_id(request_: BenchmarkRequest) -> None:
    assert run_benchmark(request_).id != run_benchmark(request_).id


def test_local_samples_that_do_not_fit_are_left_out(
    request_: BenchmarkRequest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    np.savez(tmp_path / "old.npz", other=np.zeros((3, 2)), label=np.zeros(3, np.int64))
    np.savez(tmp_path / "bare.npz", image=np.zeros((3, 1, 8, 8), np.float32))
    local = [*request_.local, tmp_path / "old.npz", tmp_path / "bare.npz"]
    report = run_benchmark(changed(request_, local=local))
    found = report.score("local")
    assert found is not None
    assert found.count == 6
    assert "no array 'image'" in caplog.text
    assert "no array 'label'" in caplog.text


def test_without_labels_there_is_no_score(request_: BenchmarkRequest, tmp_path: Path) -> None:
    np.savez(tmp_path / "bare.npz", image=np.zeros((3, 1, 8, 8), np.float32))
    bare = changed(request_, evaluation=tmp_path / "bare.npz", local=(), golden=None, metric=None)
    assert run_benchmark(bare).scores == ()
    agreement = changed(request_, metric=MetricSpec(name="agreement"))
    assert run_benchmark(agreement).scores == ()


def test_shipped_data_that_does_not_fit_is_an_error(
    request_: BenchmarkRequest, tmp_path: Path
) -> None:
    np.savez(tmp_path / "bad.npz", image=np.zeros((3, 1, 9, 9), np.float32))
    with pytest.raises(DataError, match="shape"):
        run_benchmark(changed(request_, evaluation=tmp_path / "bad.npz"))


def test_another_model_does_not_pass_the_golden_check(
    request_: BenchmarkRequest, tmp_path: Path
) -> None:
    with np.load(tmp_path / "golden.npz") as archive:
        arrays = {name: archive[name] * 1.5 for name in archive.files}
    np.savez(tmp_path / "golden.npz", **arrays)
    with pytest.raises(GoldenMismatch):
        run_benchmark(request_)


def test_a_provider_that_is_not_here_is_unsupported(request_: BenchmarkRequest) -> None:
    needs = Needs(runtime="onnxruntime", providers_any_of=("TensorrtExecutionProvider",))
    variant = request_.variant.model_copy(update={"needs": needs})
    with pytest.raises(UnsupportedFormat, match="TensorrtExecutionProvider"):
        run_benchmark(changed(request_, variant=variant))
    needs = Needs(runtime="onnxruntime", providers_any_of=("Missing", "CPUExecutionProvider"))
    variant = request_.variant.model_copy(update={"needs": needs})
    assert run_benchmark(changed(request_, variant=variant)).valid


@pytest.mark.parametrize("build", [save_gru, save_two_inputs])
def test_models_of_any_shape_are_timed_without_data(
    request_: BenchmarkRequest, tmp_path: Path, build: Any
) -> None:
    path = build(tmp_path / "other.onnx")
    report = run_benchmark(
        changed(request_, path=path, evaluation=None, golden=None, local=(), metric=None)
    )
    assert report.latency.count >= 20


@pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK),
    reason="the peak of what ran before can be forgotten on Linux only",
)
def test_the_records_of_a_long_timing_are_not_the_models_memory(
    request_: BenchmarkRequest,
) -> None:
    long = BenchmarkProtocol(warmup=1, min_seconds=0.0, min_count=100_000)
    report = run_benchmark(changed(request_, protocol=long, evaluation=None, local=()))
    assert report.latency.count >= 100_000
    assert report.peak_memory_bytes < 3_000_000  # sorting the records alone takes more
