"""Depth reduction: whole blocks leave the network."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from fitment_compress.errors import TechniqueError
from fitment_compress.graph import WEIGHTED_OPERATORS
from fitment_compress.quantisation.sensitivity import Outputs, noise_ratio
from fitment_compress.techniques.base import Context, Options, Requirements, Technique
from fitment_contract.portfolio import LayerSensitivity

if TYPE_CHECKING:
    from onnx import ModelProto

    from fitment_compress.structure.blocks import Block
    from fitment_compress.structure.probe import Feeds

SAMPLES = 64
"""Calibration samples that each block is tried on; more of them rarely change the order."""


class DropBlocksOptions(Options):
    """How many blocks to remove.

    Attributes:
        share: of the blocks that could go, rounded up.
        count: how many go, in place of a share.
        refit: fit the layers behind the removed blocks by least squares on calibration samples.
    """

    share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.3
    count: Annotated[int, Field(ge=1)] | None = None
    refit: bool = True


class DropBlocks(Technique[DropBlocksOptions]):
    """Removes residual blocks and layers that give the shape that they take.

    Which ones is measured, without labels: the block whose absence changes the outputs least on
    calibration samples goes, then the next, tried on what is left.
    """

    name = "drop-blocks"
    summary = "removes the blocks whose absence changes the outputs least"
    options = DropBlocksOptions

    def needs(self, options: DropBlocksOptions) -> Requirements:
        """Layers."""
        return Requirements(any_operator=WEIGHTED_OPERATORS, constant_weights=True)

    def traits(self, options: DropBlocksOptions) -> tuple[str, ...]:
        """`shallower`."""
        return ("shallower",)

    def apply(self, model: ModelProto, options: DropBlocksOptions, context: Context) -> ModelProto:
        """See `Technique.apply`."""
        from fitment_compress.structure.blocks import drop_blocks, find_blocks
        from fitment_compress.structure.graphs import copy_of

        blocks = find_blocks(model)
        if not blocks:
            raise TechniqueError(
                "No part of this model gives the shape that it takes; none can be left out. "
                "Use channel-prune, which narrows layers."
            )
        if not context.calibration:
            raise TechniqueError("Which block matters least is measured. Give calibration samples.")
        count = min(options.count or ceil(options.share * len(blocks)), len(blocks))
        dropped = _least_important(model, blocks, count, context)
        original = copy_of(model)
        drop_blocks(model, dropped)
        if options.refit:
            _refit(model, original, dropped, context)
        return model


def _least_important(
    model: ModelProto, blocks: list[Block], count: int, context: Context
) -> list[Block]:
    """Greedily the blocks to remove; leaves what each one alone would change as a finding."""
    from fitment_compress.structure.probe import spread

    feeds = spread(context.calibration, SAMPLES)
    expected = _outputs(model, [], feeds)
    dropped: list[Block] = []
    for turn in range(count):
        context.tell(turn / count, f"trying to leave out block {turn + 1} of {count}")
        changes = {
            block: noise_ratio(expected, _outputs(model, [*dropped, block], feeds))
            for block in blocks
            if block not in dropped
        }
        dropped.append(min(changes, key=lambda block: changes[block]))
        if turn == 0:
            alone = changes
    context.findings.sensitivity.extend(
        LayerSensitivity(
            layer=block.output, operator="block", noise_ratio=change, spared=block not in dropped
        )
        for block, change in alone.items()
    )
    return dropped


def _outputs(model: ModelProto, without: list[Block], feeds: Feeds) -> Outputs:
    from fitment_compress.structure.blocks import drop_blocks
    from fitment_compress.structure.graphs import copy_of
    from fitment_compress.structure.probe import look

    tried = copy_of(model)
    drop_blocks(tried, without)
    names = [value.name for value in model.graph.output]
    return [list(seen.values()) for seen in look(tried, names, feeds)]


def _refit(model: ModelProto, original: ModelProto, dropped: list[Block], context: Context) -> None:
    from fitment_compress.structure.graphs import downstream
    from fitment_compress.structure.refit import Target, layers_of, refit

    changed = downstream(original, {block.output for block in dropped})
    targets = [Target(layer) for layer in layers_of(model) if layer.node.output[0] in changed]
    gained = refit(model, original, targets, context.calibration, context.seed, context.tell)
    context.findings.notes.append(f"{gained} of {len(targets)} layers behind were fitted.")
