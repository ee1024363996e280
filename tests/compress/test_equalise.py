"""Equalisation: the function stays, and 8 bits keep it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from fitment_compress.errors import TechniqueError
from fitment_compress.techniques.equalise import Joint, Layer, equalise
from support.compress_models import load, random, save_elementwise
from support.quantisation_models import (
    FASHION,
    accuracy,
    fashion_feeds,
    fashion_images,
    feeds_of,
    made,
    run,
    save_residual,
    unbalance,
)
from support.runtime_models import constant, save


def layer(weight: Any, bias: Any = None, groups: int = 1) -> Layer:
    return Layer(onnx.NodeProto(), np.array(weight, np.float64), bias, groups)


def ranges(model: Path) -> dict[str, Any]:
    """Largest magnitude per output channel of every weight."""
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in load(model).graph.initializer}
    return {
        name: abs(values).reshape(len(values), -1).max(axis=1)
        for name, values in stored.items()
        if values.ndim > 1
    }


@pytest.mark.parametrize("per_channel", [True, False])
def test_a_collapsed_model_is_rescued(tmp_path: Path, per_channel: bool) -> None:
    data = fashion_images(tmp_path)
    model = unbalance(tmp_path / "unbalanced.onnx", FASHION / "model.onnx")
    source = accuracy(model, data)
    assert source == pytest.approx(accuracy(FASHION / "model.onnx", data), abs=0.003)
    feeds = fashion_feeds()
    options = {"per_channel": per_channel}
    _, plain, _ = made(model, tmp_path, feeds, ("int8-static", options))
    assert accuracy(plain, data) < 0.2
    _, rescued, findings = made(model, tmp_path, feeds, ("equalise", {}), ("int8-static", options))
    assert accuracy(rescued, data) > source - 0.01
    assert "groups of layers equalised" in findings.notes[0]


@pytest.mark.parametrize("activation", ["Relu", "LeakyRelu", "Identity"])
def test_the_function_stays(tmp_path: Path, activation: str) -> None:
    model = save_residual(tmp_path / "m.onnx", activation=activation)
    candidate, path, _ = made(model, tmp_path, feeds_of(2), ("equalise", {}))
    assert candidate.traits == ("equalised",)
    assert any((ranges(path)[name] != values).any() for name, values in ranges(model).items())
    for sample in feeds_of(5):
        exact = run(model, sample)
        assert abs(run(path, sample) - exact).max() < 1e-5 * abs(exact).max()


def test_layers_that_meet_in_a_sum_share_their_factors(tmp_path: Path) -> None:
    model = save_residual(tmp_path / "m.onnx")
    _, path, _ = made(model, tmp_path, feeds_of(2), ("equalise", {}))

    def factors(bias: str) -> Any:
        before, after = (
            next(tensor for tensor in load(file).graph.initializer if tensor.name == bias)
            for file in (model, path)
        )
        return onnx.numpy_helper.to_array(after) / onnx.numpy_helper.to_array(before)

    assert factors("b0") == pytest.approx(factors("b2"), rel=1e-4)
    assert factors("b0") != pytest.approx(factors("b1"), rel=1e-2)


def chain(path: Path, between: list[onnx.NodeProto], extra: list[onnx.TensorProto]) -> Path:
    """Conv, then nodes from `a` to `b`, then Conv."""
    return save(
        path,
        [
            helper.make_node("Conv", ["x", "k", "c"], ["a"], "first"),
            *between,
            helper.make_node("Conv", ["b", "k2"], ["y"], "second"),
        ],
        [("x", "float32", ["n", 4, 6, 6])],
        [("y", "float32", ["n", 3, 6, 6])],
        [
            constant("k", random(0, 8, 4, 1, 1)),
            constant("c", random(1, 8)),
            constant("k2", random(2, 3, 8, 1, 1)),
            *extra,
        ],
    )


def clipped(path: Path, ceiling: float) -> Path:
    bounds = [constant("low", np.float32(0)), constant("high", np.float32(ceiling))]
    return chain(path, [helper.make_node("Clip", ["a", "low", "high"], ["b"])], bounds)


def test_a_ceiling_is_in_the_way_unless_it_may_go(tmp_path: Path) -> None:
    model = clipped(tmp_path / "m.onnx", 1e4)
    feeds = [{"x": random(seed, 1, 4, 6, 6)} for seed in range(2)]
    with pytest.raises(TechniqueError, match="No two layers of this model meet"):
        made(model, tmp_path, feeds, ("equalise", {}))
    candidate, path, _ = made(model, tmp_path, feeds, ("equalise", {"clip": "relu"}))
    assert [node.op_type for node in candidate.model.graph.node] == ["Conv", "Relu", "Conv"]
    assert "high" not in {tensor.name for tensor in candidate.model.graph.initializer}
    assert abs(run(path, feeds[0]) - run(model, feeds[0])).max() < 1e-4


@pytest.mark.parametrize("operator", ["Sigmoid", "Tanh", "HardSwish"])
def test_curved_activations_are_in_the_way(tmp_path: Path, operator: str) -> None:
    model = chain(tmp_path / "m.onnx", [helper.make_node(operator, ["a"], ["b"])], [])
    with pytest.raises(TechniqueError, match="No two layers of this model meet"):
        made(model, tmp_path, [], ("equalise", {}))


def test_a_second_reader_is_in_the_way(tmp_path: Path) -> None:
    path = chain(tmp_path / "m.onnx", [helper.make_node("Relu", ["a"], ["b"])], [])
    made(path, tmp_path, [], ("equalise", {}))
    model = load(path)
    model.graph.node.append(helper.make_node("Sigmoid", ["b"], ["z"]))
    model.graph.output.append(helper.make_tensor_value_info("z", 1, ["n", 8, 6, 6]))
    onnx.save(model, path)
    with pytest.raises(TechniqueError, match="No two layers of this model meet"):
        made(path, tmp_path, [], ("equalise", {}))


def test_an_output_of_the_model_is_in_the_way(tmp_path: Path) -> None:
    path = chain(tmp_path / "m.onnx", [helper.make_node("Relu", ["a"], ["b"])], [])
    model = load(path)
    model.graph.output.append(helper.make_tensor_value_info("b", 1, ["n", 8, 6, 6]))
    onnx.save(model, path)
    with pytest.raises(TechniqueError, match="No two layers of this model meet"):
        made(path, tmp_path, [], ("equalise", {}))


def test_a_shared_weight_is_left_alone(tmp_path: Path) -> None:
    model = save(
        tmp_path / "m.onnx",
        [
            helper.make_node("Gemm", ["x", "w"], ["a"]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("Gemm", ["b", "w"], ["y"]),
        ],
        [("x", "float32", ["n", 5])],
        [("y", "float32", ["n", 5])],
        [constant("w", random(0, 5, 5))],
    )
    with pytest.raises(TechniqueError, match="No two layers of this model meet"):
        made(model, tmp_path, [], ("equalise", {}))


def test_features_of_a_flattened_channel_share_its_factor(tmp_path: Path) -> None:
    model = save(
        tmp_path / "m.onnx",
        [
            helper.make_node("Conv", ["x", "k", "c"], ["a"]),
            helper.make_node("PRelu", ["a", "slope"], ["b"]),
            helper.make_node("Flatten", ["b"], ["f"]),
            helper.make_node("Gemm", ["f", "w"], ["y"], transB=1),
        ],
        [("x", "float32", ["n", 2, 3, 3])],
        [("y", "float32", ["n", 4])],
        [
            constant("k", random(0, 6, 1, 1, 1)),
            constant("c", random(1, 6)),
            constant("slope", abs(random(2, 6, 1, 1))),
            constant("w", random(3, 4, 54)),
        ],
    )
    candidate = load(model)
    candidate.graph.node[0].attribute.append(helper.make_attribute("group", 2))
    onnx.save(candidate, model)
    _, path, _ = made(model, tmp_path, [], ("equalise", {}))
    sample = {"x": random(5, 1, 2, 3, 3)}
    assert run(path, sample) == pytest.approx(run(model, sample), abs=1e-5)


def test_needs_that_are_not_met_are_named(tmp_path: Path) -> None:
    with pytest.raises(TechniqueError, match="equalise works on Conv, Gemm with constant weights"):
        made(save_elementwise(tmp_path / "m.onnx"), tmp_path, [], ("equalise", {}))


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 1000),
    channels=st.integers(1, 6),
    repeat=st.integers(1, 3),
    spread=st.floats(0.0, 3.0),
)
def test_ranges_match_and_the_product_stays(
    seed: int, channels: int, repeat: int, spread: float
) -> None:
    rng = np.random.default_rng(seed)
    wide = 10.0 ** rng.uniform(-spread, spread, channels)
    first = layer(rng.normal(size=(channels, 3, 1)) * wide[:, None, None])
    second = layer(rng.normal(size=(4, channels * repeat, 1)))
    product = _product(first, second, channels)
    equalise([Joint([first], [second])])
    assert first.output_ranges() == pytest.approx(second.input_ranges(channels), rel=1e-2)
    assert _product(first, second, channels) == pytest.approx(product, rel=1e-9, abs=1e-12)


def _product(first: Layer, second: Layer, channels: int) -> Any:
    """What both layers do to each channel's way through, float64[inputs, channels, outputs]."""
    read = second.weight[:, :, 0].reshape(4, channels, -1)
    return first.weight[:, :, 0].T[:, :, None, None] * read.transpose(1, 2, 0)[None]


def test_a_depthwise_layer_between_two_takes_part() -> None:
    rng = np.random.default_rng(0)
    wide = np.array([1e-3, 1.0, 1e3])[:, None, None]
    layers = [
        layer(rng.normal(size=(3, 2, 1)) * wide),
        layer(rng.normal(size=(3, 1, 9)) / wide, groups=3),
        layer(rng.normal(size=(4, 3, 1))),
    ]
    equalise([Joint([layers[0]], [layers[1]]), Joint([layers[1]], [layers[2]])])
    found = [layers[0].output_ranges(), layers[1].output_ranges(), layers[2].input_ranges(3)]
    assert found[0] == pytest.approx(found[1], rel=1e-2)
    assert found[1] == pytest.approx(found[2], rel=1e-2)


def test_a_channel_without_weights_keeps_its_factor() -> None:
    first = layer([[[1.0]], [[0.0]]], bias=np.array([1.0, 2.0]))
    second = layer([[[4.0], [5.0]]])
    assert equalise([Joint([first], [second])]) == pytest.approx(2.0)
    assert first.bias == pytest.approx([2.0, 2.0])
    assert second.weight.ravel() == pytest.approx([2.0, 5.0])
