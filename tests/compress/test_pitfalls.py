"""What has bitten other tools, one test each, named after the pitfall."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from fitment_compress.clean import clean
from fitment_compress.errors import TechniqueError
from fitment_compress.quantisation.calibration import calibrate
from fitment_compress.quantisation.qdq import quantise
from fitment_compress.techniques.int8_static import Int8StaticOptions
from fitment_runtime.catalog import find_runtime
from fitment_runtime.dataset import Dataset
from support.compress_models import load, random, save_elementwise
from support.quantisation_models import feeds_of, made, run, save_residual
from support.runtime_models import constant, save, save_mlp


def cleaned(model: onnx.ModelProto, folder: Path) -> Path:
    """The file that techniques get to see."""
    sample = feeds_of(1)[0]

    def run_file(path: Path) -> list[Any]:
        return find_runtime("onnxruntime").load(path).run(sample)

    dataset = Dataset({"image": random(0, 3, 4, 8, 8)}, None, None)
    path = folder / "cleaned.onnx"
    onnx.save(clean(model, dataset, run_file, folder).model, path)
    return path


def test_opset_11_per_channel_loads_because_it_is_converted_first(tmp_path: Path) -> None:
    """Before opset 13 DequantizeLinear has no axis; the file fails when it is loaded."""
    old = save_residual(tmp_path / "old.onnx", opset=11)
    with pytest.raises(TechniqueError, match="needs opset 13 or newer; this model has 11"):
        made(old, tmp_path, feeds_of(4), ("int8-static", {"per_channel": True}))
    model = cleaned(load(old), tmp_path)
    candidate, path, _ = made(model, tmp_path, feeds_of(4), ("int8-static", {"per_channel": True}))
    assert candidate.account.opset == 17
    assert any(
        attribute.name == "axis" and attribute.i == 0
        for node in candidate.model.graph.node
        if node.op_type == "DequantizeLinear"
        for attribute in node.attribute
    )
    sample = feeds_of(9)[-1]
    exact = run(old, sample)
    assert abs(run(path, sample) - exact).max() < 0.1 * abs(exact).max()


@pytest.mark.parametrize("per_channel", [True, False])
def test_conv_integer_is_never_written(tmp_path: Path, per_channel: bool) -> None:
    """Some runtimes have no kernel for it, and those that have one are up to 10 times slower."""
    model = save_residual(tmp_path / "m.onnx")
    candidate, path, _ = made(
        model, tmp_path, feeds_of(4), ("int8-dynamic", {"per_channel": per_channel})
    )
    operators = [node.op_type for node in candidate.model.graph.node]
    assert "ConvInteger" not in operators
    assert operators.count("Conv") == 3
    assert "MatMulInteger" in operators
    assert "ConvInteger" not in find_runtime("onnxruntime").kernels(path, feeds_of(1)[0]).operators


@pytest.mark.parametrize("technique", ["int8-static", "int8-dynamic"])
@pytest.mark.parametrize("per_channel", [True, False])
def test_reduce_range_keeps_seven_bits(tmp_path: Path, technique: str, per_channel: bool) -> None:
    """Without VNNI, x86 saturates the sum of two products of 8 bits at 16 bits."""
    model = save_residual(tmp_path / "m.onnx")

    def largest(**options: Any) -> int:
        steps = (technique, {"per_channel": per_channel, **options})
        candidate, _, _ = made(model, tmp_path, feeds_of(4), steps)
        stored = [onnx.numpy_helper.to_array(t) for t in candidate.model.graph.initializer]
        weights = [values for values in stored if values.dtype == np.int8 and values.ndim > 1]
        return max(int(abs(values.astype(int)).max()) for values in weights)

    assert largest() == 127
    assert largest(reduce_range=True) <= 64


def test_shapes_that_cannot_be_inferred_do_not_stop_quantisation(tmp_path: Path) -> None:
    """The tail's shape depends on values: symbolic shape inference calls itself incomplete."""
    model = save(
        tmp_path / "m.onnx",
        [
            helper.make_node("NonZero", ["image"], ["places"]),
            helper.make_node("Shape", ["places"], ["extent"]),
            helper.make_node("Slice", ["extent", "one", "two"], ["count"]),
            helper.make_node("Min", ["count", "eight"], ["length"]),
            helper.make_node("Concat", ["first", "length"], ["ends"], axis=0),
            helper.make_node("Slice", ["image", "start", "ends", "axes"], ["cut"]),
            helper.make_node("Conv", ["cut", "k"], ["c"], "behind", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("GlobalAveragePool", ["r"], ["y"]),
        ],
        [("image", "float32", ["n", 4, 8, 8])],
        [("y", "float32", ["n", 6, 1, 1])],
        [
            constant("k", random(0, 6, 4, 3, 3)),
            *(constant(name, np.array([value])) for name, value in _ENDS.items()),
            constant("start", np.array([0, 0])),
            constant("axes", np.array([2, 3])),
        ],
    )
    candidate, path, _ = made(model, tmp_path, feeds_of(4), ("int8-static", {}))
    assert find_runtime("onnxruntime").kernels(path, feeds_of(1)[0]).integer_convolutions == 1
    assert candidate.account.precision == "int8"


_ENDS = {"one": 1, "two": 2, "eight": 8, "first": 8}


def test_operators_without_known_types_do_not_hide_layers(tmp_path: Path) -> None:
    """Behind an operator unknown to the standard no type is inferred, and nothing is quantised."""
    model = load(save_mlp(tmp_path / "m.onnx"))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    gelu = helper.make_node("FastGelu", ["h0"], ["h"], domain="com.microsoft")
    model.graph.node[1].CopyFrom(gelu)
    onnx.save(model, tmp_path / "m.onnx")
    feeds = [{"x": random(seed, 1, 8)} for seed in range(4)]
    _, path, _ = made(tmp_path / "m.onnx", tmp_path, feeds, ("int8-static", {}))
    counts = find_runtime("onnxruntime").kernels(path, feeds[0])
    assert counts.integer_matmuls == counts.matmuls == 2


class Counted:
    """Feeds that know how many were alive at once."""

    def __init__(self, count: int) -> None:
        self.count, self.alive, self.peak = count, 0, 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        feeds = self
        feeds.alive += 1
        feeds.peak = max(feeds.peak, feeds.alive)

        class Sample(dict[str, Any]):
            def __del__(self) -> None:
                feeds.alive -= 1

        return Sample(feeds_of(index + 1)[-1])


@pytest.mark.parametrize("method", ["entropy", "percentile"])
def test_histogram_calibrators_are_bounded_in_memory(tmp_path: Path, method: str) -> None:
    """They have been seen to want 256 GB. See also the measured peaks in test_calibration."""
    model = load(save_residual(tmp_path / "m.onnx"))
    feeds = Counted(40)
    options = Int8StaticOptions.model_validate({"calibration": method})
    ranges = calibrate(model, ["image", "c0", "a0", "logits"], feeds, options)  # type: ignore[arg-type]
    assert feeds.peak <= 2
    assert len(ranges.limits) == 4


def test_histogram_calibrators_know_the_outputs_of_the_model(tmp_path: Path) -> None:
    """They have been seen to fail with "quantization parameters are not specified"."""
    model = save_mlp(tmp_path / "m.onnx")
    feeds = [{"x": random(seed, 1, 8)} for seed in range(4)]
    for method in ("entropy", "percentile"):
        candidate, _, _ = made(model, tmp_path, feeds, ("int8-static", {"calibration": method}))
        assert candidate.model.graph.node[-1].op_type == "DequantizeLinear"


def test_exporters_notes_are_stripped_before_and_after(tmp_path: Path) -> None:
    """They have been seen to be half of a small model's file."""
    model = load(save_residual(tmp_path / "m.onnx"))
    bare = len(model.SerializeToString())
    model.doc_string = "exported " * 40
    model.metadata_props.add(key="trace", value="frame " * 200)
    for node in model.graph.node:
        node.doc_string = "File model.py, line 12, in forward " * 20
        node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value="line " * 120)
    for value in (*model.graph.input, *model.graph.output):
        value.doc_string = "an image " * 30
    assert len(model.SerializeToString()) > 2 * bare
    path = cleaned(model, tmp_path)
    assert len(path.read_bytes()) < 1.05 * bare
    noted = load(path)
    noted.graph.node[0].doc_string = "note " * 500
    onnx.save(noted, path)
    for steps in ((), (("int8-static", {}),), (("equalise", {}),)):
        candidate, made_path, _ = made(path, tmp_path, feeds_of(4), *steps)
        assert b"note note" not in made_path.read_bytes()
        assert not candidate.model.graph.value_info


def test_quantising_does_not_change_what_it_reads(tmp_path: Path) -> None:
    """Mixed precision quantises one model many times."""
    model = load(save_residual(tmp_path / "m.onnx"))
    options = Int8StaticOptions()
    before = model.SerializeToString(deterministic=True)
    ranges = calibrate(model, ["image", "c0", "a0"], feeds_of(3), options)
    quantise(model, ["stem"], ranges, options)
    assert model.SerializeToString(deterministic=True) == before


def test_a_model_without_weights_fails_with_words(tmp_path: Path) -> None:
    model = save_elementwise(tmp_path / "m.onnx")
    for technique in ("int8-static", "int8-mixed", "int8-dynamic", "equalise", "bias-correct"):
        with pytest.raises(TechniqueError, match=r"this model has none \(it has Add, Tanh\)"):
            made(model, tmp_path, [], (technique, {}))


IMPORT_ALL = """
import importlib, json, pkgutil, sys
import fitment_compress
failed = []
for module in pkgutil.walk_packages(fitment_compress.__path__, "fitment_compress."):
    if module.name.endswith("__main__") or ".training" in module.name:
        continue
    try:
        importlib.import_module(module.name)
    except ImportError as error:
        failed.append((module.name, error.name))
print(json.dumps([failed, sorted(name for name in sys.modules if "." not in name)]))
"""


def test_torchvision_is_never_imported() -> None:
    """Its wheels fail beside a CPU build of PyTorch, which itself is for steps that learn."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=True
    )
    failed, modules = json.loads(done.stdout)
    optional = {"optuna", "torch", "litert_quantizer", "ai_edge_litert"}
    assert not [name for name, missing in failed if missing not in optional]
    assert {"torchvision", "torch"}.isdisjoint(modules)
    assert not any("torchvision" in line for line in _import_lines())


def _import_lines() -> Iterable[str]:
    import fitment_compress

    for path in Path(fitment_compress.__path__[0]).rglob("*.py"):
        for line in path.read_text("utf-8").splitlines():
            if line.strip().startswith(("import ", "from ")):
                yield line
