"""Full convolutions as filters per channel and a mixture of channels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitment_compress.errors import TechniqueError
from fitment_compress.graph import constants, count_parameters, replace_initializer
from fitment_compress.macs import count_macs
from fitment_compress.pipeline import build
from fitment_compress.structure.graphs import copy_of
from fitment_compress.structure.separable import cost_ratio, factor
from fitment_compress.techniques.base import Context
from fitment_contract.variant import RecipeStep
from support.structure_models import Network, dense_network, feeds_of, residual_network, run


def separated(model: onnx.ModelProto, folder: Path, **options: Any) -> onnx.ModelProto:
    """A copy after depthwise-separable, calibrated with random samples."""
    step = RecipeStep(technique="depthwise-separable", options=options)
    made = build(copy_of(model), [step], Context(feeds_of(model, 40), folder)).model
    onnx.checker.check_model(made, full_check=True)
    return made


def convolutions(**attributes: Any) -> onnx.ModelProto:
    net = Network(0, 3, 9, 9)
    return net.model(net.conv(net.node("Relu", net.conv("x", 8)), 12, **attributes))


def test_a_separable_weight_is_kept_exactly(tmp_path: Path) -> None:
    model = convolutions(strides=[2, 2], dilations=[1, 2])
    generator = np.random.default_rng(0)
    filters = generator.normal(size=(1, 8, 3, 3))
    weight = generator.normal(size=(12, 8, 1, 1)) * filters
    replace_initializer(model, "conv2.w", weight.astype(np.float32))
    small = separated(model, tmp_path, refit=False)
    feeds = feeds_of(model, 3)
    np.testing.assert_allclose(run(small, feeds), run(model, feeds), rtol=1e-3, atol=1e-4)
    assert [node.op_type for node in small.graph.node] == ["Conv", "Relu", "Conv", "Conv"]


@settings(max_examples=25, deadline=None)
@given(
    outputs=st.integers(1, 8),
    inputs=st.integers(1, 5),
    kernel=st.sampled_from([(3,), (5,), (3, 3), (1, 5)]),
    multiplier=st.integers(1, 3),
    seed=st.integers(0, 999),
)
def test_no_filters_of_one_channel_come_nearer(
    outputs: int, inputs: int, kernel: tuple[int, ...], multiplier: int, seed: int
) -> None:
    weight = np.random.default_rng(seed).normal(size=(outputs, inputs, *kernel))
    count = min(multiplier, outputs, int(np.prod(kernel)))
    depthwise, pointwise = factor(weight, count)
    mixed = pointwise.reshape(outputs, inputs, count, 1)
    filters = depthwise.reshape(1, inputs, count, -1)
    restored = (mixed * filters).sum(axis=2)
    for channel in range(inputs):
        matrix = weight[:, channel].reshape(outputs, -1)
        tail = np.linalg.svd(matrix, compute_uv=False)[count:]
        error = np.linalg.norm(restored[:, channel] - matrix)
        assert error == pytest.approx(np.sqrt(np.square(tail).sum()), abs=1e-9)


def test_more_filters_keep_more_and_cost_more(tmp_path: Path) -> None:
    model = convolutions()
    feeds = feeds_of(model, 10, seed=3)
    made = [separated(model, tmp_path, multiplier=count) for count in (1, 2, 3)]
    errors = [np.square(run(each, feeds) - run(model, feeds)).mean() for each in made]
    assert errors == sorted(errors, reverse=True)
    costs = [count_macs(each) or 0 for each in made]
    assert costs == sorted(costs)


def test_fitting_the_mixture_brings_outputs_nearer(tmp_path: Path) -> None:
    model = residual_network()
    feeds = feeds_of(model, 40, seed=3)
    made = [separated(model, tmp_path, refit=refit) for refit in (True, False)]
    errors = [np.square(run(each, feeds) - run(model, feeds)).mean() for each in made]
    assert errors[0] < 0.9 * errors[1]
    assert count_parameters(made[0]) < 0.4 * count_parameters(model)


def test_series_are_separated_too(tmp_path: Path) -> None:
    net = Network(0, 4, 20)
    model = net.model(net.conv(net.conv("x", 8, kernel=5, rank=1), 16, kernel=5, rank=1))
    small = separated(model, tmp_path)
    expected = 8 * 4 * 5 * 20 + 8 * 16 * 5 * 20 * cost_ratio(16, (5,))
    assert count_macs(small) == pytest.approx(expected)


def test_the_first_pointwise_and_grouped_convolutions_stay(tmp_path: Path) -> None:
    net = Network(0, 3, 9, 9)
    pointwise = net.conv(net.conv("x", 8), 16, kernel=1)
    model = net.model(net.conv(pointwise, 16, group=4))
    with pytest.raises(TechniqueError, match="no full convolution, behind the first"):
        separated(model, tmp_path)


def test_names_of_outputs_and_biases_stay(tmp_path: Path) -> None:
    model = convolutions()
    small = separated(model, tmp_path, refit=False)
    assert small.graph.node[-1].output == model.graph.node[-1].output
    np.testing.assert_array_equal(constants(small)["conv2.b"], constants(model)["conv2.b"])


def test_a_model_without_convolutions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TechniqueError, match="works on Conv"):
        separated(dense_network(), tmp_path)
