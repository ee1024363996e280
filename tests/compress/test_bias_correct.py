"""Bias correction: means come back, and nothing is made worse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from fitment_compress.errors import TechniqueError
from fitment_compress.quantisation.bias import correct_biases, nearer
from fitment_compress.quantisation.placement import find_layers, name_nodes
from fitment_compress.quantisation.probe import Probe
from fitment_compress.quantisation.qdq import calibrate_layers, quantise
from fitment_compress.techniques.int8_static import Int8StaticOptions
from fitment_runtime.catalog import find_runtime
from support.compress_models import load
from support.quantisation_models import (
    FASHION,
    accuracy,
    fashion_feeds,
    fashion_images,
    feeds_of,
    made,
    save_residual,
)
from support.structure_models import Network
from support.structure_models import feeds_of as network_feeds

COARSE: dict[str, Any] = {"per_channel": False, "stem": "integer"}
"""Options under which the shipped fashion model loses more than a tenth of its accuracy."""


def quantised(model: onnx.ModelProto, feeds: Any, **options: Any) -> onnx.ModelProto:
    chosen = Int8StaticOptions(**options)
    name_nodes(model)
    layers = find_layers(model, chosen)
    return quantise(model, layers, calibrate_layers(model, layers, feeds, chosen), chosen)


def largest_shift(model: onnx.ModelProto, exact: onnx.ModelProto, feeds: Any) -> float:
    """The largest change of the mean of a channel of a layer, in standard deviations."""
    layers = [node for node in exact.graph.node if node.op_type in ("Conv", "Gemm")]
    named = {node.name: node.output[0] for node in model.graph.node}
    worst = 0.0
    for layer in layers:
        theirs, ours = (
            np.concatenate([Probe(graph, [name]).run(sample)[name] for sample in feeds])
            for graph, name in ((exact, layer.output[0]), (model, named[layer.name]))
        )
        axes = tuple(axis for axis in range(theirs.ndim) if axis != 1)
        shift = abs(ours.mean(axis=axes) - theirs.mean(axis=axes)) / theirs.std(axis=axes)
        worst = max(worst, float(shift.max()))
    return worst


def test_every_channel_has_its_mean_again(tmp_path: Path) -> None:
    exact = load(save_residual(tmp_path / "m.onnx"))
    feeds = feeds_of(20)
    model = quantised(exact, feeds, per_channel=False)
    before = largest_shift(model, exact, feeds)
    assert correct_biases(model, exact, feeds) == 4
    assert largest_shift(model, exact, feeds) < 0.2 * before


def test_a_model_that_lost_its_means_is_rescued(tmp_path: Path) -> None:
    data = fashion_images(tmp_path)
    model = FASHION / "model.onnx"
    feeds = fashion_feeds()
    _, path, _ = made(model, tmp_path, feeds, ("int8-static", COARSE))
    plain = accuracy(path, data)
    candidate, path, findings = made(
        model, tmp_path, feeds, ("int8-static", COARSE), ("bias-correct", {})
    )
    assert accuracy(path, data) > plain + 0.05
    assert candidate.traits[-1] == "bias-corrected"
    assert "layers corrected: the noise goes from" in findings.notes[0]
    counts = find_runtime("onnxruntime").kernels(path, feeds[0])
    assert counts.integer_convolutions == counts.convolutions


def test_behind_equalisation_the_option_works_and_the_step_stays_its_hand(tmp_path: Path) -> None:
    data = fashion_images(tmp_path)
    feeds = fashion_feeds()
    model = FASHION / "model.onnx"
    inside = {**COARSE, "correct_bias": True}
    candidate, path, findings = made(
        model, tmp_path, feeds, ("equalise", {}), ("int8-static", inside)
    )
    assert accuracy(path, data) > accuracy(model, data) - 0.015
    assert "bias-corrected" in candidate.traits
    assert "layers corrected" in findings.notes[1]
    _, path, findings = made(
        model, tmp_path, feeds, ("equalise", {}), ("int8-static", COARSE), ("bias-correct", {})
    )
    assert "Biases stay" in findings.notes[1]
    assert accuracy(path, data) > accuracy(model, data) - 0.02


def test_layers_of_other_names_or_widths_are_refused(tmp_path: Path) -> None:
    model = save_residual(tmp_path / "m.onnx")
    feeds = feeds_of(4)
    ready = quantised(load(model), feeds)
    renamed = load(model)
    for node in renamed.graph.node:
        node.name += "_other"
    with pytest.raises(TechniqueError, match="No integer layer with a bias has a counterpart"):
        nearer(ready, renamed, feeds)


def test_one_sample_is_too_few(tmp_path: Path) -> None:
    model = save_residual(tmp_path / "m.onnx")
    with pytest.raises(TechniqueError, match="two calibration samples at least"):
        made(model, tmp_path, feeds_of(1), ("int8-static", {}), ("bias-correct", {}))


def test_a_float_model_is_refused(tmp_path: Path) -> None:
    model = save_residual(tmp_path / "m.onnx")
    with pytest.raises(TechniqueError, match="bias-correct works on DequantizeLinear"):
        made(model, tmp_path, feeds_of(4), ("bias-correct", {}))


def test_a_bias_that_is_computed_stays_as_it_is() -> None:
    net = Network(0, 12)
    computed, hidden = net.gemm("x", 16), net.node("Relu", net.gemm("x", 16))
    weight = net.weight("w", 16, 16)
    summed = net.node("Gemm", hidden, weight, computed, width=16)
    exact = net.model(net.gemm(summed, 4))
    feeds = network_feeds(exact, 8)
    assert correct_biases(quantised(exact, feeds), exact, feeds) == 3


def test_a_quantiser_that_finds_no_bias_says_so_and_goes_on(tmp_path: Path) -> None:
    net = Network(0, 12)
    weight = net.weight("w", 12, 8)
    model = net.model(net.node("MatMul", "x", weight, width=8))
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    feeds = network_feeds(model, 8)
    _, _, findings = made(path, tmp_path, feeds, ("int8-static", {"correct_bias": True}))
    assert findings.notes[-1].startswith("Biases stay: No integer layer with a bias")
