"""What cannot be compressed is refused at once, with its cause and the fix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from fitment_compress.errors import SourceError
from fitment_compress.source import read_source
from support.compress_models import classifier, load, random
from support.runtime_models import constant, save, save_conv_classifier

X = [("x", "float32", ["n", 4])]
Y = [("y", "float32", ["n", 4])]


def test_reads_a_good_model(tmp_path: Path) -> None:
    path, _ = classifier(tmp_path)
    source = read_source(path)
    assert source.size_bytes == path.stat().st_size
    assert len(source.digest) == 64


def refusal(path: Path) -> str:
    with pytest.raises(SourceError) as caught:
        read_source(path)
    assert caught.value.fix, "every refusal says what to do"
    return str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "absent.onnx")


def test_an_empty_file_is_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").touch()
    assert "is empty" in refusal(tmp_path / "empty.onnx")


@pytest.mark.parametrize("content", [b"PK\x03\x04 a zip", b"{}", b"\x89PNG\r\n"])
def test_other_files_are_not_onnx(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(content)
    assert "not an ONNX" in refusal(path)


def test_a_truncated_model_is_told_from_another_format(tmp_path: Path) -> None:
    path = save_conv_classifier(tmp_path / "m.onnx")
    path.write_bytes(path.read_bytes()[:-200])
    assert "cut short or damaged" in refusal(path)


def test_external_data_come_with_the_command_that_joins_them(tmp_path: Path) -> None:
    model = load(save_conv_classifier(tmp_path / "m.onnx"))
    path = tmp_path / "outside.onnx"
    onnx.save_model(
        model, path, save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    assert "onnx.save(onnx.load(" in refusal(path)


def test_custom_operators_are_listed(tmp_path: Path) -> None:
    node = helper.make_node("Magic", ["x"], ["y"], domain="com.example")
    assert "com.example.Magic" in refusal(save(tmp_path / "m.onnx", [node], X, Y))


def test_a_batch_normalisation_in_training_mode_says_eval(tmp_path: Path) -> None:
    stats = [constant(name, np.ones(4, np.float32)) for name in "sbmv"]
    node = helper.make_node(
        "BatchNormalization",
        ["x", "s", "b", "m", "v"],
        ["y", "running_mean", "running_variance"],
        training_mode=1,
    )
    assert "model.eval()" in refusal(save(tmp_path / "m.onnx", [node], X, Y, stats))


def test_a_quantised_model_is_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    stored = [constant("s", np.float32(0.1)), constant("z", np.uint8(0))]
    assert "quantised already" in refusal(save(tmp_path / "m.onnx", nodes, X, Y, stored))


def test_a_model_quantised_while_running_is_refused_too(tmp_path: Path) -> None:
    """It has neither QuantizeLinear nor DequantizeLinear."""
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("MatMulInteger", ["q", "w", "z"], ["i"]),
        helper.make_node("Cast", ["i"], ["y"], to=onnx.TensorProto.FLOAT),
    ]
    path = save(tmp_path / "m.onnx", nodes, X, Y, [constant("w", np.eye(4, dtype=np.int8))])
    assert "quantised already (DynamicQuantizeLinear, MatMulInteger)" in refusal(path)


def test_ends_that_are_no_tensors_are_named(tmp_path: Path) -> None:
    """As exporters of scikit-learn give the probabilities: a sequence of maps."""
    node = helper.make_node("SplitToSequence", ["x"], ["y"])
    model = load(save(tmp_path / "m.onnx", [node], X, Y))
    sequence = helper.make_tensor_sequence_value_info("y", onnx.TensorProto.FLOAT, None)
    model.graph.output[0].CopyFrom(sequence)
    onnx.save(model, tmp_path / "m.onnx")
    assert "The output 'y' is no tensor" in refusal(tmp_path / "m.onnx")


def test_a_model_without_inputs_is_refused(tmp_path: Path) -> None:
    stored = [constant("x", np.ones((1, 4), np.float32))]
    node = helper.make_node("Relu", ["x"], ["y"])
    assert "has no inputs" in refusal(save(tmp_path / "m.onnx", [node], [], Y, stored))


def test_a_broken_graph_shows_the_first_fault(tmp_path: Path) -> None:
    node = helper.make_node("Gemm", ["x", "nowhere"], ["y"])
    assert "breaks the ONNX standard" in refusal(save(tmp_path / "m.onnx", [node], X, Y))


def test_weights_inside_a_branch_count_as_external_too(tmp_path: Path) -> None:
    inner = constant("w", random(0, 4))
    inner.data_location = onnx.TensorProto.EXTERNAL
    inner.ClearField("raw_data")
    entry = inner.external_data.add()
    entry.key, entry.value = "location", "weights.bin"
    value = helper.make_tensor_value_info("r", onnx.TensorProto.FLOAT, [4])
    body = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["r"])], "b", [], [value], [inner]
    )
    nodes = [
        helper.make_node("If", ["go"], ["branch"], then_branch=body, else_branch=body),
        helper.make_node("Add", ["x", "branch"], ["y"]),
    ]
    path = save(tmp_path / "m.onnx", nodes, X, Y, [constant("go", np.array(True))])
    assert "kept in another file" in refusal(path)
