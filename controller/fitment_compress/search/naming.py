"""What recipes that nobody wrote are called, and when two recipes are the same."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import yaml

from fitment_compress.recipe import Recipe
from fitment_compress.techniques import AnyTechnique, known_techniques
from fitment_contract.base import canonical_json, sha256_hex
from fitment_contract.variant import RecipeStep

ALIASES: Final[Mapping[str, str]] = {
    "bias-correct": "bias",
    "channel-prune": "channels",
    "depthwise-separable": "separable",
    "equalise": "equal",
    "int4-weights": "int4",
    "int8-dynamic": "dynamic",
    "int8-mixed": "mixed",
    "int8-static": "int8",
    "low-rank": "lowrank",
    "magnitude-prune": "prune",
    "nm-prune": "nm",
    "ternary-weights": "ternary",
}
"""Short words for long names; other techniques keep theirs."""

LONGEST_NAME: Final = 64
_DIGEST_DIGITS: Final = 10


def normalised(
    steps: Sequence[RecipeStep], techniques: Mapping[str, AnyTechnique] | None = None
) -> tuple[RecipeStep, ...]:
    """The steps without options that are the default anyway, in the order of their declaration.

    Raises:
        KeyError: no such technique.
        pydantic.ValidationError: the technique does not accept the options.
    """
    known = known_techniques() if techniques is None else techniques
    plain = []
    for step in steps:
        options = known[step.technique].options.model_validate(step.options)
        kept = options.model_dump(mode="json", exclude_defaults=True)
        plain.append(RecipeStep(technique=step.technique, options=kept))
    return tuple(plain)


def identity(
    steps: Sequence[RecipeStep], techniques: Mapping[str, AnyTechnique] | None = None
) -> str:
    """Equal for recipes that make the same model, whatever they are called: 64 hex digits."""
    plain = [[step.technique, step.options] for step in normalised(steps, techniques)]
    return sha256_hex(canonical_json(plain))


def named(
    steps: Sequence[RecipeStep],
    taken: Collection[str] = (),
    techniques: Mapping[str, AnyTechnique] | None = None,
) -> Recipe:
    """The steps, normalised, under a name that says what they are.

    `channels0.5-recover1-prune0.8-int8_as8`: techniques in order, each with what differs from its
    defaults, the options behind the first marked by their initials. Long names are cut and end in
    a digest.

    Args:
        steps: any that the techniques accept.
        taken: names that other recipes have already.
        techniques: all that are known, unless a caller says otherwise.
    """
    plain = normalised(steps, techniques)
    name = "-".join(_word(step, techniques) for step in plain) or "source"
    if len(name) > LONGEST_NAME or name in taken:
        digest = identity(plain, techniques)[:_DIGEST_DIGITS]
        name = f"{name[: LONGEST_NAME - _DIGEST_DIGITS - 1]}-{digest}"
    return Recipe(name, plain)


def to_yaml(recipes: Sequence[Recipe]) -> str:
    """The recipes as a file for `--recipes`."""
    entries = [
        {
            "name": recipe.name,
            "steps": [
                {step.technique: dict(step.options)} if step.options else step.technique
                for step in recipe.steps
            ],
        }
        for recipe in recipes
    ]
    return yaml.safe_dump({"recipes": entries}, sort_keys=False)


def _word(step: RecipeStep, techniques: Mapping[str, AnyTechnique] | None) -> str:
    known = known_techniques() if techniques is None else techniques
    fields = list(known[step.technique].options.model_fields)
    first, *others = fields or [""]
    parts = [_value(step.options[first])] if first in step.options else []
    alone = ALIASES.get(step.technique, step.technique) + "".join(parts)
    marked = [
        f"_{_initials(option, fields)}{_value(step.options[option])}"
        for option in others
        if option in step.options
    ]
    return alone + "".join(marked)


def _initials(option: str, fields: Sequence[str]) -> str:
    """The first letters of the words of an option; all of it where another has the same."""
    short = {field: "".join(word[0] for word in field.split("_")) for field in fields}
    alone = [field for field in fields if short[field] == short[option]]
    return short[option] if alone == [option] else option.replace("_", "")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, (int, float)):
        return f"{value:g}".replace("+", "")
    text = value if isinstance(value, str) else json.dumps(value)
    return re.sub(r"[^a-z0-9.]+", "", text.lower())
