"""Layers as matrices, and matrices fitted by least squares."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from fitment_compress.graph import constants, replace_initializer
from fitment_compress.structure.graphs import copy_of
from fitment_compress.structure.probe import look
from fitment_compress.structure.refit import Target, layers_of, refit
from support.structure_models import Network, dense_network, feeds_of, run


def convolution(**attributes: object) -> onnx.ModelProto:
    net = Network(0, 3, 9, 7)
    weight, bias = net.weight("w", 5, 3, 3, 2), net.weight("b", 5)
    return net.model(net.node("Conv", "x", weight, bias, width=5, **attributes))


def series() -> onnx.ModelProto:
    net = Network(0, 3, 12)
    return net.model(net.conv("x", 5, kernel=5, rank=1, strides=[3]))


def transposed() -> onnx.ModelProto:
    net = Network(0, 6)
    return net.model(net.node("Gemm", "x", net.weight("w", 4, 6), width=4, transB=1))


def rows() -> onnx.ModelProto:
    net = Network(0, 5, 6)
    return net.model(net.node("MatMul", "x", net.weight("w", 6, 4), width=4))


LAYERS: dict[str, Callable[[], onnx.ModelProto]] = {
    "padded": lambda: convolution(pads=[1, 0, 2, 1]),
    "strided": lambda: convolution(strides=[2, 3], pads=[1, 1, 1, 1]),
    "dilated": lambda: convolution(dilations=[2, 3]),
    "valid": lambda: convolution(auto_pad="VALID"),
    "series": series,
    "transposed": transposed,
    "rows": rows,
}


@pytest.mark.parametrize("kind", sorted(LAYERS))
def test_a_layer_is_a_matrix_on_rows(kind: str) -> None:
    model = LAYERS[kind]()
    (layer,) = layers_of(model)
    stored = constants(model)
    bias = stored[layer.bias] if layer.bias else 0
    matrix = layer.matrix(stored[layer.weight])
    assert matrix.shape == (layer.features, layer.outputs)
    np.testing.assert_array_equal(layer.stored(matrix), stored[layer.weight])
    for seen in look(model, ["x", layer.node.output[0]], feeds_of(model, 2)):
        given = seen[layer.node.output[0]]
        chosen = np.random.default_rng(0).permutation(layer.positions(given))
        computed = layer.input_rows(seen["x"], chosen) @ matrix + bias
        np.testing.assert_allclose(computed, layer.output_rows(given, chosen), atol=1e-5)


@pytest.mark.parametrize(
    ("attributes", "why"),
    [({"auto_pad": "SAME_UPPER"}, "padding that depends on the input"), ({"group": 3}, "groups")],
)
def test_what_is_no_such_matrix_is_left_alone(attributes: dict[str, object], why: str) -> None:
    net = Network(0, 3, 9, 7)
    per_group = 3 // int(str(attributes.get("group", 1)))
    weight = net.weight("w", 6, per_group, 3, 3)
    assert layers_of(net.model(net.node("Conv", "x", weight, width=6, **attributes))) == [], why


def test_a_spoilt_layer_is_fitted_back_exactly() -> None:
    original = convolution(pads=[1, 1, 1, 1])
    model = copy_of(original)
    replace_initializer(model, "w", constants(model)["w"] * np.float32(0.5))
    gained = refit(model, original, [Target(*layers_of(model))], feeds_of(model, 60))
    assert gained == 1
    np.testing.assert_allclose(constants(model)["w"], constants(original)["w"], atol=2e-3)


def test_zeroes_of_sparse_layers_stay_and_their_biases_learn() -> None:
    original = dense_network()
    model = copy_of(original)
    weight = constants(model)["gemm0.w"] * np.float32(0.5)
    weight[::2] = 0
    replace_initializer(model, "gemm0.w", weight)
    replace_initializer(model, "gemm0.b", np.zeros(32, np.float32))
    layer = layers_of(model)[0]
    assert refit(model, original, [Target(layer, sparse=True)], feeds_of(model, 100)) == 1
    fitted, exact = constants(model), constants(original)
    np.testing.assert_array_equal(fitted["gemm0.w"] == 0, weight == 0)
    error = abs(fitted["gemm0.w"] - exact["gemm0.w"])[1::2].mean()
    assert error < 0.5 * abs(weight - exact["gemm0.w"])[1::2].mean()
    assert np.corrcoef(fitted["gemm0.b"], exact["gemm0.b"])[0, 1] > 0.9


def test_nothing_is_changed_where_nothing_is_gained() -> None:
    original = dense_network()
    model = copy_of(original)
    refit(model, original, [Target(layer) for layer in layers_of(model)], feeds_of(model, 40))
    feeds = feeds_of(model, 10, seed=9)
    np.testing.assert_allclose(run(model, feeds), run(original, feeds), atol=1e-4)
    few = feeds_of(model, 3)
    assert refit(model, original, [Target(layers_of(model)[0])], few) == 0


def test_samples_that_give_no_numbers_spoil_nothing() -> None:
    original = dense_network()
    model = copy_of(original)
    replace_initializer(model, "m", constants(model)["m"] * np.float32(0.5))
    feeds = [{"x": feed["x"] * np.float32(np.nan)} for feed in feeds_of(model, 20)]
    assert refit(model, original, [Target(layer) for layer in layers_of(model)], feeds) == 0


def test_a_weight_that_two_layers_share_is_not_fitted_to_one() -> None:
    net = Network(0, 6)
    first = net.node("MatMul", "x", net.weight("w", 6, 6), width=6)
    model = net.model(net.node("MatMul", net.node("Relu", first), "w", width=6))
    spoilt = copy_of(model)
    replace_initializer(spoilt, "w", constants(model)["w"] * np.float32(0.5))
    targets = [Target(layer) for layer in layers_of(spoilt)]
    assert refit(spoilt, model, targets, feeds_of(model, 30)) == 0
