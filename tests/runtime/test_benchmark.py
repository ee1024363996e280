"""The benchmark: what it times, what it leaves out, and what a report says."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitment_contract.artifact import Artifact
from fitment_contract.base import sha256_hex
from fitment_contract.benchmark import BenchmarkProtocol, MetricSpec
from fitment_contract.variant import Golden, Needs, TensorSpec, Variant
from fitment_runtime.benchmark import (
    BenchmarkRequest,
    nearest_rank,
    run_benchmark,
    time_inferences,
)
from fitment_runtime.catalog import find_runtime
from fitment_runtime.dataset import load_dataset
from fitment_runtime.errors import DataError, GoldenMismatch, UnsupportedFormat
from fitment_runtime.golden import write_golden
from support.runtime_models import save_conv_classifier, save_gru, save_two_inputs

FAST = BenchmarkProtocol(warmup=2, min_seconds=0.0, min_count=20)


class FakeSession:
    """A session whose inferences take, on its own clock, what the test says."""

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()

    def __init__(self, durations: Sequence[float]) -> None:
        self.durations = list(durations)
        self.now = 0.0
        self.fed: list[Any] = []

    def run(self, feeds: Mapping[str, Any]) -> list[Any]:
        self.now += self.durations[min(len(self.fed), len(self.durations) - 1)]
        self.fed.append(feeds["x"])
        return []

    def clock(self) -> float:
        return self.now


def timed(session: FakeSession, **changes: Any) -> Any:
    terms = {"warmup": 0, "min_seconds": 0.0, "min_count": 1, "max_seconds": 1e6, **changes}
    protocol = BenchmarkProtocol(**terms)
    return time_inferences(session, [{"x": 0}, {"x": 1}], protocol, session.clock)


def test_percentiles_are_by_nearest_rank() -> None:
    session = FakeSession([float(number) for number in range(1, 101)])
    latency = timed(session, min_count=100)
    assert latency.p50_seconds == 50
    assert latency.p90_seconds == 90
    assert latency.p95_seconds == 95
    assert latency.p99_seconds == 99
    assert (latency.mean_seconds, latency.count, latency.threads) == (50.5, 100, 1)


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=50),
    st.floats(0.01, 1.0),
)
def test_nearest_rank_is_the_smallest_value_that_enough_reach(
    values: list[float], share: float
) -> None:
    found = nearest_rank(sorted(values), share)
    assert found in values
    assert sum(value <= found for value in values) >= math.floor(share * len(values))
    assert sum(value < found for value in values) < share * len(values) + 1e-9


def test_warm_up_is_not_timed() -> None:
    latency = timed(FakeSession([100.0, 100.0, 1.0]), warmup=2, min_count=5)
    assert (latency.p99_seconds, latency.count) == (1.0, 5)


def test_timing_ends_when_both_seconds_and_count_are_reached() -> None:
    assert timed(FakeSession([1.0]), min_seconds=10, min_count=3).count == 10
    assert timed(FakeSession([1.0]), min_seconds=2, min_count=7).count == 7


def test_a_slow_model_is_timed_with_fewer_inferences_rather_than_not_at_all() -> None:
    assert timed(FakeSession([4.0]), min_count=200, max_seconds=30.0).count == 8


def test_inputs_take_turns() -> None:
    session = FakeSession([1.0])
    timed(session, warmup=1, min_count=4)
    assert session.fed == [0, 1, 0, 1, 0]


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
    json.loads(report.model_dump_json())


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
