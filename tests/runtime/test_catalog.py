"""The catalog knows runtimes without importing them."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

from fitment_runtime.catalog import (
    described_runtimes,
    find_runtime,
    installed_runtimes,
    runtime_for_format,
)
from fitment_runtime.errors import RuntimeMissing, UnsupportedFormat


def test_listing_and_finding_imports_nothing_heavy() -> None:
    script = (
        "import sys; from fitment_runtime.catalog import installed_runtimes, find_runtime;"
        "installed_runtimes(); find_runtime('onnxruntime');"
        "print([m for m in ('numpy', 'onnxruntime', 'ai_edge_litert') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def test_installed_runtimes_have_name_version_and_formats() -> None:
    facts = {item.name: item for item in installed_runtimes()}
    assert facts["onnxruntime"].version == metadata.version("onnxruntime")
    assert facts["onnxruntime"].formats == ("onnx",)
    assert facts["onnxruntime"].providers == ()


def test_described_runtimes_add_what_only_an_import_tells() -> None:
    installed = {item.name: item.version for item in installed_runtimes()}
    described = {item.name: item for item in described_runtimes()}
    assert {name: item.version for name, item in described.items()} == installed
    assert described["onnxruntime"].opset_max is not None
    assert "CPUExecutionProvider" in described["onnxruntime"].providers


def test_a_runtime_is_found_by_name_and_by_format() -> None:
    assert find_runtime("onnxruntime").name == "onnxruntime"
    assert runtime_for_format("onnx").name == "onnxruntime"


def test_what_is_not_known_is_unsupported() -> None:
    with pytest.raises(UnsupportedFormat, match="onnxruntime, litert"):
        find_runtime("caffe")
    with pytest.raises(UnsupportedFormat, match="onnx, tflite"):
        runtime_for_format("caffemodel")


def test_what_is_not_installed_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", nothing)
    assert installed_runtimes() == ()
    with pytest.raises(RuntimeMissing, match=r"pip install 'fitment\[onnx\]'"):
        find_runtime("onnxruntime")
    with pytest.raises(RuntimeMissing, match=r"pip install 'fitment\[tflite\]'"):
        runtime_for_format("tflite")
