"""Recipes: ordered lists of techniques, in YAML.

    recipes:
      - name: prune50-int8
        steps:
          - magnitude-prune: {sparsity: 0.5}
          - int8-static: {activation: u8, per_channel: true}

A step is the name of a technique, alone or with its options. Steps run in the order in which they
are written; pruning after quantising is not quantising after pruning.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from fitment_compress.errors import RecipeError, RequestError
from fitment_compress.formats import ONNX
from fitment_compress.techniques import AnyTechnique, known_techniques
from fitment_contract.variant import RecipeStep

BASELINE: Final = "fp32"
"""The name of the recipe without steps that is added where a file has none."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Recipe:
    """How one candidate is made from the cleaned source; no steps means the source itself."""

    name: str
    steps: tuple[RecipeStep, ...] = ()


def default_recipes(*, learns: bool = False, converts: bool = False) -> tuple[Recipe, ...]:
    """The recipes that ship with the package.

    Args:
        learns: there are samples to learn from, so that recipes which train are worth their time.
        converts: the converter to other formats is installed.
    """
    names = ["default.yaml"]
    names += ["learning.yaml"] * learns
    names += ["converting.yaml"] * converts
    recipes: dict[str, Recipe] = {}
    for name in names:
        with as_file(files("fitment_compress") / "recipes" / name) as path:
            recipes.update({recipe.name: recipe for recipe in load_recipes(path)})
    return tuple(recipes.values())


def load_recipes(path: Path) -> tuple[Recipe, ...]:
    """The recipes in a YAML file, in their order, the baseline first.

    Raises:
        RecipeError: with file and line: what is wrong and what would be right.
    """
    recipes = _Reader(path).recipes()
    baseline = next((recipe for recipe in recipes if not recipe.steps), Recipe(BASELINE))
    return (baseline, *(recipe for recipe in recipes if recipe != baseline))


def choose(recipes: Sequence[Recipe], only: Sequence[str]) -> tuple[Recipe, ...]:
    """The baseline and the recipes named in `only`; all when nothing is named.

    Raises:
        RequestError: a name that no recipe has.
    """
    names = [recipe.name for recipe in recipes]
    for name in only:
        if name not in names:
            raise RequestError(f"No recipe is called {name!r}.", f"There are: {', '.join(names)}.")
    return tuple(
        recipe for recipe in recipes if not only or not recipe.steps or recipe.name in only
    )


class _Reader:
    """Turns YAML nodes, which know their lines, into recipes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._techniques = known_techniques()

    def recipes(self) -> list[Recipe]:
        root = self._compose()
        entries = self._mapping(root, "a file with the key `recipes`", {"recipes"}).get("recipes")
        if not isinstance(entries, yaml.SequenceNode) or not entries.value:
            raise self._error(root, "no recipes here", "Write `recipes:` and a list under it.")
        recipes: list[Recipe] = []
        for entry in entries.value:
            recipe = self._recipe(entry)
            if recipe.name in [other.name for other in recipes]:
                raise self._error(
                    entry, f"a second recipe is called {recipe.name!r}", "Names must be unique."
                )
            recipes.append(recipe)
        return recipes

    def _compose(self) -> yaml.Node:
        try:
            root = yaml.compose(self._path.read_text("utf-8"), Loader=yaml.SafeLoader)
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(
                self._path, 1, f"cannot be read ({error})", "Name a YAML file that exists."
            ) from error
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise RecipeError(
                self._path, line, f"not YAML: {error.problem}", "Check indentation and brackets."
            ) from error
        if root is None:
            raise RecipeError(
                self._path, 1, "the file is empty", "Write `recipes:` and a list under it."
            )
        return root

    def _recipe(self, node: yaml.Node) -> Recipe:
        fields = self._mapping(node, "a recipe with `name` and `steps`", {"name", "steps"})
        name, steps = fields.get("name"), fields.get("steps")
        if not isinstance(name, yaml.ScalarNode) or not _NAME.fullmatch(name.value):
            raise self._error(
                name or node,
                "a recipe needs a name",
                "Use lower-case letters, digits, dots, dashes, at most 64: `name: prune50-int8`.",
            )
        if not isinstance(steps, yaml.SequenceNode):
            raise self._error(
                steps or node,
                f"recipe {name.value!r} needs a list of steps",
                "Write `steps:` and techniques under it, or `steps: []` for the source itself.",
            )
        recipe = Recipe(name.value, tuple(self._step(step) for step in steps.value))
        self._check_formats(recipe, steps)
        return recipe

    def _step(self, node: yaml.Node) -> RecipeStep:
        if isinstance(node, yaml.ScalarNode):
            technique_node, options_node = node, None
        elif isinstance(node, yaml.MappingNode) and len(node.value) == 1:
            technique_node, options_node = node.value[0]
        else:
            raise self._error(
                node, "a step is one technique", "Write `- fp16` or `- int8-static: {weight: s8}`."
            )
        technique = self._technique(technique_node)
        options = {} if options_node is None else self._plain(options_node)
        self._check_options(technique, options, options_node or node)
        return RecipeStep(technique=technique.name, options=options)

    def _check_formats(self, recipe: Recipe, node: yaml.SequenceNode) -> None:
        """Each step must read what the step before it writes."""
        written = ONNX
        for step, where in zip(recipe.steps, node.value, strict=True):
            technique = self._techniques[step.technique]
            if technique.reads != written:
                raise self._error(
                    where,
                    f"{technique.name} reads {technique.reads} files, and at this step there is "
                    f"one in {written}",
                    _advice(technique.reads, written),
                )
            written = technique.writes

    def _technique(self, node: yaml.Node) -> AnyTechnique:
        found = self._techniques.get(str(node.value))
        if found is None:
            near = get_close_matches(str(node.value), self._techniques, 1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise self._error(
                node,
                f"no technique is called {node.value!r}",
                f"{hint}There are: {', '.join(sorted(self._techniques))}.",
            )
        return found

    def _check_options(
        self, technique: AnyTechnique, options: dict[str, Any], node: yaml.Node
    ) -> None:
        try:
            technique.options.model_validate(options)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            option = str(fault["loc"][0]) if fault["loc"] else ""
            allowed = ", ".join(technique.options.model_fields) or "none"
            raise self._error(
                self._value_of(node, option),
                f"{technique.name}: {option or 'options'}: {fault['msg'].lower()}",
                f"The options of {technique.name} are: {allowed}.",
            ) from error

    @staticmethod
    def _value_of(node: yaml.Node, key: str) -> yaml.Node:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        return next((value for name, value in pairs if name.value == key), node)

    def _mapping(self, node: yaml.Node, what: str, allowed: set[str]) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            raise self._error(node, f"this is not {what}", f"The keys are: {_listed(allowed)}.")
        for key, _ in node.value:
            if key.value not in allowed:
                raise self._error(key, f"unknown key {key.value!r}", f"Use: {_listed(allowed)}.")
        return {key.value: value for key, value in node.value}

    def _plain(self, node: yaml.Node) -> dict[str, Any]:
        loader = yaml.SafeLoader("")
        value = loader.construct_document(node)
        if not isinstance(value, dict):
            raise self._error(node, "options are not a mapping", "Write `{name: value}`.")
        return value

    def _error(self, node: yaml.Node, problem: str, fix: str) -> RecipeError:
        return RecipeError(self._path, node.start_mark.line + 1, problem, fix)


def _advice(wanted: str, written: str) -> str:
    makers = sorted(
        name
        for name, technique in known_techniques().items()
        if technique.reads == written and technique.writes == wanted
    )
    if not makers:
        return f"Do everything that works on {wanted} files before it."
    return f"Put {' or '.join(makers)} before it."


def _listed(names: set[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))
