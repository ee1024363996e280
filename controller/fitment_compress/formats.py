"""File formats of models, and which runtime loads them."""

from __future__ import annotations

from typing import Final

ONNX: Final = "onnx"
TFLITE: Final = "tflite"

RUNTIMES: Final = {ONNX: "onnxruntime", TFLITE: "litert"}
"""The runtime that proves and measures a file, by format."""
