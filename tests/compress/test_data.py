"""Calibration and evaluation never share a sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitment_compress.data import (
    CALIBRATION_LIMIT,
    divide,
    load_samples,
    refuse_overlap,
    sample_digests,
    save_dataset,
)
from fitment_compress.errors import SamplesError
from fitment_contract.variant import TensorSpec
from fitment_runtime.dataset import Dataset
from support.compress_models import random, save_npz

SPECS = [TensorSpec(name="x", dtype="float32", shape=(None, 3))]


@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.integers(0, 30), min_size=2, max_size=80))
def test_division_is_disjoint_in_content_even_with_repeated_samples(values: list[int]) -> None:
    data = Dataset({"x": np.array(values, np.float32)[:, None]}, None, None)
    try:
        calibration, evaluation = divide(data)
    except SamplesError:
        return  # every sample that could calibrate is scored as well
    assert not set(sample_digests(calibration)) & set(sample_digests(evaluation))
    assert len(calibration) <= max(1, round(0.2 * len(values)))


def test_division_keeps_the_shares_of_labels() -> None:
    label = np.array([0] * 900 + [1] * 100)
    calibration, evaluation = divide(Dataset({"x": random(0, 1000, 3)}, label, None))
    assert len(calibration) == CALIBRATION_LIMIT
    assert calibration.label is not None
    assert (calibration.label == 1).sum() == 20
    assert len(evaluation) == 800


def test_division_is_the_same_every_time() -> None:
    data = Dataset({"x": random(0, 50, 3)}, np.arange(50) % 5, None)
    assert sample_digests(divide(data)[0]) == sample_digests(divide(data)[0])


def test_a_single_sample_cannot_be_divided() -> None:
    with pytest.raises(SamplesError, match="--calibration"):
        divide(Dataset({"x": random(0, 1, 3)}, None, None))


def test_calibration_samples_among_the_evaluation_samples_are_counted() -> None:
    evaluation = Dataset({"x": random(0, 10, 3)}, None, None)
    calibration = Dataset(
        {"x": np.concatenate([random(1, 4, 3), random(0, 10, 3)[:2]])}, None, None
    )
    with pytest.raises(SamplesError, match="2 of 6 calibration samples"):
        refuse_overlap(calibration, evaluation, "calibration")


def test_a_saved_data_set_reads_back(tmp_path: Path) -> None:
    data = Dataset({"x": random(0, 4, 3)}, np.arange(4), np.array(["a", "b", "a", "b"]))
    save_dataset(tmp_path / "d.npz", data)
    again = load_samples(tmp_path / "d.npz", SPECS)
    assert sample_digests(again) == sample_digests(data)
    assert again.slice is not None
    assert list(again.slice) == ["a", "b", "a", "b"]


@pytest.mark.parametrize(
    ("arrays", "cause"),
    [
        ({"image": random(0, 4, 3)}, "no array 'x'"),
        ({"x": random(0, 4, 5)}, "shape"),
        ({"x": random(0, 0, 3)}, "no sample"),
        ({"x": np.full((2, 3), np.nan, np.float32)}, "NaN"),
        ({"x": np.zeros((2, 3), np.int64)}, "int64"),
        ({"x": random(0, 4, 3), "label": np.zeros(3, int)}, "differ in their number"),
    ],
)
def test_faults_of_the_data_are_the_datas(
    tmp_path: Path, arrays: dict[str, np.ndarray], cause: str
) -> None:
    path = save_npz(tmp_path / "d.npz", **arrays)
    with pytest.raises(SamplesError, match=cause):
        load_samples(path, SPECS)
