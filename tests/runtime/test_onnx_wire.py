"""External data is found wherever a tensor can hide, and every other file is walked to its end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from fitment_runtime.errors import LoadFailure
from fitment_runtime.runtimes.onnx_wire import identity_model, refuse_external_data
from support import runtime_models


def external(name: str = "w", location: str = "../secret") -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def in_initializer(tensor: TensorProto) -> onnx.ModelProto:
    return helper.make_model(helper.make_graph([], "g", [], [], [tensor]))


def in_attribute(tensor: TensorProto) -> onnx.ModelProto:
    node = helper.make_node("Constant", [], ["y"], value=tensor)
    return helper.make_model(helper.make_graph([node], "g", [], []))


def in_attribute_list(tensor: TensorProto) -> onnx.ModelProto:
    node = helper.make_node("Thing", [], ["y"])
    node.attribute.add(name="ts", type=onnx.AttributeProto.TENSORS).tensors.append(tensor)
    return helper.make_model(helper.make_graph([node], "g", [], []))


def in_subgraph(tensor: TensorProto) -> onnx.ModelProto:
    body = helper.make_graph([], "b", [], [], [tensor])
    node = helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body)
    return helper.make_model(helper.make_graph([node], "g", [], []))


def in_function(tensor: TensorProto) -> onnx.ModelProto:
    node = helper.make_node("Constant", [], ["y"], value=tensor)
    function = helper.make_function("d", "f", [], ["y"], [node], [helper.make_opsetid("", 17)])
    return helper.make_model(helper.make_graph([], "g", [], []), functions=[function])


def in_function_default(tensor: TensorProto) -> onnx.ModelProto:
    model = in_function(TensorProto())
    model.functions[0].attribute_proto.append(helper.make_attribute("t", tensor))
    return model


def in_sparse(tensor: TensorProto) -> onnx.ModelProto:
    model = helper.make_model(helper.make_graph([], "g", [], []))
    model.graph.sparse_initializer.add().values.CopyFrom(tensor)
    return model


def in_training(tensor: TensorProto) -> onnx.ModelProto:
    model = helper.make_model(helper.make_graph([], "g", [], []))
    model.training_info.add().initialization.initializer.append(tensor)
    return model


@pytest.mark.parametrize(
    "hide",
    [
        in_initializer,
        in_attribute,
        in_attribute_list,
        in_subgraph,
        in_function,
        in_function_default,
        in_sparse,
        in_training,
    ],
)
def test_external_data_is_refused_wherever_it_hides(
    tmp_path: Path, hide: Callable[[TensorProto], onnx.ModelProto]
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(hide(external()).SerializeToString())
    with pytest.raises(LoadFailure, match=r"'w' keeps its data in another file"):
        refuse_external_data(path)


def test_a_location_alone_or_a_flag_alone_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    flag, location = external(), external()
    del flag.external_data[:]
    location.ClearField("data_location")
    for tensor in (flag, location):
        path.write_bytes(in_initializer(tensor).SerializeToString())
        with pytest.raises(LoadFailure, match="another file"):
            refuse_external_data(path)


def test_a_field_that_comes_twice_is_looked_at_twice(tmp_path: Path) -> None:
    """Protobuf merges a repeated message field, so the second graph counts as well."""
    path = tmp_path / "m.onnx"
    clean = helper.make_model(helper.make_graph([], "g", [], []))
    path.write_bytes(clean.SerializeToString() + in_initializer(external()).SerializeToString())
    with pytest.raises(LoadFailure, match="another file"):
        refuse_external_data(path)


def test_ordinary_models_pass(tmp_path: Path) -> None:
    for build in (
        runtime_models.save_mlp,
        runtime_models.save_conv_classifier,
        runtime_models.save_gru,
        runtime_models.save_hanging,
    ):
        refuse_external_data(build(tmp_path / "m.onnx"))


def test_nesting_does_not_exhaust_the_stack(tmp_path: Path) -> None:
    """2,000 subgraphs within each other; each level wraps the bytes of the one below."""
    innermost = in_initializer(external()).graph.SerializeToString()

    def field(number: int, body: bytes) -> bytes:
        return _varint(number << 3 | 2) + _varint(len(body)) + body

    graph = innermost
    for _ in range(2_000):
        graph = field(1, field(5, field(6, graph)))  # graph.node.attribute.g
    path = tmp_path / "m.onnx"
    path.write_bytes(field(7, graph))
    with pytest.raises(LoadFailure, match="another file"):
        refuse_external_data(path)


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\x80" * 20, "no end"),
        (b"\x3a\x7f\x00", "ends after its message"),
        (b"\x3b", "wire type"),
        (b"\x08", "no end"),
    ],
)
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(LoadFailure, match=words):
        refuse_external_data(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadFailure, match="No such file"):
        refuse_external_data(tmp_path / "none.onnx")


def test_every_cut_of_a_model_is_walked_or_refused(tmp_path: Path) -> None:
    path = runtime_models.save_conv_classifier(tmp_path / "m.onnx")
    content = path.read_bytes()
    for length in range(1, len(content), 97):
        path.write_bytes(content[:length])
        try:
            refuse_external_data(path)
        except LoadFailure as failure:
            assert "cut short" in failure.detail  # noqa: PT017 - a cut may also fall on a border


@given(st.binary(min_size=1, max_size=200))
def test_no_bytes_break_the_walk(content: bytes) -> None:
    from tempfile import NamedTemporaryFile

    with NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        try:
            refuse_external_data(Path(file.name))
        except LoadFailure as failure:
            assert failure.detail  # noqa: PT017 - either outcome is right


def test_the_smallest_model_is_a_model() -> None:
    model = onnx.load_from_string(identity_model(17))
    onnx.checker.check_model(model)
    assert model.opset_import[0].version == 17
    assert np.prod([len(model.graph.node), len(model.graph.input)]) == 1


@pytest.mark.parametrize("key", [b"\x2a", b"\xaa\x80\x80\x80\x10"])
def test_a_key_that_only_a_careless_parser_reads_is_refused(tmp_path: Path, key: bytes) -> None:
    """With 32 of its bits kept, the five-byte key is an initializer, as the one-byte key is."""
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4])
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="secret")
    tensor = weight.SerializeToString()
    graph = key + bytes([len(tensor)]) + tensor
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x08\x08\x3a" + bytes([len(graph)]) + graph)
    with pytest.raises(LoadFailure):
        refuse_external_data(path)
