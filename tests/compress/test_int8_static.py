"""Static 8-bit quantisation on real files: which nodes become integer, and what comes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from pydantic import ValidationError

from fitment_compress.errors import TechniqueError
from fitment_compress.pipeline import Candidate
from fitment_compress.quantisation.placement import (
    find_layers,
    integer_nodes,
    name_nodes,
    slim_stem,
)
from fitment_compress.quantisation.qdq import calibrate_layers, quantise
from fitment_compress.techniques.int8_static import Int8StaticOptions
from fitment_contract.benchmark import KernelCounts
from fitment_runtime.catalog import find_runtime
from support.compress_models import load, outputs_of, random, save_npz
from support.quantisation_models import feeds_of, made, save_residual
from support.runtime_models import constant, save


def quantised(folder: Path, channels: int = 4, **options: Any) -> tuple[Candidate, Path, Path]:
    model = save_residual(folder / "m.onnx", channels)
    candidate, path, _ = made(model, folder, feeds_of(12, channels), ("int8-static", options))
    return candidate, model, path


def agreement(model: Path, candidate: Path, folder: Path, channels: int = 4) -> float:
    data = save_npz(folder / "data.npz", image=random(9, 100, channels, 8, 8))
    ours, theirs = outputs_of(candidate, data)[0], outputs_of(model, data)[0]
    return float((ours.argmax(axis=1) == theirs.argmax(axis=1)).mean())


def kernels(path: Path, channels: int = 4) -> KernelCounts:
    return find_runtime("onnxruntime").kernels(path, feeds_of(1, channels)[0])


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("flavour", ["u8s8", "s8s8", "u8u8"])
def test_every_flavour_is_made_and_decides_like_the_source(
    tmp_path: Path, flavour: str, per_channel: bool
) -> None:
    candidate, model, path = quantised(
        tmp_path, activation=flavour[:2], weight=flavour[2:], per_channel=per_channel
    )
    assert candidate.account.precision == "int8"
    assert candidate.traits == (flavour, "per-channel" if per_channel else "per-tensor")
    assert agreement(model, path, tmp_path) > 0.9
    onnx.checker.check_model(path, full_check=True)


def test_a_residual_block_runs_on_integer_kernels_only(tmp_path: Path) -> None:
    _, _, path = quantised(tmp_path)
    counts = kernels(path)
    assert counts.integer_convolutions == counts.convolutions == 3
    assert counts.operators["QLinearAdd"] == 1
    assert counts.operators["QLinearGlobalAveragePool"] == 1
    # One conversion at the input, one at the output: everything between stays integer.
    assert counts.operators["QuantizeLinear"] == counts.operators["DequantizeLinear"] == 1


def test_nodes_come_in_the_order_of_the_standard(tmp_path: Path) -> None:
    model = load(save_residual(tmp_path / "m.onnx"))
    options = Int8StaticOptions()
    layers = find_layers(model, options)
    ranges = calibrate_layers(model, layers, feeds_of(3), options)
    onnx.checker.check_model(quantise(model, layers, ranges, options))


def test_a_slim_stem_and_the_depthwise_behind_it_stay_float(tmp_path: Path) -> None:
    candidate, model, path = quantised(tmp_path, channels=1)
    assert slim_stem(load(model)) == {"stem", "depthwise"}
    assert (kernels(path, 1).convolutions, kernels(path, 1).integer_convolutions) == (3, 1)
    assert agreement(model, path, tmp_path, 1) > 0.9
    stored = {tensor.name for tensor in candidate.model.graph.initializer}
    assert {"k0", "k1"} <= stored
    assert "k2" not in stored


def test_a_slim_stem_becomes_integer_on_request(tmp_path: Path) -> None:
    _, _, path = quantised(tmp_path, channels=1, stem="integer")
    counts = kernels(path, 1)
    assert counts.integer_convolutions == counts.convolutions == 3


def test_a_model_that_is_all_stem_becomes_integer(tmp_path: Path) -> None:
    model = save(
        tmp_path / "m.onnx",
        [helper.make_node("Conv", ["image", "k"], ["y"], "only", pads=[1, 1, 1, 1])],
        [("image", "float32", ["n", 1, 8, 8])],
        [("y", "float32", ["n", 2, 8, 8])],
        [constant("k", random(0, 2, 1, 3, 3))],
    )
    assert find_layers(load(model), Int8StaticOptions()) == ["only"]
    made(model, tmp_path, feeds_of(2, 1), ("int8-static", {}))


def test_joins_and_followers_become_integer_only_behind_integers(tmp_path: Path) -> None:
    model = load(save_residual(tmp_path / "m.onnx"))
    assert integer_nodes(model, ["depthwise", "pointwise"]) == {
        *("depthwise", "depthwise_act", "pointwise"),
    }
    everything = integer_nodes(model, ["stem", "depthwise", "pointwise", "head"])
    assert everything == {node.name for node in model.graph.node}


def test_a_product_of_integers_stays_float(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.onnx",
        [
            helper.make_node("Conv", ["image", "k"], ["c"]),
            helper.make_node("Mul", ["c", "c"], ["y"]),
            helper.make_node("Add", ["c", "shift"], ["z"]),
        ],
        [("image", "float32", ["n", 4, 8, 8])],
        [("y", "float32", ["n", 3, 8, 8]), ("z", "float32", ["n", 3, 8, 8])],
        [constant("k", random(0, 3, 4, 1, 1)), constant("shift", np.float32([1e6]))],
    )
    model = load(path)
    name_nodes(model)
    assert integer_nodes(model, ["Conv.0"]) == {"Conv.0"}


def test_names_are_given_to_nodes_without_repeating_one(tmp_path: Path) -> None:
    model = load(save_residual(tmp_path / "m.onnx"))
    model.graph.node[3].name = ""
    model.graph.node[0].name = f"{model.graph.node[3].op_type}.3"
    name_nodes(model)
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert all(names)


def test_symmetric_activations_have_zero_points_of_zero(tmp_path: Path) -> None:
    def zero_points(**options: Any) -> list[Any]:
        candidate, _, _ = quantised(tmp_path, **options)
        stored = {tensor.name: tensor for tensor in candidate.model.graph.initializer}
        nodes = [node for node in candidate.model.graph.node if node.op_type == "QuantizeLinear"]
        return [int(onnx.numpy_helper.to_array(stored[node.input[2]])) for node in nodes]

    assert set(zero_points(activation="s8")) == {0}
    # Free zero points go to the end of the range behind a ReLU, which then needs no node.
    assert -128 in zero_points(activation="s8", symmetric=False)


def test_an_unusual_symmetry_is_a_trait() -> None:
    assert Int8StaticOptions(activation="s8", symmetric=False).flavour()[2:] == ("asymmetric",)
    assert Int8StaticOptions(symmetric=True).flavour()[2:] == ("symmetric",)
    assert Int8StaticOptions(activation="s8").flavour()[2:] == ()


def test_signed_activations_with_unsigned_weights_are_refused() -> None:
    with pytest.raises(ValidationError, match="no runtime has kernels"):
        Int8StaticOptions(activation="s8", weight="u8")


def test_quantising_twice_is_refused(tmp_path: Path) -> None:
    model = save_residual(tmp_path / "m.onnx")
    with pytest.raises(TechniqueError, match="quantised already"):
        made(model, tmp_path, feeds_of(2), ("int8-static", {}), ("int8-static", {}))


def test_no_samples_are_refused(tmp_path: Path) -> None:
    model = save_residual(tmp_path / "m.onnx")
    with pytest.raises(TechniqueError, match="no calibration samples"):
        made(model, tmp_path, [], ("int8-static", {}))
