"""Quantised .tflite files from float ones, by LiteRT's quantiser in this process."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from fitment_compress.converter.ends import Ends
from fitment_compress.converter.flatbuffer import padded_pools
from fitment_compress.errors import TechniqueError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Mode = Literal["int8", "w8a16", "dynamic", "dynamic-w4", "w8", "w4", "fp16"]
Feeds = Sequence[Mapping[str, "NDArray[Any]"]]

STATIC_MODES: Final = ("int8", "w8a16")
_ALL: Final = ".*"
_DEPTHWISE: Final = "DEPTHWISE_CONV_2D"
"""Outside the static modes its weights are stored in 8 bits and multiplied as floats: LiteRT has
no kernel for 4 bits, and a slow one for dynamic quantisation. The shipped image model took 173 µs
with it and 55 µs without, against 88 µs in floats."""
_PRODUCT: Final = "BATCH_MATMUL"
"""What ONNX's MatMul becomes. Its integer kernel reads one scale of a weight; with one per channel,
which the quantiser writes by itself, it gives zeroes."""


def quantise(content: bytes, mode: Mode, feeds: Feeds = (), calibration: str = "minmax") -> bytes:
    """The quantised file: the same names, types and order of inputs and outputs.

    Args:
        content: a float .tflite file with one signature.
        mode: see `TfliteQuantiseOptions`; `fp16` stores weights as halves.
        feeds: samples to calibrate with; the static modes need some.
        calibration: `minmax` takes the extremes over all samples, `average` their moving average.

    Raises:
        TechniqueError: the quantiser is not installed, or cannot quantise this file.
    """
    before = Ends(content)
    quantiser = _configured(content, mode)
    static = mode in STATIC_MODES
    try:
        with _quiet():
            ranges = _ranges(quantiser, content, feeds, calibration) if static else None
            result = quantiser.quantize(ranges, enable_progress_report=False).quantized_model
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        raise TechniqueError(
            f"LiteRT's quantiser cannot make {mode} of this model: {_one_line(error)}"
        ) from error
    after = Ends(bytes(result))
    # Callers feed and read floats, whatever the arithmetic between is. The quantiser can leave the
    # ends alone as well, and writes files that do not load where an output is used further.
    after.make_float()
    after.rename({name: name for name in before.inputs}, {name: name for name in before.outputs})
    return after.content()


def _configured(content: bytes, mode: Mode) -> Any:
    """A quantiser that knows what is to become of each operator."""
    try:
        from litert_quantizer import Quantizer
        from litert_quantizer.qtyping import QuantGranularity
        from litert_quantizer.quantizer import AlgorithmName
    except ImportError as error:
        raise TechniqueError(
            "Quantising .tflite files needs LiteRT's quantiser.", "pip install 'fitment[convert]'"
        ) from error
    quantiser = Quantizer(bytearray(content))
    if mode in STATIC_MODES:
        bits = 8 if mode == "int8" else 16
        quantiser.add_static_config(_ALL, "*", activation_num_bits=bits, weight_num_bits=8)
        quantiser.add_static_config(
            *(_ALL, _PRODUCT, bits, 8), weight_granularity=QuantGranularity.TENSORWISE
        )
        for name, operator in padded_pools(content):
            quantiser.update_quantization_recipe(
                f"^{re.escape(name)}", operator, algorithm_key=AlgorithmName.NO_QUANTIZE
            )
    elif mode == "fp16":
        quantiser.add_weight_only_config(
            _ALL, "*", num_bits=16, algorithm_key=AlgorithmName.FLOAT_CASTING
        )
    else:
        add = (
            quantiser.add_dynamic_config
            if mode.startswith("dynamic")
            else quantiser.add_weight_only_config
        )
        add(_ALL, "*", num_bits=4 if mode.endswith("w4") else 8)
        quantiser.add_weight_only_config(_ALL, _DEPTHWISE, num_bits=8)
    return quantiser


def _ranges(quantiser: Any, content: bytes, feeds: Feeds, calibration: str) -> Any:
    """The range of every tensor over the samples, as the quantiser reads it."""
    from litert_quantizer import calibrator, recipe_manager
    from litert_quantizer.utils import qsv_utils

    update = {
        "minmax": qsv_utils.min_max_update,
        "average": qsv_utils.moving_average_update,
    }[calibration]
    recipe = recipe_manager.RecipeManager()
    recipe.load_quantization_recipe(quantiser.get_quantization_recipe())
    observer = calibrator.Calibrator(bytearray(content), num_threads=1, qsv_update_func=update)
    signature = next(iter(observer.get_signature_list()))
    observer.calibrate({signature: [dict(feed) for feed in feeds]}, recipe)
    return observer.get_model_qsvs()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without its progress bar, and its warnings of the memory that calibration takes."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
