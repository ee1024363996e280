"""Metrics: values that can be computed by hand, and labels that do not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fitment_contract.benchmark import MetricSpec
from fitment_runtime.errors import DataError
from fitment_runtime.metrics import default_metric, find_metric, metric_names

SCORES = np.array([[0.1, 0.7, 0.2], [0.5, 0.1, 0.4], [0.3, 0.3, 0.4]], np.float32)


def values(name: str, outputs: Any, label: Any, **options: Any) -> list[float]:
    metric = find_metric(MetricSpec(name=name, options=options))
    return list(metric.values([np.asarray(outputs)], np.asarray(label)))


def test_top1_is_the_share_of_right_decisions() -> None:
    assert values("top1", SCORES, [1, 2, 2]) == [1.0, 0.0, 1.0]
    assert values("top1", SCORES[None], [[1, 2, 2]]) == [pytest.approx(2 / 3)]


def test_nan_is_never_right() -> None:
    broken = np.full((2, 3), np.nan, np.float32)
    assert values("top1", broken, [0, 0]) == [0.0, 0.0]
    assert values("topk", broken, [0, 0], k=3) == [0.0, 0.0]


def test_topk_counts_the_k_best() -> None:
    assert values("topk", SCORES, [2, 2, 0], k=2) == [1.0, 1.0, 0.0]  # a tie counts against
    assert values("topk", SCORES, [2, 1, 0], k=3) == [1.0, 1.0, 1.0]


def test_a_model_that_gives_all_classes_the_same_score_knows_nothing() -> None:
    assert values("topk", np.zeros((1, 10)), [0], k=5) == [0.0]


def test_regression_is_the_mean_absolute_error() -> None:
    assert values("regression", [[1.0, 2.0], [3.0, 3.0]], [[0.0, 0.0], [3.0, 5.0]]) == [1.5, 1.0]
    assert not find_metric(MetricSpec(name="regression")).higher_is_better


def test_multilabel_is_f1_per_sample() -> None:
    outputs = [[0.9, 0.1, 0.8], [0.1, 0.1, 0.1], [0.9, 0.9, 0.1], [0.9, 0.1, 0.1]]
    label = [[1, 0, 0], [0, 0, 0], [0, 0, 0], [1, 1, 1]]
    assert values("multilabel", outputs, label) == [pytest.approx(2 / 3), 1.0, 0.0, 0.5]
    assert values("multilabel", [[1.0, -1.0]], [[1, 0]], threshold=0) == [1.0]


def test_any_output_can_be_scored() -> None:
    metric = find_metric(MetricSpec(name="top1", options={"output": 1}))
    assert list(metric.values([np.zeros((3, 1)), SCORES], np.array([1, 0, 2]))) == [1, 1, 1]
    with pytest.raises(DataError, match="has 1 outputs"):
        metric.values([SCORES], np.array([1, 0, 2]))


@pytest.mark.parametrize(
    ("name", "outputs", "label", "words"),
    [
        ("top1", SCORES, [0.0, 1.0, 2.0], "whole numbers"),
        ("top1", SCORES, [1, 2, 3], "number them from 0"),
        ("top1", SCORES, [-1, 2, 2], "number them from 0"),
        ("top1", SCORES, [[0, 1], [1, 1], [0, 0]], "as many labels"),
        ("top1", SCORES[:, 0], [0, 1, 2], "class axis"),
        ("regression", SCORES, [1.0, 2.0, 3.0], "1 value"),
        ("multilabel", SCORES, [[0, 1, 2]] * 3, "0/1"),
    ],
)
def test_labels_that_do_not_fit_are_named(name: str, outputs: Any, label: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        values(name, outputs, label)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (MetricSpec(name="bleu"), "top1, topk, regression, multilabel"),
        (MetricSpec(name="topk", options={"n": 3}), "'n'"),
        (MetricSpec(name="topk", options={"k": 0}), "k must be"),
        (MetricSpec(name="topk", options={"k": "five"}), "k must be"),
        (MetricSpec(name="multilabel", options={"threshold": "high"}), "threshold must be"),
        (MetricSpec(name="top1", options={"output": -1}), "output must be"),
    ],
)
def test_a_metric_or_option_that_does_not_exist_is_named(spec: MetricSpec, words: str) -> None:
    with pytest.raises(DataError, match=words):
        find_metric(spec)


def test_labels_choose_a_metric() -> None:
    assert metric_names() == ("top1", "topk", "regression", "multilabel")
    chosen = [
        default_metric(label).name
        for label in (
            None,
            np.array([0, 3]),
            np.array([0, 1]),
            np.array([0.5, 1.0]),
            np.array([[0, 1], [1, 1]]),
            np.array([[0, 2], [1, 1]]),
        )
    ]
    assert chosen == ["agreement", "top1", "top1", "regression", "multilabel", "top1"]
