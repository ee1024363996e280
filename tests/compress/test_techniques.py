"""Each technique on real files, run by the real runtime."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fitment_compress.errors import TechniqueError
from fitment_compress.graph import (
    count_parameters,
    dominant_precision,
    replace_initializer,
    weight_initializers,
)
from fitment_compress.pipeline import Candidate, build
from fitment_compress.structure.graphs import copy_of
from fitment_compress.techniques import known_techniques
from fitment_compress.techniques.base import Context
from fitment_compress.techniques.int4_weights import quantise_blocks
from fitment_compress.techniques.magnitude_prune import lamp_scores
from fitment_contract.variant import RecipeStep
from fitment_runtime.catalog import find_runtime
from support.compress_models import classifier, load, outputs_of, random, save_elementwise
from support.compress_plugins import install
from support.runtime_models import save_mlp
from support.structure_models import Network, feeds_of, run


def made(model: Path, folder: Path, technique: str, **options: Any) -> Candidate:
    """The candidate that one technique makes, calibrated with random images."""
    feeds: list[Mapping[str, Any]] = [{"image": random(seed, 1, 1, 8, 8)} for seed in range(8)]
    step = RecipeStep(technique=technique, options=options)
    candidate = build(load(model), [step], Context(feeds, folder))
    onnx.save(candidate.model, folder / "candidate.onnx")
    return candidate


def agreement(model: Path, data: Path, folder: Path) -> float:
    ours = outputs_of(folder / "candidate.onnx", data)[0].argmax(axis=1)
    return float((ours == outputs_of(model, data)[0].argmax(axis=1)).mean())


def test_fp16_keeps_the_types_of_inputs_and_outputs(tmp_path: Path) -> None:
    model, data = classifier(tmp_path)
    assert made(model, tmp_path, "fp16").account.precision == "fp16"
    session = find_runtime("onnxruntime").load(tmp_path / "candidate.onnx")
    assert session.inputs[0].dtype == session.outputs[0].dtype == "float32"
    assert agreement(model, data, tmp_path) > 0.98


def test_dynamic_quantisation_leaves_convolutions_alone(tmp_path: Path) -> None:
    model, data = classifier(tmp_path)
    candidate = made(model, tmp_path, "int8-dynamic")
    types = {node.op_type for node in candidate.model.graph.node}
    assert "Conv" in types
    assert "ConvInteger" not in types
    assert "MatMulInteger" in types
    assert agreement(model, data, tmp_path) > 0.9


def test_four_bit_weights_run_with_biases(tmp_path: Path) -> None:
    model = save_mlp(tmp_path / "m.onnx", features=40, classes=5)
    candidate = made(model, tmp_path, "int4-weights", block_size=16)
    assert [node.op_type for node in candidate.model.graph.node].count("MatMulNBits") == 2
    assert dominant_precision(candidate.model) == "int4"
    feeds = {"x": random(0, 1, 40)}
    runtime = find_runtime("onnxruntime")
    exact = runtime.load(model).run(feeds)[0]
    coarse = runtime.load(tmp_path / "candidate.onnx").run(feeds)[0]
    assert abs(exact - coarse).max() < 0.25 * abs(exact).max()


@settings(max_examples=60, deadline=None)
@given(
    weight=arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 70), st.integers(1, 5)),
        elements=st.floats(-8, 8, width=32),
    ),
    block=st.sampled_from([16, 32]),
)
def test_four_bit_blocks_are_off_by_half_a_step_at_most(
    weight: np.ndarray[Any, Any], block: int
) -> None:
    packed, scales, zeros = quantise_blocks(weight, block)
    outer, blocks = scales.shape
    low_first = np.stack([packed & 15, packed >> 4], axis=-1).reshape(outer, blocks, block)
    points = np.stack([zeros & 15, zeros >> 4], axis=-1).reshape(outer, -1)[:, :blocks]
    levels = low_first.astype(np.float64) - points[:, :, None]
    restored = (levels * scales[:, :, None]).reshape(outer, -1)[:, : len(weight)].T
    step = np.repeat(scales, block, axis=1)[:, : len(weight)].T
    # The zero point is rounded too, which can cost another half step at either end.
    assert (abs(restored - weight) <= 1.001 * step + 1e-6).all()


@pytest.mark.parametrize("scope", ["adaptive", "global", "per-layer"])
def test_pruning_zeroes_the_share_that_was_asked_for(tmp_path: Path, scope: str) -> None:
    model, _ = classifier(tmp_path)
    candidate = made(model, tmp_path, "magnitude-prune", sparsity=0.8, scope=scope)
    weights = list(weight_initializers(candidate.model).values())
    zeros = sum(int((values == 0).sum()) for values in weights)
    assert zeros / sum(values.size for values in weights) == pytest.approx(0.8, abs=0.01)
    assert candidate.traits == ("pruned",)
    assert candidate.account.precision == "fp32"


def test_pruning_keeps_the_largest_weights(tmp_path: Path) -> None:
    model, _ = classifier(tmp_path)
    before = weight_initializers(load(model))
    after = weight_initializers(made(model, tmp_path, "magnitude-prune").model)
    for name, values in after.items():
        kept, gone = abs(before[name][values != 0]), abs(before[name][values == 0])
        assert kept.min() >= gone.max(initial=0)


@given(arrays.arrays(np.float32, 12, elements=st.floats(-4, 4, width=32)))
def test_lamp_never_empties_a_layer(weight: np.ndarray[Any, Any]) -> None:
    scores = lamp_scores(weight)
    assert scores.shape == weight.shape
    if (abs(weight) > 1e-3).any():
        assert scores.max() == pytest.approx(1.0)


@pytest.mark.parametrize(
    "technique", ["int8-static", "int8-dynamic", "int4-weights", "magnitude-prune"]
)
def test_needs_that_are_not_met_say_what_the_model_has(tmp_path: Path, technique: str) -> None:
    model = save_elementwise(tmp_path / "m.onnx")
    with pytest.raises(TechniqueError, match=r"this model has none \(it has Add, Tanh\)"):
        made(model, tmp_path, technique)


def test_an_opset_that_is_too_old_is_refused_before_a_file_is_written(tmp_path: Path) -> None:
    model, _ = classifier(tmp_path, opset=11)
    with pytest.raises(TechniqueError, match="needs opset 13 or newer; this model has 11"):
        made(model, tmp_path, "int8-static")


def test_steps_run_in_their_order_and_collect_traits(tmp_path: Path) -> None:
    model, _ = classifier(tmp_path)
    whole = {"stem": "integer"}
    steps = [
        RecipeStep(technique="magnitude-prune"),
        RecipeStep(technique="int8-static", options=whole),
    ]
    feeds = [{"image": random(0, 1, 1, 8, 8)}]
    candidate = build(load(model), steps, Context(feeds, tmp_path))
    assert candidate.traits == ("pruned", "u8s8", "per-channel")
    with pytest.raises(TechniqueError, match="magnitude-prune"):
        build(load(model), steps[::-1], Context(feeds, tmp_path))


def test_installed_packages_add_techniques(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch)
    try:
        assert {"crash", "fp16"} <= set(known_techniques())
    finally:
        known_techniques.cache_clear()


def test_listing_techniques_imports_nothing_heavy() -> None:
    heavy = ("numpy", "onnx", "onnxruntime", "onnxslim", "zstandard")
    code = (
        "import sys; from fitment_compress.techniques import known_techniques; "
        "import fitment_compress.cli, fitment_compress.compress; "
        f"known_techniques(); print([name for name in {heavy} if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("technique", "share"), [("int8-static", 0.0), ("int8-dynamic", 0.05), ("int4-weights", 0.0)]
)
def test_parameters_are_counted_in_any_precision(
    tmp_path: Path, technique: str, share: float
) -> None:
    """Dynamic quantisation adds a scale and a zero point per product, which nothing marks."""
    model, _ = classifier(tmp_path)
    plain = count_parameters(load(model))
    counted = count_parameters(made(model, tmp_path, technique).model)
    assert plain <= counted <= plain * (1 + share)


def test_fitting_what_stays_keeps_the_zeroes_and_gains_agreement(tmp_path: Path) -> None:
    model, data = classifier(tmp_path)
    plain = made(model, tmp_path, "magnitude-prune", sparsity=0.6, refit=False)
    unfitted = distance(model, data, tmp_path)
    fitted = made(model, tmp_path, "magnitude-prune", sparsity=0.6)
    assert distance(model, data, tmp_path) < 0.9 * unfitted
    before, after = (weight_initializers(one.model) for one in (plain, fitted))
    for name, values in before.items():
        assert not after[name][values == 0].any()


def distance(model: Path, data: Path, folder: Path) -> float:
    """The mean absolute difference of the outputs from the source's."""
    ours, theirs = outputs_of(folder / "candidate.onnx", data)[0], outputs_of(model, data)[0]
    return float(np.abs(ours - theirs).mean())


@pytest.mark.parametrize("technique", ["int8-dynamic", "int4-weights"])
def test_nothing_to_quantise_is_no_candidate(tmp_path: Path, technique: str) -> None:
    net = Network(0, 1, 8, 8)
    flat = net.node("Flatten", "x", width=64)
    weight = net.weight("w", 64, 4)
    model = net.model(net.node("Gemm", flat, weight, width=4, alpha=0.5))
    model.graph.node[0].input[0] = model.graph.input[0].name = "image"
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(TechniqueError, match="alpha and beta"):
        made(tmp_path / "m.onnx", tmp_path, technique)


@pytest.mark.parametrize("first", ["int8-static", "int8-dynamic", "fp16"])
def test_eight_bits_and_half_precision_refuse_each_other(tmp_path: Path, first: str) -> None:
    """The files would be written, and fail when they are loaded."""
    model, _ = classifier(tmp_path)
    made(model, tmp_path, first)
    for second in ("int8-static", "int8-dynamic") if first == "fp16" else ("fp16",):
        with pytest.raises(TechniqueError, match=r"half precision.*Use either fp16 or"):
            made(tmp_path / "candidate.onnx", tmp_path, second)


def test_integers_found_at_run_time_are_integers_too(tmp_path: Path) -> None:
    model, _ = classifier(tmp_path)
    made(model, tmp_path, "int8-dynamic")
    with pytest.raises(TechniqueError, match="quantised already"):
        made(tmp_path / "candidate.onnx", tmp_path, "int8-static", stem="integer")


def test_operators_without_half_precision_get_their_casts(tmp_path: Path) -> None:
    net = Network(0, 1, 8, 8)
    ceiling = net.store("ceiling", np.float32(1))
    bounded = net.node("Min", net.conv("x", 4), ceiling)
    model = net.model(net.head(bounded))
    del model.graph.value_info[:]  # as a stage's file comes
    half = build(copy_of(model), [RecipeStep(technique="fp16")], Context([], tmp_path)).model
    feeds = feeds_of(model, 4)
    assert np.allclose(run(half, feeds), run(model, feeds), atol=1e-2)


@pytest.mark.parametrize("scope", ["global", "per-layer"])
def test_weights_of_equal_magnitude_do_not_all_go(tmp_path: Path, scope: str) -> None:
    model, _ = classifier(tmp_path)
    ternary = load(model)
    for name, values in weight_initializers(ternary).items():
        replace_initializer(ternary, name, np.sign(values) * (abs(values) > abs(values).mean()))
    onnx.save(ternary, tmp_path / "ternary.onnx")
    candidate = made(
        tmp_path / "ternary.onnx",
        tmp_path,
        "magnitude-prune",
        sparsity=0.7,
        scope=scope,
        refit=False,
    )
    weights = list(weight_initializers(candidate.model).values())
    zeros = sum(int((values == 0).sum()) for values in weights)
    assert zeros / sum(values.size for values in weights) == pytest.approx(0.7, abs=0.01)
