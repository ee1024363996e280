"""onnxruntime.quantization: its defaults, and what its documentation advises for x86."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from _script import main
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process


class Reader(CalibrationDataReader):
    """Hands out the calibration samples."""

    def __init__(self, samples: Sequence[Mapping[str, Any]]) -> None:
        self._left: Iterator[Mapping[str, Any]] = iter(samples)

    def get_next(self) -> Mapping[str, Any] | None:
        """The next sample; None after the last."""
        return next(self._left, None)


def static_default(source: Path, samples: Sequence[Mapping[str, Any]], path: Path) -> None:
    """`quantize_static` as it comes, on the pre-processed model, as its documentation asks."""
    quantize_static(prepared(source, path), path, Reader(samples))


def static_advised(source: Path, samples: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Unsigned activations, signed weights, a scale per channel: the advice for x86 with VNNI."""
    quantize_static(
        prepared(source, path),
        path,
        Reader(samples),
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
    )


def dynamic_default(source: Path, samples: Sequence[Mapping[str, Any]], path: Path) -> None:
    """`quantize_dynamic` as it comes."""
    quantize_dynamic(prepared(source, path), path)


def prepared(source: Path, path: Path) -> Path:
    """The source with shapes inferred and batch normalisation folded."""
    result = path.with_suffix(".prepared")
    quant_pre_process(source, result)
    return result


if __name__ == "__main__":
    main(
        {
            "static-default": static_default,
            "static-u8s8-per-channel": static_advised,
            "dynamic-default": dynamic_default,
        },
        ".onnx",
        ["onnxruntime", "onnx"],
    )
