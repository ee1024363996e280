"""Ranges of activations: right, and found without keeping what was seen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from fitment_compress.errors import TechniqueError
from fitment_compress.quantisation.calibration import (
    BINS,
    calibrate,
    entropy_threshold,
    percentile_threshold,
    spread,
)
from fitment_compress.techniques.int8_static import Int8StaticOptions
from support.compress_models import load, random
from support.quantisation_models import feeds_of, made, run, save_residual
from support.runtime_models import save, save_two_inputs


def limits(model: Path, tensors: list[str], feeds: Any, **options: Any) -> Any:
    return calibrate(load(model), tensors, feeds, Int8StaticOptions(**options)).limits


def relu(path: Path) -> Path:
    return save(
        path,
        [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Neg", ["r"], ["y"])],
        [("x", "float32", ["n", 1000])],
        [("y", "float32", ["n", 1000])],
    )


def test_minmax_is_what_was_seen_and_reaches_zero(tmp_path: Path) -> None:
    feeds = [{"x": random(seed, 1, 1000) + 9} for seed in range(3)]
    found = limits(relu(tmp_path / "m.onnx"), ["x", "r", "y"], feeds)
    highest = max(float(sample["x"].max()) for sample in feeds)
    assert found["x"] == found["r"] == (0.0, pytest.approx(highest))
    assert found["y"] == (pytest.approx(-highest), 0.0)


@pytest.mark.parametrize("method", ["percentile", "entropy"])
def test_histogram_methods_cut_a_lone_outlier(tmp_path: Path, method: str) -> None:
    feeds = [{"x": random(seed, 1, 1000)} for seed in range(20)]
    feeds[7]["x"][0, 3] = 40.0
    options = {"calibration": method, "percentile": 99.9}
    found = limits(relu(tmp_path / "m.onnx"), ["x", "r"], feeds, **options)
    lowest = min(float(sample["x"].min()) for sample in feeds)
    assert 2.0 < found["r"][1] < 8.0
    assert 2.0 < found["x"][1] < 8.0
    assert found["r"][0] == 0.0
    assert lowest - 1e-6 <= found["x"][0] < -2.0


def test_histograms_count_every_sample(tmp_path: Path) -> None:
    feeds = [{"x": random(seed, 1, 1000) * (5 if seed < 5 else 1)} for seed in range(10)]
    found = limits(relu(tmp_path / "m.onnx"), ["x"], feeds, calibration="percentile", percentile=90)
    every = abs(np.concatenate([sample["x"] for sample in feeds], axis=1))
    assert found["x"][1] == pytest.approx(np.percentile(every, 90), rel=0.02)


def test_samples_may_differ_in_shape(tmp_path: Path) -> None:
    model = save(
        tmp_path / "m.onnx",
        [helper.make_node("Abs", ["x"], ["y"])],
        [("x", "float32", ["n", "time"])],
        [("y", "float32", ["n", "time"])],
    )
    feeds = [{"x": random(seed, 1, 50 + 13 * seed)} for seed in range(5)]
    found = limits(model, ["y"], feeds, calibration="percentile")
    assert 0.5 < found["y"][1] < 5.0


def test_tensors_without_floats_have_no_range(tmp_path: Path) -> None:
    model = save_two_inputs(tmp_path / "m.onnx")
    feeds = [{"features": random(0, 1, 4), "token": np.array([2])}]
    assert set(limits(model, ["token", "e"], feeds)) == {"e"}


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
def test_every_method_makes_a_model_like_its_source(tmp_path: Path, method: str) -> None:
    model = save_residual(tmp_path / "m.onnx")
    _, path, _ = made(model, tmp_path, feeds_of(30), ("int8-static", {"calibration": method}))
    sample = feeds_of(40)[-1]
    exact = run(model, sample)
    assert abs(run(path, sample) - exact).max() < 0.15 * abs(exact).max()


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(0, 1000), min_size=300, max_size=300),
    percentile=st.floats(50.0, 100.0),
)
def test_a_percentile_keeps_its_share(counts: list[int], percentile: float) -> None:
    values = np.array(counts)
    cut = round(percentile_threshold(values, percentile) * len(values))
    assert 1 <= cut <= len(values)
    assert values[:cut].sum() >= values.sum() * percentile / 100 - 1e-6
    assert values[: cut - 1].sum() <= values.sum() * percentile / 100


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(0.02, 0.3), levels=st.sampled_from([128, 256]))
def test_entropy_keeps_the_bulk_of_a_bell_and_not_its_far_tail(scale: float, levels: int) -> None:
    rng = np.random.default_rng(0)
    values = np.minimum(abs(rng.normal(0, scale, 20_000)), 1.0)
    values[0] = 1.0
    counts, _ = np.histogram(values, BINS, (0, 1))
    cut = entropy_threshold(counts, levels)
    assert min(1.0, max(2 * scale, levels / BINS)) <= cut <= 1.0
    if scale < 0.1:
        assert cut < 8 * scale


def test_entropy_of_nothing_cuts_nothing() -> None:
    assert entropy_threshold(np.zeros(BINS, np.int64), 128) == 1.0


def test_entropy_takes_no_notice_of_zeroes() -> None:
    """ReLU makes half of a tensor zero, which costs nothing at any scale."""
    values = np.minimum(abs(np.random.default_rng(0).normal(0, 0.15, 20_000)), 1.0)
    counts, _ = np.histogram([*values, 1.0], BINS, (0, 1))
    without = entropy_threshold(counts, 256)
    counts[0] += 10_000_000
    assert entropy_threshold(counts, 256) == without < 1.0


def test_samples_are_taken_from_the_whole_length() -> None:
    feeds = [{"x": np.array([index])} for index in range(1000)]
    taken = [int(sample["x"][0]) for sample in spread(feeds, 10)]
    assert taken == list(range(0, 1000, 100))
    assert len(list(spread(feeds[:4], 10))) == 4


PEAK = """
import resource, sys
import numpy as np
from fitment_compress.quantisation.calibration import calibrate
from fitment_compress.techniques.int8_static import Int8StaticOptions
from support.compress_models import load

class Endless:
    def __len__(self): return int(sys.argv[2])
    def __getitem__(self, index):
        if index >= len(self): raise IndexError
        return {"x": np.random.default_rng(index).random((1, 500_000), np.float32)}

calibrate(load(sys.argv[1]), ["x", "r", "y"], Endless(), Int8StaticOptions(calibration=sys.argv[3]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.parametrize("method", ["minmax", "entropy"])
def test_memory_does_not_grow_with_the_samples(tmp_path: Path, method: str) -> None:
    model = save(
        tmp_path / "m.onnx",
        [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Neg", ["r"], ["y"])],
        [("x", "float32", ["n", 500_000])],
        [("y", "float32", ["n", 500_000])],
    )

    def peak_kib(samples: int) -> int:
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(model), str(samples), method],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[1],
        )
        return int(done.stdout)

    kept = 3 * 500_000 * 4 * 30 / 1024  # what 30 more samples hold: 176 MiB
    assert peak_kib(34) - peak_kib(4) < 0.2 * kept


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
def test_infinite_tensors_are_named(tmp_path: Path, method: str) -> None:
    """As those behind the mask of an attention; 8 bits made of them are noise."""
    model = save(
        tmp_path / "m.onnx",
        [helper.make_node("Log", ["x"], ["masked"]), helper.make_node("Exp", ["masked"], ["y"])],
        [("x", "float32", ["n", 2])],
        [("y", "float32", ["n", 2])],
    )
    samples = [{"x": np.array([[0.0, 1.0]], np.float32)}]
    with pytest.raises(TechniqueError, match="tensor 'masked' is infinite or NaN"):
        limits(model, ["masked"], samples, calibration=method)
