"""Scores: means, errors, slices and agreement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fitment_contract.benchmark import MetricSpec
from fitment_runtime.catalog import find_runtime
from fitment_runtime.dataset import Dataset
from fitment_runtime.errors import DataError, InferenceFailure
from fitment_runtime.metrics import find_metric
from fitment_runtime.scoring import MAX_SLICES, agreement, predict, score
from support.runtime_models import save_doubler, save_gru, save_nan_maker

TOP1 = find_metric(MetricSpec(name="top1"))
MAE = find_metric(MetricSpec(name="regression"))


def right(shares: list[int]) -> Any:
    """Scores of a two-class model that is right (for class 0) where `shares` says 1."""
    return np.array([[1.0, 0.0] if share else [0.0, 1.0] for share in shares])


def zeros(count: int, slices: list[str] | None = None) -> Dataset:
    return Dataset({}, np.zeros(count, np.int64), None if slices is None else np.array(slices))


def test_every_sample_is_run_once_and_in_order(tmp_path: Path) -> None:
    session = find_runtime("onnxruntime").load(save_doubler(tmp_path / "m.onnx"))
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    seen: list[tuple[int, int]] = []
    outputs = predict(session, Dataset({"x": x}, None, None), lambda *args: seen.append(args))
    np.testing.assert_array_equal(outputs[0], 2 * x)
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_model_with_state_is_run_like_any_other(tmp_path: Path) -> None:
    session = find_runtime("onnxruntime").load(save_gru(tmp_path / "m.onnx"))
    inputs = {
        "x": np.ones((2, 6, 1, 3), np.float32),
        "state": np.zeros((2, 1, 1, 4), np.float32),
    }
    whole = frozenset(inputs)
    outputs = predict(session, Dataset(inputs, None, None, whole))
    assert [values.shape for values in outputs] == [(2, 1, 4), (2, 1, 4)]


def test_no_sample_is_an_error(tmp_path: Path) -> None:
    session = find_runtime("onnxruntime").load(save_doubler(tmp_path / "m.onnx"))
    with pytest.raises(DataError, match="at least one"):
        predict(session, Dataset({"x": np.zeros((0, 2), np.float32)}, None, None))


def test_accuracy_has_a_binomial_standard_error() -> None:
    found = score([right([1, 1, 1, 0])], zeros(4), TOP1)
    assert (found.value, found.count, found.metric, found.dataset) == (0.75, 4, "top1", "shipped")
    assert found.standard_error == pytest.approx((0.75 * 0.25 / 4) ** 0.5)


def test_other_metrics_have_the_sample_standard_error() -> None:
    dataset = Dataset({}, np.zeros(4), None)
    found = score([np.array([1.0, 2.0, 3.0, 6.0])], dataset, MAE, "local")
    assert (found.value, found.dataset, found.higher_is_better) == (3.0, "local", False)
    assert found.standard_error == pytest.approx(np.std([1, 2, 3, 6], ddof=1) / 2)


def test_one_sample_has_no_standard_error() -> None:
    assert score([right([1])], zeros(1), TOP1).standard_error is None


def test_the_worst_slice_is_the_lowest_of_those_with_enough_samples() -> None:
    names = ["good"] * 6 + ["bad"] * 6 + ["tiny"] * 4
    found = score([right([1] * 6 + [1, 1, 1, 0, 0, 0] + [0] * 4)], zeros(16, names), TOP1)
    assert {name: (item.value, item.count) for name, item in found.slices.items()} == {
        "good": (1.0, 6),
        "bad": (0.5, 6),
        "tiny": (0.0, 4),
    }
    assert found.worst_slice == "bad"


def test_the_worst_slice_of_an_error_is_the_highest() -> None:
    dataset = Dataset({}, np.zeros(10), np.array(["a"] * 5 + ["b"] * 5))
    assert score([np.array([1.0] * 5 + [9.0] * 5)], dataset, MAE).worst_slice == "b"


def test_the_worst_of_many_slices_are_kept() -> None:
    names = [f"s{number:03}" for number in range(300)]
    found = score([right([1] * 299 + [0])], zeros(300, names), TOP1)
    assert len(found.slices) == MAX_SLICES
    assert "s299" in found.slices
    assert found.worst_slice is None  # none of them has enough samples


def test_a_score_needs_labels() -> None:
    with pytest.raises(DataError, match="'label'"):
        score([right([1])], Dataset({}, None, None), TOP1)


def test_outputs_without_numbers_have_no_score(tmp_path: Path) -> None:
    session = find_runtime("onnxruntime").load(save_nan_maker(tmp_path / "m.onnx"))
    dataset = Dataset({"x": np.full((2, 3), -1, np.float32)}, np.zeros((2, 3)), None)
    with pytest.raises(InferenceFailure, match="NaN"):
        score(predict(session, dataset), dataset, MAE)


def test_classifiers_agree_by_decision() -> None:
    reference = np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2], [0.3, 0.7]])
    outputs = reference.copy()
    outputs[0] = [0.4, 0.6]
    found = agreement([outputs], [reference], classification=True)
    assert (found.value, found.count) == (0.75, 4)
    assert found.standard_error == pytest.approx((0.75 * 0.25 / 4) ** 0.5)
    assert found.max_abs_difference == pytest.approx(0.5)


def test_other_models_agree_by_relative_error() -> None:
    reference = np.array([[2.0, 2.0], [1.0, 3.0]])
    found = agreement([reference * 0.9], [reference], classification=False)
    assert found.value == pytest.approx(0.9)
    assert agreement([reference * 9], [reference], classification=False).value == 0.0
    assert agreement([reference], [reference], classification=False).value == 1.0


def test_agreement_needs_comparable_finite_outputs() -> None:
    ones = np.ones((2, 3))
    with pytest.raises(DataError, match="cannot be compared"):
        agreement([ones], [ones[:, :2]], classification=True)
    with pytest.raises(DataError, match="at least one"):
        agreement([ones[:0]], [ones[:0]], classification=True)
    with pytest.raises(InferenceFailure, match="NaN"):
        agreement([ones * np.nan], [ones], classification=True)


def test_many_tiny_slices_do_not_hide_a_large_bad_one() -> None:
    names = [*(f"tiny{number:03}" for number in range(150)), *["large"] * 20]
    decisions = [0] * 150 + [1] * 5 + [0] * 15  # the tiny ones all wrong, the large one mostly
    found = score([right(decisions)], zeros(170, names), TOP1)
    assert found.worst_slice == "large"
    assert len(found.slices) == MAX_SLICES
