"""Depthwise-separable convolutions in place of full ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from fitment_compress.errors import TechniqueError
from fitment_compress.techniques.base import Context, Options, Requirements, Technique

if TYPE_CHECKING:
    from onnx import ModelProto

    from fitment_compress.structure.layers import Layer


class DepthwiseSeparableOptions(Options):
    """How much of each convolution survives.

    Attributes:
        multiplier: filters per input channel; more of them keep more and cost more.
        refit: fit the pointwise convolutions by least squares on calibration samples.
    """

    multiplier: Annotated[int, Field(ge=1, le=4)] = 1
    refit: bool = True


class DepthwiseSeparable(Technique[DepthwiseSeparableOptions]):
    """Splits k x k convolutions into a filter per channel and a mixture of channels.

    Each multiplies 1/N + 1/k^2 times as often as before ("MobileNets", Howard et al., 2017,
    section 3.1; N output channels). The weights are the best approximation of the old ones, which
    is a start for retraining and rarely good enough without. As in MobileNets, a convolution that
    reads the model's input stays full: a few channels are too little to mix.
    """

    name = "depthwise-separable"
    summary = "a filter per channel and a mixture of channels in place of full convolutions"
    options = DepthwiseSeparableOptions

    def needs(self, options: DepthwiseSeparableOptions) -> Requirements:
        """Convolutions."""
        return Requirements(any_operator=("Conv",), constant_weights=True)

    def traits(self, options: DepthwiseSeparableOptions) -> tuple[str, ...]:
        """`depthwise`."""
        return ("depthwise",)

    def apply(
        self, model: ModelProto, options: DepthwiseSeparableOptions, context: Context
    ) -> ModelProto:
        """See `Technique.apply`."""
        from fitment_compress.graph import drop_unused_initializers
        from fitment_compress.structure.graphs import constants_as_initializers, copy_of
        from fitment_compress.structure.refit import Target, layers_of, refit
        from fitment_compress.structure.separable import separate

        constants_as_initializers(model)
        original = copy_of(model)
        chosen = [layer for layer in layers_of(model) if _pays(model, layer, options.multiplier)]
        if not chosen:
            raise TechniqueError(
                "This model has no full convolution, behind the first, that would get cheaper. "
                "Lower `multiplier`, or leave this step out."
            )
        for layer in chosen:
            separate(model, layer, options.multiplier)
        drop_unused_initializers(model)
        if options.refit:
            changed = {layer.node.output[0] for layer in chosen}
            targets = [
                Target(layer) for layer in layers_of(model) if layer.node.output[0] in changed
            ]
            refit(model, original, targets, context.calibration, context.seed, context.tell)
        return model


def _pays(model: ModelProto, layer: Layer, multiplier: int) -> bool:
    from fitment_compress.structure.separable import cost_ratio

    kernel = layer.shape[2:]
    if layer.node.op_type != "Conv" or any(
        value.name == layer.node.input[0] for value in model.graph.input
    ):
        return False
    return cost_ratio(layer.outputs, kernel, multiplier) < 1
