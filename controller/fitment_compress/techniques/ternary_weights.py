"""Weights of two or three values per output channel, learnt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from fitment_compress.errors import TechniqueError
from fitment_compress.graph import WEIGHTED_OPERATORS, attribute, weight_initializers
from fitment_compress.techniques.base import Context, Requirements, Technique
from fitment_compress.training.learn import learn, require_torch
from fitment_compress.training.lesson import Lesson

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

KINDS: Final = ("Conv", "MatMul", "Gemm")
"""Operators whose output channels have weights of their own along one axis."""


class TernaryWeightsOptions(Lesson):
    """How many levels, where, and how it learns (see `Lesson`).

    Attributes:
        levels: `binary` is -a and a, `ternary` has 0 as well; `a` is one number per channel.
        spare_ends: the first and the last layer with weights stay as they are: they see the input
            and make the decision, and hold few of the weights.
    """

    levels: Literal["binary", "ternary"] = "ternary"
    spare_ends: bool = True


class TernaryWeights(Technique[TernaryWeightsOptions]):
    """Binary or ternary weights with straight-through gradients.

    The file is an ordinary fp32 one whose weights have two or three values per channel. No runtime
    has kernels for them: it is as large on disk and as slow as before. What shrinks is the
    transfer, because so few values compress to one or two bits each. Grouped (depthwise)
    convolutions are spared: they hold few weights and suffer most.
    """

    name = "ternary-weights"
    summary = "two or three weight values per channel; only the transfer gets smaller"
    options = TernaryWeightsOptions
    learns = True

    def needs(self, options: TernaryWeightsOptions) -> Requirements:
        """Weights to round."""
        return Requirements(opset=13, any_operator=KINDS, constant_weights=True)

    def traits(self, options: TernaryWeightsOptions) -> tuple[str, ...]:
        """The levels."""
        return (options.levels,)

    def apply(
        self, model: ModelProto, options: TernaryWeightsOptions, context: Context
    ) -> ModelProto:
        """See `Technique.apply`."""
        require_torch(self.name)
        from fitment_compress.training.levels import level_maker

        names = candidates(model, options.spare_ends)
        if not names:
            raise TechniqueError(
                "No weights are left to round: all are in grouped convolutions"
                f"{', or in the first or last layer' if options.spare_ends else ''}.",
                "Set spare_ends to false." if options.spare_ends else "",
            )
        make = level_maker(options.levels == "ternary")
        return learn(model, options, context, weights=dict.fromkeys(names, make))


def candidates(model: ModelProto, spare_ends: bool) -> list[str]:
    """The weights that may be rounded, by initializer."""
    layers = [node for node in model.graph.node if node.op_type in WEIGHTED_OPERATORS]
    ends = {layers[0].input[1], layers[-1].input[1]} if spare_ends and layers else set()
    spared = ends | {node.input[1] for node in layers if not _fits(node)}
    return [name for name in weight_initializers(model) if name not in spared]


def _fits(node: NodeProto) -> bool:
    return node.op_type in KINDS and attribute(node, "group", 1) == 1
