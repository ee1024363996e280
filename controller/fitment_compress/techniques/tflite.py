"""Conversion to .tflite, for devices that run LiteRT (formerly TensorFlow Lite) only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from fitment_compress.errors import TechniqueError
from fitment_compress.techniques.base import Context, Options, Requirements, Technique

if TYPE_CHECKING:
    from onnx import ModelProto

COMPARED_SAMPLES: Final = 8
"""Calibration samples on which the converted model must give what the ONNX model gives."""

_TOLERANCES: Final = {"fp32": 1e-3, "fp16": 2e-2}
"""Largest difference of an output, relative to its largest magnitude."""


class ToTfliteOptions(Options):
    """What the file stores.

    Attributes:
        precision: of the stored weights. With `fp16` the arithmetic stays in single precision:
            files with half-precision arithmetic do not run on LiteRT's CPU kernels.
    """

    precision: Literal["fp32", "fp16"] = "fp32"


class ToTflite(Technique[ToTfliteOptions]):
    """A .tflite file with the inputs and outputs of the ONNX model: same names, layout and types.

    The batch axis becomes 1, other free axes what they are in the samples. The converter runs in
    an environment of its own (`fitment converter install`).
    """

    name = "to-tflite"
    summary = "a .tflite file in place of ONNX, for devices with LiteRT"
    options = ToTfliteOptions
    writes = "tflite"

    def needs(self, options: ToTfliteOptions) -> Requirements:
        """Any model of a standard that the converter knows."""
        return Requirements(opset=11)

    def traits(self, options: ToTfliteOptions) -> tuple[str, ...]:
        """`tflite`, and `fp16`."""
        return ("tflite", *(("fp16",) if options.precision == "fp16" else ()))

    def apply(self, model: ModelProto, options: ToTfliteOptions, context: Context) -> bytes:
        """See `Technique.apply`."""
        import onnx

        from fitment_compress.converter import flatbuffer, source
        from fitment_compress.converter.compare import refuse_difference
        from fitment_compress.converter.convert import convert
        from fitment_compress.converter.ends import Ends
        from fitment_compress.converter.quantise import quantise

        source.refuse_quantised(model)
        fixed = source.fix_shapes(model, context.calibration)
        if fixed:
            context.findings.notes.append(f"axes that were free are fixed: {', '.join(fixed)}")
        onnx.save(model, context.scratch / "to-compare.onnx")
        inputs, outputs = source.plain_names(model)
        shapes = source.flatten_outputs(model)
        source.pad_before_pooling(model)
        onnx.save(model, context.scratch / "to-convert.onnx")
        context.tell(0.1, "converting")
        content = convert(context.scratch / "to-convert.onnx", list(inputs), context.scratch)
        flatbuffer.refuse_custom_operators(content)
        ends = Ends(content)
        ends.reshape_outputs(shapes)
        ends.rename(inputs, outputs)
        content = ends.content()
        if options.precision == "fp16":
            content = quantise(content, "fp16")
            if "fp16" not in flatbuffer.file_facts(content).precisions:
                raise TechniqueError(
                    "The quantiser found no weight of this model that it can store as halves.",
                    "Use precision fp32; halves are known of convolutions and of Gemm.",
                )
        context.tell(0.9, "comparing with the ONNX model")
        result = context.scratch / "converted.tflite"
        result.write_bytes(content)
        refuse_difference(
            context.scratch / "to-compare.onnx",
            result,
            context.calibration[:COMPARED_SAMPLES],
            _TOLERANCES[options.precision],
        )
        return content
