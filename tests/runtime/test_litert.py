"""LiteRT behind our seam."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fitment_compress.converter.quantise import Mode, quantise
from fitment_runtime.catalog import find_runtime, runtime_for_format
from fitment_runtime.errors import InferenceFailure, LoadFailure, RuntimeMissing, UnsupportedFormat
from fitment_runtime.session import SessionOptions

pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed here")
from support.runtime_tflite import save_tflite_dense
from support.tflite_models import transposed_convolution


def test_a_model_with_a_free_batch_axis_runs_at_any_batch(tmp_path: Path) -> None:
    session = runtime_for_format("tflite").load(save_tflite_dense(tmp_path / "m.tflite"))
    assert [(spec.name, spec.dtype, spec.shape) for spec in session.inputs] == [
        ("x", "float32", (None, 4))
    ]
    for batch in (1, 3, 2):
        (outputs,) = session.run({"x": np.ones((batch, 4), np.float32)})
        np.testing.assert_allclose(outputs, [[-1.0, 0.6, 2.2]] * batch, rtol=1e-5)


def test_integer_kernels_are_told_from_others(tmp_path: Path) -> None:
    runtime = find_runtime("litert")
    for quantized, dtype in ((False, np.float32), (True, np.int8)):
        path = save_tflite_dense(tmp_path / "m.tflite", quantized=quantized)
        counts = runtime.kernels(path, {"x": np.ones((1, 4), dtype)})
        assert counts.operators == {"FULLY_CONNECTED": 1}
        assert (counts.matmuls, counts.integer_matmuls) == (1, int(quantized))


@pytest.mark.parametrize(
    ("mode", "integer"), [("int8", True), ("w8a16", True), ("dynamic", True), ("w8", False)]
)
def test_kernels_are_integer_by_the_weights_that_reach_them(
    tmp_path: Path, mode: Mode, integer: bool
) -> None:
    pytest.importorskip("litert_quantizer", reason="needs pip install 'fitment[convert]'")
    feeds = [{"x": np.full((1, 4, 4, 3), level, np.float32)} for level in (-1.0, 0.5, 1.0)]
    path = tmp_path / "m.tflite"
    path.write_bytes(quantise(transposed_convolution(), mode, feeds))
    counts = find_runtime("litert").kernels(path, feeds[0])
    assert counts.convolutions == 1  # whose first input is a shape
    assert counts.integer_convolutions == int(integer)


def test_more_threads_give_the_same(tmp_path: Path) -> None:
    path = save_tflite_dense(tmp_path / "m.tflite", features=64, classes=64)
    feeds = {"x": np.linspace(-1, 1, 64, dtype=np.float32)[None]}
    one, two = (
        find_runtime("litert").load(path, SessionOptions(threads=threads)).run(feeds)[0]
        for threads in (1, 2)
    )
    np.testing.assert_allclose(one, two, rtol=1e-5)


def test_wrong_feeds_are_an_inference_failure(tmp_path: Path) -> None:
    session = find_runtime("litert").load(save_tflite_dense(tmp_path / "m.tflite"))
    for feeds in ({}, {"x": np.ones((1, 5), np.float32)}, {"x": np.ones((1, 4), np.int8)}):
        with pytest.raises(InferenceFailure):
            session.run(feeds)


def test_a_file_that_is_no_model_is_a_load_failure(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    with pytest.raises(LoadFailure, match="No such file"):
        find_runtime("litert").load(path)
    for content in (b"", b"hello, model", b"\x1c\x00\x00\x00TFL3"):
        path.write_bytes(content)
        with pytest.raises(LoadFailure):
            find_runtime("litert").load(path)


def test_an_unknown_provider_is_unsupported(tmp_path: Path) -> None:
    path = save_tflite_dense(tmp_path / "m.tflite")
    with pytest.raises(UnsupportedFormat, match="GPU"):
        find_runtime("litert").load(path, SessionOptions(providers=("GPU",)))


def test_a_delegate_that_is_not_installed_is_named_and_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = {"EDGETPU": "lib-no-such-delegate.so.1"}
    monkeypatch.setattr("fitment_runtime.runtimes.litert._DELEGATES", library)
    runtime = find_runtime("litert")
    path = save_tflite_dense(tmp_path / "m.tflite")
    with pytest.raises(UnsupportedFormat, match=r"EDGETPU.*lib-no-such-delegate"):
        runtime.load(path, SessionOptions(providers=("EDGETPU", "CPU")))
    assert runtime.describe("1.0").providers == ("CPU",)


def test_without_the_library_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fitment_runtime.runtimes.litert._MODULES", ("no_such_module",))
    with pytest.raises(RuntimeMissing, match=r"pip install 'fitment\[tflite\]'"):
        find_runtime("litert").load(save_tflite_dense(tmp_path / "m.tflite"))
