"""ONNX to .tflite and on to integers, run by the real interpreter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from fitment_compress.converter import flatbuffer, source
from fitment_compress.converter.compare import refuse_difference, refuse_unusable
from fitment_compress.converter.ends import Ends
from fitment_compress.converter.quantise import quantise
from fitment_compress.errors import CompressError, TechniqueError
from fitment_compress.macs import count_macs
from fitment_compress.techniques import known_techniques
from fitment_compress.techniques.base import Context
from fitment_contract.variant import TensorSpec
from fitment_runtime.catalog import find_runtime
from fitment_runtime.dataset import load_dataset
from support.compress_models import classifier, load, outputs_of, save_elementwise, save_npz
from support.runtime_models import constant, save, save_mlp, save_two_inputs
from support.tflite_converter import needs_converter, random_feeds, save_awkward, save_padded_pools

models = pytest.importorskip("support.tflite_models", reason="LiteRT is not installed here")
pytest.importorskip("litert_quantizer", reason="needs pip install 'fitment[convert]'")

Interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter

MODES = ("int8", "w8a16", "dynamic", "dynamic-w4", "w8", "w4")
FASHION = Path(__file__).parents[2] / "examples" / "fashion"
Feeds = list[dict[str, NDArray[Any]]]


def applied(technique: str, model: Any, feeds: Feeds, folder: Path, **options: Any) -> Any:
    """What a technique makes of a model, calibrated with `feeds`."""
    found = known_techniques()[technique]
    return found.apply(model, found.options.model_validate(options), Context(feeds, folder))


def converted(path: Path, feeds: Feeds, folder: Path, **options: Any) -> bytes:
    content = applied("to-tflite", load(path), feeds, folder, **options)
    assert isinstance(content, bytes)
    return content


def run(content: bytes, folder: Path, feeds: Feeds) -> list[NDArray[Any]]:
    """The first output for each sample."""
    session = find_runtime("litert").load(models.save(folder / "run.tflite", content))
    return [session.run(feed)[0] for feed in feeds]


def ends(content: bytes, folder: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    session = find_runtime("litert").load(models.save(folder / "ends.tflite", content))
    return session.inputs, session.outputs


@pytest.mark.parametrize("padded_pool", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_takes_and_gives_the_same_floats(
    tmp_path: Path, mode: str, padded_pool: bool
) -> None:
    exact = models.classifier(padded_pool)
    content = applied("tflite-quantise", exact, models.images(32), tmp_path, mode=mode)
    assert ends(content, tmp_path) == ends(exact, tmp_path)
    samples = models.images(100, seed=8)
    wanted, found = run(exact, tmp_path, samples), run(content, tmp_path, samples)
    off = max(abs(ours - theirs).max() for ours, theirs in zip(found, wanted, strict=True))
    assert 0 < off < 0.2 * max(abs(values).max() for values in wanted)


@pytest.mark.parametrize(
    ("mode", "precision", "convolutions", "matmuls"),
    [
        ("int8", "int8", 2, 1),
        ("w8a16", "int8", 2, 1),
        ("dynamic", "int8", 1, 1),
        ("dynamic-w4", "int4", 1, 1),
        ("w8", "int8", 0, 0),
        ("w4", "int4", 0, 0),
    ],
)
def test_integer_kernels_run_where_the_mode_says(
    tmp_path: Path, mode: str, precision: str, convolutions: int, matmuls: int
) -> None:
    feeds = models.images(8)
    content = applied("tflite-quantise", models.classifier(), feeds, tmp_path, mode=mode)
    path = models.save(tmp_path / "m.tflite", content)
    counts = find_runtime("litert").kernels(path, feeds[0])
    assert (counts.convolutions, counts.matmuls) == (2, 1)
    assert (counts.integer_convolutions, counts.integer_matmuls) == (convolutions, matmuls)
    facts = flatbuffer.file_facts(content)
    assert facts.precision == precision
    assert facts.parameters == models.PARAMETERS
    assert facts.macs == models.MACS
    assert facts.integer == bool(convolutions)
    interpreter = Interpreter(model_content=content)
    widths = {detail["dtype"] for detail in interpreter.get_tensor_details()}
    assert (np.int16 in widths) == (mode == "w8a16")


def test_minmax_holds_an_outlier_that_the_average_cuts(tmp_path: Path) -> None:
    exact = models.classifier()
    feeds = models.images(40)
    feeds[20]["image"] *= 10
    (truth,) = run(exact, tmp_path, feeds[20:21])
    errors = {}
    for calibration in ("minmax", "average"):
        content = quantise(exact, "int8", feeds, calibration)
        errors[calibration] = abs(run(content, tmp_path, feeds[20:21])[0] - truth).max()
    assert errors["minmax"] < 0.2 * abs(truth).max() < errors["average"]


def test_what_cannot_be_quantised_says_why(tmp_path: Path) -> None:
    feeds = models.images(4)
    small = applied("tflite-quantise", models.classifier(), feeds, tmp_path, mode="dynamic")
    with pytest.raises(TechniqueError, match=r"are int8 already\. Quantise what `to-tflite` makes"):
        applied("tflite-quantise", small, feeds, tmp_path)
    with pytest.raises(TechniqueError, match="int8 needs calibration samples"):
        applied("tflite-quantise", models.classifier(), [], tmp_path)
    with pytest.raises(TechniqueError, match="nothing in this model"):
        applied("tflite-quantise", models.elementwise(), [], tmp_path, mode="w8")


def test_a_file_that_does_not_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TechniqueError, match=r"does not run: not a \.tflite file"):
        refuse_unusable(b"no model", [], tmp_path)
    too_large = np.full((1, 6), 3e38, np.float32)
    with pytest.raises(TechniqueError, match="output 'y' is not finite"):
        refuse_unusable(models.elementwise(), [{"x": too_large}], tmp_path)
    with pytest.raises(TechniqueError, match="LiteRT has no operator for Fancy"):
        flatbuffer.refuse_custom_operators(models.elementwise(custom="ONNX_Fancy"))


def test_inputs_and_outputs_are_renamed_and_put_in_order(tmp_path: Path) -> None:
    changed = Ends(models.two_by_two())
    changed.rename({"b": "a", "a": "second"}, {"product": "p", "sum": "s"})
    content = changed.content()
    inputs, outputs = ends(content, tmp_path)
    assert [spec.name for spec in inputs] == ["a", "second"]
    assert [spec.name for spec in outputs] == ["p", "s"]
    feed = {"a": np.full((1, 4), 2.0, np.float32), "second": np.full((1, 4), 5.0, np.float32)}
    (product,) = run(content, tmp_path, [feed])
    assert (product == 10).all()
    with pytest.raises(TechniqueError, match=r"has p, s in place of other, s"):
        changed.rename({"a": "a", "second": "b"}, {"s": "s", "other": "p"})


def test_names_stay_unique_because_the_quantiser_goes_by_them(tmp_path: Path) -> None:
    changed = Ends(models.classifier())
    changed.rename({"image": "conv"}, {"logits": "mean"})  # the names of tensors between
    feeds = [{"conv": feed["image"]} for feed in models.images(16)]
    content = quantise(changed.content(), "int8", feeds)
    wanted = run(models.classifier(), tmp_path, models.images(16))
    for found, exact in zip(run(content, tmp_path, feeds), wanted, strict=True):
        assert abs(found - exact).max() < 0.2 * max(abs(values).max() for values in wanted)


def test_macs_of_a_transposed_convolution_count_its_inputs() -> None:
    facts = flatbuffer.file_facts(models.transposed_convolution())
    assert facts.macs == 4 * 4 * 3 * 6 * 3 * 3


def test_a_conversion_that_changes_the_model_is_refused(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.onnx",
        [helper.make_node("Mul", ["x", "two"], ["y"])],
        [("x", "float32", [1, 6])],
        [("y", "float32", [1, 6])],
        [constant("two", np.array([2.0], np.float32))],
    )
    feeds = random_feeds({"x": (1, 6)})
    double = models.save(tmp_path / "m.tflite", models.elementwise())
    refuse_difference(path, double, feeds, 1e-6)
    other = onnx.load(path)
    other.graph.initializer[0].CopyFrom(constant("two", np.array([2.2], np.float32)))
    onnx.save(other, path)
    with pytest.raises(TechniqueError, match=r"output 'y' is off by 0.091 of its largest"):
        refuse_difference(path, double, feeds, 1e-3)
    refuse_difference(path, double, [], 0.2)  # one sample is made up


def test_quantised_graphs_are_refused_before_anything_is_started(tmp_path: Path) -> None:
    model, _ = classifier(tmp_path)
    feeds = random_feeds({"image": (1, 1, 8, 8)})
    integer = applied("int8-static", load(model), feeds, tmp_path)
    with pytest.raises(TechniqueError, match=r"quantised already .*QuantizeLinear.*`to-tflite`"):
        applied("to-tflite", integer, feeds, tmp_path)


def test_free_axes_take_the_lengths_of_the_samples() -> None:
    value = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3, "length"])
    out = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 3, "length"])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [out])

    def fixed(feeds: Feeds) -> tuple[list[str], list[int]]:
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        notes = source.fix_shapes(model, feeds)
        return notes, [axis.dim_value for axis in model.graph.output[0].type.tensor_type.shape.dim]

    assert fixed(random_feeds({"x": (1, 3, 20)})) == (["x (1, 3, 20)"], [1, 3, 20])
    with pytest.raises(TechniqueError, match="samples of input 'x' differ in shape"):
        fixed([*random_feeds({"x": (1, 3, 20)}), *random_feeds({"x": (1, 3, 21)})])
    with pytest.raises(TechniqueError, match="no sample shows them"):
        fixed([])


def test_plain_names_change_nothing_else(tmp_path: Path) -> None:
    path = save_awkward(tmp_path / "m.onnx")
    feeds = random_feeds({"in:a/0": (1, 2, 5, 3), "b b": (1, 4)}, count=1)
    wanted = find_runtime("onnxruntime").load(path).run(feeds[0])
    model = load(path)
    inputs, outputs = source.plain_names(model)
    assert list(outputs.values()) == ["map:0", "a.out", "flat out"]
    onnx.save(model, path)
    renamed = {new: feeds[0][old] for new, old in inputs.items()}
    found = find_runtime("onnxruntime").load(path).run(renamed)
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("activation", "pads"), [("Relu", 1), ("Sigmoid", 1), ("Tanh", 0), ("LeakyRelu", 0)]
)
def test_padding_is_taken_out_of_poolings_of_what_is_never_negative(
    tmp_path: Path, activation: str, pads: int
) -> None:
    path = save_padded_pools(tmp_path / "m.onnx", activation)
    feed = random_feeds({"x": (1, 2, 9, 7)}, count=1)[0]
    (wanted,) = find_runtime("onnxruntime").load(path).run(feed)
    model = load(path)
    source.pad_before_pooling(model)
    assert [node.op_type for node in model.graph.node].count("Pad") == pads
    onnx.save(model, path)
    (found,) = find_runtime("onnxruntime").load(path).run(feed)
    np.testing.assert_array_equal(found, wanted)


@needs_converter
@pytest.mark.parametrize("opset", [11, 17])
def test_a_converted_model_is_the_same_function(tmp_path: Path, opset: int) -> None:
    model, data = classifier(tmp_path, opset=opset)
    feeds = random_feeds({"image": (1, 1, 8, 8)})
    content = converted(model, feeds, tmp_path)
    inputs, outputs = ends(content, tmp_path)
    assert [(spec.name, spec.shape) for spec in inputs] == [("image", (1, 1, 8, 8))]
    assert [(spec.name, spec.shape) for spec in outputs] == [("logits", (1, 4))]
    samples = load_dataset(data, inputs)
    found = run(content, tmp_path, [samples.feeds(index) for index in range(len(samples))])
    wanted = outputs_of(model, data)[0]
    assert abs(np.concatenate(found) - wanted).max() < 1e-4
    facts = flatbuffer.file_facts(content)
    assert facts.precision == "fp32"
    assert facts.macs == count_macs(load(model))


@needs_converter
def test_names_layouts_and_order_survive(tmp_path: Path) -> None:
    path = save_awkward(tmp_path / "m.onnx")
    feeds = random_feeds({"in:a/0": (1, 2, 5, 3), "b b": (1, 4)})
    for mode in (None, "int8"):
        content = converted(path, feeds, tmp_path)
        if mode is not None:
            content = applied("tflite-quantise", content, feeds, tmp_path, mode=mode)
        inputs, outputs = ends(content, tmp_path)
        assert {spec.name: spec.shape for spec in inputs} == {
            "in:a/0": (1, 2, 5, 3),
            "b b": (1, 4),
        }
        assert [(spec.name, spec.shape) for spec in outputs] == [
            ("map:0", (1, 4, 5, 3)),
            ("a.out", (1, 4)),
            ("flat out", (1, 4)),
        ]
        assert {spec.dtype for spec in (*inputs, *outputs)} == {"float32"}


@needs_converter
def test_other_kinds_of_models_convert(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    cases = [
        (save_mlp(tmp_path / "mlp.onnx"), random_feeds({"x": (1, 8)})),
        (
            save_two_inputs(tmp_path / "two.onnx"),
            [
                {**feed, "token": generator.integers(0, 5, 1)}
                for feed in random_feeds({"features": (1, 4)})
            ],
        ),
        (save_padded_pools(tmp_path / "pools.onnx"), random_feeds({"x": (1, 2, 9, 7)})),
    ]
    for path, feeds in cases:
        content = converted(path, feeds, tmp_path)  # compares with the ONNX model itself
        inputs, _ = ends(content, tmp_path)
        assert {spec.name for spec in inputs} == feeds[0].keys()


@needs_converter
def test_half_precision_is_stored_and_not_computed_with(tmp_path: Path) -> None:
    model, data = classifier(tmp_path)
    feeds = random_feeds({"image": (1, 1, 8, 8)})
    content = converted(model, feeds, tmp_path, precision="fp16")
    inputs, outputs = ends(content, tmp_path)
    assert inputs[0].dtype == outputs[0].dtype == "float32"
    assert flatbuffer.file_facts(content).precision == "fp16"
    samples = load_dataset(data, inputs)
    found = run(content, tmp_path, [samples.feeds(index) for index in range(len(samples))])
    wanted = outputs_of(model, data)[0]
    assert 0 < abs(np.concatenate(found) - wanted).max() < 1e-2 * abs(wanted).max()
    elementwise = save_elementwise(tmp_path / "e.onnx")
    with pytest.raises(TechniqueError, match="no weight of this model"):
        converted(elementwise, random_feeds({"x": (1, 6)}), tmp_path, precision="fp16")


@needs_converter
def test_an_operator_that_litert_lacks_is_named(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.onnx",
        [helper.make_node("Foo", ["x"], ["y"], domain="com.example")],
        [("x", "float32", [1, 3])],
        [("y", "float32", [1, 3])],
    )
    model = load(path)
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    with pytest.raises(CompressError, match="LiteRT has no operator for FOO"):
        applied("to-tflite", model, random_feeds({"x": (1, 3)}), tmp_path)


@needs_converter
def test_eight_bits_keep_the_accuracy_of_the_shipped_image_model(tmp_path: Path) -> None:
    model = FASHION / "model.onnx"
    inputs = find_runtime("onnxruntime").load(model).inputs
    calibration = load_dataset(FASHION / "calibration.npz", inputs)
    evaluation = load_dataset(FASHION / "eval.npz", inputs).subset(range(0, 1000, 2))
    assert evaluation.label is not None
    feeds = [calibration.feeds(index) for index in range(0, len(calibration), 3)]
    samples = [evaluation.feeds(index) for index in range(len(evaluation))]
    exact = converted(model, feeds, tmp_path)
    content = applied("tflite-quantise", exact, feeds, tmp_path)
    right = np.concatenate(run(content, tmp_path, samples)).argmax(axis=1) == evaluation.label
    path = save_npz(tmp_path / "e.npz", image=evaluation.inputs["image"])
    wanted = outputs_of(model, path)[0].argmax(axis=1) == evaluation.label
    assert right.mean() >= wanted.mean() - 0.01
    assert len(content) < 0.36 * len(exact)
    kernels = find_runtime("litert").kernels(models.save(path, content), samples[0])
    assert kernels.integer_convolutions == kernels.convolutions == 13
