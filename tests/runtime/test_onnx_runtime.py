"""onnxruntime behind our seam: specs, refusals, and the kernels that really ran."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from fitment_runtime.catalog import find_runtime
from fitment_runtime.errors import (
    InferenceFailure,
    LoadFailure,
    MemoryExceeded,
    UnsupportedFormat,
)
from fitment_runtime.session import Runtime, SessionOptions
from support import runtime_models
from support.runtime_models import constant, save


@pytest.fixture
def runtime() -> Runtime:
    return find_runtime("onnxruntime")


def test_inputs_and_outputs_are_described(tmp_path: Path, runtime: Runtime) -> None:
    session = runtime.load(runtime_models.save_two_inputs(tmp_path / "m.onnx"))
    assert [(spec.name, spec.dtype, spec.shape) for spec in session.inputs] == [
        ("features", "float32", (None, 4)),
        ("token", "int64", (None,)),
    ]
    assert [(spec.name, spec.shape) for spec in session.outputs] == [("y", (None, 3))]


def test_a_model_runs(tmp_path: Path, runtime: Runtime) -> None:
    session = runtime.load(runtime_models.save_doubler(tmp_path / "m.onnx"))
    (outputs,) = session.run({"x": np.array([[1, 2]], np.float32)})
    np.testing.assert_array_equal(outputs, [[2, 4]])


def test_wrong_feeds_are_an_inference_failure(tmp_path: Path, runtime: Runtime) -> None:
    session = runtime.load(runtime_models.save_doubler(tmp_path / "m.onnx"))
    for feeds in ({}, {"x": np.ones((1, 3), np.float32)}, {"x": np.ones((1, 2))}):
        with pytest.raises(InferenceFailure):
            session.run(feeds)


def test_a_file_that_is_no_model_is_a_load_failure(tmp_path: Path, runtime: Runtime) -> None:
    path = tmp_path / "m.onnx"
    for content in (b"", b"hello, model", b"\x08\x07"):
        path.write_bytes(content)
        with pytest.raises(LoadFailure):
            runtime.load(path)
    with pytest.raises(LoadFailure):
        runtime.load(tmp_path / "missing.onnx")


def test_a_file_in_the_runtimes_own_format_is_not_parsed(tmp_path: Path, runtime: Runtime) -> None:
    path = tmp_path / "m.ort"
    # As protobuf, the first 18 bytes are one unknown field; as a flatbuffer, an identified one.
    path.write_bytes(b"\x22\x10\x00\x00ORTM" + bytes(8192))
    with pytest.raises(LoadFailure, match=r"(?i)protobuf"):
        runtime.load(path)


@pytest.mark.parametrize("location", ["../secret", "{absolute}", "beside"])
def test_external_data_is_refused(tmp_path: Path, runtime: Runtime, location: str) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    secret = np.arange(4, dtype=np.float32).tobytes()
    for path in (tmp_path / "secret", folder / "beside"):
        path.write_bytes(secret)
    where = location.format(absolute=tmp_path / "secret")
    model = runtime_models.save_external_data(folder / "m.onnx", where)
    with pytest.raises(LoadFailure, match="another file"):
        runtime.load(model)
    with pytest.raises(LoadFailure, match="another file"):
        runtime.kernels(model, {"x": np.zeros(4, np.float32)})


def test_an_operator_without_kernel_or_name_is_refused(tmp_path: Path, runtime: Runtime) -> None:
    path = save(
        tmp_path / "m.onnx",
        [helper.make_node("Thing", ["x"], ["y"], domain="nowhere")],
        [("x", "float32", [1])],
        [("y", "float32", [1])],
    )
    with pytest.raises(LoadFailure):
        runtime.load(path)


def test_inputs_that_are_no_numbers_are_unsupported(tmp_path: Path, runtime: Runtime) -> None:
    text = helper.make_tensor_value_info("x", onnx.TensorProto.STRING, [1])
    out = helper.make_tensor_value_info("y", onnx.TensorProto.STRING, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [text], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UnsupportedFormat, match="string"):
        runtime.load(path)


def test_a_provider_that_is_not_there_is_unsupported(tmp_path: Path, runtime: Runtime) -> None:
    path = runtime_models.save_mlp(tmp_path / "m.onnx")
    with pytest.raises(UnsupportedFormat, match="NoSuchProvider"):
        runtime.load(path, SessionOptions(providers=("NoSuchProvider",)))


def test_what_runs_elsewhere_is_no_provider_of_this_machine(runtime: Runtime) -> None:
    assert "AzureExecutionProvider" not in runtime.describe("1.0").providers


def test_memory_that_is_not_there_is_named(tmp_path: Path, runtime: Runtime) -> None:
    session = runtime.load(runtime_models.save_memory_eater(tmp_path / "m.onnx", 2**50))
    with pytest.raises(MemoryExceeded):
        session.run({"x": np.zeros((1, 8), np.float32)})


def test_kernels_are_counted_after_fusion(tmp_path: Path, runtime: Runtime) -> None:
    path = runtime_models.save_conv_classifier(tmp_path / "m.onnx")
    counts = runtime.kernels(path, {"image": np.zeros((1, 1, 8, 8), np.float32)})
    assert (counts.convolutions, counts.integer_convolutions) == (2, 0)
    assert (counts.matmuls, counts.integer_matmuls) == (1, 0)
    assert "Relu" not in counts.operators  # fused into the convolutions
    assert counts.providers == {"CPUExecutionProvider": sum(counts.operators.values())}


def test_integer_kernels_are_told_from_others(tmp_path: Path, runtime: Runtime) -> None:
    path = save(
        tmp_path / "m.onnx",
        [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
            helper.make_node("ConvInteger", ["q", "k", "z"], ["c"]),
            helper.make_node("Cast", ["c"], ["f"], to=1),
            helper.make_node("Flatten", ["f"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["y"]),
        ],
        [("x", "float32", [1, 1, 4, 4])],
        [("y", "float32", [1, 2])],
        [
            constant("k", np.ones((1, 1, 3, 3), np.uint8)),
            constant("w", np.ones((4, 2), np.float32)),
        ],
    )
    counts = runtime.kernels(path, {"x": np.ones((1, 1, 4, 4), np.float32)})
    assert (counts.convolutions, counts.integer_convolutions) == (1, 1)
    assert (counts.matmuls, counts.integer_matmuls) == (1, 0)


def test_a_loop_counts_its_nodes_once(tmp_path: Path, runtime: Runtime) -> None:
    path = runtime_models.save_hanging(tmp_path / "m.onnx", trips=50)
    counts = runtime.kernels(path, {"x": np.zeros((1, 8), np.float32)})
    assert counts.operators["Tanh"] == 1


def test_a_name_that_breaks_the_profile_costs_the_counts_only(
    tmp_path: Path, runtime: Runtime
) -> None:
    path = save(
        tmp_path / "m.onnx",
        [helper.make_node("Add", ["x", "x"], ["y"], name='"},{"\\')],
        [("x", "float32", [1])],
        [("y", "float32", [1])],
    )
    runtime.kernels(path, {"x": np.zeros(1, np.float32)})


def test_profiling_leaves_nothing_behind(
    tmp_path: Path, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setattr("tempfile.tempdir", str(work))
    path = runtime_models.save_mlp(tmp_path / "m.onnx")
    runtime.kernels(path, {"x": np.zeros((1, 8), np.float32)})
    assert list(work.iterdir()) == []


def test_the_highest_opset_is_the_last_that_loads(tmp_path: Path, runtime: Runtime) -> None:
    facts = runtime.describe("1.2.3")
    assert facts.opset_max is not None
    assert facts.version == "1.2.3"
    assert "CPUExecutionProvider" in facts.providers
    image = {"image": np.zeros((1, 1, 8, 8), np.float32)}
    path = tmp_path / "m.onnx"
    runtime.load(runtime_models.save_conv_classifier(path, opset=facts.opset_max)).run(image)
    with pytest.raises(LoadFailure, match="pset"):
        runtime.load(runtime_models.save_conv_classifier(path, opset=facts.opset_max + 1))
