"""LiteRT's quantiser on a float .tflite file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from _script import main
from litert_quantizer import Quantizer, recipe
from litert_quantizer.qtyping import TFLOperationName
from litert_quantizer.quantizer import AlgorithmName


def quantise(
    source: Path,
    samples: Sequence[Mapping[str, Any]],
    path: Path,
    how: Callable[[], list[dict[str, Any]]],
) -> None:
    """One of the quantiser's own recipes, with all calibration samples where it needs some."""
    quantiser = Quantizer(str(source), how())
    for end in (TFLOperationName.INPUT, TFLOperationName.OUTPUT):  # callers feed and read floats
        quantiser.update_quantization_recipe(".*", end, algorithm_key=AlgorithmName.NO_QUANTIZE)
    ranges = None
    if quantiser.need_calibration:
        ranges = quantiser.calibrate({"serving_default": samples}, num_threads=1)
    quantiser.quantize(ranges, enable_progress_report=False, serialize_to_path=path)


if __name__ == "__main__":
    main(
        {
            "static-int8": partial(quantise, how=recipe.static_wi8_ai8),
            "dynamic-int8": partial(quantise, how=recipe.dynamic_wi8_afp32),
            "dynamic-int4": partial(quantise, how=recipe.dynamic_wi4_afp32),
        },
        ".tflite",
        ["litert-quantizer", "ai-edge-litert"],
    )
