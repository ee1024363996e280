"""Blocks that can be left out, and those whose absence matters least."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from fitment_compress.errors import TechniqueError
from fitment_compress.graph import constants, count_parameters, replace_initializer
from fitment_compress.macs import count_macs
from fitment_compress.pipeline import build
from fitment_compress.quantisation.sensitivity import WORST
from fitment_compress.structure.blocks import drop_blocks, find_blocks
from fitment_compress.structure.graphs import copy_of
from fitment_compress.techniques.base import Context, Findings
from fitment_contract.variant import RecipeStep
from support.structure_models import Network, dense_network, feeds_of, residual_network, run


def shallower(
    model: onnx.ModelProto, folder: Path, findings: Findings | None = None, **options: Any
) -> onnx.ModelProto:
    """A copy after drop-blocks, calibrated with random samples."""
    step = RecipeStep(technique="drop-blocks", options=options)
    context = Context(feeds_of(model, 60), folder, findings=findings or Findings())
    made = build(copy_of(model), [step], context).model
    onnx.checker.check_model(made, full_check=True)
    return made


def deep_network(count: int = 4, width: int = 12) -> onnx.ModelProto:
    """Residual blocks that add less and less: the last ones matter least."""
    net = Network(0, 1, 8, 8)
    x = net.node("Relu", net.conv("x", width))
    scales = {}
    for index in range(count):
        inner = net.conv(net.node("Relu", net.conv(x, width)), width)
        scales[f"conv{5 * index + 4}"] = 0.3**index
        x = net.node("Relu", net.node("Add", inner, x))
    model = net.model(net.head(x))
    for key, scale in scales.items():
        for part in ("w", "b"):
            values = constants(model)[f"{key}.{part}"]
            replace_initializer(model, f"{key}.{part}", np.float32(scale) * values)
    return model


def test_a_residual_block_takes_the_activation_behind_it_along() -> None:
    model = deep_network(count=2)
    blocks = find_blocks(model)
    assert [block.source for block in blocks] == ["relu_1", "relu_6"]
    assert [block.output for block in blocks] == ["relu_6", "relu_11"]
    drop_blocks(model, blocks)
    assert [node.op_type for node in model.graph.node] == [
        *("Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"),
    ]


def test_a_residual_addition_of_a_block_that_gives_nothing_leaves_no_trace() -> None:
    model = residual_network()
    block = find_blocks(model)[-1]
    last = [node for node in model.graph.node if node.op_type == "Conv"][-1]
    for name in last.input[1:]:
        replace_initializer(model, name, np.zeros_like(constants(model)[name]))
    feeds = feeds_of(model, 3)
    expected = run(model, feeds)
    drop_blocks(model, [block])
    np.testing.assert_allclose(run(model, feeds), expected, rtol=1e-5, atol=1e-6)


def test_chains_keep_the_shape_and_end_before_what_changes_it() -> None:
    net = Network(0, 4, 8, 8)
    kept = net.node("Relu", net.batch_norm(net.conv("x", 4)))
    pooled = net.node("MaxPool", kept, kernel_shape=[2, 2], strides=[2, 2])
    wider = net.conv(pooled, 8)
    (block,) = find_blocks(net.model(net.head(wider)))
    assert (block.source, block.output) == ("x", kept)


def test_dense_layers_are_chains() -> None:
    net = Network(0, 8)
    first = net.node("Tanh", net.gemm("x", 16))
    second = net.node("Tanh", net.gemm(first, 16))
    (block,) = find_blocks(net.model(net.gemm(second, 3)))
    assert (block.source, block.output) == (first, second)


def test_what_is_read_from_outside_or_is_an_output_is_no_block() -> None:
    net = Network(0, 4, 8, 8)
    inner = net.conv("x", 4)
    added = net.node("Add", net.conv(inner, 4), "x")
    model = net.model(net.head(added), inner)
    assert {block.output for block in find_blocks(model)} == {"conv_1"}
    chain = Network(0, 4, 8, 8)
    assert find_blocks(chain.model(chain.conv("x", 4))) == []


def test_the_blocks_that_matter_least_go_first(tmp_path: Path) -> None:
    model = deep_network()
    findings = Findings()
    small = shallower(model, tmp_path, findings, count=2, refit=False)
    changes = [entry.noise_ratio for entry in findings.sensitivity]
    assert changes == sorted(changes, reverse=True)
    assert [entry.spared for entry in findings.sensitivity] == [True, True, False, False]
    expected = copy_of(model)
    drop_blocks(expected, find_blocks(model)[2:])
    feeds = feeds_of(model, 3)
    np.testing.assert_array_equal(run(small, feeds), run(expected, feeds))


@pytest.mark.parametrize(("share", "left"), [(0.1, 3), (0.5, 2), (1.0, 0)])
def test_a_share_of_the_blocks_goes(tmp_path: Path, share: float, left: int) -> None:
    small = shallower(deep_network(), tmp_path, share=share, refit=False)
    assert [node.op_type for node in small.graph.node].count("Add") == left


def test_fitting_what_follows_brings_outputs_nearer(tmp_path: Path) -> None:
    model = deep_network()
    unseen = feeds_of(model, 40, seed=9)
    made = [shallower(model, tmp_path, count=2, refit=refit) for refit in (True, False)]
    errors = [np.square(run(each, unseen) - run(model, unseen)).mean() for each in made]
    assert errors[0] < 0.7 * errors[1]
    assert count_parameters(made[0]) < 0.7 * count_parameters(model)
    assert (count_macs(made[0]) or 0) < 0.7 * (count_macs(model) or 0)


def test_a_model_whose_every_layer_changes_the_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TechniqueError, match="Use channel-prune"):
        shallower(dense_network(), tmp_path)


def test_without_samples_nothing_is_guessed(tmp_path: Path) -> None:
    step = RecipeStep(technique="drop-blocks")
    with pytest.raises(TechniqueError, match="Give calibration samples"):
        build(deep_network(), [step], Context([], tmp_path))


def test_a_block_without_which_outputs_overflow_is_not_the_one_that_goes(tmp_path: Path) -> None:
    net = Network(0, 8)
    damped = net.gemm(net.node("Relu", net.gemm("x", 16)), 16)
    harmless = net.gemm(net.node("Relu", damped), 16)
    model = net.model(net.node("Exp", net.gemm(harmless, 4)))
    for name, factor in (("gemm0.w", 1e4), ("gemm2.w", 1e-4)):
        replace_initializer(model, name, np.float32(factor) * constants(model)[name])
    findings = Findings()
    shallower(model, tmp_path, findings, count=1, refit=False)
    by_block = {entry.layer: entry for entry in findings.sensitivity}
    assert len(by_block) == 2
    assert max(entry.noise_ratio for entry in by_block.values()) == WORST
    assert [entry.noise_ratio < WORST for entry in by_block.values() if not entry.spared] == [True]
