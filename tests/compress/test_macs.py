"""Multiplications and memory, on graphs whose costs are known by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from fitment_compress.graph import constants, count_parameters, replace_initializer
from fitment_compress.macs import count_macs, count_nonzero_macs, peak_activation_bytes
from fitment_compress.pipeline import build
from fitment_compress.structure.graphs import copy_of
from fitment_compress.techniques.base import Context
from fitment_contract.variant import RecipeStep
from support.structure_models import Network, dense_network, feeds_of


def convolution() -> onnx.ModelProto:
    net = Network(0, 3, 8, 8)
    return net.model(net.conv("x", 4))


def test_dense_weights_leave_all_multiplications() -> None:
    model = convolution()
    assert count_nonzero_macs(model) == count_macs(model) == 8 * 8 * 4 * 3 * 9


def test_every_zero_weight_saves_its_share_of_the_positions() -> None:
    model = convolution()
    weight = constants(model)["conv0.w"].copy()
    weight[1, 2, 0, :] = 0
    replace_initializer(model, "conv0.w", weight)
    assert count_nonzero_macs(model) == 8 * 8 * (4 * 3 * 9 - 3)
    assert count_macs(model) == 8 * 8 * 4 * 3 * 9


@pytest.mark.parametrize(("axis", "points"), [(0, [1, 0, 0, 0]), (0, [7, 7, 7, 7])])
def test_a_stored_integer_is_zero_at_its_zero_point(axis: int, points: list[int]) -> None:
    model = convolution()
    stored = np.ones((4, 3, 3, 3), np.int8)
    stored[3] = 0
    net = model.graph
    net.initializer.append(onnx.numpy_helper.from_array(stored, "q"))
    net.initializer.append(onnx.numpy_helper.from_array(np.ones(4, np.float32), "scale"))
    net.initializer.append(onnx.numpy_helper.from_array(np.array(points, np.int8), "point"))
    node = helper.make_node("DequantizeLinear", ["q", "scale", "point"], ["w"], axis=axis)
    net.node.insert(0, node)
    net.node[1].input[1] = "w"
    zeros = int((stored == np.array(points).reshape(-1, 1, 1, 1)).sum())
    assert count_nonzero_macs(model) == 64 * (108 - zeros)
    assert zeros == (54 if points[0] == 1 else 0)


def test_recurrent_weights_count_by_step() -> None:
    net = Network(0, 4)
    steps = net.node("Unsqueeze", "x", net.store("axis", np.array([0])))
    net.widths[steps] = 4
    inner = np.ones((1, 18, 4), np.float32)
    inner[0, :9] = 0
    gru = net.node(
        "GRU",
        steps,
        net.store("w", inner),
        net.store("r", np.ones((1, 18, 6), np.float32)),
        hidden_size=6,
    )
    model = net.model(gru)
    assert count_macs(model) == 18 * 10
    assert count_nonzero_macs(model) == 18 * 10 - 9 * 4


def test_the_peak_is_the_widest_moment() -> None:
    net = Network(0, 2, 8, 8)
    wide = net.conv("x", 10)  # 128 floats in, 640 out
    narrow = net.conv(wide, 1)  # 64 floats
    model = net.model(net.conv(narrow, 3))
    assert peak_activation_bytes(model) == 4 * (128 + 640)


def test_a_residual_is_held_until_it_is_added() -> None:
    net = Network(0, 1, 8, 8)
    stem = net.conv("x", 4)
    model = net.model(net.node("Add", net.conv(net.conv(stem, 4), 4), stem))
    # While the second of the inner two runs: the residual, its input and its output.
    assert peak_activation_bytes(model) == 4 * 3 * 4 * 64
    chain = Network(0, 1, 8, 8)
    model = chain.model(chain.conv(chain.conv(chain.conv("x", 4), 4), 4))
    assert peak_activation_bytes(model) == 4 * 2 * 4 * 64


def test_outputs_of_the_model_are_never_freed() -> None:
    net = Network(0, 12)
    first = net.gemm("x", 100)
    model = net.model(first, net.gemm(net.gemm(first, 3), 100))
    assert peak_activation_bytes(model) == 4 * (100 + 3 + 100)


def test_smaller_types_take_less() -> None:
    net = Network(0, 12)
    model = net.model(net.node("Cast", net.node("Cast", "x", to=TensorProto.INT8), to=1))
    assert peak_activation_bytes(model) == 12 * 4 + 12


def test_unknown_shapes_are_not_guessed() -> None:
    model = dense_network()
    model.graph.node[0].domain = "somewhere.else"
    model.opset_import.append(helper.make_opsetid("somewhere.else", 1))
    del model.graph.value_info[:]
    assert peak_activation_bytes(model) is None
    assert count_macs(model) is None
    assert count_nonzero_macs(model) is None


@pytest.mark.parametrize("technique", ["int4-weights", "int8-dynamic", "int8-static"])
def test_quantised_products_are_the_same_products(tmp_path: Path, technique: str) -> None:
    net = Network(0, 1, 8, 8)
    hidden = net.gemm(net.node("Flatten", net.conv("x", 4), width=256), 32)
    model = net.model(net.gemm(net.node("Relu", hidden), 5))
    made = build(
        copy_of(model), [RecipeStep(technique=technique)], Context(feeds_of(model, 8), tmp_path)
    ).model
    assert count_macs(made) == count_macs(model) == 64 * 4 * 9 + 256 * 32 + 32 * 5
    assert count_nonzero_macs(made) is not None
    peak = peak_activation_bytes(made)
    assert peak is not None
    assert peak <= 4 * 256 * 3  # the weights are 4 * 256 * 32 when they are expanded at once


def test_a_quantised_lstm_costs_what_it_cost(tmp_path: Path) -> None:
    net = Network(0, 4)
    steps = net.node("Unsqueeze", "x", net.store("axis", np.array([0])))
    lstm = net.node(
        "LSTM", steps, net.weight("w", 1, 24, 4), net.weight("r", 1, 24, 6), hidden_size=6
    )
    model = net.model(lstm)
    made = build(
        copy_of(model),
        [RecipeStep(technique="int8-dynamic")],
        Context(feeds_of(model, 1), tmp_path),
    ).model
    assert [node.op_type for node in made.graph.node][-1] == "DynamicQuantizeLSTM"
    assert count_macs(made) == count_macs(model) == 24 * 10
    assert peak_activation_bytes(made) == peak_activation_bytes(model)
    assert count_parameters(made) == count_parameters(model)
