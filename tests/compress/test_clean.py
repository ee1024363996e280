"""Cleaning changes the form of a model, never what it gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from fitment_compress.axes import fix_axes, refuse_unknown_ranks
from fitment_compress.clean import TARGET_OPSET, Cleaned, clean, difference
from fitment_compress.errors import SamplesError, SourceError
from fitment_compress.graph import opset, weight_initializers
from fitment_runtime.catalog import find_runtime
from fitment_runtime.dataset import Dataset
from fitment_runtime.scoring import predict
from support.compress_models import classifier, load, outputs_of, random, save_npz
from support.runtime_models import constant, save, save_two_inputs


def cleaned(path: Path, dataset: Dataset) -> Cleaned:
    model = load(path)
    runtime = find_runtime("onnxruntime")
    return clean(model, dataset, lambda file: predict(runtime.load(file), dataset), path.parent)


def images(count: int = 8) -> Dataset:
    return Dataset({"image": random(3, count, 1, 8, 8)}, None, None)


def test_a_cleaned_model_gives_the_same(tmp_path: Path) -> None:
    path, data = classifier(tmp_path)
    result = cleaned(path, images())
    onnx.save(result.model, tmp_path / "clean.onnx")
    assert difference(outputs_of(path, data), outputs_of(tmp_path / "clean.onnx", data)) < 1e-5
    assert result.notes == ()


def test_metadata_and_doc_strings_are_stripped(tmp_path: Path) -> None:
    path, _ = classifier(tmp_path)
    model = load(path)
    model.doc_string = "where it was exported"
    model.graph.node[0].doc_string = "a stack trace" * 1000
    helper.set_model_props(model, {"exporter": "notes" * 1000})
    onnx.save(model, path)
    result = cleaned(path, images())
    assert b"stack trace" not in result.model.SerializeToString()
    assert b"notes" not in result.model.SerializeToString()


def test_an_old_opset_is_converted_and_compared(tmp_path: Path) -> None:
    path, _ = classifier(tmp_path, opset=11)
    result = cleaned(path, images())
    assert opset(result.model) == TARGET_OPSET
    assert result.notes == ("converted from opset 11 to 17",)


def test_an_opset_that_cannot_be_converted_says_how_to_export(tmp_path: Path) -> None:
    node = helper.make_node("Upsample", ["x", "s"], ["y"], mode="linear")
    path = save(
        tmp_path / "m.onnx",
        [node],
        [("x", "float32", ["n", 1, 2, 2])],
        [("y", "float32", ["n", 1, 4, 4])],
        [constant("s", np.array([1, 1, 2, 2], np.float32))],
        opset=9,
    )
    dataset = Dataset({"x": random(0, 2, 1, 2, 2)}, None, None)
    with pytest.raises(SourceError, match=r"opset 9.*opset_version=17"):
        cleaned(path, dataset)


def test_a_model_that_does_not_run_is_the_sources_fault(tmp_path: Path) -> None:
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    path = save(
        tmp_path / "m.onnx",
        [node],
        [("x", "float32", ["n", 4])],
        [("y", "float32", [3, 1])],
        [constant("shape", np.array([3, 1]))],
    )
    with pytest.raises(SourceError, match="does not run on the data"):
        cleaned(path, Dataset({"x": random(0, 2, 4)}, None, None))


def mean_over_time(path: Path, second_axis: str = "time") -> Path:
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["a"], axes=[1]),
        helper.make_node("ReduceMean", ["z"], ["b"], axes=[1]),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    inputs = [("x", "float32", ["n", "time"]), ("z", "float32", ["n", second_axis])]
    return save(path, nodes, inputs, [("y", "float32", ["n", 1])])


def test_free_axes_take_the_length_of_the_data_but_for_the_batch(tmp_path: Path) -> None:
    model = load(mean_over_time(tmp_path / "m.onnx"))
    data = Dataset({"x": random(0, 5, 7), "z": random(1, 5, 7)}, None, None)
    notes = fix_axes(model, data)
    shapes = [
        [axis.dim_value or axis.dim_param for axis in value.type.tensor_type.shape.dim]
        for value in model.graph.input
    ]
    assert shapes == [["n", 7], ["n", 7]]
    assert notes[0] == "fixed time of input x at 7, as in the data"


def test_one_axis_with_two_lengths_is_named(tmp_path: Path) -> None:
    model = load(mean_over_time(tmp_path / "m.onnx"))
    data = Dataset({"x": random(0, 5, 7), "z": random(1, 5, 8)}, None, None)
    with pytest.raises(SamplesError, match="axis 'time' is 8 long in the data of 'z' and 7 long"):
        fix_axes(model, data)


def test_axes_of_different_names_may_differ(tmp_path: Path) -> None:
    model = load(mean_over_time(tmp_path / "m.onnx", second_axis="other"))
    data = Dataset({"x": random(0, 5, 7), "z": random(1, 5, 8)}, None, None)
    assert len(fix_axes(model, data)) == 2


def test_an_input_without_a_shape_is_refused(tmp_path: Path) -> None:
    model = load(mean_over_time(tmp_path / "m.onnx"))
    model.graph.input[1].type.tensor_type.ClearField("shape")
    with pytest.raises(SourceError, match="'z' declares no shape"):
        refuse_unknown_ranks(model)


def test_integer_inputs_survive_cleaning(tmp_path: Path) -> None:
    path = save_two_inputs(tmp_path / "m.onnx")
    features, token = random(0, 6, 4), np.arange(6) % 5
    result = cleaned(path, Dataset({"features": features, "token": token}, None, None))
    onnx.save(result.model, tmp_path / "clean.onnx")
    data = save_npz(tmp_path / "d.npz", features=features, token=token)
    assert difference(outputs_of(path, data), outputs_of(tmp_path / "clean.onnx", data)) < 1e-6


def test_local_functions_are_inlined(tmp_path: Path) -> None:
    function = helper.make_function(
        "local",
        "Twice",
        ["a"],
        ["b"],
        [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )
    path = save(
        tmp_path / "m.onnx",
        [helper.make_node("Twice", ["x"], ["y"], domain="local")],
        [("x", "float32", ["n", 2])],
        [("y", "float32", ["n", 2])],
    )
    model = load(path)
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("local", 1))
    onnx.save(model, path)
    result = cleaned(path, Dataset({"x": random(0, 3, 2)}, None, None))
    assert not result.model.functions
    assert {node.op_type for node in result.model.graph.node} <= {"Add", "Mul"}


def test_difference_is_relative_to_the_largest_magnitude() -> None:
    reference = [np.array([0.0, 100.0])]
    assert difference(reference, [np.array([1.0, 100.0])]) == pytest.approx(0.01)
    assert difference(reference, [np.array([1.0])]) == float("inf")


def test_what_is_no_number_differs_from_every_number() -> None:
    numbers = [np.array([1.0, -np.inf, np.nan])]
    assert difference(numbers, [np.array([1.0, -np.inf, np.nan])]) == 0
    assert difference(numbers, [np.array([1.5, -np.inf, np.nan])]) == pytest.approx(0.5)
    for other in ([np.nan, -np.inf, np.nan], [1.0, 0.0, np.nan], [1.0, -np.inf, 1.0]):
        assert difference(numbers, [np.array(other)]) == float("inf")


def test_weights_are_found_also_where_simplifying_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(
        tmp_path / "m.onnx",
        [
            helper.make_node("Constant", [], ["w"], value=constant("w", random(0, 3, 2))),
            helper.make_node("MatMul", ["x", "w"], ["y"]),
        ],
        [("x", "float32", ["n", 3])],
        [("y", "float32", ["n", 2])],
    )

    def fail(model: object) -> None:
        raise ValueError("no")

    monkeypatch.setattr("onnxslim.slim", fail)
    result = cleaned(path, Dataset({"x": random(1, 3, 3)}, None, None))
    assert result.notes == ("kept the graph as exported: simplifying failed (no)",)
    assert list(weight_initializers(result.model)) == ["w"]
