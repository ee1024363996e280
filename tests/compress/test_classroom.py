"""What compression does, in numbers small enough to follow by hand.

Each test is an example from a lesson on model compression, computed by the code that ships and by
the runtime that devices use.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper, numpy_helper

from fitment_compress.graph import constants, replace_initializer
from fitment_compress.macs import count_macs, count_nonzero_macs
from fitment_compress.pipeline import build
from fitment_compress.soft_labels import soft_labels
from fitment_compress.structure.graphs import copy_of
from fitment_compress.structure.separable import cost_ratio
from fitment_compress.techniques.base import Context
from fitment_contract.variant import RecipeStep
from support.structure_models import Network, feeds_of, run

SCALE = 1 / 256


def quantiser() -> onnx.ModelProto:
    """`x` as an unsigned byte at a scale of 1/256, and the byte as a number again."""
    stored = [
        numpy_helper.from_array(np.float32(SCALE), "scale"),
        numpy_helper.from_array(np.uint8(0), "zero_point"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero_point"], ["byte"]),
        helper.make_node("DequantizeLinear", ["byte", "scale", "zero_point"], ["back"]),
    ]
    outputs = [
        helper.make_tensor_value_info("byte", TensorProto.UINT8, ["n"]),
        helper.make_tensor_value_info("back", TensorProto.FLOAT, ["n"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def quantised(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bytes that onnxruntime makes of numbers, and the numbers that it makes of the bytes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(quantiser().SerializeToString())
    bytes_, back = session.run(None, {"x": values.astype(np.float32)})
    return bytes_, back


def test_three_quarters_at_a_scale_of_1_256_become_192() -> None:
    bytes_, back = quantised(np.array([0.75]))
    assert bytes_.dtype == np.uint8
    assert bytes_.tolist() == [192]
    assert abs(back[0] - 0.75) <= SCALE / 2


@given(arrays.arrays(np.float32, 16, elements=st.floats(0, 255 * SCALE, width=32)))
def test_every_number_in_range_comes_back_within_half_a_step(values: np.ndarray) -> None:
    _, back = quantised(values)
    assert (abs(back - values) <= SCALE / 2 + 1e-7).all()


def test_what_lies_beyond_the_range_is_cut_off() -> None:
    bytes_, back = quantised(np.array([-0.1, 3.0]))
    assert bytes_.tolist() == [0, 255]
    assert back.tolist() == [0.0, 255 * SCALE]


def test_a_weight_of_a_thousandth_becomes_zero_and_its_multiplication_is_gone(
    tmp_path: Path,
) -> None:
    net = Network(0, 4)
    model = net.model(net.gemm("x", 1))
    replace_initializer(model, "gemm0.w", np.float32([[0.5], [0.001], [-0.3], [0.2]]))
    assert count_nonzero_macs(model) == 4
    step = RecipeStep(technique="magnitude-prune", options={"sparsity": 0.25})
    pruned = build(copy_of(model), [step], Context(feeds_of(model, 4), tmp_path)).model
    assert constants(pruned)["gemm0.w"].ravel().tolist() == pytest.approx([0.5, 0, -0.3, 0.2])
    assert count_nonzero_macs(pruned) == 3
    assert count_macs(pruned) == 4  # kernels for dense matrices still do all of them
    feeds = feeds_of(model, 3)
    difference = abs(run(pruned, feeds) - run(model, feeds)).ravel()
    left_out = [0.001 * abs(feed["x"][0, 1]) for feed in feeds]
    assert difference.tolist() == pytest.approx(left_out, abs=1e-6)


@given(
    logits=arrays.arrays(np.float32, 10, elements=st.floats(-20, 20, width=32)),
    temperature=st.floats(0.05, 100),
)
def test_soft_labels_sum_to_one_at_every_temperature(
    logits: np.ndarray, temperature: float
) -> None:
    soft = soft_labels(logits, temperature)
    assert soft.sum() == pytest.approx(1.0)
    assert (soft >= 0).all()
    assert (np.diff(soft[np.argsort(logits)]) >= -1e-12).all()  # the order of classes stays


def test_soft_labels_sharpen_to_the_hard_label_as_the_temperature_falls() -> None:
    logits = np.array([3.0, 1.0, 0.2])
    largest = [soft_labels(logits, temperature)[0] for temperature in (100, 10, 4, 1, 0.5, 0.01)]
    assert largest == sorted(largest)
    assert largest[0] == pytest.approx(1 / 3, abs=0.01)  # hot: all classes alike
    assert soft_labels(logits, 0.01).tolist() == pytest.approx([1, 0, 0])
    with pytest.raises(ValueError, match="above 0"):
        soft_labels(logits, 0.0)


@pytest.mark.parametrize(("outputs", "kernel"), [(64, 3), (128, 3), (32, 5)])
def test_a_separable_block_costs_1_n_plus_1_k2_of_a_full_convolution(
    tmp_path: Path, outputs: int, kernel: int
) -> None:
    net = Network(0, 16, 14, 14)
    wide = net.conv("x", 48, kernel=1)
    model = net.model(net.conv(wide, outputs, kernel=kernel))
    step = RecipeStep(technique="depthwise-separable", options={"refit": False})
    separable = build(copy_of(model), [step], Context([], tmp_path)).model
    before = 16 * 48 * 14 * 14  # the pointwise convolution, which stays
    full = (count_macs(model) or 0) - before
    cheap = (count_macs(separable) or 0) - before
    assert cheap / full == pytest.approx(1 / outputs + 1 / kernel**2)
    assert cost_ratio(outputs, (kernel, kernel)) == pytest.approx(1 / outputs + 1 / kernel**2)


def test_a_separable_block_of_the_classroom_is_eight_times_cheaper() -> None:
    assert 1 / cost_ratio(64, (3, 3)) == pytest.approx(7.9, abs=0.05)
