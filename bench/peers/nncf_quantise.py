"""NNCF's post-training quantisation of ONNX files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from _script import main

os.environ["NNCF_CI"] = "1"  # no telemetry
import nncf
import onnx


def quantise(
    source: Path, samples: Sequence[Mapping[str, Any]], path: Path, **settings: Any
) -> None:
    """`nncf.quantize` with all calibration samples."""
    model = onnx.load(source)
    data = nncf.Dataset(samples)
    onnx.save(nncf.quantize(model, data, subset_size=len(samples), **settings), path)


if __name__ == "__main__":
    mixed = {"preset": nncf.QuantizationPreset.MIXED}
    main(
        {
            "default": quantise,
            "mixed": partial(quantise, **mixed),
            "mixed-cpu-accurate-bias": partial(
                quantise,
                **mixed,
                target_device=nncf.TargetDevice.CPU,
                fast_bias_correction=False,
            ),
        },
        ".onnx",
        ["nncf", "onnx", "onnxruntime"],
    )
