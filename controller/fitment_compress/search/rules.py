"""Which recipes can work on a source, and which can only be worse than others. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from fitment_compress.graph import MAIN_DOMAINS, constants, opset
from fitment_compress.recipe import Recipe
from fitment_compress.search.moves import (
    AFTER_INTEGERS,
    ALL_MOVES,
    QUANTISERS,
    RECOVERY,
    WITH_PAIRS,
)
from fitment_compress.techniques import AnyTechnique
from fitment_contract.variant import RecipeStep

if TYPE_CHECKING:
    from onnx import ModelProto

Techniques = Mapping[str, AnyTechnique]

FORMAT: Final = "onnx"
"""What the source is, and what the search ends in: other formats are made of its results."""

EPOCHS: Final = "epochs"
"""The option by which techniques that learn are told how long."""


@dataclass(frozen=True)
class SourceFacts:
    """What decides which techniques are worth trying on a source model.

    Attributes:
        opset: its ai.onnx opset.
        operators: the types of its nodes.
        weighted_operators: the types of its nodes whose second input is constant.
        can_learn: PyTorch and samples to learn from are at hand.
    """

    opset: int
    operators: frozenset[str]
    weighted_operators: frozenset[str]
    can_learn: bool


def facts_of(model: ModelProto, can_learn: bool) -> SourceFacts:
    """The facts of a cleaned source model."""
    known = constants(model)
    nodes = [node for node in model.graph.node if node.domain in MAIN_DOMAINS]
    weighted = [node for node in nodes if len(node.input) > 1 and node.input[1] in known]
    return SourceFacts(
        opset=opset(model),
        operators=frozenset(node.op_type for node in nodes),
        weighted_operators=frozenset(node.op_type for node in weighted),
        can_learn=can_learn,
    )


def applies(technique: AnyTechnique, options: Any, facts: SourceFacts) -> bool:
    """Whether the source has what the technique needs."""
    needs = technique.needs(options)
    if facts.opset < needs.opset or (technique.learns and not facts.can_learn):
        return False
    there = facts.weighted_operators if needs.constant_weights else facts.operators
    return not needs.any_operator or not there.isdisjoint(needs.any_operator)


def problem(recipe: Recipe, facts: SourceFacts, techniques: Techniques) -> str | None:
    """Why the recipe cannot work on the source, in a few words; None when it may."""
    written, quantiser = FORMAT, ""
    for step in recipe.steps:
        technique = techniques.get(step.technique)
        if technique is None:
            return f"no technique is called {step.technique!r}"
        if technique.reads != written:
            return f"{step.technique} reads {technique.reads}, and gets {written}"
        if quantiser and not _may_follow(step.technique, quantiser):
            return f"{step.technique} cannot follow {quantiser}"
        try:
            options = technique.options.model_validate(step.options)
        except ValidationError as error:
            return f"{step.technique}: {error.errors()[0]['msg']}"
        if not applies(technique, options, facts):
            return f"nothing at hand for {step.technique}"
        written = technique.writes
        quantiser = step.technique if step.technique in QUANTISERS else quantiser
    return None


def _may_follow(technique: str, quantiser: str) -> bool:
    """Whether a technique works on what a quantiser wrote."""
    return technique in (RECOVERY, AFTER_INTEGERS) and quantiser in WITH_PAIRS


def learns(step: RecipeStep, techniques: Techniques) -> bool:
    """Whether the step trains for a number of epochs."""
    technique = techniques[step.technique]
    return technique.learns and EPOCHS in technique.options.model_fields


def harsher_or_equal(one: Recipe, other: Recipe, techniques: Techniques) -> bool:
    """Whether `one` is `other` with no strength milder and no step trained for longer.

    Only then can what `other` lost be expected of `one` as well.
    """
    if [step.technique for step in one.steps] != [step.technique for step in other.steps]:
        return False
    pairs = zip(one.steps, other.steps, strict=True)
    return all(_step_harsher_or_equal(a, b, techniques) for a, b in pairs)


def _step_harsher_or_equal(one: RecipeStep, other: RecipeStep, techniques: Techniques) -> bool:
    kind = techniques[one.technique].options
    a, b = (kind.model_validate(step.options).model_dump() for step in (one, other))
    directions = {EPOCHS: -1, **_directions(one.technique)}
    return all(
        option in directions and (a[option] - b[option]) * directions[option] > 0
        for option in a
        if a[option] != b[option]
    )


def _directions(technique: str) -> dict[str, int]:
    """By option, whether larger (1) or smaller (-1) values are harsher, where that is known."""
    move = next((move for move in ALL_MOVES if move.technique == technique), None)
    known = {}
    for dimension in move.dimensions if move else ():
        if dimension.ordered:
            first, last = (dimension.choices[at][dimension.name] for at in (0, -1))
            known[dimension.name] = 1 if last > first else -1
    return known
