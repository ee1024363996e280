"""Quantisation of .tflite files by LiteRT's own quantiser."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from fitment_compress.errors import TechniqueError
from fitment_compress.techniques.base import Context, Options, Requirements, Technique

_TRAITS: Final = {
    "int8": ("s8s8", "per-channel"),
    "w8a16": ("s16s8", "per-channel"),
    "dynamic": ("dynamic", "per-channel"),
    "dynamic-w4": ("dynamic", "int4", "per-channel"),
    "w8": ("weights-only", "per-channel"),
    "w4": ("weights-only", "int4", "per-channel"),
}


class TfliteQuantiseOptions(Options):
    """How to quantise.

    Attributes:
        mode: `int8` is static: weights and activations in 8 bits, ranges from calibration samples.
            `w8a16` is the same with activations in 16 bits. `dynamic` quantises activations while
            running, beside weights in 8 bits, `dynamic-w4` beside weights in 4. `w8` and `w4`
            store weights in 8 and 4 bits and compute in floats. Inputs and outputs stay floats.
            Depthwise convolutions have 8-bit weights and float arithmetic in all but the static
            modes. In these a matrix product without bias has one scale for its whole weight.
        calibration: `minmax` takes the extremes over all samples; `average` their moving average,
            which a few outliers do not stretch.
        samples: how many calibration samples the static modes use at most.
    """

    mode: Literal["int8", "w8a16", "dynamic", "dynamic-w4", "w8", "w4"] = "int8"
    calibration: Literal["minmax", "average"] = "minmax"
    samples: Annotated[int, Field(ge=1)] = 200


class TfliteQuantise(Technique[TfliteQuantiseOptions]):
    """Integers in place of floats in a .tflite file, one scale per output channel of a weight."""

    name = "tflite-quantise"
    summary = "8-bit or 4-bit .tflite: static, dynamic or weights only"
    options = TfliteQuantiseOptions
    reads = "tflite"
    writes = "tflite"

    def needs(self, options: TfliteQuantiseOptions) -> Requirements:
        """Nothing that is known of ONNX graphs."""
        return Requirements(opset=0)

    def traits(self, options: TfliteQuantiseOptions) -> tuple[str, ...]:
        """Flavour and granularity."""
        return _TRAITS[options.mode]

    def apply(self, model: bytes, options: TfliteQuantiseOptions, context: Context) -> bytes:
        """See `Technique.apply`."""
        from fitment_compress.converter.compare import refuse_unusable
        from fitment_compress.converter.flatbuffer import file_facts
        from fitment_compress.converter.quantise import STATIC_MODES, quantise
        from fitment_compress.quantisation.calibration import spread

        held = file_facts(model).precisions - {"fp32"}
        if held:
            raise TechniqueError(
                f"Weights of this file are {' and '.join(sorted(held))} already.",
                "Quantise what `to-tflite` makes without options.",
            )
        feeds = context.calibration
        if options.mode in STATIC_MODES and not feeds:
            raise TechniqueError(f"The mode {options.mode} needs calibration samples.")
        chosen = list(spread(feeds, options.samples))
        content = quantise(model, options.mode, chosen, options.calibration)
        if file_facts(content).precisions <= {"fp32"}:
            raise TechniqueError("The quantiser found nothing in this model that it can quantise.")
        refuse_unusable(content, feeds[:1], context.scratch)
        return content
