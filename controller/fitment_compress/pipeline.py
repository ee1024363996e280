"""Recipe and cleaned model in, candidate model out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fitment_compress.accounts import Account, account_of
from fitment_compress.errors import CompressError, TechniqueError
from fitment_compress.formats import ONNX
from fitment_compress.graph import (
    MAIN_DOMAINS,
    constants,
    opset,
    sort_nodes,
    strip_metadata,
)
from fitment_compress.techniques import known_techniques
from fitment_compress.techniques.base import Context, Requirements
from fitment_contract.variant import RecipeStep

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True)
class Candidate:
    """A model as a recipe made it; nothing is known yet about whether it works.

    Attributes:
        model: an `onnx.ModelProto`, or the bytes of a file in another format.
        format: of `model`.
        traits: of all steps, in order, without repetition.
        account: what can be read off it.
    """

    model: Any
    format: str
    traits: tuple[str, ...]
    account: Account


def build(model: Any, steps: Sequence[RecipeStep], context: Context) -> Candidate:
    """Apply the steps in order.

    Args:
        model: what to start from, in the format that the first step reads; changed.
        steps: none leaves it as it is.
        context: what the techniques may use.

    Raises:
        TechniqueError: a step's needs are not met, or its technique failed.
    """
    traits: dict[str, None] = {}
    file_format = ONNX
    for step in steps:
        technique = known_techniques()[step.technique]
        options = technique.options.model_validate(step.options)
        if technique.reads == ONNX:
            _check(step.technique, technique.needs(options), model)
        try:
            model = technique.apply(model, options, context)
        except CompressError:
            raise
        except Exception as error:  # techniques call whole libraries; any of it may fail
            raise TechniqueError(
                f"{step.technique} failed on this model: {type(error).__name__}: {error}"
            ) from error
        traits.update(dict.fromkeys(technique.traits(options)))
        file_format = technique.writes
    if file_format == ONNX:
        sort_nodes(model)
        strip_metadata(model)
    return Candidate(model, file_format, tuple(traits), account_of(model, file_format))


def _check(technique: str, needs: Requirements, model: ModelProto) -> None:
    """Raise TechniqueError when `model` lacks what `technique` needs."""
    if opset(model) < needs.opset:
        raise TechniqueError(
            f"{technique} needs opset {needs.opset} or newer; this model has {opset(model)}."
        )
    if not needs.any_operator:
        return
    nodes = [node for node in model.graph.node if node.op_type in needs.any_operator]
    if needs.constant_weights:
        known = constants(model)
        nodes = [node for node in nodes if len(node.input) > 1 and node.input[1] in known]
    if not nodes:
        kind = " with constant weights" if needs.constant_weights else ""
        present = {node.op_type for node in model.graph.node if node.domain in MAIN_DOMAINS}
        raise TechniqueError(
            f"{technique} works on {', '.join(needs.any_operator)}{kind}; this model has none "
            f"(it has {', '.join(sorted(present))})."
        )
